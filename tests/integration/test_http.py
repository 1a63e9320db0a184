"""HTTP as clients meet it: errors in words, conditional requests, pages, and never a trace."""

import json
import re
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from falcon import testing
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from ingest.decoding.messages import Received
from ingest.storing.batch import Batch
from ingest.storing.store import Store
from schemas.db.connections import engine_for
from serving.app import create_app
from tests.integration.catching_up import catch_up
from tests.integration.published import MAX_AHEAD, NOW, THREE, description, telemetry

ROUTES = (
    "/api/stats/network",
    "/api/stats/loads",
    "/api/stats/network/history",
    "/api/vens",
    "/api/vens/summary",
    "/api/vens/ven-1",
    "/api/vens/ven-1/history",
    "/api/vens/ven-1/loads",
    "/api/vens/ven-1/loads/hvac1",
    "/api/vens/ven-1/loads/hvac1/history",
    "/api/vens/ven-1/commands",
)


@pytest.fixture
def client(engine: Engine) -> testing.TestClient:
    return testing.TestClient(create_app(engine, lambda: NOW, ["http://ui.example"]))


@pytest.fixture
def away() -> testing.TestClient:
    """The same application, whose database is not there."""
    engine = engine_for("postgresql://nobody@/nothing?host=/nonexistent", "tests")
    return testing.TestClient(create_app(engine, lambda: NOW, []))


def ingest(store: Store, *messages: Received) -> None:
    store.write(Batch.of(messages, MAX_AHEAD))


@pytest.fixture
def some_vens(store: Store, engine: Engine) -> None:
    """Three VENs with two loads each, and one that has only spoken of its loads."""
    loads = [{"id": load_id, "currentPowerKw": 0.5} for load_id in ("hvac1", "pv1")]
    ingest(store, *(telemetry(f"ven-{number}", loads=loads) for number in (1, 2, 3)))
    ingest(store, description("ven-silent", THREE, {"id": "hvac1", "type": "hvac"}))
    catch_up(engine)


def assert_problem(response: testing.Result, status: int, *words: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json
    assert problem.keys() == {"type", "title", "status", "detail"}
    assert (problem["type"], problem["status"]) == ("about:blank", status)
    for word in words:
        assert word in problem["detail"]
    assert_no_trace(response)


def assert_no_trace(response: testing.Result) -> None:
    for telltale in ("Traceback", ".py", "sqlalchemy", "psycopg", "SELECT"):
        assert telltale not in response.text


# Errors


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("/api/stats/network/history?granularity=5", "granularity"),
        ("/api/stats/network/history?granularity=7s&aggregate=energy", "granularity"),
        ("/api/stats/network/history?aggregate=avg", "aggregate"),
        ("/api/stats/network/history?start=yesterday", "start"),
        ("/api/stats/network/history?end=9999-12-31T00:00:00Z", "end"),
        ("/api/stats/network/history?start=2024-07-11&end=2024-07-10", "start"),
        ("/api/stats/network/history?start=2024-07-11&start=2024-07-12", "start"),
        ("/api/vens/ven-1/history?granularity=", "granularity"),
        ("/api/vens/a%00b", "venId"),
        ("/api/vens/a%00b/history", "venId"),
        ("/api/vens/a%0Ab/loads", "venId"),
        ("/api/vens/ven-1/loads/a%00b", "loadId"),
        ("/api/vens/ven-1/loads/a%00b/history", "loadId"),
        ("/api/vens?limit=0", "limit"),
        ("/api/vens/summary?limit=ten", "limit"),
        ("/api/vens/ven-1/loads?after=%00", "after"),
    ],
)
def test_bad_input_names_the_parameter(path: str, parameter: str, away: testing.TestClient) -> None:
    """Before the database is asked."""
    assert_problem(away.simulate_get(path), 400, parameter)


@pytest.mark.parametrize(
    "path", ["/api", "/api/nothing", "/api/vens/ven-1/nothing", "/nothing%00", "/api/stats/network/x"]
)
def test_unknown_routes(path: str, away: testing.TestClient) -> None:
    assert_problem(away.simulate_get(path), 404)


@pytest.mark.usefixtures("some_vens")
def test_unknown_vens_and_loads_are_named(client: testing.TestClient) -> None:
    for path in ("", "/history", "/loads", "/loads/hvac1", "/loads/hvac1/history"):
        assert_problem(client.simulate_get(f"/api/vens/ven-9{path}"), 404, "'ven-9'")
    for path in ("", "/history"):
        assert_problem(client.simulate_get(f"/api/vens/ven-1/loads/ev1{path}"), 404, "'ven-1'", "'ev1'")


@pytest.mark.usefixtures("some_vens")
def test_a_known_ven_without_telemetry_has_nothing(client: testing.TestClient, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO vens (ven_id, created_at) VALUES ('ven-new', now())"))
    assert client.simulate_get("/api/vens/ven-new/loads").json == []
    for aggregate in ("sum", "energy", "mean"):
        for path in ("ven-new", "ven-silent", "ven-silent/loads/hvac1"):
            response = client.simulate_get(f"/api/vens/{path}/history", params={"aggregate": aggregate})
            assert (response.status_code, response.json) == (200, {"points": []})
    ven = client.simulate_get("/api/vens/ven-new").json
    assert (ven["loads"], ven["lastSeen"], ven["metrics"]["currentPowerKw"]) == ([], None, 0.0)


@pytest.mark.parametrize("path", ROUTES)
def test_other_methods(path: str, away: testing.TestClient) -> None:
    response = away.simulate_request("TRACE", path)
    assert_problem(response, 405)
    assert "GET" in response.headers["allow"]


@pytest.mark.parametrize("path", [*ROUTES, "/health/db-check"])
def test_without_a_database(path: str, away: testing.TestClient) -> None:
    response = away.simulate_get(path)
    assert_problem(response, 503, "database")
    assert int(response.headers["retry-after"]) > 0


def test_alive_without_a_database(away: testing.TestClient) -> None:
    response = away.simulate_get("/health")
    assert (response.status_code, response.json) == (200, {"status": "ok"})


def test_readiness(client: testing.TestClient, engine: Engine) -> None:
    first = client.simulate_get("/health/db-check")
    assert (first.status_code, first.json["lastRollupAgeS"]) == (200, None)
    catch_up(engine)
    assert client.simulate_get("/health/db-check").json["lastRollupAgeS"] == 0
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    assert_problem(client.simulate_get("/health/db-check"), 503, "0000", "migrate")


def test_readiness_of_a_database_that_was_never_migrated(client: testing.TestClient, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE alembic_version"))
    assert_problem(client.simulate_get("/health/db-check"), 503, "migrated")


def test_readiness_of_a_database_that_was_migrated_down(client: testing.TestClient, engine: Engine) -> None:
    """As `alembic downgrade base` leaves it."""
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM alembic_version"))
    assert_problem(client.simulate_get("/health/db-check"), 503)


def test_our_own_faults_are_not_told(client: testing.TestClient, engine: Engine) -> None:
    """A row that the code cannot have written: whatever it does to us, the client sees no trace."""
    catch_up(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE network_snapshot SET energy_day = 'infinity'"))
    response = client.simulate_get("/api/stats/network")
    assert response.status_code in {500, 503}
    assert_problem(response, response.status_code)


def test_connections_are_given_back(database_url: str, store: Store) -> None:
    """For any request: errors, lists, histories that a client does not read to the end."""
    ingest(store, telemetry("ven-1"))
    engine = engine_for(database_url, "tests", pool_size=1)
    client = testing.TestClient(create_app(engine, lambda: NOW, []))
    for path in (*ROUTES, "/api/vens/x", "/api/vens/a%00b", "/api/vens?limit=1", "/health/db-check"):
        client.simulate_get(path)
        assert engine.pool.status().endswith("Current Checked out connections: 0"), path
    engine.dispose()


# The same thing under another name, and nothing new


@pytest.mark.usefixtures("some_vens")
def test_a_trailing_slash_makes_no_difference(client: testing.TestClient) -> None:
    for path in ROUTES:
        plain, slashed = client.simulate_get(path), client.simulate_get(f"{path}/")
        assert (plain.status_code, plain.content) == (200, slashed.content), path


@pytest.mark.usefixtures("some_vens")
def test_what_is_known_is_not_sent_again(client: testing.TestClient) -> None:
    for path in ROUTES:
        first = client.simulate_get(path)
        etag = first.headers["etag"]
        assert re.fullmatch(r'"[0-9a-f]+"', etag)
        assert first.headers["cache-control"] == "no-cache"
        for known in (etag, f'"other", {etag}', f"W/{etag}", "*"):
            again = client.simulate_get(path, headers={"If-None-Match": known})
            assert (again.status_code, again.content) == (304, b""), path
            assert again.headers["etag"] == etag
        for unknown in ('"other"', "garbage", '"', f'{etag[:-1]}x"'):
            assert client.simulate_get(path, headers={"If-None-Match": unknown}).content == first.content


def test_a_tag_changes_with_the_answer(client: testing.TestClient, store: Store, engine: Engine) -> None:
    catch_up(engine)
    before = client.simulate_get("/api/stats/network").headers["etag"]
    ingest(store, telemetry("ven-1"))
    catch_up(engine)
    after = client.simulate_get("/api/stats/network", headers={"If-None-Match": before})
    assert (after.status_code, after.json["venCount"]) == (200, 1)


def test_errors_are_not_kept(client: testing.TestClient, away: testing.TestClient) -> None:
    for response in (client.simulate_get("/api/vens/x"), away.simulate_get("/api/vens")):
        assert "etag" not in response.headers
        assert response.headers["cache-control"] == "no-cache"


def test_pages_of_known_origins_may_call(client: testing.TestClient) -> None:
    for origin, allowed in (("http://ui.example", "http://ui.example"), ("http://evil.example", None)):
        headers = client.simulate_get("/health", headers={"Origin": origin}).headers
        assert headers.get("access-control-allow-origin") == allowed


# Lists


def walk(client: testing.TestClient, path: str) -> list[str]:
    """The ids of a list, page by page along the links."""
    ids: list[str] = []
    following: str | None = path
    while following is not None:
        page = client.simulate_get(following)
        assert page.status_code == 200, page.text
        ids += [entry["id"] for entry in page.json]
        match = re.fullmatch(r'<(\S+)>; rel="next"', page.headers.get("link", ""))
        following = match[1] if match else None
        assert len(ids) <= 100, "the walk goes round in circles"
    return ids


def ids_of(client: testing.TestClient, path: str) -> list[str]:
    return [entry["id"] for entry in client.simulate_get(path).json]


ODD_IDS = ("Ven", "ven 1", "ven&1=2", "ven+1", 'ven"1', "ven;1", "<ven>", "vén", "ven,1", "zz")


@pytest.mark.thorough
@pytest.mark.parametrize("limit", [1, 2, 3, 10, 11])
def test_pages_make_up_the_list(limit: int, client: testing.TestClient, store: Store, engine: Engine) -> None:
    """Whatever characters the ids have: the next page's address carries the last one."""
    loads = [{"id": load_id, "currentPowerKw": 1} for load_id in ODD_IDS]
    ingest(store, *(telemetry(ven_id, loads=loads) for ven_id in ODD_IDS))
    catch_up(engine)
    for path in ("/api/vens", "/api/vens/summary", "/api/vens/zz/loads", f"/api/vens/{quote('vén')}/loads"):
        whole = ids_of(client, path)
        assert whole == sorted(ODD_IDS, key=str.encode)
        assert walk(client, f"{path}?limit={limit}") == whole


@pytest.mark.parametrize("ven_id", ["a?b", "a#b", "a%41b"])
def test_pages_of_a_ven_whose_id_needs_quoting(
    ven_id: str, client: testing.TestClient, store: Store, engine: Engine
) -> None:
    ingest(store, telemetry(ven_id, loads=[{"id": "l1"}, {"id": "l2"}]))
    catch_up(engine)
    path = f"/api/vens/{quote(ven_id)}/loads?limit=1"
    link = client.simulate_get(path).headers["link"]
    assert link.startswith(f"</api/vens/{quote(ven_id)}/loads?")
    assert walk(client, path) == ["l1", "l2"]


@pytest.mark.thorough
def test_long_lists_are_streamed_and_equal(client: testing.TestClient, store: Store, engine: Engine) -> None:
    ids = [f"ven-{number:04}" for number in range(2_300)]
    ingest(store, *(telemetry(ven_id) for ven_id in ids))
    catch_up(engine)
    for path in ("/api/vens", "/api/vens/summary"):
        response = client.simulate_get(path)
        assert "content-length" not in response.headers
        assert [entry["id"] for entry in response.json] == ids


# Histories


@pytest.mark.thorough
@pytest.mark.parametrize("points", [1_000, 1_001, 1_002, 3_000])
def test_a_long_history_is_streamed_and_equal(
    points: int, client: testing.TestClient, store: Store, engine: Engine
) -> None:
    ingest(
        store,
        *(telemetry("ven-1", THREE + timedelta(seconds=n), used_kw=n / 8) for n in range(points)),
    )
    expected = [
        {
            "timestamp": (THREE + timedelta(seconds=number)).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "usedPowerKw": number / 8,
            "shedPowerKw": 0.0,
        }
        for number in range(points)
    ]
    for path in ("/api/stats/network/history", "/api/vens/ven-1/history"):
        response = client.simulate_get(path, params={"granularity": "1s"})
        assert ("content-length" in response.headers) == (points <= 1_000)
        assert response.headers["content-type"] == "application/json"
        assert response.json == json.loads(json.dumps({"points": expected}))
    catch_up(engine)
    assert client.simulate_get("/api/stats/network/history?granularity=1s").json["points"] == expected


def test_the_example_of_the_guide(client: testing.TestClient, store: Store, engine: Engine) -> None:
    said = {
        0: (6.31, 1.25),
        10: (6.0, 1.2),
        15: (11.08, 1.92),
        120: (1.0, 0.5),
        -1: (9.0, 9.0),
        121: (9.0, 9.0),
    }
    ingest(
        store,
        *(
            telemetry("ven-1", THREE + timedelta(minutes=minute), used_kw=used, shedPowerKw=shed)
            for minute, (used, shed) in said.items()
        ),
    )
    for _ in range(2):
        response = client.simulate_get(
            "/api/stats/network/history?start=2024-07-10T15:00:00Z&end=2024-07-10T17:00:00Z&granularity=15m"
        )
        assert response.json == {
            "points": [
                {"timestamp": "2024-07-10T15:00:00Z", "usedPowerKw": 12.31, "shedPowerKw": 2.45},
                {"timestamp": "2024-07-10T15:15:00Z", "usedPowerKw": 11.08, "shedPowerKw": 1.92},
                {"timestamp": "2024-07-10T17:00:00Z", "usedPowerKw": 1.0, "shedPowerKw": 0.5},
            ]
        }
        catch_up(engine)


def test_a_history_that_fails_at_once_fails_as_an_error(
    client: testing.TestClient, database_url: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DROP TABLE network_history CASCADE")
    assert_problem(client.simulate_get("/api/stats/network/history"), 503, "migrated")


# Whatever is asked

unreserved = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
times = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)).map(datetime.isoformat)  # noqa: DTZ001
parameters = st.lists(
    st.tuples(
        st.sampled_from(("start", "end", "granularity", "aggregate", "limit", "after")) | unreserved,
        st.sampled_from(
            ("5m", "7s", "36h", "1000000000h", "energy", "mean", "2024-07-10 00:00:00+02:00", "3")
        )
        | times
        | st.tuples(times, st.sampled_from(("Z", "+14:00", "-23:59", " 02:00"))).map("".join)
        | unreserved,
    ),
    max_size=5,
).map(lambda pairs: "&".join(f"{quote(name)}={quote(said, safe='+')}" for name, said in pairs))
garbage = st.binary(max_size=20).map(lambda raw: quote(raw, safe="%&=+")) | st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="?#"), max_size=20
)
ids = st.sampled_from(("ven-1", "ven-2", "hvac1", "zz")) | unreserved | st.binary(min_size=1, max_size=8)


@pytest.mark.usefixtures("some_vens")
@given(st.sampled_from(ROUTES), ids, ids, parameters | garbage)
@example(
    "/api/vens/ven-1/history",
    "ven-1",
    "hvac1",
    "start=0001-01-01&end=9998-12-31T23:59:59.999999&granularity=999999999h",
)
@example("/api/stats/network/history", "", "", "granularity=999999999h&aggregate=mean")
def test_nothing_is_our_fault(
    client: testing.TestClient, route: str, ven_id: Any, load_id: Any, query: str
) -> None:
    path = route.replace("ven-1", quote(ven_id, safe="")).replace("hvac1", quote(load_id, safe=""))
    response = client.simulate_get(path, query_string=query.lstrip("?"))
    assert response.status_code in {200, 400, 404}, response.text
    if response.status_code == 200:
        json.loads(response.content)
    else:
        assert_problem(response, response.status_code)
