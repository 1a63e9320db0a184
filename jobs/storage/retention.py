"""Deletes what is too old: raw rows by the day, history by its resolution, records of what was done.

What is to be deleted stands in `horizons` first, and from then on counts for nobody: neither for readers
nor, should a message come that late, for the lanes, since nobody could tell whether it was counted.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, time, timedelta

from msgspec import Struct
from sqlalchemy import Connection, Table

from jobs.archive.progress import archived_until
from jobs.queries import partitions as partition_queries
from jobs.queries import retention as retention_queries
from jobs.storage.layout import BEGINNING
from jobs.storage.partitions import Partition, partitions_of
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
from schemas.times.time_ranges import DAY_S, TimeRange, widened

MOST_PARTITIONS = 60
"""Partitions that one run drops: each takes some seven locks."""

MOST_ROWS = 500_000
"""Rows of a table that one run deletes."""

TABLES = {
    1: (network_history,),
    60: (network_history,),
    SLOT_S: (network_history, network_energy, ven_history, load_history),
    3600: (network_history,),
}

Kept = Mapping[int, timedelta]
"""How long each resolution is kept; one that is missing is kept for ever."""


class OutdatedPartition(Struct, frozen=True):
    """A partition of a raw table with rows before a time."""

    partition: Partition
    outdated: TimeRange
    """What of its range is outdated."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing of it is to stay, so that it may be dropped."""
        return not self.partition.is_default and self.outdated == self.partition.within

    @property
    def is_oldest(self) -> bool:
        """Whether it takes all rows that are older than any: it is emptied, but stays."""
        return not self.partition.is_default and self.outdated.start.year == 1


def limit(kept: timedelta, now: datetime) -> datetime:
    """What is to go is before this midnight, UTC."""
    return widened(TimeRange(now - kept, now - kept), DAY_S).start


def outdated_partitions(connection: Connection, since: datetime) -> list[OutdatedPartition]:
    """Partitions of our raw tables that reach back before a time, oldest first, default ones last."""
    found = (each for table in PARTITIONED for each in partitions_of(connection, table))
    outdated = (
        OutdatedPartition(
            each, TimeRange(each.within.start, since if each.is_default else min(each.within.end, since))
        )
        for each in found
        if each.is_default or each.within.start < since
    )
    return sorted(outdated, key=lambda each: (each.partition.is_default, each.outdated.start))


def drop_raw_days(connection: Connection, now: datetime, kept: Kept, *, is_archived: bool = False) -> int:
    """Drop raw rows of days that no lane has still to read, and the partitions of which nothing is to stay.

    That takes the raw tables for itself, for an instant. Where it cannot have them soon it gives up, and
    the next run tries again. With an archive, only days of which it has every row go. Answers the number of
    partitions that went.

    Raises:
        OperationalError: somebody else has had them for too long.
    """
    if RAW_S not in kept:
        return 0
    until = limit(kept[RAW_S], now)
    known = connection.execute(retention_queries.horizon(RAW_S)).scalar_one_or_none()
    since = _droppable_until(connection, until, is_archived=is_archived)
    if since <= (known or BEGINNING) and not _doomed(connection, since):
        return 0
    connection.execute(partition_queries.LIMIT_LOCK_WAIT)
    connection.execute(partition_queries.RAW_FOR_ONESELF)
    # Anew: nothing can come in between any more.
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
    """The end of the days before a time that every lane has read, and the archive, if there is one, has."""
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


def delete_raw_rows(connection: Connection, _now: datetime, kept: Kept, *, is_archived: bool = False) -> int:
    """Delete outdated rows from partitions of which a part is to stay.

    With an archive, only once it and all lanes have every row of dropped days.

    Answers the rows deleted, of many only some.
    """
    since = connection.execute(retention_queries.horizon(RAW_S)).scalar_one_or_none()
    if RAW_S not in kept or since is None:
        return 0
    with connection.begin_nested() as attempt:
        deleted = _delete_outdated(connection, since)
        if is_archived and _droppable_until(connection, since, is_archived=True) < since:
            attempt.rollback()  # a late row may be among them that a lane or the archive has still to read
            return 0
    return deleted


def _delete_outdated(connection: Connection, since: datetime) -> int:
    deleted = 0
    for each in outdated_partitions(connection, since):
        if not each.is_whole:
            statement = partition_queries.delete_before(each.partition.name, since, MOST_ROWS - deleted)
            deleted += connection.execute(statement).rowcount
    return deleted


def forget_buckets(connection: Connection, now: datetime, kept: Kept) -> int:
    """Delete history that is too old in its resolution; returns the rows deleted, of many only some.

    From the horizon's commit on they count no more, wherever they still are.
    """
    return sum(
        _forget(connection, table, resolution_s, limit(kept[resolution_s], now))
        for resolution_s in sorted(TABLES.keys() & kept.keys())
        for table in TABLES[resolution_s]
    )


def _forget(connection: Connection, table: Table, resolution_s: int, since: datetime) -> int:
    connection.execute(retention_queries.advance_horizon(resolution_s, since))
    outdated = retention_queries.outdated(table, resolution_s, since)
    return connection.execute(retention_queries.forget(table, outdated, MOST_ROWS)).rowcount


def trim_books(connection: Connection, now: datetime, runs_kept: timedelta) -> int:
    """Forget old job runs, and batches whose raw rows have all been dropped; returns the rows deleted."""
    runs = retention_queries.forget(job_runs, retention_queries.old_runs(now - runs_kept), MOST_ROWS)
    trimmed = connection.execute(runs).rowcount
    since = connection.execute(retention_queries.horizon(RAW_S)).scalar_one_or_none()
    if since is not None:
        done = retention_queries.forget(ingest_batches, retention_queries.done_batches(since), MOST_ROWS)
        trimmed += connection.execute(done).rowcount
    return trimmed


def trim_live_changes(connection: Connection, now: datetime, kept: timedelta) -> int:
    """Delete old changes of live streams, but for the newest: numbering goes on from its position.

    A client that missed a change without a number could not be sent a `reset`: all are numbered first.
    """
    connection.execute(number_alone())
    connection.execute(number())
    trimmed = retention_queries.forget(
        live_changes, retention_queries.old_live_changes(now - kept), MOST_ROWS
    )
    return connection.execute(trimmed).rowcount


def trim_commands(connection: Connection, now: datetime, kept: timedelta) -> int:
    """Forget commands that ended long ago; returns the rows deleted."""
    closed = retention_queries.forget(commands, retention_queries.closed_commands(now - kept), MOST_ROWS)
    return connection.execute(closed).rowcount


def trim_events(connection: Connection, now: datetime, kept: timedelta | None) -> int:
    """Forget what single VENs did in events that ended long ago; returns the rows deleted.

    The events stay, and what the portfolio delivered in each.
    """
    if kept is None:
        return 0
    return sum(
        connection.execute(
            retention_queries.forget(table, retention_queries.of_old_events(table, now - kept), MOST_ROWS)
        ).rowcount
        for table in (ven_settlements, event_shares, event_reductions, event_participations)
    )


class Preview(Struct, frozen=True):
    """A line of what retention would do."""

    what: str
    before: datetime
    rows: int
    bytes: int | None
    note: str


def preview(
    connection: Connection, now: datetime, kept: Kept, *, is_archived: bool = False
) -> Iterator[Preview]:
    """What the next runs would delete; writes nothing."""
    if RAW_S in kept:
        yield from _preview_raw(connection, limit(kept[RAW_S], now), is_archived=is_archived)
    for resolution_s in sorted(TABLES.keys() & kept.keys()):
        since = limit(kept[resolution_s], now)
        for table in TABLES[resolution_s]:
            outdated = retention_queries.outdated(table, resolution_s, since).subquery()
            count = connection.execute(retention_queries.count(outdated)).scalar_one()
            if count:
                yield Preview(f"{table.name} by {resolution_s} s", since, count, None, "")


def _preview_raw(connection: Connection, since: datetime, *, is_archived: bool) -> Iterator[Preview]:
    """A line for each table that would be dropped or emptied, or lose some rows."""
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
