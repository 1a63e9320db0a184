"""Computes start and end of OpenADR intervals. Pure.

An interval begins at its own start, else where the previous one ends; the first one with its object. The
start `0001-01-01` means no start: at once. A duration beyond the calendar is infinite.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from msgspec import Struct

from schemas.openadr import Interval, IntervalPeriod
from schemas.times.durations import parse_duration
from schemas.times.instants import parse_iso

AT_ONCE_YEAR = 1
NO_PERIOD = IntervalPeriod()


class TimedInterval(Struct, frozen=True):
    """An interval with its times; `end` is None for one that never ends."""

    start: datetime
    end: datetime | None
    interval: Interval


def start_of(period: IntervalPeriod | None, intervals: Sequence[Interval], now: datetime) -> datetime:
    """Return when intervals with a default period begin; `now` replaces `at once`."""
    first = intervals[0].interval_period if intervals else None
    starts = (each.start for each in (first, period) if each is not None)
    return next((at for each in starts if (at := instant_of(each)) is not None), now)


def timed_intervals(
    period: IntervalPeriod | None, intervals: Sequence[Interval], now: datetime
) -> Iterator[TimedInterval]:
    """Return intervals with their times, without repetition.

    Args:
        period: the default of all intervals.
        intervals: in their order.
        now: replaces `at once`.
    """
    default = period or NO_PERIOD
    next_start: datetime | None = start_of(period, intervals, now)
    for interval in intervals:
        own = interval.interval_period or NO_PERIOD
        start = instant_of(own.start) or next_start
        if start is None:  # the previous one never ends
            return
        duration = own.duration or default.duration
        next_start = start if duration is None else parse_duration(duration).after(start)
        yield TimedInterval(start, next_start, interval)


def instant_of(text: str | None) -> datetime | None:
    """Parse a time; None without one, and for the start `0001-01-01`.

    Raises:
        ValueError: it is not a time.
    """
    at = None if text is None else parse_iso(text)
    return None if at is None or at.year == AT_ONCE_YEAR else at
