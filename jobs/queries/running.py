"""Leases and runs of jobs."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    Select,
    Update,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.sql.dml import ReturningInsert

from schemas.tables.ledger import job_leases, job_runs


def take_lease(
    job: str, holder: str, now: datetime, due_at: datetime, expires_at: datetime
) -> ReturningInsert[str]:
    """Take a job's lease, or renew it; no row while somebody else holds it."""
    statement = insert(job_leases).values(job=job, holder=holder, due_at=due_at, expires_at=expires_at)
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=["job"],
        set_={"holder": new.holder, "due_at": new.due_at, "expires_at": new.expires_at},
        where=or_(job_leases.c.holder == new.holder, job_leases.c.expires_at <= now),
    ).returning(job_leases.c.holder)


def give_up_leases(holder: str, now: datetime) -> Update:
    """Let others take over at once."""
    return update(job_leases).where(job_leases.c.holder == holder).values(expires_at=now)


def due() -> Select[Any]:
    return select(job_leases.c.job, job_leases.c.due_at)


def record_run(**values: object) -> Insert:
    return insert(job_runs).values(**values)


def ensure_partitions(days: Sequence[date]) -> Select[Any]:
    return select(func.ensure_raw_partitions(list(days)))
