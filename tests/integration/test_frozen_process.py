"""A scheduler that freezes within a transaction holds up nobody for longer than a few seconds."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

from ingest.store import Store
from jobs.sessions import end_frozen_sessions
from schemas.database import connect
from tests.faults.deadline import until
from tests.faults.jobs import Scheduler
from tests.integration.published import NOW, batch_of, telemetry, value

LATE_S = 12.0
"""Ten seconds until the server ends a session that is idle in a transaction, and a cycle of the others."""


@pytest.fixture
def first(database_url: str, tmp_path: Path) -> Iterator[Scheduler]:
    with Scheduler(tmp_path, database_url, "first") as running:
        try:
            yield running
        finally:
            running.thaw()


def held(connection: psycopg.Connection[Any], state: str) -> int:
    """How many of the first scheduler's sessions are in a state, with the query's last words."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'first' AND " + state
    return int(value(connection, query))


def lock(name: str) -> str:
    return f"pg_advisory_lock(hashtext('{name}'))"


@pytest.mark.thorough
def test_the_other_goes_on(
    first: Scheduler, database_url: str, tmp_path: Path, store: Store, connection: psycopg.Connection[Any]
) -> None:
    """The snapshot lane stood still, an event was 41 s late; once no job ran for 100 s.

    It is frozen while it waits for locks that we hold, and so within transactions that then get them.
    """
    connection.execute(f"SELECT {lock('events')}, {lock('totals')}")
    waits = "wait_event_type = 'Lock'"
    until(lambda: held(connection, waits) >= 2, 20, lambda: f"{held(connection, waits)} wait")
    first.freeze()
    connection.execute("SELECT pg_advisory_unlock_all()")
    idle = "state = 'idle in transaction'"
    until(lambda: held(connection, idle) >= 2, 10, lambda: "the frozen one has its locks")
    connection.execute(
        "INSERT INTO events (event_id, status, start_time, end_time, requested_reduction_kw, created_at,"
        " notify_at) SELECT 'e', 'scheduled', at, at + interval '1 hour', 1, now(), at"
        " FROM (SELECT now() + interval '1 s') AS start (at)"
    )
    store.write(batch_of(telemetry("a")))
    with Scheduler(tmp_path, database_url, "second") as second:
        started = "SELECT status = 'active' FROM events"
        until(lambda: value(connection, started), LATE_S, lambda: "the event has not started")
        totals = "SELECT coalesce(max(ven_count), 0) FROM network_snapshot"
        until(lambda: value(connection, totals) == 1, LATE_S, lambda: "the snapshot lane stands still")
        # The second one may be between two statements at any moment; the frozen one would stay there.
        until(lambda: held(connection, idle) == 0, LATE_S, lambda: "the frozen one has its transactions")
        first.thaw()
        until(lambda: first.health()[0] == 200, 20, lambda: str(first.health()))
        assert second.health() == (200, "ok")


@pytest.mark.thorough
@pytest.mark.parametrize(
    "statement",
    ["COPY (SELECT repeat('x', 1000) FROM generate_series(1, 100000)) TO STDOUT", "COPY frozen FROM STDIN"],
)
def test_frozen_in_the_midst_of_a_statement(
    database_url: str, engine: Engine, connection: psycopg.Connection[Any], statement: str
) -> None:
    """There PostgreSQL's own time-outs do not look: neither within COPY nor while it sends an answer."""
    connection.execute("CREATE TABLE frozen (content text)")
    frozen = connect(database_url, "jobs", statement_timeout="100ms")
    bystander = connect(database_url, "neighbour")
    for each in (frozen, bystander):
        each.pgconn.send_query(statement.encode())
        each.pgconn.flush()
    waits = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND wait_event_type = 'Client'"
    until(lambda: value(connection, waits) == 2, 10, lambda: "they do not wait for their clients")
    with engine.begin() as ending:
        assert end_frozen_sessions(ending, NOW, timedelta(hours=1)) == 0
    until(lambda: _ended(engine) == 1, 10, lambda: "the frozen session goes on")
    until(lambda: value(connection, waits) == 1, 10, lambda: "the frozen session goes on")
    for each in (frozen, bystander):
        each.close()


def _ended(engine: Engine) -> int:
    with engine.begin() as ending:
        return end_frozen_sessions(ending, NOW, timedelta(milliseconds=300))
