"""Serving against the limit: a Falcon app that does nothing, under the same server."""

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import pytest

from ingest.batch import Batch
from ingest.store import Store
from jobs.runner import Runner
from jobs.schedule import schedule
from jobs.settings import Cadence
from local.ports import HOST, answers, free_ports
from schemas.database import connect, engine_for
from tests.bench.conftest import MakeDatabase
from tests.bench.fleet import MAX_AHEAD, NOW, reports
from tests.bench.load import Load, measure
from tests.bench.test_bench_jobs import with_history
from tests.conftest import REPOSITORY
from tests.integration.published import until

pytestmark = pytest.mark.bench

HOT = ("/api/stats/network", "/api/stats/loads", "/api/vens/summary")
HISTORY = "history?start=2024-07-10T00:00:00Z&end=2024-07-10T11:00:00Z"
ONE_VEN = (
    "/api/vens/ven-7",
    "/api/vens/ven-7/loads",
    "/api/vens/ven-7/loads/hvac1",
    f"/api/vens/ven-7/{HISTORY}",
    f"/api/vens/ven-7/{HISTORY}&granularity=1m",
    f"/api/vens/ven-7/loads/hvac1/{HISTORY}",
    f"/api/stats/network/{HISTORY}&granularity=1m",
)
ROUNDS = 3
LATEST = """
INSERT INTO ven_snapshots (ven_id, ts, used_power_kw, shed_power_kw, received_at, heard_at)
SELECT ven_id, now(), 4.1, 0.6, now(), now() FROM vens;
INSERT INTO load_snapshots (ven_id, load_id, ts, load_type, used_power_kw, capacity_kw)
SELECT ven_id, load_id, now(), 'hvac', 1.5, 3.5
FROM vens, unnest(array['hvac1', 'ev1', 'pv1', 'battery1', 'pool1', 'heater1', 'dryer1', 'oven1']) load_id;
"""


@contextmanager
def server(module: str, **environment: str) -> Iterator[int]:
    """A server on a port of its own, once it answers."""
    [port] = free_ports(1)
    process = subprocess.Popen(
        [sys.executable, "-m", module],
        cwd=REPOSITORY,
        env={**os.environ, **environment, "HTTP_PORT": str(port), "HTTP_AUTH": "off", "LOG_LEVEL": "warning"},
    )
    try:
        until(lambda: answers(port), within_s=30)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def get(port: int, path: str) -> bytes:
    with urllib.request.urlopen(f"http://{HOST}:{port}{path}") as response:
        body: bytes = response.read()
    return body


def compare(database_url: str, port: int, path: str) -> tuple[Load, Load]:
    """Us, and a server that does nothing but send as many bytes: in turns, the median of each."""
    body = get(port, path)
    assert len(body) > 50
    with server("tests.bench.noop", DATABASE_URL=database_url, NOOP_BYTES=str(len(body))) as noop:
        assert len(get(noop, path)) == len(body)
        pairs = [(measure(port, path), measure(noop, path)) for _ in range(ROUNDS)]
    ours, limits = ([pair[side] for pair in pairs] for side in (0, 1))
    return _median(ours), _median(limits)


def _median(loads: list[Load]) -> Load:
    return Load(median(load.requests_per_s for load in loads), median(load.p99_ms for load in loads))


def test_what_everybody_polls_against_a_server_that_does_nothing(make_database: MakeDatabase) -> None:
    database_url = make_database()
    with connect(database_url, "bench") as connection:
        Store(connection, "bench").write(Batch.of(reports(vens=10_000, rounds=1), MAX_AHEAD))
    engine = engine_for(database_url, "bench")
    Runner(engine, lambda: NOW).catch_up(schedule(Cadence()))
    engine.dispose()
    with server("serving", DATABASE_URL=database_url) as port:
        assert b'"venCount":10000' in get(port, HOT[0])
        for path in HOT:
            ours, limit = compare(database_url, port, path)
            ratio = ours.requests_per_s / limit.requests_per_s
            size = len(get(port, path))
            print(
                f"\nserving: GET {path}, {size:,} bytes: {ours.requests_per_s:,.0f} requests/s,"
                f" a no-op {limit.requests_per_s:,.0f}; ratio {ratio:.2f} (limit 0.60);"
                f" p99 {ours.p99_ms:.1f} and {limit.p99_ms:.1f} ms"
            )


def test_one_ven_with_more_and_more_history(make_database: MakeDatabase) -> None:
    for raw_rows in (100_000, 1_000_000):
        database_url = make_database()
        with_history(database_url, raw_rows).dispose()
        with connect(database_url, "bench") as connection:
            connection.execute(LATEST.encode())
        with server("serving", DATABASE_URL=database_url) as port:
            for path in ONE_VEN:
                ours, limit = compare(database_url, port, path)
                print(
                    f"\nserving: GET {path}, {raw_rows:,} raw rows: p99 {ours.p99_ms:.1f} ms, a no-op"
                    f" {limit.p99_ms:.1f} ms; ratio {ours.p99_ms / limit.p99_ms:.1f} (limit 10);"
                    f" {ours.requests_per_s:,.0f} requests/s"
                )
