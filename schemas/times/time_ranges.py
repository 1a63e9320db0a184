"""Ranges of time, half-open and UTC, and their division into parts of similar size. Pure."""

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
    """Return the smallest range on multiples of `width_s` since the Unix epoch that contains this one."""
    width = timedelta(seconds=width_s)
    return TimeRange(
        EPOCH + (within.start - EPOCH) // width * width, EPOCH - (EPOCH - within.end) // width * width
    )


def ranges_of_days(days: Iterable[date], most: int) -> list[TimeRange]:
    """Return at most `most` ranges that contain UTC days and leave out their widest gaps; oldest first."""
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
    """Yield the range, cut at each midnight."""
    start = within.start
    while start < within.end:
        midnight = widened(TimeRange(start, start), DAY_S).start + timedelta(seconds=DAY_S)
        end = min(midnight, within.end)
        yield TimeRange(start, end)
        start = end


def without(ranges: Iterable[TimeRange], excluded: Iterable[TimeRange]) -> list[TimeRange]:
    """Return the ranges without the excluded ones."""
    remaining = list(ranges)
    for away in excluded:
        pieces = (
            (TimeRange(each.start, min(each.end, away.start)), TimeRange(max(each.start, away.end), each.end))
            for each in remaining
        )
        remaining = [piece for both in pieces for piece in both if piece.start < piece.end]
    return remaining


def even_parts(
    within: TimeRange, sizes: Iterable[tuple[datetime, int]], most: int
) -> Iterator[tuple[TimeRange, int]]:
    """Cut a range before each instant at which a part would exceed `most`.

    Args:
        within: the range, which the parts cover without gaps or overlaps.
        sizes: instants in the range, ascending, with the size of what begins there.
        most: largest size of a part, unless it has a single instant.

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
