"""Ranges of device time, half-open and UTC, and how to cut them into parts of like size. Pure."""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise

from msgspec import Struct

from schemas.instants import EPOCH

DAY_S = 86_400


class Range(Struct, frozen=True):
    """`[start, end)`."""

    start: datetime
    end: datetime


def widened(within: Range, width_s: int) -> Range:
    """The smallest range on borders of `width_s` that holds this one."""
    width = timedelta(seconds=width_s)
    return Range(
        EPOCH + (within.start - EPOCH) // width * width, EPOCH - (EPOCH - within.end) // width * width
    )


def ranges_of_days(days: Iterable[date], most: int) -> list[Range]:
    """Few ranges that hold all of some UTC days, and leave out the widest gaps between them; oldest first."""
    each = sorted(set(days))
    gaps = [place for place in range(1, len(each)) if (each[place] - each[place - 1]).days > 1]
    widest = sorted(gaps, key=lambda place: each[place - 1] - each[place])[: most - 1]
    borders = [0, *sorted(widest), len(each)] if each else [0]
    return [
        Range(_midnight(each[first]), _midnight(each[end - 1]) + timedelta(days=1))
        for first, end in pairwise(borders)
    ]


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def days(within: Range) -> Iterator[Range]:
    """The range, cut at each midnight."""
    start = within.start
    while start < within.end:
        midnight = widened(Range(start, start), DAY_S).start + timedelta(seconds=DAY_S)
        end = min(midnight, within.end)
        yield Range(start, end)
        start = end


def without(ranges: Iterable[Range], taken: Iterable[Range]) -> list[Range]:
    """What some ranges hold and none of the taken ones does."""
    left = list(ranges)
    for away in taken:
        pieces = (
            (Range(each.start, min(each.end, away.start)), Range(max(each.start, away.end), each.end))
            for each in left
        )
        left = [piece for both in pieces for piece in both if piece.start < piece.end]
    return left


def even_parts(within: Range, sizes: Iterable[tuple[datetime, int]], most: int) -> Iterator[Range]:
    """Cut a range before each instant at which a part would come to more than `most`.

    Args:
        within: what the parts cover, once and without a gap.
        sizes: instants in the range, ascending, and how much begins there.
        most: what a part should not exceed; a single instant may.
    """
    start, size = within.start, 0
    for at, added in sizes:
        if size + added > most and at > start:
            yield Range(start, at)
            start, size = at, 0
        size += added
    yield Range(start, within.end)
