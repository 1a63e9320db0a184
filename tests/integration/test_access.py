"""Who may call: keys and roles, sessions of browsers, rates, origins, and what is written down of changes."""

import re
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import Any

import falcon
import msgspec
import pytest
from falcon import inspect, testing
from falcon.testing import create_environ
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import OperationalError

from schemas.db.channels import KEYS
from schemas.db.connections import connect, engine_for
from serving.app import create_app
from serving.auth.audit import STORED_BODY_BYTES
from serving.auth.keys import (
    FRESH_FOR,
    MISSES_AT_ONCE,
    SESSION_LASTS,
    KeyNameTakenError,
    Keyring,
    KeyStore,
    UnknownKeyError,
)
from serving.auth.queries import SESSIONS_PER_KEY
from serving.fleet.reader import FleetReader
from serving.http.bodies import read_body
from serving.http.representation import App
from serving.live.hub import HEARTBEAT
from serving.policy import SESSION_COOKIE, Policy, is_open, is_openadr
from serving.routes import AppOptions
from serving.worker_state import WorkerState
from tests.integration.as_served import client_of
from tests.integration.published import NOW

ORIGIN = "https://ui.example"


class Clock:
    """Stands still until it is told."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


class Wish(msgspec.Struct):
    what: str


class Wishes:
    """A route that changes something, and one that shows what streams do."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        wish = read_body(request, Wish)
        if wish.what == "ours":
            raise RuntimeError("our fault")
        with self._engine.begin() as connection:
            connection.execute(
                text("INSERT INTO vens (ven_id, created_at) VALUES (:ven, now())"), {"ven": wish.what}
            )
        response.status = falcon.HTTP_201

    def on_delete(self, _request: falcon.Request, response: falcon.Response) -> None:
        response.status = falcon.HTTP_204

    def on_get(self, _request: falcon.Request, response: falcon.Response) -> None:
        response.stream = iter([b"a", b"b", b"c"])


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(engine: Engine) -> KeyStore:
    return KeyStore(engine)


def app_of(engine: Engine, clock: Clock, **policy: Any) -> falcon.App[falcon.Request, falcon.Response]:
    app = create_app(engine, clock, [ORIGIN], AppOptions(policy=Policy(**({"needs_keys": True} | policy))))
    app.add_route("/api/wishes", Wishes(engine))
    return app


@pytest.fixture
def client(engine: Engine, clock: Clock) -> testing.TestClient:
    return testing.TestClient(app_of(engine, clock))


@pytest.fixture
def viewer(store: KeyStore) -> dict[str, str]:
    return bearer(store.create("grafana", "viewer", None, NOW))


@pytest.fixture
def operator(store: KeyStore) -> dict[str, str]:
    return bearer(store.create("control-room", "operator", None, NOW))


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def secret_of(headers: dict[str, str]) -> str:
    return headers["Authorization"].removeprefix("Bearer ")


def wish(client: testing.TestClient, headers: dict[str, str], what: str = "ven-1") -> testing.Result:
    return client.simulate_post("/api/wishes", json={"what": what}, headers=headers)


def audit_rows(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT * FROM audit_log ORDER BY audit_id")))


def vens(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT ven_id FROM vens ORDER BY 1")).scalars())


def assert_problem(response: testing.Result, status: int, *words: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    for word in words:
        assert word in response.json["detail"]


OPEN_TO_CLIENTS = ("/auth/server", "/auth/token", "/openapi.json")


# Keys


def test_every_route_needs_a_key_but_those_that_tell_nothing(
    client: testing.TestClient, engine: Engine, clock: Clock
) -> None:
    paths = {route.path for route in inspect.inspect_routes(app_of(engine, clock))}
    of_openadr = {path for path in paths if is_openadr(path)}  # by tokens: test_openadr_access
    closed = {path for path in paths - of_openadr if not is_open(path)}
    assert paths - closed - of_openadr <= {
        "/",
        "/health",
        "/health/db-check",
        "/openapi.json",
        "/docs",
        "/assets/{digest}/{asset}",
    }
    for path in (*closed, "/api/nothing", "/nothing", "/metrics"):
        for method in ("GET", "POST", "PATCH", "DELETE"):
            response = client.simulate_request(method, re.sub("{.*?}", "x", path))
            assert_problem(response, 401, "Authorization: Bearer", "keys create")
            assert response.headers["www-authenticate"] == 'Bearer realm="gridgate"'
    for path in (path for path in of_openadr if not path.endswith(OPEN_TO_CLIENTS)):
        assert client.simulate_get(re.sub("{.*?}", "x", path)).status_code == 401, path


@pytest.mark.parametrize("path", ["/health", "/health/", "/health/db-check", "/openapi.json", "/docs"])
def test_open_routes(path: str, client: testing.TestClient) -> None:
    assert client.simulate_get(path).status_code == 200


@pytest.mark.parametrize(
    "path", ["//api/vens", "/api//vens", "/API/vens", "/docs/../api/vens", "/docs%2F..%2Fapi"]
)
def test_odd_spellings_open_nothing(path: str, client: testing.TestClient) -> None:
    assert client.simulate_get(path).status_code in {401, 404}


def test_a_viewer_reads(client: testing.TestClient, viewer: dict[str, str]) -> None:
    for headers in (
        viewer,
        {"X-API-Key": secret_of(viewer)},
        {"Authorization": f"bearer  {secret_of(viewer)}"},
    ):
        assert client.simulate_get("/api/vens", headers=headers).status_code == 200


def test_a_viewer_changes_nothing(client: testing.TestClient, viewer: dict[str, str], engine: Engine) -> None:
    assert_problem(wish(client, viewer), 403, "operator", "'grafana'", "viewer")
    assert_problem(client.simulate_delete("/api/wishes", headers=viewer), 403, "operator")
    assert (vens(engine), audit_rows(engine)) == ([], [])


def test_an_operator_does(client: testing.TestClient, operator: dict[str, str], engine: Engine) -> None:
    assert client.simulate_get("/api/vens", headers=operator).status_code == 200
    assert wish(client, operator).status_code == 201
    assert vens(engine) == ["ven-1"]


def test_wrong_keys(client: testing.TestClient, viewer: dict[str, str]) -> None:
    secret = secret_of(viewer)
    other = "0" if secret[-1] != "0" else "1"
    for wrong in (
        secret[:-1] + other,
        secret[:-1],
        secret + "0",
        "gg_" + "0" * 12 + "_" + "0" * 64,
        "x",
        "é",
    ):
        response = client.simulate_get("/api/vens", headers=bearer(wrong))
        assert_problem(response, 401, "revoked")
        assert 'error="invalid_token"' in response.headers["www-authenticate"]
    for scheme in ("Basic", "Bearer"):
        response = client.simulate_get("/api/vens", headers={"Authorization": scheme})
        assert_problem(response, 401)


def test_only_digests_are_stored(store: KeyStore, engine: Engine) -> None:
    secret = store.create("ui", "viewer", None, NOW)
    with engine.connect() as connection:
        stored = str(connection.execute(text("SELECT api_keys::text FROM api_keys")).scalar_one())
    assert secret.split("_")[1] in stored
    assert secret.split("_")[2] not in stored


def test_a_new_key_works_at_once(client: testing.TestClient, store: KeyStore) -> None:
    """Although the process has looked at the keys just before, and trusts that for a while."""
    assert (
        client.simulate_get("/api/vens", headers=bearer(store.create("a", "viewer", None, NOW))).status_code
        == 200
    )
    new = bearer(store.create("b", "viewer", None, NOW))
    assert client.simulate_get("/api/vens", headers=new).status_code == 200


def test_guesses_cost_hardly_a_query(engine: Engine, clock: Clock) -> None:
    """An attacker cannot make us ask the database as often as he shows us keys that nobody has."""
    client = testing.TestClient(app_of(engine, clock))
    asked: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *told: asked.append(told[2]))
    for number in range(10 * MISSES_AT_ONCE):
        guess = bearer(f"gg_{number:012x}_" + "0" * 64)
        assert client.simulate_get("/api/vens", headers=guess).status_code == 401
    assert sum("api_keys" in statement for statement in asked) <= MISSES_AT_ONCE + 1


def test_a_revoked_key_works_for_seconds_at_most(
    engine: Engine, store: KeyStore, clock: Clock, operator: dict[str, str]
) -> None:
    """In every worker, each of which knows the keys for itself."""
    workers = [testing.TestClient(app_of(engine, clock)) for _ in range(3)]
    for worker in workers:
        assert worker.simulate_get("/api/vens", headers=operator).status_code == 200
    store.revoke("control-room", clock.now)
    clock.now += FRESH_FOR
    for worker in workers:
        assert_problem(worker.simulate_get("/api/vens", headers=operator), 401, "revoked")
    assert timedelta(seconds=3) >= FRESH_FOR


def test_a_quiet_stream_ends_with_its_key(
    engine: Engine, database_url: str, store: KeyStore, clock: Clock
) -> None:
    """It ended with its next heartbeat, which may be a minute away."""
    keys = {name: store.create(name, "viewer", None, NOW) for name in ("left", "stays")}
    state = WorkerState(engine, FleetReader(engine, clock), stream_heartbeat_s=600)
    keyring = Keyring(store, clock, state.hub.wake_streams)
    app = create_app(
        engine, clock, [], AppOptions(policy=Policy(needs_keys=True)), keyring=keyring, state=state
    )
    listener = state.listener(lambda: connect(database_url, "tests"), {KEYS: keyring.refresh})
    thread = listener.start()
    try:
        streams = {name: stream_of(app, key) for name, key in keys.items()}
        assert all(next(stream).startswith(b"retry") for stream in streams.values())
        began = time.monotonic()
        store.revoke("left", clock.now)
        assert list(streams["left"]) == []
        assert next(streams["stays"]) == HEARTBEAT
        assert time.monotonic() - began < 60
    finally:
        listener.stop()
        thread.join(20)


def stream_of(app: App, key: str) -> Iterator[bytes]:
    environ = testing.create_environ("/api/stream", headers=bearer(key))
    return iter(app(environ, testing.StartResponseMock()))


def test_an_error_repeats_no_secret(client: testing.TestClient, operator: dict[str, str]) -> None:
    """Who put a key into a path read it again in the detail, and so did whoever logs bodies of errors."""
    secret = operator["Authorization"].removeprefix("Bearer ")
    for method, path in (("GET", "/api/vens/{}"), ("POST", "/api/vens/{}"), ("GET", "/api/{}")):
        text = client.simulate_request(method, path.format(secret), headers=operator).text
        assert secret[:10] in text
        assert secret[-64:] not in text


def test_a_key_expires_to_the_instant(client: testing.TestClient, store: KeyStore, clock: Clock) -> None:
    headers = bearer(store.create("guest", "viewer", NOW + timedelta(seconds=1), NOW))
    assert client.simulate_get("/api/vens", headers=headers).status_code == 200
    clock.now += timedelta(seconds=1)
    assert client.simulate_get("/api/vens", headers=headers).status_code == 401


def test_a_name_is_one_keys_until_it_is_revoked(store: KeyStore) -> None:
    store.create("ui", "viewer", None, NOW)
    with pytest.raises(KeyNameTakenError, match="'ui'"):
        store.create("ui", "operator", None, NOW)
    store.revoke("ui", NOW)
    with pytest.raises(UnknownKeyError, match="'ui'"):
        store.revoke("ui", NOW)
    store.create("ui", "operator", None, NOW)
    assert sorted(key.role for key in store.all_keys()) == ["operator", "viewer"]


def test_a_stream_ends_with_its_key(
    client: testing.TestClient, store: KeyStore, operator: dict[str, str], clock: Clock
) -> None:
    environ = create_environ("/api/wishes", headers=operator)
    blocks = iter(client.app(environ, testing.StartResponseMock()))
    assert next(blocks) == b"a"
    store.revoke("control-room", clock.now)
    clock.now += FRESH_FOR
    assert list(blocks) == []


def test_without_a_database_nobody_is_let_in(clock: Clock, viewer: dict[str, str]) -> None:
    away = engine_for("postgresql://nobody@/nothing?host=/nonexistent", "tests")
    client = testing.TestClient(app_of(away, clock))
    assert_problem(client.simulate_get("/api/stats/network", headers=viewer), 503)
    assert client.simulate_get("/api/stats/network").status_code == 401
    assert client.simulate_get("/health").status_code == 200


def test_who_watches_sees_that_the_database_is_away(
    engine: Engine, clock: Clock, viewer: dict[str, str], store: KeyStore
) -> None:
    """Once, metrics were refused just then: a key that was known a moment ago could not be looked up."""
    client = testing.TestClient(app_of(engine, clock))
    assert client.simulate_get("/metrics", headers=viewer).status_code == 200
    stranger = bearer(store.create("stranger", "viewer", None, NOW))
    event.listen(engine, "do_connect", _away)
    event.listen(engine, "before_cursor_execute", _away)
    clock.now += FRESH_FOR
    assert 'status="200"' in client.simulate_get("/metrics", headers=viewer).text
    assert_problem(client.simulate_get("/api/vens", headers=viewer), 503)
    assert_problem(client.simulate_get("/metrics", headers=stranger), 503)
    assert client.simulate_get("/metrics").status_code == 401


def _away(*_: object) -> None:
    raise OperationalError("SELECT 1", {}, Exception("the database is away"))


# What is ready, and answered before Falcon is asked

READY = "/api/stats/network"


@pytest.fixture
def ready(engine: Engine, clock: Clock) -> testing.TestClient:
    """With an answer that was made and sent."""
    state = WorkerState(engine, FleetReader(engine, clock))
    state.cache.poll()
    policy = Policy(needs_keys=True, rate_per_s=1, rate_burst=4)
    client = client_of(create_app(engine, clock, [ORIGIN], AppOptions(policy=policy), state=state))
    first = bearer(KeyStore(engine).create("first", "viewer", None, NOW))
    for _ in range(2):
        assert client.simulate_get(READY, headers=first).status_code == 200
    whole = state.cache.peek("network")
    assert whole is not None
    assert whole.sent
    return client


def test_what_is_ready_needs_a_key_all_the_same(ready: testing.TestClient, viewer: dict[str, str]) -> None:
    secret = secret_of(viewer)
    assert_problem(ready.simulate_get(READY), 401, "keys create")
    assert_problem(ready.simulate_get(READY, headers=bearer(secret[:-4] + "0000")), 401, "revoked")
    assert_problem(ready.simulate_get(READY, headers={"Cookie": f"{SESSION_COOKIE}={secret}x"}), 401)
    for headers in (viewer, {"X-API-Key": secret}, {"Authorization": f"bearer  {secret}"}):
        assert ready.simulate_get(READY, headers=headers).status_code == 200


def test_what_is_ready_counts_for_the_rate(ready: testing.TestClient, viewer: dict[str, str]) -> None:
    answers = [ready.simulate_get(READY, headers=viewer) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 4 + [429] * 2
    told = [(answer.headers["ratelimit-policy"], answer.headers["ratelimit"]) for answer in answers[:4]]
    assert told == [('"key";q=4;w=4', f'"key";r={left};t={4 - left}') for left in (3, 2, 1, 0)]


def test_what_is_ready_is_not_for_keys_that_have_ended(
    ready: testing.TestClient, store: KeyStore, clock: Clock, viewer: dict[str, str]
) -> None:
    guest = bearer(store.create("guest", "viewer", NOW + timedelta(seconds=1), NOW))
    assert {ready.simulate_get(READY, headers=key).status_code for key in (viewer, guest)} == {200}
    clock.now += timedelta(seconds=1)
    assert ready.simulate_get(READY, headers=guest).status_code == 401
    store.revoke("grafana", clock.now)
    clock.now += FRESH_FOR
    assert_problem(ready.simulate_get(READY, headers=viewer), 401, "revoked")


# Sessions of browsers


def log_in(client: testing.TestClient, key: dict[str, str]) -> dict[str, str]:
    """The header that a browser sends from now on."""
    response = client.simulate_post("/api/session", headers=key)
    assert response.status_code == 200, response.text
    return {"Cookie": f"{SESSION_COOKIE}={response.cookies[SESSION_COOKIE].value}"}


def test_a_cookie_reads_what_its_key_may(client: testing.TestClient, viewer: dict[str, str]) -> None:
    response = client.simulate_post("/api/session", headers=viewer)
    assert response.json["name"] == "grafana"
    told = response.headers["set-cookie"]
    for attribute in ("HttpOnly", "SameSite=Strict", "Path=/api"):
        assert attribute in told
    assert secret_of(viewer) not in told
    cookie = {"Cookie": f"{SESSION_COOKIE}={response.cookies[SESSION_COOKIE].value}"}
    assert client.simulate_get("/api/vens", headers=cookie).status_code == 200
    assert client.simulate_get("/api/session", headers=cookie).json == response.json
    assert_problem(client.simulate_get("/api/audit", headers=cookie), 403, "operator")


def test_a_cookie_is_for_https_only_where_that_is_said(
    engine: Engine, clock: Clock, viewer: dict[str, str]
) -> None:
    client = testing.TestClient(app_of(engine, clock, is_https=True))
    assert "Secure" in client.simulate_post("/api/session", headers=viewer).headers["set-cookie"]


def test_a_cookie_is_answered_from_what_is_ready(
    ready: testing.TestClient, engine: Engine, viewer: dict[str, str]
) -> None:
    """The dashboard's polls are all by cookie."""
    cookie = log_in(ready, viewer)
    ready.simulate_get(READY, headers=viewer)
    asked: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *told: asked.append(told[2]))
    for other in ("", "theme=dark; ", "x=gridgate_session="):
        answer = ready.simulate_get(READY, headers={"Cookie": other + cookie["Cookie"]})
        assert answer.status_code == (401 if other.startswith("x") else 200)
    assert not any("network_snapshot" in statement for statement in asked)


def test_a_cookie_lends_no_key(client: testing.TestClient, operator: dict[str, str]) -> None:
    """A key in a cookie was taken for the key itself, for which no page is asked where it is from."""
    cookie = {"Cookie": f"{SESSION_COOKIE}={secret_of(operator)}"}
    assert client.simulate_get("/api/vens", headers=cookie).status_code == 401
    assert wish(client, cookie | {"Origin": "https://evil.example"}).status_code == 401


@pytest.mark.parametrize("origin", ["http://falconframework.org", ORIGIN])
def test_a_cookie_changes_something_for_our_own_pages(
    origin: str, client: testing.TestClient, operator: dict[str, str]
) -> None:
    cookie = log_in(client, operator)
    assert wish(client, cookie | {"Origin": origin}).status_code == 201


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "", "http://falconframework.org.evil.example"]
)
def test_a_cookie_changes_nothing_for_foreign_pages(
    origin: str, client: testing.TestClient, operator: dict[str, str], engine: Engine
) -> None:
    """Should a browser send it, in spite of SameSite; the key itself no foreign page has."""
    cookie = log_in(client, operator)
    assert_problem(wish(client, cookie | {"Origin": origin}), 403, "CORS_ORIGINS")
    assert_problem(wish(client, cookie), 403)
    assert vens(engine) == []
    assert wish(client, operator | {"Origin": origin}).status_code == 201


def test_a_cookie_of_a_viewer_changes_nothing(client: testing.TestClient, viewer: dict[str, str]) -> None:
    cookie = log_in(client, viewer)
    assert_problem(wish(client, cookie | {"Origin": ORIGIN}), 403, "operator")


def test_a_session_ends(
    client: testing.TestClient, viewer: dict[str, str], store: KeyStore, clock: Clock
) -> None:
    first, second = log_in(client, viewer), log_in(client, viewer)
    own_page = {"Origin": "http://falconframework.org"}
    assert client.simulate_delete("/api/session", headers=first | own_page).status_code == 204
    clock.now += FRESH_FOR
    assert client.simulate_get("/api/vens", headers=first).status_code == 401
    assert client.simulate_get("/api/vens", headers=second).status_code == 200
    store.revoke("grafana", clock.now)
    clock.now += FRESH_FOR
    assert client.simulate_get("/api/vens", headers=second).status_code == 401


def test_a_stream_ends_with_its_session(
    client: testing.TestClient, viewer: dict[str, str], clock: Clock
) -> None:
    """Whoever logs out is told no more, though his key works on; other sessions of the key stay."""
    first, second = log_in(client, viewer), log_in(client, viewer)
    streams = [
        iter(client.app(create_environ("/api/wishes", headers=cookie), testing.StartResponseMock()))
        for cookie in (first, second)
    ]
    assert [next(blocks) for blocks in streams] == [b"a", b"a"]
    own_page = {"Origin": "http://falconframework.org"}
    assert client.simulate_delete("/api/session", headers=first | own_page).status_code == 204
    clock.now += FRESH_FOR
    assert [list(blocks) for blocks in streams] == [[], [b"b", b"c"]]


def test_a_session_expires_and_never_outlives_its_key(
    client: testing.TestClient, viewer: dict[str, str], store: KeyStore, clock: Clock
) -> None:
    short = bearer(store.create("guest", "viewer", NOW + timedelta(minutes=1), NOW))
    assert client.simulate_post("/api/session", headers=short).json["expiresAt"] == "2024-07-10T18:01:00Z"
    cookie = log_in(client, viewer)
    clock.now += SESSION_LASTS
    assert client.simulate_get("/api/vens", headers=cookie).status_code == 401


def test_sessions_do_not_pile_up(client: testing.TestClient, viewer: dict[str, str], engine: Engine) -> None:
    for _ in range(SESSIONS_PER_KEY + 5):
        log_in(client, viewer)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM api_sessions")).scalar_one() == SESSIONS_PER_KEY


# Without keys


def test_at_home_nobody_is_asked(engine: Engine, clock: Clock) -> None:
    client = testing.TestClient(app_of(engine, clock, needs_keys=False))
    assert wish(client, {}).status_code == 201
    assert client.simulate_get("/api/session").json == {
        "name": "anonymous",
        "role": "operator",
        "expiresAt": None,
    }
    assert client.simulate_post("/api/session").status_code == 200
    [row, _] = audit_rows(engine)
    assert (row.who, row.key_id, row.status) == ("anonymous", None, 201)


def test_at_home_foreign_pages_change_nothing(engine: Engine, clock: Clock) -> None:
    """A page anywhere can make a browser send requests to its user's own machine."""
    client = testing.TestClient(app_of(engine, clock, needs_keys=False))
    assert_problem(client.simulate_delete("/api/wishes", headers={"Origin": "https://evil.example"}), 403)
    for origin in (ORIGIN, "http://falconframework.org"):
        assert client.simulate_delete("/api/wishes", headers={"Origin": origin}).status_code == 204


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("localhost", True),
        ("localhost:8000", True),
        ("127.0.0.1:8000", True),
        ("[::1]:8000", True),
        ("ui.example", True),
        ("evil.example", False),
        ("evil.example:8000", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example:8000", False),
    ],
)
def test_at_home_names_of_others_lead_nowhere(
    host: str,
    is_ours: bool,  # noqa: FBT001 - a parameter of the test
    engine: Engine,
    clock: Clock,
) -> None:
    """A page of evil.example that lets that name lead to 127.0.0.1 is of the same origin as we are then."""
    state = WorkerState(engine, FleetReader(engine, clock))
    state.cache.poll()
    policy = Policy(is_local_only=True)
    client = testing.TestClient(create_app(engine, clock, [ORIGIN], AppOptions(policy=policy), state=state))
    for _ in range(2):
        assert client.simulate_get(READY, headers={"Host": "localhost"}).status_code == 200
    called = {"Host": host}
    assert client.simulate_get(READY, headers=called).status_code == (200 if is_ours else 403)
    made = client.simulate_delete("/api/vens/none", headers=called | {"Origin": f"http://{host}"})
    assert made.status_code == (404 if is_ours else 403)


# Rates


def test_a_key_has_a_rate(
    engine: Engine, clock: Clock, viewer: dict[str, str], operator: dict[str, str]
) -> None:
    client = testing.TestClient(app_of(engine, clock, rate_per_s=2.0, rate_burst=3))
    left = []
    for _ in range(3):
        response = client.simulate_get("/api/vens", headers=viewer)
        assert (response.status_code, response.headers["ratelimit-policy"]) == (200, '"key";q=3;w=2')
        left.append(response.headers["ratelimit"])
    assert left == ['"key";r=2;t=1', '"key";r=1;t=1', '"key";r=0;t=2']
    refused = client.simulate_get("/api/vens", headers=viewer)
    assert_problem(refused, 429, "'grafana'")
    assert refused.headers["retry-after"] == "1"
    assert client.simulate_get("/api/vens", headers=operator).status_code == 200
    clock.now += timedelta(seconds=0.5)
    statuses = [client.simulate_get("/api/vens", headers=viewer).status_code for _ in range(2)]
    assert statuses == [200, 429]


def test_no_rate_where_none_is_set(engine: Engine, clock: Clock, viewer: dict[str, str]) -> None:
    client = testing.TestClient(app_of(engine, clock, rate_per_s=0))
    response = client.simulate_get("/api/vens", headers=viewer)
    assert (response.status_code, response.headers.get("ratelimit")) == (200, None)


# Origins and headers


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_a_browser_may_ask_what_it_may_send(method: str, client: testing.TestClient) -> None:
    """Without a key: browsers send none with a preflight."""
    asked = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization, content-type",
    }
    headers = client.simulate_options("/api/wishes", headers=asked).headers
    assert headers["access-control-allow-origin"] == ORIGIN
    assert method in headers["access-control-allow-methods"]
    assert "authorization" in headers["access-control-allow-headers"]
    assert "Origin" in headers["vary"]
    foreign = client.simulate_options("/api/wishes", headers=asked | {"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in foreign.headers


def test_caches_keep_answers_to_origins_apart(client: testing.TestClient, viewer: dict[str, str]) -> None:
    """Even the first, to who names no origin: it lacks what a page elsewhere must be told."""
    assert "Origin" in client.simulate_get("/api/vens", headers=viewer).headers["vary"]


def test_a_page_can_read_why_it_was_refused(client: testing.TestClient) -> None:
    response = client.simulate_get("/api/vens", headers={"Origin": ORIGIN})
    assert_problem(response, 401)
    assert response.headers["access-control-allow-origin"] == ORIGIN


def test_headers_for_browsers(engine: Engine, clock: Clock) -> None:
    client = testing.TestClient(app_of(engine, clock))
    page, data = client.simulate_get("/docs").headers, client.simulate_get("/health").headers
    for headers in (page, data, client.simulate_get("/api/vens").headers):
        assert headers["x-content-type-options"] == "nosniff"
        assert "strict-transport-security" not in headers
    assert "frame-ancestors 'none'" in page["content-security-policy"]
    assert (page["referrer-policy"], page["x-frame-options"]) == ("no-referrer", "DENY")
    assert "content-security-policy" not in data


def test_headers_by_settings(engine: Engine, clock: Clock) -> None:
    client = testing.TestClient(app_of(engine, clock, is_https=True, page_policy="default-src 'none'"))
    headers = client.simulate_get("/docs").headers
    assert headers["strict-transport-security"] == "max-age=31536000"
    assert headers["content-security-policy"] == "default-src 'none'"


# The audit log


def test_a_change_is_written_down(engine: Engine, clock: Clock, operator: dict[str, str]) -> None:
    client = testing.TestClient(app_of(engine, clock, trusted_proxies=(ip_network("127.0.0.1"),)))
    sent = operator | {"X-Request-Id": "from-the-proxy-1", "X-Forwarded-For": "6.6.6.6, 192.0.2.9"}
    response = client.simulate_post(
        "/api/wishes?why=not", json={"what": "ven-1"}, headers=sent, extras={"REMOTE_ADDR": "127.0.0.1"}
    )
    assert response.headers["x-request-id"] == "from-the-proxy-1"
    [row] = audit_rows(engine)
    assert (row.who, row.role, row.method, row.path) == (
        "control-room",
        "operator",
        "POST",
        "/api/wishes?why=not",
    )
    assert (row.status, row.request_id, row.client_address) == (201, "from-the-proxy-1", "192.0.2.9")
    assert (row.body, row.at, row.answered_at) == ({"what": "ven-1"}, NOW, NOW)
    assert row.key_id in secret_of(operator)


@pytest.mark.parametrize(
    ("body", "status", "kept"),
    [
        (b'{"what": 5}', 400, {"what": 5}),
        (b"\xff\x00{", 400, {"bytes": 3, "start": "\ufffd\ufffd{"}),
        (b'{"what": "ours"}', 500, {"what": "ours"}),
        (b"", 400, None),
        (b'{"what": "a\\u0000b"}', 400, {"what": "a\ufffdb"}),
        (b"[" * 5_000, 400, {"bytes": 5_000, "start": "[" * 5_000}),
    ],
)
def test_an_attempt_is_written_down(
    body: bytes, status: int, kept: Any, client: testing.TestClient, operator: dict[str, str], engine: Engine
) -> None:
    sent = operator | {"Content-Type": "application/json"}
    assert client.simulate_post("/api/wishes", body=body, headers=sent).status_code == status
    [row] = audit_rows(engine)
    assert (row.status, row.body) == (status, kept)


def test_a_long_body_is_cut(client: testing.TestClient, operator: dict[str, str], engine: Engine) -> None:
    client.simulate_post("/api/wishes", json={"what": "x" * 100_000}, headers=operator)
    [row] = audit_rows(engine)
    assert row.body["bytes"] > 100_000
    assert len(row.body["start"]) == STORED_BODY_BYTES


def test_secrets_are_not_written_down(
    client: testing.TestClient, operator: dict[str, str], engine: Engine
) -> None:
    """Wherever somebody has put one."""
    secret = secret_of(operator)
    for body in (f'{{"what": "{secret}"}}', f"{{{secret}"):
        client.simulate_post(f"/api/wishes?key={secret}", body=body, headers=operator)
    assert len(audit_rows(engine)) == 2
    assert secret.split("_")[2] not in str(audit_rows(engine))


def test_no_body_and_odd_paths(client: testing.TestClient, operator: dict[str, str], engine: Engine) -> None:
    """A NUL in a path was our fault once: the log could not hold it."""
    assert client.simulate_delete("/api/vens/a%00b", headers=operator).status_code == 400
    with engine.connect() as connection:
        query = text("SELECT path FROM audit_log WHERE body IS NULL")
        assert connection.execute(query).scalars().all() == ["/api/vens/a\ufffdb"]


def test_without_its_row_there_is_no_change(
    client: testing.TestClient, operator: dict[str, str], engine: Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE audit_log ADD CONSTRAINT full_disk CHECK (false) NOT VALID"))
    assert_problem(wish(client, operator), 503)
    assert vens(engine) == []


def test_the_row_is_there_before_the_change(
    client: testing.TestClient, operator: dict[str, str], engine: Engine
) -> None:
    """A process that dies in between leaves an attempt whose end nobody saw."""
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE seen (rows bigint)"))
        connection.execute(
            text(
                "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO seen"
                " SELECT count(*) FROM audit_log WHERE status IS NULL; RETURN NEW; END $$"
            )
        )
        connection.execute(
            text("CREATE TRIGGER see BEFORE INSERT ON vens FOR EACH ROW EXECUTE FUNCTION see()")
        )
    assert wish(client, operator).status_code == 201
    with engine.connect() as connection:
        assert connection.execute(text("SELECT rows FROM seen")).scalar_one() == 1


def test_what_only_reads_is_not_written_down(
    client: testing.TestClient, operator: dict[str, str], engine: Engine
) -> None:
    for method, path in (
        ("GET", "/api/vens"),
        ("OPTIONS", "/api/vens"),
        ("PUT", "/api/vens"),
        ("POST", "/api/no"),
    ):
        client.simulate_request(method, path, headers=operator)
    assert audit_rows(engine) == []


def test_operators_read_the_log(
    client: testing.TestClient, viewer: dict[str, str], operator: dict[str, str]
) -> None:
    for number in range(5):
        wish(client, operator, f"ven-{number}")
    assert_problem(client.simulate_get("/api/audit", headers=viewer), 403, "operator")
    whole = client.simulate_get("/api/audit", headers=operator).json
    assert [entry["body"]["what"] for entry in whole] == [f"ven-{number}" for number in (4, 3, 2, 1, 0)]
    first = client.simulate_get("/api/audit?limit=2", headers=operator)
    following = first.headers["link"].partition(">")[0].removeprefix("<")
    second = client.simulate_get(following, headers=operator)
    assert first.json + second.json == whole[:4]
    assert_problem(client.simulate_get("/api/audit?after=x", headers=operator), 400, "after")


def test_a_body_has_a_limit(engine: Engine, clock: Clock, operator: dict[str, str]) -> None:
    client = testing.TestClient(app_of(engine, clock, max_body_bytes=2_000))
    assert wish(client, operator, "x" * 1_900).status_code == 201
    assert_problem(wish(client, operator, "x" * 2_000), 413, "2000 bytes")
    assert_problem(client.simulate_delete("/api/wishes", body=b"x" * 2_001, headers=operator), 413)
