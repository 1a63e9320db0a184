"""The SQL of leases and runs of jobs."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import (
    DateTime,
    Select,
    Update,
    column,
    func,
    literal_column,
    or_,
    select,
    table,
    update,
)
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.sql.dml import ReturningInsert

from schemas.db.revisions import REVISION_NOW
from schemas.tables.ledger import job_leases, job_runs


def admission(pause_s: float) -> Select[str | None, str]:
    """Select the schema's revision, locked against migrations to the end of the transaction; sets the idle
    timeout of the transaction, after which the session ends and releases its locks.
    """
    name = "idle_in_transaction_session_timeout"
    bound = func.set_config(name, f"{pause_s * 1000:.0f}ms", literal_column("true")).label("pause")
    return select(literal_column(REVISION_NOW).label("revision"), bound)


def end_frozen_sessions(programs: Sequence[str], after: timedelta) -> Select[str, bool]:
    """Terminate sessions of our programs that have waited for their client within a statement for a while.

    PostgreSQL's timeouts do not apply within COPY, or while a result is sent.
    """
    activity = table(
        "pg_stat_activity",
        *map(column, ("pid", "application_name", "usename", "datname", "state", "wait_event_type")),
        column("query_start", DateTime(timezone=True)),
    ).c
    return select(activity.application_name, func.pg_terminate_backend(activity.pid)).where(
        activity.application_name.in_(programs),
        activity.usename == literal_column("current_user"),
        activity.datname == func.current_database(),
        activity.pid != func.pg_backend_pid(),
        activity.state == "active",
        activity.wait_event_type == "Client",
        activity.query_start < func.clock_timestamp() - after,
    )


def take_lease(
    job: str, holder: str, now: datetime, due_at: datetime, expires_at: datetime
) -> ReturningInsert[str]:
    """Acquire a job's lease, or renew it; no row while another scheduler holds it."""
    statement = insert(job_leases).values(
        job=job, holder=holder, due_at=due_at, expires_at=expires_at, succeeded_at=now
    )
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=["job"],
        set_={"holder": new.holder, "due_at": new.due_at, "expires_at": new.expires_at},
        where=or_(job_leases.c.holder == new.holder, job_leases.c.expires_at <= now),
    ).returning(job_leases.c.holder)


def release_leases(holder: str, now: datetime) -> Update:
    """Expire a scheduler's leases, so that others can acquire them at once."""
    return update(job_leases).where(job_leases.c.holder == holder).values(expires_at=now)


def record_success(job: str, now: datetime) -> Update:
    return update(job_leases).where(job_leases.c.job == job).values(succeeded_at=now)


def due() -> Select[str, datetime]:
    return select(job_leases.c.job, job_leases.c.due_at)


def record_run(**values: object) -> Insert:
    return insert(job_runs).values(**values)
