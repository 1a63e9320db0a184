"""What a request asks for, and the plan that answers a history request exactly. Pure.

Times are whole microseconds since the Unix epoch, ranges half-open, None an open end.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

from msgspec import Struct

Aggregate = Literal["sum", "energy", "mean"]
MICROSECONDS_PER_S = 1_000_000


class Window(Struct, frozen=True):
    """A range of history, and how it is to be cut and added up."""

    start_us: int | None
    end_us: int | None
    granularity_s: int
    aggregate: Aggregate = "sum"


class Page(Struct, frozen=True):
    """At most `limit` entries of a list, after the one with the id `after`."""

    limit: int | None = None
    after: str | None = None


class Piece(Struct, frozen=True):
    """A part of a window and the resolution that serves it; None means raw rows."""

    resolution_s: int | None
    start_us: int | None
    end_us: int | None


def plan(window: Window, resolutions_s: Sequence[int]) -> list[Piece]:
    """Cover a window once, never twice, from the coarsest buckets that fit, and its edges from finer ones.

    Args:
        window: what is asked for.
        resolutions_s: what the summary has; those that do not divide the granularity cannot serve it.

    Returns:
        Pieces in the order of time. A rollup piece begins and ends on borders of its own resolution.
    """
    usable = sorted((r for r in resolutions_s if window.granularity_s % r == 0), reverse=True)
    return list(_cover(window.start_us, window.end_us, usable))


def _cover(start_us: int | None, end_us: int | None, usable_s: Sequence[int]) -> Iterator[Piece]:
    if start_us is not None and end_us is not None and start_us >= end_us:
        return
    if not usable_s:
        yield Piece(None, start_us, end_us)
        return
    coarsest_s, *finer_s = usable_s
    width_us = coarsest_s * MICROSECONDS_PER_S
    first_us = None if start_us is None else -(-start_us // width_us) * width_us
    last_us = None if end_us is None else end_us // width_us * width_us
    if first_us is not None and last_us is not None and first_us >= last_us:
        yield from _cover(start_us, end_us, finer_s)
        return
    if start_us is not None:
        yield from _cover(start_us, first_us, finer_s)
    yield Piece(coarsest_s, first_us, last_us)
    if end_us is not None:
        yield from _cover(last_us, end_us, finer_s)
