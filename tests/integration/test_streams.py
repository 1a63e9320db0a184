"""Streams that do not reach their end: whose client hangs up, or whose database does."""

import gc
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.client import HTTPConnection, IncompleteRead
from itertools import islice, product
from typing import Any

import polars as pl
import psycopg
import pytest
from falcon.testing import StartResponseMock, TestClient, create_environ
from sqlalchemy import Engine, text

from ingest.storing.store import Store
from local.ports import HOST
from schemas.db.connections import engine_for
from serving.app import create_app
from serving.db.engines import Databases, timeout
from serving.http.monitoring import SqlClock
from tests.integration.published import NOW, THREE, batch_of, telemetry, until
from tests.integration.test_access_log import fetch
from tests.integration.test_http import assert_problem
from tests.integration.test_live_served import serving

FORMATS = ("json", "csv", "arrow", "parquet")
READERS: dict[str, Callable[[bytes], Any]] = {
    "json": json.loads,
    "csv": pl.read_csv,
    "arrow": pl.read_ipc_stream,
    "parquet": pl.read_parquet,
}
NOT_TAKEN = (ValueError, OSError, pl.exceptions.PolarsError)
LONG = (
    "/api/stats/network/history",
    "/api/vens/ven-0000/history",
    "/api/vens/ven-0000/loads/hvac1/history",
    "/api/vens/history",
    "/api/vens",
    "/api/vens/summary",
)


@pytest.fixture
def much(store: Store) -> None:
    """Some ten thousand points of one VEN, and 1,200 VENs."""
    loads = [{"id": "hvac1", "currentPowerKw": 1.5}]
    store.write(
        batch_of(
            *(telemetry("ven-0000", THREE + timedelta(seconds=n), loads=loads) for n in range(10_000)),
            *(telemetry(f"ven-{n:04}", THREE, loads=loads) for n in range(1, 1_200)),
        )
    )


@pytest.fixture
def without_collector() -> Iterator[None]:
    """What is only given back when Python happens to look for cycles is not given back."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def query(path: str, media: str) -> str:
    return f"granularity=1s&format={media}" if path.endswith("history") else f"format={media}"


@pytest.mark.thorough
@pytest.mark.usefixtures("much", "without_collector")
@pytest.mark.parametrize("media", FORMATS)
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_who_hangs_up_gives_the_connection_back(media: str, encoding: str, database_url: str) -> None:
    """Of histories it came back when Python happened to look for cycles: some hang-ups, and none was left."""
    engine = engine_for(database_url, "tests")
    app = create_app(engine, lambda: NOW, [])
    headers = {"Accept-Encoding": encoding}
    for path, method, taken in product(LONG, ("GET", "HEAD"), (0, 1, 2)):
        environ = create_environ(path, query_string=query(path, media), method=method, headers=headers)
        blocks: Any = app(environ, answered := StartResponseMock())
        assert answered.status == "200 OK"
        assert len(list(islice(blocks, taken))) == (0 if method == "HEAD" else taken)
        if method == "GET":
            blocks.close()
        assert engine.pool.status().endswith("Current Checked out connections: 0"), (path, method, taken)
    engine.dispose()


@pytest.mark.thorough
@pytest.mark.usefixtures("much")
@pytest.mark.parametrize("media", FORMATS)
def test_a_stream_that_fails_is_no_answer(
    media: str, database_url: str, connection: psycopg.Connection
) -> None:
    """The connection breaks off, and what has come is no valid body, for clients that do not look; others are
    answered, as they are when a client has hung up.
    """
    connection.execute(
        "INSERT INTO vens (ven_id, name, created_at) SELECT 'z-' || n, repeat(md5(n::text), 30), now()"
        " FROM generate_series(1, 60000) n"
    )
    held = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND xact_start < now() - interval '300 ms' AND application_name = 'gridgate-serving'"
    )
    end = "SELECT count(pg_terminate_backend(pid))" + held.removeprefix("SELECT count(*)")
    with serving(database_url) as (port, _):
        for hangs_up in (True, False):
            client = HTTPConnection(HOST, port, timeout=20)
            client.request("GET", f"/api/vens?format={media}")
            answer = client.getresponse()
            assert answer.status == 200
            first = answer.read(1)
            until(lambda: connection.execute(held).fetchone() == (1,))
            if hangs_up:
                answer.close()
                client.close()
            else:
                assert connection.execute(end).fetchone() == (1,)
                with pytest.raises(IncompleteRead) as broken:
                    answer.read()
                with pytest.raises(NOT_TAKEN):
                    READERS[media](first + broken.value.partial)
                answer.close()
                client.close()
            until(lambda: connection.execute(held).fetchone() == (0,))
        status, told = fetch(port, "/api/vens?limit=1")
        assert (status, json.loads(told)[0]["id"]) == (200, "ven-0000")


# Questions that take too long


YEAR = "start=2023-07-10T00:00:00Z&end=2024-07-10T23:00:00Z"
HOUR = "start=2024-07-10T14:30:00Z&end=2024-07-10T15:30:00Z"


@pytest.mark.parametrize("window", [YEAR, HOUR])
def test_a_history_that_takes_too_long_is_told_what_would_do(
    window: str, database_url: str, store: Store, connection: psycopg.Connection
) -> None:
    """By both ways of reading one; and nothing that was tried is left behind."""
    store.write(batch_of(telemetry("ven-1")))
    within_s = 0.2
    engine = engine_for(database_url, "tests", statement_timeout=timeout(within_s))
    databases = Databases(engine, query_timeout_s=within_s)
    client = TestClient(create_app(engine, lambda: NOW, [], databases=databases))
    asked = {"13m": "15m", "301s": "10m", "5m": None}
    with connection.transaction():
        connection.execute("LOCK TABLE ven_telemetry IN ACCESS EXCLUSIVE MODE")
        for granularity, instead in asked.items():
            path = f"/api/vens/ven-1/history?{window}&granularity={granularity}"
            if instead is None:
                assert_problem(client.simulate_get(path), 503, "in time")
            else:
                assert_problem(client.simulate_get(path), 400, f"granularity must be {instead}")
    for granularity in asked:
        path = f"/api/vens/ven-1/history?{window}&granularity={granularity}"
        assert len(client.simulate_get(path).json["points"]) == 1
    assert engine.pool.status().endswith("Current Checked out connections: 0")
    engine.dispose()


def test_time_spent_in_fetching_counts(engine: Engine) -> None:
    clock = SqlClock()
    clock.listen_to(engine)
    engine.dispose()
    with engine.connect().execution_options(yield_per=1) as one:
        for _ in one.execute(text("SELECT pg_sleep(0.05) FROM generate_series(1, 6)")):
            pass
    assert clock.total_s() >= 0.3


@pytest.mark.parametrize("path", ["/api/vens", "/api/vens/summary?format=csv", "/api/vens?format=arrow"])
def test_a_list_of_a_thousand_vens_is_sent_whole_with_a_tag(path: str, engine: Engine, store: Store) -> None:
    client = TestClient(create_app(engine, lambda: NOW, []))
    store.write(batch_of(*(telemetry(f"ven-{n:04}") for n in range(1_000))))
    whole = client.simulate_get(path)
    assert client.simulate_get(path, headers={"If-None-Match": whole.headers["ETag"]}).status_code == 304
    store.write(batch_of(telemetry("ven-1000")))
    assert "ETag" not in client.simulate_get(path).headers
    page = path + ("&" if "?" in path else "?") + "limit=1000"
    assert client.simulate_get(page).headers["ETag"] == whole.headers["ETag"]
    assert "ETag" in client.simulate_get(page.replace("1000", "1001") + "&after=ven-0000").headers
