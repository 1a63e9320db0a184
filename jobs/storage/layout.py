"""Computes the partitions that the raw tables should have: days, then months, then years. Pure.

Each partition costs locks and planning time in queries without bounds, so a table should have at most some
hundred, however many days there have ever been.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from operator import attrgetter

from msgspec import Struct

from schemas.times.instants import BEGINNING
from schemas.times.time_ranges import TimeRange, without

DAYS_AHEAD = 3
MONTHS = 12
"""Fewest monthly partitions between the daily ones, of this month and the last, and the yearly ones."""

FIRST_YEAR = 2020
"""One partition takes all older rows: clocks that were never set give many different days."""

LONGEST_DAYS = timedelta(days=100)
"""Raw rows with no longer retention are dropped by whole days, and never merged."""


MOST_SOURCES = 62
"""Most partitions merged at a time: dropping each takes some six locks."""


class PartitionChange(Struct, frozen=True):
    """A range of time that is to become one partition, and whether there are rows to move into it."""

    within: TimeRange
    has_rows: bool


def changes(
    partitions: Sequence[TimeRange],
    astray: TimeRange | None,
    now: datetime,
    retention: timedelta | None,
    horizon: datetime = BEGINNING,
) -> Iterator[PartitionChange]:
    """Yield the changes that a table's partitions need; new empty partitions first.

    Args:
        partitions: the existing ones, oldest first, without the default one.
        astray: range of the default partition's rows; None without any.
        now: the time that decides which days are recent.
        retention: retention of raw rows; older ranges need no partitions.
        horizon: midnight before which retention has deleted all rows; earlier ranges need no partitions
            either.
    """
    pieces = [
        piece
        for cell in _stored_cells(now, retention, horizon)
        for piece in _pieces(cell, partitions)
        if _inside(piece, partitions) != [piece]
    ]
    today = datetime.combine(now.date(), time(), UTC)
    ranges = _joined([piece for piece in pieces if not _inside(piece, partitions)], today)
    new = [PartitionChange(each, astray is not None and overlap(astray, each)) for each in ranges]
    merged = [PartitionChange(piece, has_rows=True) for piece in pieces if _inside(piece, partitions)]
    yield from sorted([*new, *merged], key=lambda change: change.has_rows)


def _stored_cells(now: datetime, retention: timedelta | None, horizon: datetime) -> Iterator[TimeRange]:
    """Return the cells within retention; the oldest is cut at midnight."""
    midnight = BEGINNING if retention is None else datetime.combine((now - retention).date(), time(), UTC)
    oldest = max(midnight, horizon)
    for cell in cells(now.date(), retention):
        if cell.end > oldest:
            yield TimeRange(max(cell.start, oldest), cell.end)


def _pieces(cell: TimeRange, partitions: Sequence[TimeRange]) -> Iterator[TimeRange]:
    """Return a cell's parts outside partitions that reach beyond it; by month, to merge fewer at once."""
    across = [each for each in _touched(cell, partitions) if not contains(cell, each)]
    for piece in without([cell], across):
        if len(_inside(piece, partitions)) > MOST_SOURCES:
            for month in _months_of(piece):
                yield from _pieces(month, partitions)
        else:
            yield piece


def _inside(piece: TimeRange, partitions: Sequence[TimeRange]) -> list[TimeRange]:
    return [each for each in _touched(piece, partitions) if contains(piece, each)]


def _touched(piece: TimeRange, partitions: Sequence[TimeRange]) -> Sequence[TimeRange]:
    first = bisect_right(partitions, piece.start, key=attrgetter("end"))
    return partitions[first : bisect_left(partitions, piece.end, key=attrgetter("start"))]


def _joined(ranges: Sequence[TimeRange], today: datetime) -> list[TimeRange]:
    """Join adjacent empty ranges of the past to one for each year, so that there are few."""
    joined = list[TimeRange]()
    for each in ranges:
        last = joined[-1] if joined else None
        if last and last.end == each.start and last.start.year == each.start.year and each.end <= today:
            joined[-1] = TimeRange(last.start, each.end)
        else:
            joined.append(each)
    return joined


def cells(today: date, retention: timedelta | None) -> list[TimeRange]:
    """Return the ranges that partitions should have, oldest first and without gaps."""
    first_day = _months_before(today, 1)
    if retention is not None and retention <= LONGEST_DAYS:
        first_day = min(first_day, today - retention)
    first_month = date(_months_before(first_day, MONTHS).year, 1, 1)
    years = [date(year, 1, 1) for year in range(FIRST_YEAR, first_month.year)]
    months = [first_month]
    while (following := _months_before(months[-1], -1)) <= first_day:
        months.append(following)
    days = [first_day + timedelta(days=n) for n in range((today - first_day).days + DAYS_AHEAD + 2)]
    return _between(sorted(day for day in {*years, *months, *days} if day.year >= FIRST_YEAR))


def name_of(within: TimeRange) -> str:
    """Return the suffix of a partition's name."""
    start, end = within.start.date(), within.end.date()
    if end == start + timedelta(days=1):
        return f"p{start:%Y%m%d}"
    if start.day == 1 and end == _months_before(start, -1):
        return f"p{start:%Y%m}"
    if (start.month, start.day) == (1, 1) and end == date(start.year + 1, 1, 1):
        return f"p{start:%Y}"
    return f"p{start:%Y%m%d}_{end:%Y%m%d}"


def _months_of(within: TimeRange) -> Iterator[TimeRange]:
    firsts = [within.start.date()]
    while (following := _months_before(firsts[-1], -1)) < within.end.date():
        firsts.append(following)
    yield from _between([*firsts, within.end.date()])


def _months_before(day: date, number: int) -> date:
    """Return the first of the month that is `number` months before that of a day."""
    months = day.year * 12 + day.month - 1 - number
    return date(months // 12, months % 12 + 1, 1)


def _between(borders: Sequence[date]) -> list[TimeRange]:
    instants = [datetime.combine(border, time(), UTC) for border in borders]
    return [TimeRange(start, end) for start, end in pairwise(instants)]


def overlap(one: TimeRange, other: TimeRange) -> bool:
    return one.start < other.end and other.start < one.end


def contains(outer: TimeRange, inner: TimeRange) -> bool:
    return outer.start <= inner.start and inner.end <= outer.end
