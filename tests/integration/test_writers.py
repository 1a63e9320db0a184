"""A pool of writer processes stores each message once, whatever happens to one of its processes."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil  # type: ignore[import-untyped]
import psycopg
import pytest
import structlog

from ingest.decoding.messages import Received
from ingest.metrics import IngestMetrics
from ingest.receiving.inbox import Inbox
from ingest.writers import writer as writers
from ingest.writers.pool import WriterPool
from ingest.writers.suspects import Suspects
from ingest.writers.writer import Launch, WriterContext
from tests.bench.fleet import reports
from tests.conftest import REPOSITORY
from tests.faults.freezing import freeze
from tests.integration.published import NOW, until, value

pytestmark = pytest.mark.thorough  # programs are started, and ended

WITHIN_S = 180.0
STORED = "SELECT count(*) FROM ven_telemetry"
SERVE = ["-m", "ingest"]
POISONED = """
import os, sys
from ingest import __main__ as program
from ingest.storing.batch import Batch

take_all = Batch.extend

def die_of_poison(self, messages, max_ahead):
    if any(b"poison" in message.payload for message in messages):
        os._exit(9)
    take_all(self, messages, max_ahead)

Batch.extend = die_of_poison
program.main(sys.argv[1:])
"""


class Messages:
    """A subscriber's messages, and which of them were acknowledged."""

    def __init__(self, messages: list[Received]) -> None:
        self._inbox = Inbox(100_000)
        self._inbox.put(messages)
        self.acknowledged: list[Received] = []

    def take(self, most: int, most_bytes: int, timeout_s: float) -> list[Received]:
        return self._inbox.take(most, most_bytes, timeout_s)

    def acknowledge(self, messages: list[Received]) -> None:
        self.acknowledged += messages
        self._inbox.release(messages)

    def give_back(self, messages: list[Received]) -> None:
        self._inbox.put_back(messages)

    def put(self, messages: list[Received]) -> None:
        self._inbox.put(messages)

    @property
    def is_done(self) -> bool:
        return self._inbox.is_empty


def launch_by(words: list[str], database_url: str) -> Launch:
    settings = {"DATABASE_URL": database_url, "MQTT_URL": "mqtt://127.0.0.1:9"}

    def launch(number: int, theirs: socket.socket) -> subprocess.Popen[bytes]:
        argv = [sys.executable, *words, "writer", str(number), str(theirs.fileno())]
        descriptors = [theirs.fileno()]
        return subprocess.Popen(argv, cwd=REPOSITORY, env={**os.environ, **settings}, pass_fds=descriptors)

    return launch


@contextmanager
def pool(
    source: Messages, launch: Launch, reject: Callable[[Received], bool] = lambda _: False
) -> Iterator[tuple[WriterPool, IngestMetrics]]:
    stopping, metrics = threading.Event(), IngestMetrics(lambda: NOW)
    context = WriterContext(source, launch, metrics, Suspects(), reject, stopping, most_messages=500)
    running = WriterPool(2, context)
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        yield running, metrics
    finally:
        stopping.set()
        thread.join()


def numbered(count: int) -> list[Received]:
    return [
        Received(message.topic, message.payload, NOW, (1, number))
        for number, message in enumerate(reports(vens=100, rounds=count // 100), 1)
    ]


def sample(metrics: IngestMetrics, name: str) -> float | None:
    return metrics.registry.get_sample_value(f"gridgate_ingest_{name}")


def test_each_is_stored_once_and_counted_once(database_url: str, connection: psycopg.Connection) -> None:
    messages = numbered(3_000)
    source = Messages(messages)
    with pool(source, launch_by(SERVE, database_url)) as (_, metrics):
        until(lambda: source.is_done, WITHIN_S)
    assert value(connection, STORED) == 3_000
    assert sorted(each.delivery for each in source.acknowledged) == [each.delivery for each in messages]
    assert sample(metrics, "messages_received_total") == 3_000
    assert sample(metrics, "in_flight") == 0
    kinds = {"kind": "telemetry"}
    assert metrics.registry.get_sample_value("gridgate_ingest_rows_stored_total", kinds) == 3_000


def test_a_frozen_writer_is_replaced(
    database_url: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had was stored by another one; its socket stays open while it is frozen."""
    monkeypatch.setattr(writers, "FROZEN_AFTER_S", 12.0)
    source = Messages(numbered(100))
    with pool(source, launch_by(SERVE, database_url)) as (_, metrics):
        until(lambda: source.is_done, WITHIN_S)
        frozen = running_writers()[0]
        freeze(frozen.pid)
        source.put([Received(m.topic, m.payload, NOW, (2, n)) for n, m in late()])
        until(lambda: source.is_done, WITHIN_S)
        until(lambda: not frozen.is_running() or frozen.status() == psutil.STATUS_ZOMBIE, WITHIN_S)
        assert sample(metrics, "messages_received_total") == 1_100
    assert value(connection, STORED) == 1_100


def running_writers() -> list[psutil.Process]:
    """Without the test's database."""
    children = psutil.Process().children(recursive=True)
    return [each for each in children if "writer" in each.cmdline()]


def late() -> Iterator[tuple[int, Received]]:
    return enumerate(list(reports(vens=100, rounds=11))[100:], 1)


def test_a_message_at_which_every_writer_ends_is_rejected_alone(
    database_url: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All others are stored, and /health has the reason of the delay."""
    monkeypatch.setattr(writers, "LONGEST_PAUSE_S", 0.1)
    poison = Received("oadr/meter/ven-1", b"poison", NOW, (1, 50_000))
    aside: list[Received] = []

    def reject(message: Received) -> bool:
        aside.append(message)
        return True

    messages = numbered(200)
    source = Messages([*messages[:100], poison, *messages[100:]])
    with (
        structlog.testing.capture_logs() as events,
        pool(source, launch_by(["-c", POISONED], database_url), reject) as (_, metrics),
    ):
        until(lambda: source.is_done, WITHIN_S)
    assert aside == [poison]
    assert value(connection, STORED) == 200
    assert sample(metrics, "writer_ends_total") == 5
    assert [each["how"] for each in events if each["event"] == "writer_ended"] == ["with exit code 9"] * 5


def test_writers_that_cannot_run_make_it_unhealthy(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers, "LONGEST_PAUSE_S", 0.1)
    source = Messages(numbered(100))
    with pool(source, launch_by(["-c", "import sys; sys.exit(3)"], database_url)) as (running, _):
        until(lambda: running.trouble() is not None, WITHIN_S)
        assert "in a row, with exit code 3" in str(running.trouble())
    assert not source.acknowledged


def test_a_writer_that_is_still_starting_does_not_hold_up_the_end(database_url: str) -> None:
    with pool(Messages([]), launch_by(["-c", "import time; time.sleep(600)"], database_url)):
        until(lambda: len(running_writers()) == 2, WITHIN_S)
        start_s = time.monotonic()
    assert time.monotonic() - start_s < writers.STARTS_WITHIN_S / 2
