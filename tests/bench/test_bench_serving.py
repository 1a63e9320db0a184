"""Serving compared with a no-op Falcon app under the same server."""

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import pytest
from msgspec import Struct

from ingest.storing.batch import Batch
from ingest.storing.store import Store
from jobs.running.runner import Runner
from jobs.running.schedule import schedule
from jobs.settings import Cadence
from local.ports import HOST, answers, free_ports
from schemas.db.connections import connect, engine_for
from tests.bench.conftest import MakeDatabase
from tests.bench.fleet import MAX_AHEAD, NOW, ROWS_EACH, reports
from tests.bench.load import Load, measure
from tests.bench.test_bench_jobs import with_history
from tests.conftest import REPOSITORY
from tests.integration.published import until

pytestmark = pytest.mark.bench

POLLED = ("/api/stats/network", "/api/stats/loads", "/api/vens/summary")
VENS = 20
MINUTES = 1_000
HISTORY = "history?start=2024-07-09T18:21:00Z&end=2024-07-10T10:59:59Z"
"""The last stored minutes; one point less than the limit from which answers are streamed."""

ONE_VEN = (
    "/api/vens/ven-7",
    "/api/vens/ven-7/loads",
    "/api/vens/ven-7/loads/hvac1",
    f"/api/vens/ven-7/{HISTORY}",
    f"/api/vens/ven-7/{HISTORY}&granularity=1m",
    f"/api/vens/ven-7/loads/hvac1/{HISTORY}",
    f"/api/vens/ven-7/loads/hvac1/{HISTORY}&granularity=1m",
    f"/api/stats/network/{HISTORY}",
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


class Server(Struct, frozen=True):
    port: int
    pid: int


@contextmanager
def server(module: str, **environment: str) -> Iterator[Server]:
    """A server on a port of its own, once it answers."""
    [port] = free_ports(1)
    process = subprocess.Popen(
        [sys.executable, "-m", module],
        cwd=REPOSITORY,
        env={**os.environ, **environment, "HTTP_PORT": str(port), "HTTP_AUTH": "off", "LOG_LEVEL": "warning"},
    )
    try:
        until(lambda: answers(port), within_s=30)
        yield Server(port, process.pid)
    finally:
        process.terminate()
        process.wait(30)


def get(target: Server, path: str) -> bytes:
    with urllib.request.urlopen(f"http://{HOST}:{target.port}{path}") as response:
        body: bytes = response.read()
    return body


def compare(database_url: str, ours: Server, path: str) -> str:
    """Measure serving and a no-op server with as many bytes, alternating; returns the medians as text."""
    size = len(get(ours, path))
    assert size > 10
    with server("tests.bench.noop", DATABASE_URL=database_url, NOOP_BYTES=str(size)) as noop:
        assert len(get(noop, path)) == size
        pairs = [[measure(each.port, path, each.pid) for each in (ours, noop)] for _ in range(ROUNDS)]
    we, limit = (_median(list(loads)) for loads in zip(*pairs, strict=True))
    return (
        f"GET {path}, {size:,} bytes:"
        f" {we.requests_per_s:,.0f} requests/s, a no-op {limit.requests_per_s:,.0f},"
        f" ratio {we.requests_per_s / limit.requests_per_s:.3f};"
        f" p99 {we.p99_ms:.1f} and {limit.p99_ms:.1f} ms, ratio {we.p99_ms / limit.p99_ms:.1f};"
        f" CPU {we.cpu_us:,.0f} and {limit.cpu_us:,.0f} us an answer,"
        f" ratio {limit.cpu_us / we.cpu_us:.3f}"
    )


def _median(loads: list[Load]) -> Load:
    return Load(
        median(load.requests_per_s for load in loads),
        median(load.p99_ms for load in loads),
        median(load.cpu_us for load in loads),
    )


def test_polled_resources_against_a_no_op_server(make_database: MakeDatabase) -> None:
    database_url = make_database()
    with connect(database_url, "bench") as connection:
        Store(connection, "bench").write(Batch.of(reports(vens=10_000, rounds=1), MAX_AHEAD))
    engine = engine_for(database_url, "bench")
    Runner(engine, lambda: NOW).catch_up(schedule(Cadence()))
    engine.dispose()
    with server("serving", DATABASE_URL=database_url) as ours:
        assert b'"venCount":10000' in get(ours, POLLED[0])
        for path in POLLED:
            print(f"\nserving: {compare(database_url, ours, path)} (limit of requests/s 0.60)")


def test_one_ven_with_more_and_more_history(make_database: MakeDatabase) -> None:
    for times in (1, 10):
        database_url = make_database()
        raw_rows = times * MINUTES * VENS * ROWS_EACH
        with_history(database_url, raw_rows, VENS).dispose()
        with connect(database_url, "bench") as connection:
            connection.execute(LATEST.encode())
        with server("serving", DATABASE_URL=database_url) as ours:
            for path in ONE_VEN:
                comparison = compare(database_url, ours, path)
                print(f"\nserving: {raw_rows:,} raw rows, {comparison} (limit of p99 10)")
