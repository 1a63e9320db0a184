"""A database that falls silent: noticed, ended, and over once it answers again. Bounds are shorter here."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from schemas.db.answers import AnswerMonitor, MonitoredConnection, SilenceError
from schemas.db.connections import connect, engine_for
from tests.faults.proxy import PostgresProxy

PROBE_AFTER_S = 0.5


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MonitoredConnection, "probe_after_s", PROBE_AFTER_S)


@pytest.fixture
def proxy(database_url: str, tmp_path: Path) -> Iterator[PostgresProxy]:
    with PostgresProxy(tmp_path / "p", database_url) as built:
        yield built


@pytest.fixture
def proxied_url(proxy: PostgresProxy) -> str:
    """It gives up connecting soon; the wait for an answer is bounded by us."""
    return f"{proxy.url}&connect_timeout=2"


@pytest.fixture
def monitor() -> AnswerMonitor:
    return AnswerMonitor(time.monotonic)


@pytest.mark.thorough
def test_silence_ends_a_statement(proxied_url: str, proxy: PostgresProxy, monitor: AnswerMonitor) -> None:
    """Ingest hung for a quarter of an hour without a line in the log."""
    with connect(proxied_url, "tests", monitor=monitor) as connection:
        connection.execute("SELECT 1")
        assert monitor.silent_s() == 0
        proxy.stall()
        started_s = time.monotonic()
        with pytest.raises(SilenceError), connection.transaction():
            connection.execute("SELECT 1")
        assert time.monotonic() - started_s < 15
        assert connection.closed
        assert monitor.silent_s() >= PROBE_AFTER_S
        with pytest.raises(psycopg.OperationalError):
            connect(proxied_url, "tests", monitor=monitor)
        proxy.flow()
        with connect(proxied_url, "tests", monitor=monitor) as again:
            again.execute("SELECT 1")
    assert monitor.silent_s() == 0


def test_a_server_at_work_may_take_its_time(database_url: str, monitor: AnswerMonitor) -> None:
    with connect(database_url, "tests", monitor=monitor) as connection:
        connection.execute("SELECT pg_sleep(2)")
        assert not connection.closed


def test_a_server_that_waits_for_a_lock_is_at_work(
    database_url: str, monitor: AnswerMonitor, connection: psycopg.Connection[Any]
) -> None:
    connection.execute("SELECT pg_advisory_lock(1)")
    with connect(database_url, "tests", monitor=monitor, lock_timeout="2s") as waiting:
        with pytest.raises(psycopg.errors.LockNotAvailable):
            waiting.execute("SELECT pg_advisory_lock(1)")
        assert not waiting.closed
    assert monitor.silent_s() == 0


def test_silence_in_the_midst_of_a_copy(
    proxied_url: str, proxy: PostgresProxy, monitor: AnswerMonitor, connection: psycopg.Connection[Any]
) -> None:
    connection.execute("CREATE TABLE copied (content text)")
    writer = connect(proxied_url, "tests", monitor=monitor)
    with pytest.raises(SilenceError):
        _copy_into_silence(writer, proxy)
    assert writer.closed
    proxy.flow()


def _copy_into_silence(writer: psycopg.Connection[Any], proxy: PostgresProxy) -> None:
    with writer.transaction(), writer.cursor().copy("COPY copied FROM STDIN") as copy:
        copy.write("a\n" * 10)
        proxy.stall()
        for _ in range(200):
            copy.write("b" * 65_536 + "\n")


def test_a_wait_for_notifications_is_not_silence(database_url: str, monitor: AnswerMonitor) -> None:
    with connect(database_url, "tests", monitor=monitor) as connection:
        connection.execute("LISTEN nothing")
        assert list(connection.notifies(timeout=3 * PROBE_AFTER_S)) == []
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.thorough
def test_an_engine_replaces_what_has_fallen_silent(
    proxied_url: str, proxy: PostgresProxy, monitor: AnswerMonitor
) -> None:
    engine = engine_for(proxied_url, "tests", monitor=monitor)
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    proxy.stall()
    timer = threading.Timer(6 * PROBE_AFTER_S, proxy.flow)
    timer.start()
    deadline_s = time.monotonic() + 20
    while True:
        try:
            with engine.connect() as connection:
                assert connection.execute(text("SELECT 2")).scalar_one() == 2
            break
        except SQLAlchemyError:
            assert time.monotonic() < deadline_s
    timer.join()
    assert monitor.silent_s() == 0
    engine.dispose()
