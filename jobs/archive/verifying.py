"""Compares the summary of dropped days with the archive, and corrects it."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta

import polars as pl
from sqlalchemy import Connection, Engine

from jobs.archive.reading import ArchivedDay
from jobs.queries.storage import archive as queries
from jobs.queries.storage.archive import manifest_of
from jobs.queries.summaries.summary import Scope
from jobs.storage.layout import overlap
from jobs.summaries.rebuild import MOST_ROWS, Chunk, compared, corrected, correcting, raw_since
from jobs.summaries.recomputing import LANES
from jobs.summaries.ven_ranges import VenRange, even_ven_ranges
from schemas.archive.folder import ArchiveFolder
from schemas.times.instants import BEGINNING
from schemas.times.time_ranges import TimeRange

DAY = timedelta(days=1)


def archived_range(connection: Connection, start: datetime | None, end: datetime | None) -> TimeRange | None:
    """Return the part of a range that consists of archived, dropped days; None without any."""
    days = [_day_of(row.day) for row in queries.archived().all(connection)]
    until = raw_since(connection)
    requested = TimeRange(start or BEGINNING, end or until)
    dropped = [day for day in days if day.end <= until and overlap(day, requested)]
    return TimeRange(dropped[0].start, dropped[-1].end) if dropped else None


def verify_archived(
    engine: Engine, folder: ArchiveFolder, within: TimeRange, ven_ids: Sequence[str] | None = None
) -> Iterator[Chunk]:
    """Compare the summary of each dropped day that a range touches, within retention's horizons.

    Args:
        engine: of the database.
        folder: of the archive.
        within: days that it touches are compared as a whole.
        ven_ids: only these VENs and their loads; None for all, and the network's history.
    """
    for day in _dropped_days(engine, within):
        with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            differences = compared(connection, *_scope(connection, folder, day, ven_ids))
        yield Chunk(day, differences)


def rebuild_archived(
    engine: Engine, folder: ArchiveFolder, within: TimeRange, ven_ids: Sequence[str] | None = None
) -> Iterator[Chunk]:
    """Correct what differs from the archive; arguments as for `verify_archived`.

    A lane, and the job `archive` with late rows, wait while a day is read.
    """
    for day in _dropped_days(engine, within):
        lines = []
        for lane in LANES:
            with correcting(engine, lane) as connection:
                lines.append(corrected(connection, lane, *_scope(connection, folder, day, ven_ids)))
        yield Chunk(day, pl.concat(lines))


def _dropped_days(engine: Engine, within: TimeRange) -> list[TimeRange]:
    """Return archived days that PostgreSQL has dropped and that a range touches."""
    with engine.connect() as connection:
        until = raw_since(connection)
        days = [_day_of(row.day) for row in queries.archived().all(connection)]
    return [day for day in days if day.end <= until and overlap(day, within)]


def _scope(
    connection: Connection, folder: ArchiveFolder, day: TimeRange, ven_ids: Sequence[str] | None
) -> tuple[Scope, Sequence[VenRange]]:
    """Return a day with its files in this transaction, and the ranges of VENs to read at once."""
    source = ArchivedDay(folder, manifest_of(queries.archived_day(day.start.date()).one(connection)))
    ven_ranges = list(even_ven_ranges(source.sizes(), MOST_ROWS))
    return Scope(day, day.start, ven_ids, source=source), ven_ranges


def _day_of(day: date) -> TimeRange:
    midnight = datetime.combine(day, time(), UTC)
    return TimeRange(midnight, midnight + DAY)
