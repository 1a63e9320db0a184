"""Long answers: time to the first byte, and constant memory of the server."""

import http.client
import os
import time
from collections.abc import Iterator
from threading import Event, Thread
from typing import Self

import psutil  # type: ignore[import-untyped]
import pytest

from local.ports import HOST
from schemas.db.connections import connect
from tests.bench.conftest import MakeDatabase
from tests.bench.test_bench_serving import server

pytestmark = pytest.mark.bench

VENS = 50_000
FILL = f"""
INSERT INTO network_history SELECT 60, ts, 1234.567, 12.5, 50, 50, 50
FROM generate_series(timestamptz '2023-07-10 00:00Z', '2024-07-08 23:59Z', '1 min') ts;
INSERT INTO network_snapshot SELECT 1, {VENS}, 0, 0, 0, 0, 0, 0, now()::date, null, now();
INSERT INTO vens (ven_id, created_at)
SELECT 'ven-' || lpad(n::text, 5, '0'), now() FROM generate_series(1, {VENS}) n;
INSERT INTO ven_snapshots (ven_id, ts, used_power_kw, shed_power_kw, received_at, heard_at, status, status_ts)
SELECT ven_id, now(), 1.5, 0, now(), now(), 'online', now() FROM vens;
INSERT INTO load_snapshots (ven_id, load_id, ts, load_type, used_power_kw, capacity_kw, shed_capability_kw)
SELECT ven_id, 'load-' || n, now(), 'hvac', 1.5, 3.5, 1.0 FROM vens, generate_series(1, 4) n;
"""
PATHS = {
    "a year by the minute": "/api/stats/network/history?granularity=1m",
    "50,000 VENs, a line each": "/api/vens/summary",
    "50,000 VENs with their loads": "/api/vens",
}


def fetch(port: int, path: str) -> tuple[float, int]:
    """Seconds to the first byte of the body, and all its bytes."""
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    start = time.perf_counter()
    connection.request("GET", path)
    response = connection.getresponse()
    assert response.status == 200
    received = len(response.read(1))
    first_s = time.perf_counter() - start
    while piece := response.read(1 << 16):
        received += len(piece)
    connection.close()
    return first_s, received


class Peak:
    """The peak memory of a process while this runs."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._done = Event()
        self.before_bytes = self.bytes = process.memory_info().rss

    def __enter__(self) -> Self:
        self._thread = Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            self.bytes = max(self.bytes, self._process.memory_info().rss)


def workers(port: int) -> Iterator[psutil.Process]:
    """The processes that answer on a port, but for the main one."""
    for child in psutil.Process(os.getpid()).children(recursive=True):
        if child.ppid() != os.getpid() and any(
            each.laddr.port == port for each in child.net_connections("tcp") if each.status == "LISTEN"
        ):
            yield child


def test_long_answers(make_database: MakeDatabase) -> None:
    database_url = make_database()
    with connect(database_url, "bench") as connection:
        connection.execute(FILL.encode())
        connection.execute("VACUUM ANALYZE")
    with server("serving", DATABASE_URL=database_url, HTTP_MAX_POINTS="1000000") as ours:
        [worker] = workers(ours.port)
        fetch(ours.port, "/api/vens/summary?limit=1000")
        for name, path in PATHS.items():
            for _ in range(2):
                with Peak(worker) as peak:
                    first_s, received = fetch(ours.port, path)
            grown_mib = (peak.bytes - peak.before_bytes) / 2**20
            print(
                f"\nserving: {name}, {received / 2**20:.0f} MiB: first byte after {first_s * 1000:.0f} ms"
                f" (limit 50); memory grew by {grown_mib:.1f} MiB, to {peak.bytes / 2**20:.0f} MiB"
            )
