"""Deletes old rows: raw rows by the day, history by its resolution, records of runs, commands and events.

The horizon is moved first. From then on older rows are ignored by readers and, should a message arrive that
late, by the lanes, since it would be unknown whether it was counted.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from itertools import accumulate

from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, Table, TableClause

from jobs.archive.progress import archived_until
from jobs.queries.storage import partitions as partition_queries
from jobs.queries.storage import retention as retention_queries
from jobs.storage.partitions import Partition, partitions_of
from schemas.db.horizons import dropped_before
from schemas.live import number, number_alone
from schemas.tables.events import (
    commands,
    event_participations,
    event_reductions,
    event_shares,
    ven_settlements,
)
from schemas.tables.history import (
    RAW_S,
    SLOT_S,
    load_history,
    network_energy,
    network_history,
    ven_history,
)
from schemas.tables.ledger import ingest_batches, job_runs
from schemas.tables.live import live_changes
from schemas.tables.raw import PARTITIONED
from schemas.times.instants import BEGINNING
from schemas.times.time_ranges import DAY_S, TimeRange, widened

MOST_PARTITIONS = 60
"""Most partitions that one run drops: each takes some seven locks."""

MOST_ROWS = 500_000
"""Most rows of a table that one run deletes."""

TABLES = {
    1: (network_history,),
    60: (network_history,),
    SLOT_S: (network_history, network_energy, ven_history, load_history),
    3600: (network_history,),
}

Retention = Mapping[int, timedelta]
"""Retention by resolution; a missing one is kept for ever."""


class OutdatedPartition(Struct, frozen=True):
    """A partition of a raw table with rows before a time."""

    partition: Partition
    outdated: TimeRange
    """The outdated part of its range."""

    @property
    def is_whole(self) -> bool:
        """Whether all of it is outdated, so that it may be dropped."""
        return not self.partition.is_default and self.outdated == self.partition.within

    @property
    def is_oldest(self) -> bool:
        """Whether it is the oldest partition, without a lower bound: it is emptied, but stays."""
        return not self.partition.is_default and self.outdated.start.year == 1


def limit(retention: timedelta, now: datetime) -> datetime:
    """Return the UTC midnight before which rows are outdated."""
    return widened(TimeRange(now - retention, now - retention), DAY_S).start


def outdated_partitions(connection: Connection, since: datetime) -> list[OutdatedPartition]:
    """Return partitions of the raw tables that begin before a time, oldest first, default ones last."""
    partitions = (each for table in PARTITIONED for each in partitions_of(connection, table))
    outdated = (
        OutdatedPartition(
            each, TimeRange(each.within.start, since if each.is_default else min(each.within.end, since))
        )
        for each in partitions
        if each.is_default or each.within.start < since
    )
    return sorted(outdated, key=lambda each: (each.partition.is_default, each.outdated.start))


def drop_raw_days(
    connection: Connection, now: datetime, retention: Retention, *, is_archived: bool = False
) -> int:
    """Move the horizon of raw rows over days that every lane has read, and drop outdated partitions.

    It locks the raw tables exclusively, for an instant; if a lock times out, the next run tries again. With
    an archive, only days that it has completely are dropped. Returns the number of dropped partitions.

    Raises:
        OperationalError: the lock timed out.
    """
    if RAW_S not in retention:
        return 0
    until = limit(retention[RAW_S], now)
    previous = connection.execute(dropped_before(RAW_S)).scalar_one_or_none()
    since = _droppable_until(connection, until, is_archived=is_archived)
    if since <= (previous or BEGINNING) and not _doomed(connection, since):
        return 0
    connection.execute(partition_queries.LIMIT_LOCK_WAIT)
    connection.execute(partition_queries.RAW_FOR_ONESELF)
    # Read again under the lock.
    since = _droppable_until(connection, until, is_archived=is_archived)
    doomed = _doomed(connection, since)[:MOST_PARTITIONS]
    if whole := [each.partition.name for each in doomed if not each.is_oldest]:
        connection.execute(partition_queries.drop(whole))
    for each in doomed:
        if each.is_oldest:
            connection.execute(partition_queries.empty(each.partition.name))
    connection.execute(retention_queries.advance_horizon(RAW_S, since))
    return len(doomed)


def _droppable_until(connection: Connection, until: datetime, *, is_archived: bool) -> datetime:
    """Return the end of the days before a time that every lane has read and the archive, if any, contains."""
    if is_archived:
        until = min(until, archived_until(connection))
    first = connection.execute(retention_queries.first_pending_day(until.date())).scalar_one()
    return until if first is None else datetime.combine(first, time(), UTC)


def _doomed(connection: Connection, since: datetime) -> list[OutdatedPartition]:
    return [
        each
        for each in outdated_partitions(connection, since)
        if each.is_whole and not (each.is_oldest and not _has_rows(connection, each))
    ]


def _has_rows(connection: Connection, outdated: OutdatedPartition) -> bool:
    return bool(connection.execute(partition_queries.has_rows(outdated.partition.name)).scalar_one())


def delete_raw_rows(
    connection: Connection, _now: datetime, retention: Retention, *, is_archived: bool = False
) -> int:
    """Delete outdated rows from partitions that are kept in part.

    With an archive, only once it and all lanes have every row of dropped days.
    Returns the number of deleted rows, at most `MOST_ROWS` of a table.
    """
    since = connection.execute(dropped_before(RAW_S)).scalar_one_or_none()
    if RAW_S not in retention or since is None:
        return 0
    with connection.begin_nested() as attempt:
        deleted = _delete_outdated(connection, since)
        if is_archived and _droppable_until(connection, since, is_archived=True) < since:
            attempt.rollback()  # they may include a late row that a lane or the archive has not read yet
            return 0
    return deleted


def _delete_outdated(connection: Connection, since: datetime) -> int:
    deleted = 0
    for each in outdated_partitions(connection, since):
        if not each.is_whole:
            partition = partition_queries.by_name(each.partition.name)
            deleted += forget_oldest(connection, partition, "ts", [partition.c.ts < since])
    return deleted


def forget_buckets(connection: Connection, now: datetime, retention: Retention) -> int:
    """Delete history beyond its resolution's retention; returns the deleted rows, limited by `MOST_ROWS`.

    Once the horizon is committed, remaining rows before it are ignored.
    """
    return sum(
        _forget(connection, table, resolution_s, limit(retention[resolution_s], now))
        for resolution_s in sorted(TABLES.keys() & retention.keys())
        for table in TABLES[resolution_s]
    )


def _forget(connection: Connection, table: Table, resolution_s: int, since: datetime) -> int:
    connection.execute(retention_queries.advance_horizon(resolution_s, since))
    return forget_oldest(connection, table, "bucket", retention_queries.outdated(table, resolution_s, since))


def forget_oldest(
    connection: Connection,
    table: TableClause,
    time_column: str,
    conditions: Sequence[ColumnElement[bool]],
    most: int = MOST_ROWS,
) -> int:
    """Delete rows that meet some conditions, of many only the oldest; returns their number.

    All of five minutes, or none, so that there may be a few more. Also of distributed tables.
    """
    counts = connection.execute(retention_queries.counts_by_time(table, time_column, conditions)).all()
    if not counts:
        return 0
    before = accumulate((rows for _, rows in counts), initial=0)
    last = max(start for (start, _), earlier in zip(counts, before, strict=False) if earlier < most)
    until = last + retention_queries.STEP
    return connection.execute(retention_queries.forget_until(table, time_column, conditions, until)).rowcount


def trim_records(connection: Connection, now: datetime, runs_kept: timedelta) -> int:
    """Delete old job runs, and batches whose raw rows have all been dropped; returns the deleted rows."""
    runs = retention_queries.forget(job_runs, retention_queries.old_runs(now - runs_kept), MOST_ROWS)
    trimmed = connection.execute(runs).rowcount
    since = connection.execute(dropped_before(RAW_S)).scalar_one_or_none()
    if since is not None:
        batches = retention_queries.forget(ingest_batches, retention_queries.done_batches(since), MOST_ROWS)
        trimmed += connection.execute(batches).rowcount
    return trimmed


def trim_live_changes(connection: Connection, now: datetime, retention: timedelta) -> int:
    """Delete old changes of live streams, but for the newest: numbering continues from its position.

    All are numbered first: a client that missed a change without a number could not be sent a `reset`.
    """
    connection.execute(number_alone())
    connection.execute(number())
    trimmed = retention_queries.forget(
        live_changes, retention_queries.old_live_changes(now - retention), MOST_ROWS
    )
    return connection.execute(trimmed).rowcount


def trim_commands(connection: Connection, now: datetime, retention: timedelta) -> int:
    """Delete commands that ended long ago; returns the deleted rows."""
    closed = retention_queries.forget(commands, retention_queries.closed_commands(now - retention), MOST_ROWS)
    return connection.execute(closed).rowcount


def trim_events(connection: Connection, now: datetime, retention: timedelta | None) -> int:
    """Delete per-VEN participation of events that ended long ago; returns the deleted rows.

    The events and the portfolio's settlements stay.
    """
    if retention is None:
        return 0
    return sum(
        connection.execute(
            retention_queries.forget(
                table, retention_queries.of_old_events(table, now - retention), MOST_ROWS
            )
        ).rowcount
        for table in (ven_settlements, event_shares, event_reductions, event_participations)
    )


class Preview(Struct, frozen=True):
    """A line of the preview of retention."""

    what: str
    before: datetime
    rows: int
    bytes: int | None
    note: str


def preview(
    connection: Connection, now: datetime, retention: Retention, *, is_archived: bool = False
) -> Iterator[Preview]:
    """Yield what the next runs would delete, without deleting it."""
    if RAW_S in retention:
        yield from _preview_raw(connection, limit(retention[RAW_S], now), is_archived=is_archived)
    for resolution_s in sorted(TABLES.keys() & retention.keys()):
        since = limit(retention[resolution_s], now)
        for table in TABLES[resolution_s]:
            outdated = retention_queries.outdated(table, resolution_s, since)
            count = connection.execute(retention_queries.count(table, outdated)).scalar_one()
            if count:
                yield Preview(f"{table.name} by {resolution_s} s", since, count, None, "")


def _preview_raw(connection: Connection, since: datetime, *, is_archived: bool) -> Iterator[Preview]:
    """Yield a line for each partition that would be dropped or emptied, or lose some rows."""
    until = archived_until(connection) if is_archived else since
    for each in outdated_partitions(connection, since):
        name, end = each.partition.name, each.outdated.end
        behind = [*connection.execute(retention_queries.lanes_behind(each.outdated)).scalars()]
        behind += ["the archive"] if end > until else []
        note = f"waits for {', '.join(behind)}" if behind else ""
        if each.is_whole and not (each.is_oldest and not _has_rows(connection, each)):
            yield Preview(f"table {name}", end, each.partition.rows, each.partition.bytes, note)
        elif rows := connection.execute(partition_queries.count_before(name, since)).scalar_one():
            yield Preview(f"rows of {name}", end, rows, None, note)
