"""What retention lets go of, and what has been let go."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Delete,
    FromClause,
    Select,
    Table,
    any_,
    delete,
    func,
    literal_column,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.elements import TextClause

from jobs.ranges import Range
from schemas.tables.events import OPEN_COMMANDS, commands, events
from schemas.tables.history import (
    horizons,
)
from schemas.tables.ledger import ingest_batches, job_runs, pending_batches
from schemas.tables.live import live_changes


def horizon(resolution_s: int) -> Select[Any]:
    """What retention has let go of a resolution is before this; no row if it has not let anything go."""
    return select(horizons.c.since).where(horizons.c.resolution_s == resolution_s)


def advance_horizon(resolution_s: int, since: datetime) -> Insert:
    """Let go of a resolution before a time; never take it back."""
    statement = insert(horizons).values(resolution_s=resolution_s, since=since)
    later = func.greatest(horizons.c.since, statement.excluded.since)
    return statement.on_conflict_do_update(index_elements=["resolution_s"], set_={"since": later})


PARTITIONS = text(
    "SELECT relname AS name, greatest(reltuples, 0)::bigint AS rows, pg_total_relation_size(oid) AS bytes,"
    " pg_relation_size(oid) > 0 AS is_filled"
    " FROM pg_class WHERE relispartition AND relkind = 'r' ORDER BY relname"
)


SOON_OR_NOT_AT_ALL = text("SET LOCAL lock_timeout = '2s'")


RAW_FOR_ONESELF = text(
    "LOCK TABLE ONLY ven_telemetry, ONLY ven_load_samples, ONLY ven_load_descriptions"
    " IN ACCESS EXCLUSIVE MODE"
)


def drop(names: Sequence[str]) -> TextClause:
    return text(f"DROP TABLE {', '.join(names)}")


def empty(names: Sequence[str]) -> TextClause:
    return text(f"TRUNCATE {', '.join(names)}")


def lanes_behind(within: Range) -> Select[Any]:
    """Lanes with a pending batch that may have rows in a range."""
    batch = ingest_batches.c
    reaches = (batch.first_ts < within.end, batch.last_ts >= within.start)
    return (
        select(pending_batches.c.lane)
        .join(ingest_batches, batch.batch_id == pending_batches.c.batch_id)
        .where(*reaches)
        .distinct()
        .order_by(pending_batches.c.lane)
    )


_CTID: ColumnElement[Any] = literal_column("ctid")
"""Where a row is, as long as the statement runs."""


def outdated(table: Table, resolution_s: int, since: datetime) -> Select[Any]:
    """The rows of a resolution that begin before a time: where they are."""
    rows = select(_CTID).select_from(table).where(table.c.bucket < since)
    return rows if "resolution_s" not in table.c else rows.where(table.c.resolution_s == resolution_s)


def done_batches(before: datetime) -> Select[Any]:
    """Batches whose rows are all older than a time, and in every summary."""
    is_pending = select(pending_batches.c.batch_id)
    batch = ingest_batches.c
    return (
        select(_CTID)
        .select_from(ingest_batches)
        .where(func.greatest(batch.last_ts, batch.received_at) < before, batch.batch_id.not_in(is_pending))
    )


def old_runs(before: datetime) -> Select[Any]:
    return select(_CTID).select_from(job_runs).where(job_runs.c.started_at < before)


def old_live_changes(before: datetime) -> Select[Any]:
    """All but the newest that were written before a time."""
    newest = select(func.max(live_changes.c.position)).scalar_subquery()
    return (
        select(_CTID)
        .select_from(live_changes)
        .where(live_changes.c.written_at < before, live_changes.c.position < newest)
    )


def closed_commands(before: datetime) -> Select[Any]:
    """Commands made before a time that nobody has to see to any more."""
    return (
        select(_CTID)
        .select_from(commands)
        .where(commands.c.created_at < before, commands.c.status.not_in(OPEN_COMMANDS))
    )


def of_old_events(table: Table, before: datetime) -> Select[Any]:
    """Rows of events that were over before a time."""
    over_at = func.coalesce(events.c.ended_at, events.c.end_time)
    old = select(events.c.event_id).where(events.c.status.in_(("completed", "cancelled")), over_at < before)
    return select(_CTID).select_from(table).where(table.c.event_id.in_(old))


def count(rows: FromClause) -> Select[Any]:
    return select(func.count()).select_from(rows)


def forget(table: Table, rows: Select[Any], most: int) -> Delete:
    """Delete some rows, at most so many."""
    return delete(table).where(any_(func.array(rows.limit(most).scalar_subquery())) == _CTID)
