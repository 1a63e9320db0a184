"""Compares the summary of dropped days with the archive."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import Connection, Engine

from jobs.archive.reading import ArchivedDay
from jobs.archive.writing import manifest_of
from jobs.queries import archive as queries
from jobs.queries.summary import Scope
from jobs.storage.layout import BEGINNING, overlap
from jobs.summaries.rebuild import MOST_ROWS, Chunk, compared, raw_since
from jobs.summaries.ven_ranges import even_ven_ranges
from schemas.archive.folder import ArchiveFolder
from schemas.times.time_ranges import TimeRange

DAY = timedelta(days=1)


def archived_range(connection: Connection, start: datetime | None, end: datetime | None) -> TimeRange | None:
    """The dropped days that the archive has of a range; None without any."""
    days = [_day_of(row.day) for row in queries.archived().all(connection)]
    until = raw_since(connection)
    asked = TimeRange(start or BEGINNING, end or until)
    dropped = [day for day in days if day.end <= until and overlap(day, asked)]
    return TimeRange(dropped[0].start, dropped[-1].end) if dropped else None


def verify_archived(
    engine: Engine, folder: ArchiveFolder, within: TimeRange, ven_ids: Sequence[str] | None = None
) -> Iterator[Chunk]:
    """Compare the summary of each dropped day that a range touches, as far as retention keeps the summary.

    Args:
        engine: of the database.
        folder: of the archive.
        within: days that it touches are compared as a whole.
        ven_ids: only these VENs and their loads; None for all, and the network's history.
    """
    with engine.connect() as connection:
        until, days = raw_since(connection), queries.archived().all(connection)
    for row in days:
        day = _day_of(row.day)
        if day.end <= until and overlap(day, within):
            source = ArchivedDay(folder, manifest_of(row))
            ven_ranges = list(even_ven_ranges(source.sizes(), MOST_ROWS))
            with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
                scope = Scope(day, day.start, ven_ids, source=source)
                differences = compared(connection, scope, ven_ranges)
            yield Chunk(day, differences)


def _day_of(day: date) -> TimeRange:
    midnight = datetime.combine(day, time(), UTC)
    return TimeRange(midnight, midnight + DAY)
