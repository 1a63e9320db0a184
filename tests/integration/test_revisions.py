"""Programs of another version than the schema write nothing, log why, and go on once it fits."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, Engine

from ingest.commands.outbox import Outbox
from ingest.metrics import IngestMetrics
from ingest.storing.store import Store
from ingest.storing.worker import Worker
from jobs.running.runner import Runner
from jobs.running.schedule import Job, schedule
from jobs.settings import Cadence
from jobs.summaries.rebuild import rebuild, whole_range
from schemas.db.connections import SCHEMA_REVISION, connect
from schemas.db.revisions import MIGRATION_LOCK, WrongRevisionError
from tests.integration.published import NOW, batch_of, telemetry, until, value

JOBS = schedule(Cadence())
SNAPSHOT = next(job for job in JOBS if job.name == "snapshot")


class Migration:
    """What one does to a database under running programs."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def begin(self) -> None:
        self._connection.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])

    def commit(self, revision: str) -> None:
        self._connection.execute("UPDATE alembic_version SET version_num = %s", [revision])

    def end(self) -> None:
        self._connection.execute("SELECT pg_advisory_unlock(%s)", [MIGRATION_LOCK])


@pytest.fixture
def migration(connection: psycopg.Connection[Any]) -> Migration:
    return Migration(connection)


@pytest.fixture(params=["under way", "newer", "older"])
def misfit(request: pytest.FixtureRequest, migration: Migration) -> Migration:
    match request.param:
        case "under way":
            migration.begin()
        case "newer":
            migration.commit("9999")
        case _:
            migration.commit("0001")
    return migration


def fits(migration: Migration, connection: psycopg.Connection[Any]) -> None:
    migration.commit(SCHEMA_REVISION)
    connection.execute("SELECT pg_advisory_unlock_all()")


def test_jobs_write_nothing_and_go_on(
    store: Store, runner: Runner, connection: psycopg.Connection[Any], migration: Migration
) -> None:
    """An old program wrote 1,768 wrong rows over a migrated database. Its connections stay open meanwhile."""
    runner.attempt(SNAPSHOT)
    store.write(batch_of(telemetry("a")))
    migration.commit("9999")
    before = _books(connection)
    for job in JOBS:
        runner.attempt(job)
    with pytest.raises(WrongRevisionError, match="at revision 9999, this program needs"):
        runner.run(SNAPSHOT)
    runner.release_leases()
    assert _books(connection) == before
    fits(migration, connection)
    runner.attempt(SNAPSHOT)
    assert value(connection, "SELECT count(*) FROM ven_snapshots") == 1


def _books(connection: psycopg.Connection[Any]) -> Any:
    return value(
        connection,
        "SELECT row_to_json(r) FROM (SELECT (SELECT count(*) FROM job_runs), (SELECT count(*) FROM"
        " pending_batches), (SELECT count(*) FROM ven_snapshots),"
        " (SELECT json_agg(job_leases ORDER BY job) FROM job_leases)) r",
    )


def test_no_step_runs_while_somebody_migrates(
    runner: Runner, misfit: Migration, connection: psycopg.Connection[Any]
) -> None:
    taken = list[datetime]()

    def step(_connection: Connection, now: datetime) -> int:
        taken.append(now)
        return 1

    job = Job("x", 1, "", (step,), is_for_all=True)
    runner.attempt(job)
    assert not taken
    fits(misfit, connection)
    runner.attempt(job)
    assert taken


def test_a_rebuild_writes_nothing(
    store: Store, engine: Engine, runner: Runner, migration: Migration, connection: psycopg.Connection[Any]
) -> None:
    store.write(batch_of(telemetry("a")))
    runner.catch_up(JOBS)
    connection.execute("DELETE FROM ven_history")
    with engine.connect() as reading:
        within = whole_range(reading, None, None)
    assert within is not None
    migration.commit("9999")
    with pytest.raises(WrongRevisionError):
        list(rebuild(engine, within))
    assert value(connection, "SELECT count(*) FROM ven_history") == 0


class Inbox:
    """Acknowledges batches, and counts them."""

    def __init__(self) -> None:
        self.acknowledged = 0

    def acknowledge(self, messages: list[Any]) -> None:
        self.acknowledged += len(messages)


@pytest.mark.thorough
def test_ingest_waits_with_the_batch(
    database_url: str, misfit: Migration, connection: psycopg.Connection[Any]
) -> None:
    """Neither acknowledged nor put aside: the batch is not at fault."""
    inbox: Any = Inbox()
    store = Store(connect(database_url, "ingest"), "tests")
    worker = Worker(
        inbox,
        lambda: store,
        threading.Event(),
        batch_messages=10,
        max_ahead=timedelta(days=10_000),
        metrics=IngestMetrics(lambda: NOW),
    )
    with ThreadPoolExecutor(1) as pool:
        committed = pool.submit(worker.commit, batch_of(telemetry("a")))
        until(lambda: _has_tried(connection))
        assert value(connection, "SELECT count(*) FROM vens") == 0
        fits(misfit, connection)
        committed.result(20)
    store.close()
    assert inbox.acknowledged == 1
    assert value(connection, "SELECT count(*) FROM rejected_messages") == 0
    assert value(connection, "SELECT count(*) FROM ven_telemetry") == 1


def _has_tried(connection: psycopg.Connection[Any]) -> bool:
    """Whether ingest has ended a transaction in vain."""
    waits = "application_name = 'gridgate-ingest' AND query = 'ROLLBACK'"
    return bool(value(connection, f"SELECT count(*) FROM pg_stat_activity WHERE {waits}"))


def test_commands_wait(database_url: str, misfit: Migration, connection: psycopg.Connection[Any]) -> None:
    with Outbox(connect(database_url, "commands"), "tests") as outbox:
        with pytest.raises(WrongRevisionError):
            outbox.take(NOW)
        fits(misfit, connection)
        assert outbox.take(NOW) == []
