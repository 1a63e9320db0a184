"""Ranges of time, half-open and UTC, and how to cut them into parts of like size. Pure."""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise

from msgspec import Struct

from schemas.times.instants import EPOCH

DAY_S = 86_400


class TimeRange(Struct, frozen=True):
    """`[start, end)`."""

    start: datetime
    end: datetime


def widened(within: TimeRange, width_s: int) -> TimeRange:
    """The smallest range on multiples of `width_s` since the Unix epoch that contains this one."""
    width = timedelta(seconds=width_s)
    return TimeRange(
        EPOCH + (within.start - EPOCH) // width * width, EPOCH - (EPOCH - within.end) // width * width
    )


def ranges_of_days(days: Iterable[date], most: int) -> list[TimeRange]:
    """Few ranges that contain some UTC days and leave out the widest gaps between them; oldest first."""
    each = sorted(set(days))
    gaps = [place for place in range(1, len(each)) if (each[place] - each[place - 1]).days > 1]
    widest = sorted(gaps, key=lambda place: each[place - 1] - each[place])[: most - 1]
    borders = [0, *sorted(widest), len(each)] if each else [0]
    return [
        TimeRange(_midnight(each[first]), _midnight(each[end - 1]) + timedelta(days=1))
        for first, end in pairwise(borders)
    ]


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def days(within: TimeRange) -> Iterator[TimeRange]:
    """The range, cut at each midnight."""
    start = within.start
    while start < within.end:
        midnight = widened(TimeRange(start, start), DAY_S).start + timedelta(seconds=DAY_S)
        end = min(midnight, within.end)
        yield TimeRange(start, end)
        start = end


def without(ranges: Iterable[TimeRange], excluded: Iterable[TimeRange]) -> list[TimeRange]:
    """What some ranges cover and none of the excluded ones does."""
    left = list(ranges)
    for away in excluded:
        pieces = (
            (TimeRange(each.start, min(each.end, away.start)), TimeRange(max(each.start, away.end), each.end))
            for each in left
        )
        left = [piece for both in pieces for piece in both if piece.start < piece.end]
    return left


def even_parts(
    within: TimeRange, sizes: Iterable[tuple[datetime, int]], most: int
) -> Iterator[tuple[TimeRange, int]]:
    """Cut a range before each instant at which a part would come to more than `most`.

    Args:
        within: what the parts cover, once and without a gap.
        sizes: instants in the range, ascending, and how much begins there.
        most: what a part should not exceed; what begins at a single instant may.

    Returns:
        Each part with its size.
    """
    start, size = within.start, 0
    for at, added in sizes:
        if size + added > most and at > start:
            yield TimeRange(start, at), size
            start, size = at, 0
        size += added
    yield TimeRange(start, within.end), size
