"""Access to OpenADR: tokens, scopes, revocation, floods; each rule tried as the wrong client."""

import base64
import http.server
import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from falcon import testing
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from sqlalchemy import Engine, text

from serving.app import create_app
from serving.auth.keys import KeyStore
from serving.openadr.auth.access import ROLE_SCOPES, SCOPES, granted_scopes
from serving.openadr.auth.clients import ClientIdTakenError, ClientStore, NewClient, RevokedClients
from serving.openadr.auth.outside_tokens import Issuer, OutsideTokens
from serving.openadr.auth.tokens import KEY_LASTS, ROTATED_AFTER, TOKEN_LASTS, SigningKeys, Tokens
from serving.policy import OPENADR_VERSIONS, Policy
from tests.integration.openadr_clients import BASE, NOW, Clock, OpenAdrClient, Vtn, post_form, vtn

__all__ = ["vtn"]

SECRET = "gc_" + "0" * 12 + "_" + "0" * 64
NOUNS = ("programs", "events", "reports", "subscriptions", "vens", "resources")


def assert_problem(result: testing.Result, status: int, *words: str) -> None:
    assert result.status_code == status, result.text
    assert result.headers["content-type"] == "application/json"
    assert (result.json["status"], result.json["type"]) == (status, "about:blank")
    for word in words:
        assert word in result.json["detail"]


def documented(vtn: Vtn) -> list[tuple[str, str, list[str]]]:
    """Each method, path and the scopes that suffice, as the document has them."""
    paths = vtn.web.simulate_get(f"{BASE}/openapi.json").json["paths"]
    return [
        (
            method.upper(),
            path.replace("{id}", "none"),
            [next(iter(each.values()))[0] for each in item["security"]],
        )
        for path, methods in paths.items()
        for method, item in methods.items()
    ]


# Tokens


def test_a_token_for_a_secret(vtn: Vtn) -> None:
    client = vtn.client("home", "ven")
    answer = client.fetch_token(scope="write_vens read_targets").json
    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 3600)
    assert answer["scope"] == "read_targets write_vens"
    assert client.fetch_token().json["scope"] == " ".join(ROLE_SCOPES["ven"])
    assert client.fetch_token().headers["cache-control"] == "no-store"


def test_who_asks_for_what_it_may_not_gets_what_it_may(vtn: Vtn) -> None:
    """Clients in the field ask for `read_all` whatever they are (seen of oadr30-ven-ud)."""
    answer = vtn.client("home", "ven").fetch_token(scope="read_all").json
    assert answer["scope"] == " ".join(ROLE_SCOPES["ven"])


def test_client_and_secret_in_a_header(vtn: Vtn) -> None:
    client = vtn.client("home", "ven")
    basic = base64.b64encode(f"home:{client.secret}".encode()).decode()
    form = {"grant_type": "client_credentials"}
    result = post_form(vtn.web, f"{BASE}/auth/token", form, {"Authorization": f"Basic {basic}"})
    assert result.status_code == 200
    wrong = post_form(vtn.web, f"{BASE}/auth/token", form, {"Authorization": "Basic !"})
    assert_problem(wrong, 400, "Basic")


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("fields", "status", "error"),
    [
        ({"client_secret": SECRET}, 401, "invalid_client"),
        ({"client_secret": "x"}, 401, "invalid_client"),
        ({"client_id": "nobody"}, 401, "invalid_client"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"scope": "read_everything"}, 400, "invalid_scope"),
        ({"client_id": ""}, 400, "invalid_request"),
    ],
)
def test_no_token(fields: dict[str, str], status: int, error: str, vtn: Vtn) -> None:
    refused = vtn.client("home", "ven").fetch_token(**fields)
    assert_problem(refused, status)
    assert refused.json["error"] == error


def test_what_is_no_form_gets_no_token(vtn: Vtn) -> None:
    path = f"{BASE}/auth/token"
    client = vtn.client("home", "ven")
    body = {"grant_type": "client_credentials", "client_id": "home", "client_secret": client.secret}
    assert vtn.web.simulate_post(path, json=body).json["error"] == "invalid_request"
    twice = "grant_type=client_credentials&client_id=home&client_id=other&client_secret=x"
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert "once" in vtn.web.simulate_post(path, body=twice, headers=headers).json["detail"]
    assert vtn.web.simulate_post(path, body="a=%ff", headers=headers).status_code == 400


def test_the_server_names_the_url_of_its_tokens(vtn: Vtn) -> None:
    for version in OPENADR_VERSIONS:
        url = vtn.web.simulate_get(f"/openadr3/{version}/auth/server", host="vtn.example").json["tokenURL"]
        assert url == f"http://vtn.example/openadr3/{version}/auth/token"


# Forged, expired, revoked


def own_key(engine: Engine) -> tuple[str, OctKey]:
    with engine.connect() as connection:
        row = connection.execute(text("SELECT key_id, secret FROM openadr_signing_keys")).one()
    return row.key_id, OctKey.import_key(bytes(row.secret))


def claims(**changes: Any) -> dict[str, Any]:
    now = int(NOW.timestamp())
    claimed = {
        "iss": "gridgate",
        "aud": "openadr3",
        "sub": "home",
        "scope": " ".join(SCOPES),
        "iat": now,
        "exp": now + 600,
        **changes,
    }
    return {name: value for name, value in claimed.items() if value is not None}


def unsigned(header: dict[str, Any], payload: dict[str, Any]) -> str:
    parts = (base64.urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=") for each in (header, payload))
    return b".".join([*parts, b""]).decode()


def test_forged_tokens(vtn: Vtn, engine: Engine) -> None:
    client = vtn.client("home", "ven")
    key_id, key = own_key(engine)
    header = {"alg": "HS256", "kid": key_id}
    other = OctKey.generate_key(256)
    good = jwt.encode(header, claims(), key)
    client.token = good
    assert client.ask("GET", "/programs").status_code == 200
    rsa = RSAKey.generate_key(2048)
    forged = {
        "no algorithm": unsigned({"alg": "none", "kid": key_id}, claims()),
        "another key": jwt.encode(header, claims(), other),
        "an unknown key": jwt.encode({"alg": "HS256", "kid": "unknown"}, claims(), other),
        "no key": jwt.encode({"alg": "HS256"}, claims(), other),
        "another algorithm": jwt.encode({"alg": "RS256", "kid": key_id}, claims(), rsa),
        "another audience": jwt.encode(header, claims(aud="elsewhere"), key),
        "no audience": jwt.encode(header, claims(aud=None), key),
        "another issuer": jwt.encode(header, claims(iss="https://evil.example"), key),
        "expired": jwt.encode(header, claims(exp=int(NOW.timestamp()) - 1), key),
        "without an end": jwt.encode(header, claims(exp=None), key),
        "without a client": jwt.encode(header, claims(sub=None), key),
        "changed": good[:-2] + ("A" if good[-2] != "A" else "B") + good[-1],
        "no token": "x",
        "empty parts": "..",
        "an API key": "gg_" + "0" * 12 + "_" + "0" * 64,
        "a long one": "x" * 20_000,
        "no ASCII": "\xe4\xf6",
    }
    for name, token in forged.items():
        client.token = token
        refused = client.ask("GET", "/programs")
        assert refused.status_code == 401, name
        assert "invalid_token" in refused.headers["www-authenticate"]
    client.token = ""
    assert_problem(client.ask("GET", "/programs"), 401, "auth/token")
    assert client.ask("GET", "/programs", headers={"Authorization": "Basic eDp5"}).status_code == 401


def test_a_token_ends(vtn: Vtn) -> None:
    client = vtn.client("home", "ven")
    vtn.clock.advance(seconds=TOKEN_LASTS.total_seconds() - 1)
    assert client.ask("GET", "/programs").status_code == 200
    vtn.clock.advance(seconds=1)
    assert_problem(client.ask("GET", "/programs"), 401, "expired")


def test_a_revoked_client_gets_nothing_more(vtn: Vtn) -> None:
    client, other = vtn.client("home", "ven"), vtn.client("neighbour", "ven")
    assert client.ask("GET", "/programs").status_code == 200
    vtn.store.revoke("home", vtn.clock())
    vtn.clock.advance(seconds=2)
    assert client.ask("GET", "/programs").status_code == 401
    assert client.fetch_token().status_code == 401
    assert other.ask("GET", "/programs").status_code == 200
    with pytest.raises(ClientIdTakenError):
        vtn.store.create(NewClient("home", "ven"), vtn.clock())


def test_a_client_that_has_expired_gets_no_token(vtn: Vtn) -> None:
    new = NewClient("guest", "ven", expires_at=NOW + timedelta(hours=2))
    client = OpenAdrClient(vtn.web, "guest", vtn.store.create(new, NOW))
    assert client.fetch_token().status_code == 200
    vtn.clock.advance(hours=2)
    assert client.fetch_token().status_code == 401


def test_keys_are_replaced_and_old_tokens_hold_to_their_end(vtn: Vtn, engine: Engine) -> None:
    client = vtn.client("home", "ven")
    vtn.clock.advance(days=ROTATED_AFTER.days, seconds=-60)
    assert client.fetch_token().status_code == 200
    by_old_key, first = client.token, own_key(engine)[0]
    vtn.clock.advance(seconds=60)
    assert client.fetch_token().status_code == 200
    with engine.connect() as connection:
        key_ids = connection.execute(text("SELECT key_id FROM openadr_signing_keys")).scalars().all()
    assert len(key_ids) == 2
    assert first in key_ids
    for token in (by_old_key, client.token):
        client.token = token
        assert client.ask("GET", "/programs").status_code == 200
    vtn.clock.advance(seconds=KEY_LASTS.total_seconds())
    assert client.fetch_token().status_code == 200
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM openadr_signing_keys")).scalar_one() == 1


def test_workers_share_keys_and_revocations(engine: Engine) -> None:
    one, other = Vtn(engine), Vtn(engine)
    client = one.client("home", "ven")
    elsewhere = OpenAdrClient(other.web, "home", client.secret)
    elsewhere.token = client.token
    assert elsewhere.ask("GET", "/programs").status_code == 200
    one.store.revoke("home", one.clock())
    other.clock.advance(seconds=2)
    assert elsewhere.ask("GET", "/programs").status_code == 401


# Scopes


def test_nothing_but_tokens_and_the_document_is_open(vtn: Vtn) -> None:
    for method, path, scopes in documented(vtn):
        status = vtn.web.simulate_request(method, f"{BASE}{path}").status_code
        is_open = path in {"/auth/server", "/auth/token", "/openapi.json"}
        assert (status != 401) == is_open, (method, path)
        assert (scopes == []) == is_open


def test_scopes_as_the_specification_has_them(vtn: Vtn) -> None:
    writing = {
        "programs": {"write_programs"},
        "events": {"write_events"},
        "reports": {"write_reports"},
        "subscriptions": {"write_subscriptions"},
        "vens": {"write_vens"},
        "resources": {"write_vens"},
    }
    for method, path, scopes in documented(vtn):
        noun = path.split("/")[1]
        if path.startswith("/notifiers/mqtt/topics/vens/"):
            assert set(scopes) == {"read_all", "read_ven_objects"}
        elif path.startswith("/notifiers/mqtt/topics/"):
            assert set(scopes) == {"read_all"}
        elif noun in writing and method != "GET":
            assert set(scopes) == writing[noun]
        elif noun in {"programs", "events"}:
            assert set(scopes) == {"read_all", "read_targets"}
        elif noun in writing:
            assert set(scopes) == {"read_all", "read_ven_objects"}


@pytest.mark.thorough
@pytest.mark.parametrize("scope", list(SCOPES))
def test_a_scope_opens_its_operations_and_no_others(scope: str, vtn: Vtn) -> None:
    role = "bl" if scope in ROLE_SCOPES["bl"] else "ven"
    client = vtn.client("one", role, scope)
    for method, path, scopes in documented(vtn):
        if scopes:
            result = client.ask(method, path, {})
            assert (result.status_code == 403) == (scope not in scopes), (method, path, result.text)
            if result.status_code == 403:
                assert_problem(result, 403, scopes[0], scope)


def test_a_client_can_have_no_scope_of_another_role(vtn: Vtn) -> None:
    for role, other in (("bl", "write_reports"), ("ven", "read_all"), ("ven", "write_events")):
        with pytest.raises(ValueError, match=other):
            vtn.store.create(NewClient("x", role, (other,)), NOW)


def test_a_token_with_fewer_scopes_has_fewer_rights(vtn: Vtn) -> None:
    """Business logic that may only write VENs any more is none: it cannot make one for somebody else."""
    utility = vtn.client("utility", "bl")
    utility.fetch_token(scope="write_vens")
    body = {"objectType": "BL_VEN_REQUEST", "clientID": "home", "venName": "ven-1"}
    assert_problem(utility.ask("POST", "/vens", body), 403, "BL_VEN_REQUEST")
    assert utility.ask("GET", "/vens").status_code == 403


def test_granted_scopes() -> None:
    assert granted_scopes("", ("read_all",)) == ("read_all",)
    assert granted_scopes("read_bl read_all", ("read_all", "write_vens")) == ("read_all",)
    with pytest.raises(ValueError, match="'x' is no scope"):
        granted_scopes("read_all x", ("read_all",))


# Beside our own API


def test_keys_and_tokens_do_not_open_each_others_doors(engine: Engine) -> None:
    policy = Policy(needs_keys=True)
    vtn = Vtn(engine, policy)
    client = vtn.client("utility", "bl")
    key = KeyStore(engine).create("ops", "operator", None, NOW)
    assert client.web.simulate_get("/api/vens", headers={"X-API-Key": key}).status_code == 200
    bearer = {"Authorization": f"Bearer {client.token}"}
    assert client.web.simulate_get("/api/vens", headers=bearer).status_code == 401
    assert client.web.simulate_get(f"{BASE}/vens", headers=bearer).status_code == 200
    for headers in ({"X-API-Key": key}, {"Authorization": f"Bearer {key}"}):
        assert client.web.simulate_get(f"{BASE}/vens", headers=headers).status_code == 401
    for path in ("/openadr3/../api/vens", "/openadr3/", "/openadr3/3.1.1/../../api/vens", "/openadr3%2Fapi"):
        assert client.web.simulate_get(path, headers=bearer).status_code in {401, 404}


def test_changes_are_audited_without_secrets_and_data_is_not(vtn: Vtn, engine: Engine) -> None:
    utility, home = vtn.client("utility", "bl"), vtn.client("home", "ven")
    program = utility.make("/programs", programName="tou")
    event = utility.make("/events", programID=program["id"])
    home.make("/reports", eventID=event["id"], clientName="home", resources=[])
    operation = {
        "objects": ["EVENT"],
        "operations": ["CREATE"],
        "callbackUrl": "https://home.example",
        "bearerToken": 'se"cret',
    }
    home.make("/subscriptions", clientName="home", objectOperations=[operation])
    with engine.connect() as connection:
        entries = connection.execute(
            text("SELECT who, method, path, status, body::text FROM audit_log")
        ).all()
    assert [(each.who, each.method, each.path.rpartition("/")[2], each.status) for each in entries] == [
        ("openadr:utility", "POST", "programs", 201),
        ("openadr:utility", "POST", "events", 201),
        ("openadr:home", "POST", "subscriptions", 201),
    ]
    assert "cret" not in entries[-1].body
    assert '"bearerToken":"..."' in entries[-1].body.replace(" ", "")


def test_nobody_without_a_token_writes_into_the_audit_log(vtn: Vtn, engine: Engine) -> None:
    for noun in NOUNS:
        vtn.web.simulate_post(f"{BASE}/{noun}", json={})
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM audit_log")).scalar_one() == 0


def test_floods(engine: Engine) -> None:
    """Of one client, and of guesses at its secret; others go on."""
    vtn = Vtn(engine, Policy(needs_keys=True, rate_per_s=1, rate_burst=4))
    one = vtn.client("one", "ven")
    assert [one.ask("GET", "/programs").status_code for _ in range(6)] == [200] * 4 + [429] * 2
    other_secret = vtn.store.create(NewClient("other", "ven"), NOW)
    other = OpenAdrClient(vtn.web, "other", other_secret)
    assert other.fetch_token().status_code == 200
    assert other.ask("GET", "/programs").status_code == 200
    other.secret = SECRET
    guesses = [other.fetch_token().status_code for _ in range(4)]
    assert guesses == [401, 401, 429, 429]
    refused = other.fetch_token()
    assert_problem(refused, 429, "address")
    assert int(refused.headers["retry-after"]) >= 1


# An outside issuer


class LocalIssuer:
    """An OpenID Connect issuer on this machine."""

    def __init__(self) -> None:
        self.keys = [RSAKey.generate_key(2048, {"kid": "one"})]
        self.reads: list[str] = []
        self.is_away = False
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.reads.append(self.path)
                body = json.dumps(issuer.answer(self.path)).encode()
                self.send_response(500 if issuer.is_away else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/realms/grid"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, path: str) -> dict[str, Any]:
        if path.endswith("/openid-configuration"):
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        return {"keys": [key.as_dict(private=False) for key in self.keys]}

    def token(self, key: Any = None, alg: str = "RS256", **changes: Any) -> str:
        key = key or self.keys[-1]
        claimed = claims(**{"iss": self.url, "aud": "gridgate", **changes})
        return jwt.encode({"alg": alg, "kid": key.kid}, claimed, key)


@pytest.fixture
def issuer() -> Iterator[LocalIssuer]:
    issuer = LocalIssuer()
    yield issuer
    issuer.server.shutdown()
    issuer.server.server_close()


def outside_client(engine: Engine, issuer: LocalIssuer, clock: Clock) -> OpenAdrClient:
    outside = OutsideTokens(Issuer(issuer.url, "gridgate"), clock)
    revoked = RevokedClients(ClientStore(engine), clock)
    tokens = Tokens(SigningKeys(engine, clock), revoked, clock, outside=outside)
    return OpenAdrClient(testing.TestClient(create_app(engine, clock, [], openadr_tokens=tokens)), "home", "")


def test_tokens_of_an_outside_issuer(engine: Engine, issuer: LocalIssuer) -> None:
    clock = Clock()
    client = outside_client(engine, issuer, clock)
    client.token = issuer.token(scope="read_ven_objects write_vens", client_id="meter-7")
    ven = client.make("/vens", objectType="VEN_VEN_REQUEST", venName="ven-7")
    assert ven["clientID"] == "meter-7"
    assert client.ask("GET", "/programs").status_code == 403
    client.token = issuer.token(scope=None, scp=["read_all", "unknown"], azp="utility")
    assert [each["id"] for each in client.get("/vens")] == [ven["id"]]
    assert len(issuer.reads) == 2, "the keys are read once"
    clock.advance(minutes=10)
    assert client.ask("GET", "/vens").status_code == 401


def test_wrong_tokens_of_an_outside_issuer(engine: Engine, issuer: LocalIssuer) -> None:
    client = outside_client(engine, issuer, Clock())
    public = issuer.keys[0].as_pem(private=False)
    wrong = {
        "another key": issuer.token(RSAKey.generate_key(2048, {"kid": "one"})),
        "an unknown key": issuer.token(RSAKey.generate_key(2048, {"kid": "two"})),
        "its public key as a shared secret": jwt.encode(
            {"alg": "HS256", "kid": "one"},
            claims(iss=issuer.url, aud="gridgate"),
            OctKey.import_key(base64.b64encode(public)),
        ),
        "unsigned": unsigned({"alg": "none", "kid": "one"}, claims(iss=issuer.url, aud="gridgate")),
        "for somebody else": issuer.token(aud="billing"),
        "for nobody": issuer.token(aud=None),
        "of another issuer": issuer.token(iss="https://evil.example"),
        "expired": issuer.token(exp=int(NOW.timestamp()) - 1),
        "without an end": issuer.token(exp=None),
        "without a client": issuer.token(sub=None),
    }
    for name, token in wrong.items():
        client.token = token
        assert client.ask("GET", "/programs").status_code == 401, name
    client.token = issuer.token(scope="nothing of ours")
    assert client.ask("GET", "/programs").status_code == 403


def test_an_issuer_that_changes_its_keys_or_is_away(engine: Engine, issuer: LocalIssuer) -> None:
    clock = Clock()
    client = outside_client(engine, issuer, clock)
    issuer.is_away = True
    client.token = issuer.token()
    assert_problem(client.ask("GET", "/programs"), 503, issuer.url)
    issuer.is_away = False
    clock.advance(seconds=31)
    assert client.ask("GET", "/programs").status_code == 200
    issuer.keys = [RSAKey.generate_key(2048, {"kid": "two"})]
    client.token = issuer.token()
    assert client.ask("GET", "/programs").status_code == 401, "not asked for each unknown key"
    clock.advance(seconds=31)
    assert client.ask("GET", "/programs").status_code == 200
