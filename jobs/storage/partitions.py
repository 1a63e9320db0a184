"""Arranges the raw tables' partitions: creates coming days, merges old ones, empties the default one.

Rows are copied in slices to a table that is not attached yet, while all programs continue; then that table
replaces its sources in one short transaction. Batches that were written meanwhile are found in the
ledger by their transaction id, and copied as well. After a crash the next run resumes after the last commit.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import structlog
from msgspec import Struct
from sqlalchemy import Connection, Table

from jobs.queries.storage import partitions as partition_queries
from jobs.queries.storage.partitions import MoveRow
from jobs.storage.layout import PartitionChange, changes, contains, name_of, overlap
from schemas.db import locks
from schemas.db.horizons import dropped_before
from schemas.tables.history import RAW_S
from schemas.tables.raw import PARTITIONED
from schemas.times.instants import BEGINNING
from schemas.times.time_ranges import TimeRange

MOST_NEW = 20
"""Most partitions of a table that one transaction creates."""

SLICE_BYTES = 64 * 1024 * 1024
"""Approximate bytes that one transaction copies; a slice of time is chosen accordingly."""

SHORTEST_SLICE = timedelta(minutes=1)

_log = structlog.get_logger()


class Partition(Struct, frozen=True):
    """A partition by its name in SQL; `within` of the default one has no meaning."""

    name: str
    within: TimeRange
    is_default: bool
    rows: int
    """Estimate of the last ANALYZE."""

    bytes: int


class Move(Struct, frozen=True):
    """A move of raw rows to a table that becomes a partition: see `PartitionMoveFrame`."""

    parent: str
    target: str
    within: TimeRange
    copied_until: datetime
    caught_up_xact_id: int


def partitions_of(connection: Connection, table: Table) -> list[Partition]:
    """Return the partitions of a raw table, oldest first, the default one last."""
    partitions = connection.execute(partition_queries.PARTITIONS, {"parent": table.name})
    return [
        Partition(row.partition, TimeRange(row.since, row.until), row.is_default, row.rows, row.bytes)
        for row in partitions
    ]


def arrange_partitions(
    connection: Connection, now: datetime, retention: timedelta | None = None, slice_bytes: int = SLICE_BYTES
) -> int:
    """Do one step towards the partitions that the tables should have.

    Args:
        connection: in a transaction.
        now: the time from which coming days are counted.
        retention: retention of raw rows; None for ever.
        slice_bytes: most bytes to copy, estimated.

    Returns:
        The number of rows and partitions handled; 0 if there was nothing to do.

    Raises:
        OperationalError: a lock timed out; the next run tries again.
    """
    if not connection.execute(locks.try_exclusive(locks.PARTITIONS)).scalar_one():
        return 0
    connection.execute(partition_queries.LIMIT_LOCK_WAIT)
    connection.execute(partition_queries.RAISE_TIME_LIMIT)
    horizon = connection.execute(dropped_before(RAW_S)).scalar_one_or_none() or BEGINNING
    planned = {
        table: list(_planned_changes(connection, table, now, retention=retention, horizon=horizon))
        for table in PARTITIONED
    }
    if created := sum(_create(connection, table, planned[table]) for table in PARTITIONED):
        return created
    moved = (_advance(connection, table, planned[table], slice_bytes) for table in PARTITIONED)
    return next(filter(None, moved), 0)


def _planned_changes(
    connection: Connection, table: Table, now: datetime, *, retention: timedelta | None, horizon: datetime
) -> Iterator[PartitionChange]:
    partitions = partitions_of(connection, table)
    astray = next((_extent(connection, each) for each in partitions if each.is_default), None)
    return changes(
        [each.within for each in partitions if not each.is_default], astray, now, retention, horizon
    )


def _extent(connection: Connection, partition: Partition) -> TimeRange | None:
    """Return the range from the first row's time to just after the last one's; None without rows."""
    first, last = connection.execute(partition_queries.extent(partition.name)).one()
    return None if first is None else TimeRange(first, last + timedelta.resolution)


def _create(connection: Connection, table: Table, planned: Sequence[PartitionChange]) -> int:
    new = [change.within for change in planned if not change.has_rows][:MOST_NEW]
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


def _advance(
    connection: Connection, table: Table, planned: Sequence[PartitionChange], slice_bytes: int
) -> int:
    move = _current_move(connection, table)
    if move is None:
        change = next((change for change in planned if change.has_rows), None)
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
    partitions = partitions_of(connection, table)
    end = slice_end(TimeRange(move.copied_until, move.within.end), partitions, slice_bytes)
    part = TimeRange(move.copied_until, end)
    copied = connection.exec_driver_sql(partition_queries.copy(table, move.target, part)).rowcount
    connection.execute(partition_queries.note_progress(table.name, copied_until=end))
    return copied + 1


def slice_end(left: TimeRange, partitions: Sequence[Partition], most_bytes: int) -> datetime:
    """Return the end of a slice of about `most_bytes`, at least a minute long, from the start of a range."""
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
    """Return the partition that contains a time, or the gap for the default one; and its size."""
    ranged = [each for each in partitions if not each.is_default]
    for each in ranged:
        if each.within.start <= at < each.within.end:
            return each.within, each.bytes
    following = [each.within.start for each in ranged if each.within.start > at]
    return TimeRange(at, min([*following, end])), default_bytes


def _finish(connection: Connection, table: Table, move: Move) -> int:
    """Replace the sources by the target; others wait only for the part within the lock."""
    late = _catch_up(connection, table, move)
    connection.execute(partition_queries.analyze(move.target))
    connection.execute(partition_queries.RAW_FOR_ONESELF)
    if _is_obsolete(connection, table, move):
        connection.execute(partition_queries.drop([move.target]))
        connection.execute(partition_queries.end_move(table.name))
        _log.info("move_abandoned", to=move.target)
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
    """Copy the rows of batches that may have been committed after the earlier copies."""
    oldest = connection.execute(partition_queries.oldest_transaction()).scalar_one()
    query = partition_queries.late_batches(move.within, move.caught_up_xact_id)
    batch_ids = connection.execute(query).scalars().all()
    connection.execute(partition_queries.note_progress(table.name, caught_up_xact_id=oldest))
    if not batch_ids:
        return 0
    statement = partition_queries.copy_late(table, move.target, move.within, batch_ids)
    return connection.exec_driver_sql(statement).rowcount


def _is_obsolete(connection: Connection, table: Table, move: Move) -> bool:
    """Return whether retention has dropped some of its rows, or a partition crosses its ends."""
    since = connection.execute(dropped_before(RAW_S)).scalar_one_or_none()
    return (since is not None and since > move.within.start) or any(
        overlap(each.within, move.within) and not contains(move.within, each.within)
        for each in partitions_of(connection, table)
        if not each.is_default
    )


def _remove_sources(connection: Connection, table: Table, within: TimeRange) -> int:
    """Drop the partitions inside a range, and delete its rows from the default one."""
    partitions = partitions_of(connection, table)
    sources = [each.name for each in partitions if not each.is_default and contains(within, each.within)]
    if sources:
        connection.execute(partition_queries.drop(sources))
    for default in (each for each in partitions if each.is_default):
        extent = _extent(connection, default)
        if extent is None or not overlap(extent, within):
            continue
        if contains(within, extent):
            connection.execute(partition_queries.empty(default.name))
        else:
            connection.execute(partition_queries.delete_range(default.name, within))
    return len(sources)
