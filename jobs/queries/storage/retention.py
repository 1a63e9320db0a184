"""The SQL of retention: rows to delete, and horizons."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import (
    Delete,
    FromClause,
    Select,
    Subquery,
    Table,
    TableClause,
    any_,
    delete,
    func,
    literal,
    literal_column,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.sql import ColumnElement

from schemas.db.ledger import DAYS_OF_BATCH
from schemas.tables.events import OPEN_COMMANDS, commands, events
from schemas.tables.history import (
    horizons,
)
from schemas.tables.ledger import ingest_batches, job_runs, pending_batches
from schemas.tables.live import live_changes
from schemas.times.instants import EPOCH
from schemas.times.time_ranges import TimeRange


def advance_horizon(resolution_s: int, since: datetime) -> Insert:
    """Move the horizon of a resolution forward to a time, never back."""
    statement = insert(horizons).values(resolution_s=resolution_s, since=since)
    later = func.greatest(horizons.c.since, statement.excluded.since)
    return statement.on_conflict_do_update(index_elements=["resolution_s"], set_={"since": later})


def first_pending_day(before: date) -> Select[date | None]:
    """Select the first day before another with rows that a lane has not read yet; null without any."""
    return select(func.min(_pending_days(before).c.day))


def lanes_behind(within: TimeRange) -> Select[str]:
    """Select lanes with a pending batch that has rows in a range of days."""
    days = _pending_days(within.end.date())
    return select(days.c.lane).where(days.c.day >= within.start.date()).distinct().order_by(days.c.lane)


def _pending_days(before: date) -> Subquery:
    """Select days before another with rows that a lane has not read yet, by lane."""
    batch = ingest_batches.c
    day = func.unnest(DAYS_OF_BATCH).table_valued("day").render_derived().lateral()
    start = datetime.combine(before, time(), UTC)
    return (
        select(pending_batches.c.lane, day.c.day)
        .join(ingest_batches, batch.batch_id == pending_batches.c.batch_id)
        .join(day, true())
        .where(batch.first_ts < start, day.c.day < before)
        .subquery()
    )


_CTID: ColumnElement[str] = literal_column("ctid")
"""Where a row of a local table is, as long as the statement runs."""

STEP = timedelta(minutes=5)
"""Rows are counted, and deleted, by so much of their time."""


def outdated(table: Table, resolution_s: int, since: datetime) -> list[ColumnElement[bool]]:
    """Conditions on rows of a resolution that begin before a time."""
    is_old = table.c.bucket < since
    return [is_old] if "resolution_s" not in table.c else [is_old, table.c.resolution_s == resolution_s]


def counts_by_time(
    table: FromClause, time_column: str, conditions: Sequence[ColumnElement[bool]]
) -> Select[datetime, int]:
    """How many rows meet some conditions, by steps of time, oldest first: `start` and `rows`."""
    start = func.date_bin(literal(STEP), table.c[time_column], literal(EPOCH)).label("start")
    counts = select(start, func.count().label("rows")).select_from(table).where(*conditions)
    return counts.group_by(start).order_by(start)


def forget_until(
    table: TableClause, time_column: str, conditions: Sequence[ColumnElement[bool]], until: datetime
) -> Delete:
    """Delete the rows before a time that meet some conditions.

    By a range, and not by where the rows are: distributed rows have no such place on the coordinator.
    """
    return delete(table).where(*conditions, table.c[time_column] < until)


def done_batches(before: datetime) -> Select[str]:
    """Select batches that every lane has consumed and whose rows are all older than a time."""
    is_pending = select(pending_batches.c.batch_id)
    batch = ingest_batches.c
    return (
        select(_CTID)
        .select_from(ingest_batches)
        .where(func.greatest(batch.last_ts, batch.received_at) < before, batch.batch_id.not_in(is_pending))
    )


def old_runs(before: datetime) -> Select[str]:
    return select(_CTID).select_from(job_runs).where(job_runs.c.started_at < before)


def old_live_changes(before: datetime) -> Select[str]:
    """Select live changes written before a time, but for the newest."""
    newest = select(func.max(live_changes.c.position)).scalar_subquery()
    return (
        select(_CTID)
        .select_from(live_changes)
        .where(live_changes.c.written_at < before, live_changes.c.position < newest)
    )


def closed_commands(before: datetime) -> Select[str]:
    """Select commands created before a time whose status is final."""
    return (
        select(_CTID)
        .select_from(commands)
        .where(commands.c.created_at < before, commands.c.status.not_in(OPEN_COMMANDS))
    )


def of_old_events(table: Table, before: datetime) -> Select[str]:
    """Select rows of events that were over before a time."""
    over_at = func.coalesce(events.c.ended_at, events.c.end_time)
    old = select(events.c.event_id).where(events.c.status.in_(("completed", "cancelled")), over_at < before)
    return select(_CTID).select_from(table).where(table.c.event_id.in_(old))


def count(table: Table, conditions: Sequence[ColumnElement[bool]]) -> Select[int]:
    return select(func.count()).select_from(table).where(*conditions)


def forget(table: Table, rows: Select[str], most: int) -> Delete:
    """Delete some rows of a local table, at most so many."""
    return delete(table).where(any_(func.array(rows.limit(most).scalar_subquery())) == _CTID)
