"""The raw tables' partitions: made ahead of time, merged into months and years, the default one emptied.

Rows are copied to a table that nobody reads yet, in slices, while everything else goes on; then that table
replaces its sources in one short transaction. Batches that were written meanwhile are found in the ledger by
their transaction, and copied as well. After a crash the next run goes on from the last commit.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import structlog
from msgspec import Struct
from sqlalchemy import Connection, Table

from jobs.queries import partitions as partition_queries
from jobs.queries import retention as retention_queries
from jobs.queries.partitions import MoveRow
from jobs.storage.layout import BEGINNING, PartitionChange, changes, contains, name_of, overlap
from schemas.db import locks
from schemas.tables.history import RAW_S
from schemas.tables.raw import PARTITIONED
from schemas.times.time_ranges import TimeRange

MOST_NEW = 20
"""Partitions of a table that one transaction makes."""

SLICE_BYTES = 64 * 1024 * 1024
"""What one transaction copies, at a guess: of a source as much time as comes to that."""

SHORTEST_SLICE = timedelta(minutes=1)

_log = structlog.get_logger()


class Partition(Struct, frozen=True):
    """A partition by its name in SQL; `within` of the default one means nothing."""

    name: str
    within: TimeRange
    is_default: bool
    rows: int
    """As the last ANALYZE estimated."""

    bytes: int


class Move(Struct, frozen=True):
    """Raw rows on their way to a table that becomes a partition: see `PartitionMoveFrame`."""

    parent: str
    target: str
    within: TimeRange
    copied_until: datetime
    caught_up_xact_id: int


def partitions_of(connection: Connection, table: Table) -> list[Partition]:
    """The partitions of a raw table, oldest first, the default one last."""
    found = connection.execute(partition_queries.PARTITIONS, {"parent": table.name})
    return [
        Partition(row.partition, TimeRange(row.since, row.until), row.is_default, row.rows, row.bytes)
        for row in found
    ]


def arrange_partitions(
    connection: Connection, now: datetime, kept: timedelta | None = None, slice_bytes: int = SLICE_BYTES
) -> int:
    """Bring the partitions one step nearer to what they should be.

    Args:
        connection: in a transaction.
        now: coming days are seen from here.
        kept: how long raw rows are kept; None for ever.
        slice_bytes: what is copied at most, at a guess.

    Returns:
        The number of rows and partitions handled; 0 if nothing is left to do.

    Raises:
        OperationalError: somebody held a lock for too long; the next run tries again.
    """
    if not connection.execute(locks.try_exclusive(locks.PARTITIONS)).scalar_one():
        return 0
    connection.execute(partition_queries.LIMIT_LOCK_WAIT)
    connection.execute(partition_queries.RAISE_TIME_LIMIT)
    horizon = connection.execute(retention_queries.horizon(RAW_S)).scalar_one_or_none() or BEGINNING
    wanted = {
        table: list(_changes(connection, table, now, kept=kept, horizon=horizon)) for table in PARTITIONED
    }
    if made := sum(_make_new(connection, table, wanted[table]) for table in PARTITIONED):
        return made
    moved = (_bring_on(connection, table, wanted[table], slice_bytes) for table in PARTITIONED)
    return next(filter(None, moved), 0)


def _changes(
    connection: Connection, table: Table, now: datetime, *, kept: timedelta | None, horizon: datetime
) -> Iterator[PartitionChange]:
    found = partitions_of(connection, table)
    astray = next((_extent(connection, each) for each in found if each.is_default), None)
    return changes([each.within for each in found if not each.is_default], astray, now, kept, horizon)


def _extent(connection: Connection, partition: Partition) -> TimeRange | None:
    """From the first row's time to just after the last one's; None without rows."""
    first, last = connection.execute(partition_queries.extent(partition.name)).one()
    return None if first is None else TimeRange(first, last + timedelta.resolution)


def _make_new(connection: Connection, table: Table, wanted: Sequence[PartitionChange]) -> int:
    new = [change.within for change in wanted if not change.has_rows][:MOST_NEW]
    if new:
        connection.execute(partition_queries.ENSURE_DEFAULT)
    for within in new:
        target = _name(connection, table, within)
        connection.execute(partition_queries.make_table(target, table.name))
        connection.execute(partition_queries.attach(table.name, target, within))
        _log.debug("partition_made", partition=target)
    return len(new)


def _name(connection: Connection, table: Table, within: TimeRange) -> str:
    values = {"parent": table.name, "ending": f"_{name_of(within)}"}
    return str(connection.execute(partition_queries.FREE_NAME, values).scalar_one())


def _bring_on(
    connection: Connection, table: Table, wanted: Sequence[PartitionChange], slice_bytes: int
) -> int:
    move = _current_move(connection, table)
    if move is None:
        change = next((change for change in wanted if change.has_rows), None)
        if change is None:
            return 0
        move = _begin(connection, table, change.within)
    if move.copied_until < move.within.end:
        return _copy_slice(connection, table, move, slice_bytes)
    return _finish(connection, table, move)


def _current_move(connection: Connection, table: Table) -> Move | None:
    row = partition_queries.move(table.name).first(connection)
    return None if row is None else _as_move(row)


def _as_move(row: MoveRow) -> Move:
    within = TimeRange(row.since, row.until)
    return Move(row.parent, row.target, within, row.copied_until, row.caught_up_xact_id)


def _begin(connection: Connection, table: Table, within: TimeRange) -> Move:
    target = _name(connection, table, within)
    connection.execute(partition_queries.make_table(target, table.name))
    connection.execute(partition_queries.bound(target, within))
    connection.execute(partition_queries.begin_move(table.name, target, within))
    _log.debug("rows_move_begins", to=target, since=f"{within.start:%F}", until=f"{within.end:%F}")
    return _as_move(partition_queries.move(table.name).one(connection))


def _copy_slice(connection: Connection, table: Table, move: Move, slice_bytes: int) -> int:
    found = partitions_of(connection, table)
    end = slice_end(TimeRange(move.copied_until, move.within.end), found, slice_bytes)
    part = TimeRange(move.copied_until, end)
    copied = connection.exec_driver_sql(partition_queries.copy(table, move.target, part)).rowcount
    connection.execute(partition_queries.note_progress(table.name, copied_until=end))
    return copied + 1


def slice_end(left: TimeRange, partitions: Sequence[Partition], most_bytes: int) -> datetime:
    """The end of a slice of about so many bytes, and of a minute at least, from the start of a range."""
    default_bytes = sum(each.bytes for each in partitions if each.is_default)
    position, bytes_left = left.start, float(most_bytes)
    while position < left.end and bytes_left > 0:
        source, size = _source_at(position, left.end, partitions, default_bytes)
        end = min(source.end, left.end)
        needed = size * ((end - position) / (source.end - source.start))
        if needed > bytes_left:
            width = (end - position) * (bytes_left / needed)
            return min(position + max(width, SHORTEST_SLICE), end)
        position, bytes_left = end, bytes_left - needed
    return position


def _source_at(
    at: datetime, end: datetime, partitions: Sequence[Partition], default_bytes: int
) -> tuple[TimeRange, int]:
    """The partition that holds a time, and its size; or the gap that the default partition covers."""
    ranged = [each for each in partitions if not each.is_default]
    for each in ranged:
        if each.within.start <= at < each.within.end:
            return each.within, each.bytes
    following = [each.within.start for each in ranged if each.within.start > at]
    return TimeRange(at, min([*following, end])), default_bytes


def _finish(connection: Connection, table: Table, move: Move) -> int:
    """Let the target take the place of its sources. Others wait for what happens behind the lock only."""
    late = _catch_up(connection, table, move)
    connection.execute(partition_queries.analyze(move.target))
    connection.execute(partition_queries.RAW_FOR_ONESELF)
    if _is_obsolete(connection, table, move):
        connection.execute(partition_queries.drop([move.target]))
        connection.execute(partition_queries.end_move(table.name))
        _log.info("move_given_up", to=move.target)
        return 1
    current = _current_move(connection, table) or move
    late += _catch_up(connection, table, current)
    merged = _remove_sources(connection, table, move.within)
    connection.execute(partition_queries.attach(table.name, move.target, move.within))
    connection.execute(partition_queries.unbound(move.target))
    connection.execute(partition_queries.end_move(table.name))
    _log.info("rows_moved", to=move.target, partitions=merged, late_rows=late)
    return 1 + late


def _catch_up(connection: Connection, table: Table, move: Move) -> int:
    """Copy the rows of batches that may not have been there yet when we copied before."""
    oldest = connection.execute(partition_queries.oldest_transaction()).scalar_one()
    query = partition_queries.late_batches(move.within, move.caught_up_xact_id)
    batch_ids = connection.execute(query).scalars().all()
    connection.execute(partition_queries.note_progress(table.name, caught_up_xact_id=oldest))
    if not batch_ids:
        return 0
    statement = partition_queries.copy_late(table, move.target, move.within, batch_ids)
    return connection.exec_driver_sql(statement).rowcount


def _is_obsolete(connection: Connection, table: Table, move: Move) -> bool:
    """Whether retention dropped some of its rows meanwhile, or a partition crosses its ends."""
    since = connection.execute(retention_queries.horizon(RAW_S)).scalar_one_or_none()
    return (since is not None and since > move.within.start) or any(
        overlap(each.within, move.within) and not contains(move.within, each.within)
        for each in partitions_of(connection, table)
        if not each.is_default
    )


def _remove_sources(connection: Connection, table: Table, within: TimeRange) -> int:
    """Drop the partitions inside a range, and take its rows out of the default one."""
    found = partitions_of(connection, table)
    sources = [each.name for each in found if not each.is_default and contains(within, each.within)]
    if sources:
        connection.execute(partition_queries.drop(sources))
    for default in (each for each in found if each.is_default):
        extent = _extent(connection, default)
        if extent is None or not overlap(extent, within):
            continue
        if contains(within, extent):
            connection.execute(partition_queries.empty(default.name))
        else:
            connection.execute(partition_queries.delete_range(default.name, within))
    return len(sources)
