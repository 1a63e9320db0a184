"""When an event of OpenADR begins and ends. Pure.

An interval begins at its own start, else where the one before it ends; the first one with the event. A start
of `0001-01-01` stands for no start: at once. A duration of years beyond the calendar is for ever.
"""

from collections.abc import Iterator
from datetime import datetime

from msgspec import Struct

from schemas.openadr import EventRequest, Interval, IntervalPeriod, Request, periods
from schemas.times.durations import parse_duration
from schemas.times.instants import parse_iso
from serving.errors import InvalidRequestError

AT_ONCE_YEAR = 1
NO_PERIOD = IntervalPeriod()


class TimedInterval(Struct, frozen=True):
    """An interval with its times; `end` is None for one that never ends."""

    start: datetime
    end: datetime | None
    interval: Interval


def require_times(request: Request) -> None:
    """Refuse starts that are no times: a pattern does not know the months.

    Raises:
        InvalidRequestError: one is none.
    """
    for path, period in periods(request):
        try:
            _instant(period.start)
        except ValueError as error:
            raise InvalidRequestError(f"{path}.start is {period.start!r}: {error}") from None


def event_start(event: EventRequest, now: datetime) -> datetime:
    """When an event begins; `now` stands for at once."""
    first = event.intervals[0].interval_period if event.intervals else None
    starts = (period.start for period in (first, event.interval_period) if period is not None)
    return next((at for each in starts if (at := _instant(each)) is not None), now)


def timed_intervals(event: EventRequest, now: datetime) -> Iterator[TimedInterval]:
    """The intervals of an event, once through, with their times."""
    default = event.interval_period or NO_PERIOD
    next_start: datetime | None = event_start(event, now)
    for interval in event.intervals or ():
        period = interval.interval_period or NO_PERIOD
        start = _instant(period.start) or next_start
        if start is None:  # after one that never ends
            return
        duration = period.duration or default.duration
        next_start = start if duration is None else parse_duration(duration).after(start)
        yield TimedInterval(start, next_start, interval)


def event_end(event: EventRequest, now: datetime) -> datetime | None:
    """When an event ends; None for never. Without any time it never does."""
    default = event.interval_period or NO_PERIOD
    start = event_start(event, now)
    if event.duration is not None:
        return parse_duration(event.duration).after(start)
    intervals = list(timed_intervals(event, now))
    if not intervals:
        return None if default.duration is None else parse_duration(default.duration).after(start)
    has_duration = default.duration or any(
        each.interval.interval_period and each.interval.interval_period.duration for each in intervals
    )
    if not has_duration:
        return None
    ends = [each.end for each in intervals]
    return None if None in ends else max(end for end in ends if end is not None)


def _instant(text: str | None) -> datetime | None:
    """None for no time and for the beginning of time.

    Raises:
        ValueError: it is no time.
    """
    at = None if text is None else parse_iso(text)
    return None if at is None or at.year == AT_ONCE_YEAR else at
