"""Ingest against the limit: COPY of ready-made rows into the same tables."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Self

import psutil  # type: ignore[import-untyped]
import psycopg
import pytest

from ingest.decoding.messages import Received
from ingest.storing.batch import Batch
from ingest.storing.queries import ENSURE_PARTITIONS, SAMPLES, TELEMETRY
from ingest.storing.store import Store
from schemas.db.connections import connect
from tests.bench.conftest import MakeDatabase
from tests.bench.fleet import INTERVAL, MAX_AHEAD, NOON, ROWS_EACH, reports
from tests.conftest import REPOSITORY
from tests.faults.mosquitto import Mosquitto
from tests.integration.published import rows, until, value

pytestmark = pytest.mark.bench

BATCH = 2_000
MESSAGES = 20_000
MQTT_MESSAGES = int(os.environ.get("GRIDGATE_BENCH_MESSAGES", "100000"))
LATER = NOON + 1_000 * INTERVAL


def in_batches(messages: list[Received]) -> Iterator[list[Received]]:
    for position in range(0, len(messages), BATCH):
        yield messages[position : position + BATCH]


def store_all(store: Store, messages: list[Received]) -> float:
    start = time.perf_counter()
    for batch in in_batches(messages):
        store.write(Batch.of(batch, MAX_AHEAD))
    return time.perf_counter() - start


def copy_all(connection: psycopg.Connection, ready: list[tuple[bytes, bytes]]) -> float:
    """The minimum: one transaction a batch, with two COPYs."""
    start = time.perf_counter()
    for telemetry, samples in ready:
        with connection.transaction():
            for keyed, text in ((TELEMETRY, telemetry), (SAMPLES, samples)):
                with connection.cursor().copy(keyed.copy()) as copy:
                    copy.write(text)
    return time.perf_counter() - start


def make_ready(messages: list[Received]) -> list[tuple[bytes, bytes]]:
    ready = []
    for number, batch in enumerate(in_batches(messages)):
        kept = sorted(Batch.of(batch, MAX_AHEAD).reports.items())
        telemetry = TELEMETRY.encode([report.row for _, report in kept], number)
        samples = SAMPLES.encode([row for _, report in kept for row in report.samples.values()], number)
        ready.append((telemetry, samples))
    return ready


def test_batches_against_copy(make_database: MakeDatabase) -> None:
    messages = list(reports(vens=2_000, rounds=MESSAGES // 2_000))
    ready = make_ready(messages)
    with connect(make_database(), "bench") as ours, connect(make_database(), "bench") as twin:
        for connection in (ours, twin):
            connection.execute(ENSURE_PARTITIONS, [[messages[0].received_at.date()]])
        store = Store(ours, "bench")
        copy_s = copy_all(twin, ready)
        store_s = store_all(store, messages)
        again_s = store_all(store, messages)
        for connection in (ours, twin):
            assert value(connection, "SELECT count(*) FROM ven_telemetry") == MESSAGES
            assert value(connection, "SELECT count(*) FROM ven_load_samples") == MESSAGES * (ROWS_EACH - 1)
    print(
        f"\ningest, in memory: {MESSAGES / store_s:,.0f} messages/s"
        f" ({MESSAGES * ROWS_EACH / store_s:,.0f} rows/s);"
        f" bare COPY {MESSAGES / copy_s:,.0f} messages/s; ratio {copy_s / store_s:.2f};"
        f" all duplicates {MESSAGES / again_s:,.0f} messages/s, ratio {copy_s / again_s:.2f}"
    )


@pytest.mark.parametrize(
    ("vens", "sessions", "workers"),
    [(100, 1, 1), (10_000, 1, 1), (100_000, 1, 1), (10_000, 2, 1), (10_000, 1, 2), (10_000, 1, 3)],
)
def test_from_the_broker_to_the_commit(
    vens: int, sessions: int, workers: int, make_database: MakeDatabase, tmp_path: Path
) -> None:
    """With mosquitto. As many messages, in which ingest meets the VENs, go before the clock starts.

    Several sessions share a subscription; each may have several `INGEST_WORKERS`.
    """
    database_url = make_database()
    rounds = MQTT_MESSAGES // vens
    with (
        Mosquitto(tmp_path) as broker,
        ExitStack() as running,
        connect(database_url, "bench") as connection,
    ):
        started = [
            running.enter_context(ingest(number, broker.mqtt5_url, database_url, tmp_path, workers))
            for number in range(sessions)
        ]
        with sender(broker.port, vens, rounds, NOON) as first:
            first.send()
            wait_stored(connection, MQTT_MESSAGES)
        with sender(broker.port, vens, rounds, LATER) as second:
            participants = {
                "ingest": [each for one in started for each in (one, *one.children())],
                "PostgreSQL": backends(connection),
                "broker": [psutil.Process(broker.pid)],
                "sender": [second.process],
            }
            before_s = {name: cpu_s(processes) for name, processes in participants.items()}
            start = time.perf_counter()
            second.send()
            wait_stored(connection, 2 * MQTT_MESSAGES)
            stored_s = time.perf_counter() - start
            used_us = {
                name: (cpu_s(processes) - before_s[name]) / MQTT_MESSAGES * 1e6
                for name, processes in participants.items()
            }
        batches = value(connection, "SELECT count(*) FROM ingest_batches")
    with connect(make_database(), "bench") as twin:
        twin.execute(ENSURE_PARTITIONS, [[NOON.date()]])
        copy_all(twin, make_ready(list(reports(vens, rounds, NOON))))
        copy_s = copy_all(twin, make_ready(list(reports(vens, rounds, LATER))))
    print(
        f"\ningest, end to end, {vens:,} VENs, {sessions} session(s) of {workers} worker(s):"
        f" {MQTT_MESSAGES / stored_s:,.0f} messages/s to the last commit,"
        f" {2 * MQTT_MESSAGES // batches:,} in a batch; ratio to COPY {copy_s / stored_s:.2f};"
        f" CPU a message: {', '.join(f'{name} {used:.0f} us' for name, used in used_us.items())}"
    )


def wait_stored(connection: psycopg.Connection, messages: int) -> None:
    stored = "SELECT coalesce(sum(telemetry_rows), 0) FROM ingest_batches"
    until(lambda: value(connection, stored) == messages, within_s=240)


def backends(connection: psycopg.Connection) -> list[psutil.Process]:
    """The server processes that work for ingest."""
    ours = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'gridgate-ingest%'"
    return [psutil.Process(pid) for [pid] in rows(connection, ours)]


def cpu_s(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


class sender:  # noqa: N801 - used as a function
    """`tests.bench.sender` in a process of its own, which makes its packets first."""

    def __init__(self, port: int, vens: int, rounds: int, first: datetime) -> None:
        arguments = [str(number) for number in (port, vens, rounds, int(first.timestamp()))]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.sender", *arguments],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        self._await("ready")
        self.process = psutil.Process(self._process.pid)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(b"\n")

    def send(self) -> None:
        """Returns when the broker has acknowledged the last message."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")
        self._process.stdin.flush()
        self._await("sent")

    def _await(self, word: str) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline().decode().strip() == word


class ingest:  # noqa: N801 - used as a function
    """One of several `python -m ingest`, from its subscription on."""

    def __init__(self, number: int, mqtt_url: str, database_url: str, directory: Path, workers: int) -> None:
        self._ready = directory / f"ready-{number}"
        self._environment = {
            "MQTT_CLIENT_ID": f"bench-{number}",
            "MQTT_SHARE_GROUP": "bench",
            "MQTT_URL": mqtt_url,
            "DATABASE_URL": database_url,
            "INGEST_READY_FILE": str(self._ready),
            "INGEST_WORKERS": str(workers),
        }

    def __enter__(self) -> psutil.Process:
        # Our clock is two years ahead of the messages': nothing is refused for being ahead.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ingest"], cwd=REPOSITORY, env={**os.environ, **self._environment}
        )
        until(self._ready.exists, within_s=30)
        return psutil.Process(self._process.pid)

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        assert self._process.wait(30) == 0
