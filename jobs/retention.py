"""Letting go of what is old: raw rows by the day, history by its resolution, the books of what was done.

What is let go stands in `horizons` before it is gone, and from then on counts for nobody: neither for
readers nor, should a message come that late, for the lanes, since nobody could tell whether it was counted.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby, islice, takewhile

from msgspec import Struct
from sqlalchemy import Connection, Table

from jobs.queries import retention as retention_queries
from jobs.ranges import DAY_S, Range, widened
from schemas.instants import EPOCH
from schemas.live import number, number_alone
from schemas.tables.events import commands, event_participations, event_shares, ven_settlements
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

MOST_DAYS = 10
"""Days of raw rows that one run drops: each takes some twenty locks."""

MOST_ROWS = 500_000
"""Rows of a table that one run deletes."""

ARCHIVE_END = date(2020, 1, 1)
TABLES = {
    1: (network_history,),
    60: (network_history,),
    SLOT_S: (network_history, network_energy, ven_history, load_history),
    3600: (network_history,),
}

Kept = Mapping[int, timedelta]
"""How long each resolution is kept; one that is missing is kept for ever."""


class RawDay(Struct, frozen=True):
    """The partitions that hold the raw rows of a day; or of all days before 2020."""

    within: Range
    partitions: tuple[str, ...]
    rows: int
    bytes: int
    behind: tuple[str, ...]
    """Lanes that may still have to read from them."""

    @property
    def is_archive(self) -> bool:
        return self.within.start == EPOCH


def limit(kept: timedelta, now: datetime) -> datetime:
    """What is to go is before this midnight, UTC."""
    return widened(Range(now - kept, now - kept), DAY_S).start


def outdated_days(connection: Connection, since: datetime) -> Iterator[RawDay]:
    """Days with raw rows, or partitions for them, that end by a time; oldest first."""
    found = sorted(connection.execute(retention_queries.PARTITIONS).all(), key=lambda row: _end_of(row.name))
    for end, rows in groupby(found, key=lambda row: _end_of(row.name)):
        partitions = list(rows)
        if end > since:
            return
        is_archive = end.date() == ARCHIVE_END
        if is_archive and not any(row.is_filled for row in partitions):
            continue
        within = Range(EPOCH if is_archive else end - timedelta(days=1), end)
        behind = connection.execute(retention_queries.lanes_behind(within)).scalars().all()
        yield RawDay(
            within,
            tuple(row.name for row in partitions),
            sum(row.rows for row in partitions),
            sum(row.bytes for row in partitions),
            tuple(behind),
        )


def _end_of(partition: str) -> datetime:
    suffix = partition.rpartition("_p")[2]
    day = date.fromisoformat(suffix) + timedelta(days=1) if suffix.isdigit() else ARCHIVE_END
    return datetime.combine(day, time(), UTC)


def drop_raw_days(connection: Connection, now: datetime, kept: Kept) -> int:
    """Drop the oldest days that nobody has still to read; answers their number.

    Dropping takes the raw tables for itself, for an instant. Where it cannot have them soon it gives up, and
    the next run tries again.

    Raises:
        OperationalError: somebody else has had them for too long.
    """
    if RAW_S not in kept:
        return 0
    since, dropped = limit(kept[RAW_S], now), 0
    if any(True for _ in _droppable(connection, since)):
        connection.execute(retention_queries.SOON_OR_NOT_AT_ALL)
        connection.execute(retention_queries.RAW_FOR_ONESELF)
        for day in list(_droppable(connection, since)):  # anew: nothing can come in between any more
            names = day.partitions
            connection.execute(
                retention_queries.empty(names) if day.is_archive else retention_queries.drop(names)
            )
            dropped += 1
    left = next(outdated_days(connection, since), None)
    connection.execute(retention_queries.advance_horizon(RAW_S, left.within.start if left else since))
    return dropped


def _droppable(connection: Connection, since: datetime) -> Iterator[RawDay]:
    """Without a gap: what is let go ends where the horizon is."""
    days = takewhile(lambda day: not day.behind, outdated_days(connection, since))
    return islice(days, MOST_DAYS)


def forget_buckets(connection: Connection, now: datetime, kept: Kept) -> int:
    """Let go of history that is too old in its resolution; answers the rows deleted, of many only some.

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
    """Forget old job runs, and batches whose raw rows have all been dropped; answers the rows deleted."""
    runs = retention_queries.forget(job_runs, retention_queries.old_runs(now - runs_kept), MOST_ROWS)
    trimmed = connection.execute(runs).rowcount
    since = connection.execute(retention_queries.horizon(RAW_S)).scalar_one_or_none()
    if since is not None:
        done = retention_queries.forget(ingest_batches, retention_queries.done_batches(since), MOST_ROWS)
        trimmed += connection.execute(done).rowcount
    return trimmed


def trim_live_changes(connection: Connection, now: datetime, kept: timedelta) -> int:
    """Forget what live streams told long ago, but for the newest: its position is where numbering goes on.

    Who missed something that was never numbered could not be told so: everything is numbered first.
    """
    connection.execute(number_alone())
    connection.execute(number())
    told = retention_queries.forget(live_changes, retention_queries.old_live_changes(now - kept), MOST_ROWS)
    return connection.execute(told).rowcount


def trim_commands(connection: Connection, now: datetime, kept: timedelta) -> int:
    """Forget commands that ended long ago; answers the rows deleted."""
    closed = retention_queries.forget(commands, retention_queries.closed_commands(now - kept), MOST_ROWS)
    return connection.execute(closed).rowcount


def trim_events(connection: Connection, now: datetime, kept: timedelta | None) -> int:
    """Forget what single VENs did in events that ended long ago; answers the rows deleted.

    The events stay, and what the portfolio delivered in each.
    """
    if kept is None:
        return 0
    return sum(
        connection.execute(
            retention_queries.forget(table, retention_queries.of_old_events(table, now - kept), MOST_ROWS)
        ).rowcount
        for table in (ven_settlements, event_shares, event_participations)
    )


class Preview(Struct, frozen=True):
    """A line of what retention would do."""

    what: str
    before: datetime
    rows: int
    bytes: int | None
    note: str


def preview(connection: Connection, now: datetime, kept: Kept) -> Iterator[Preview]:
    """What the next runs would let go of; writes nothing."""
    if RAW_S in kept:
        for day in outdated_days(connection, limit(kept[RAW_S], now)):
            what = "raw rows before 2020" if day.is_archive else f"raw rows of {day.within.start:%F}"
            note = f"waits for {', '.join(day.behind)}" if day.behind else ""
            yield Preview(what, day.within.end, day.rows, day.bytes, note)
    for resolution_s in sorted(TABLES.keys() & kept.keys()):
        since = limit(kept[resolution_s], now)
        for table in TABLES[resolution_s]:
            outdated = retention_queries.outdated(table, resolution_s, since).subquery()
            count = connection.execute(retention_queries.count(outdated)).scalar_one()
            if count:
                yield Preview(f"{table.name} by {resolution_s} s", since, count, None, "")
