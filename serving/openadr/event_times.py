"""When an event of OpenADR begins and ends. Pure."""

from collections.abc import Iterator
from datetime import datetime

from schemas.openadr import EventRequest, Request, periods
from schemas.openadr_times import NO_PERIOD, TimedInterval, instant_of, start_of
from schemas.openadr_times import timed_intervals as timed
from schemas.times.durations import parse_duration
from serving.errors import InvalidRequestError


def require_times(request: Request) -> None:
    """Refuse starts that are no times: a pattern does not know the months.

    Raises:
        InvalidRequestError: one is none.
    """
    for path, period in periods(request):
        try:
            instant_of(period.start)
        except ValueError as error:
            raise InvalidRequestError(f"{path}.start is {period.start!r}: {error}") from None


def event_start(event: EventRequest, now: datetime) -> datetime:
    """When an event begins; `now` stands for at once."""
    return start_of(event.interval_period, event.intervals or (), now)


def timed_intervals(event: EventRequest, now: datetime) -> Iterator[TimedInterval]:
    """The intervals of an event, once through, with their times."""
    return timed(event.interval_period, event.intervals or (), now)


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
