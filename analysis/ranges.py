"""Time ranges and granularities as analysts write them, in local time. Pure."""

import re
from datetime import UTC, date, datetime, time
from typing import Literal
from zoneinfo import ZoneInfo

from msgspec import Struct

from schemas.tables.history import SLOT_S
from schemas.times.instants import microseconds

Aggregate = Literal["sum", "mean", "energy"]
Instant = datetime | date | str | None
"""A time with its zone, or in the grid's; a date is its first instant; None is an open end."""

FIXED = re.compile(r"([1-9][0-9]{0,8})([smh])")
CALENDAR = re.compile(r"[1-9][0-9]{0,2}(d|w|mo|q|y)")
UNIT_S = {"s": 1, "m": 60, "h": 3600}


class TimeRangeUs(Struct, frozen=True):
    """Whole microseconds since the Unix epoch, half-open; None is an open end."""

    start_us: int | None
    end_us: int | None

    @property
    def is_empty(self) -> bool:
        return self.end_us is not None and self.end_us <= (self.start_us or 0)


class Granularity(Struct, frozen=True):
    """Buckets of `width_s`, aligned to the Unix epoch; `calendar`: a calendar length to aggregate to."""

    width_s: int
    calendar: str | None = None


def time_range_us(start: Instant, end: Instant, zone: ZoneInfo) -> TimeRangeUs:
    """A range from `start` to before `end`.

    Raises:
        ValueError: one of them is no time, or they are in the wrong order.
    """
    ends = {"start": start, "end": end}
    first, last = (
        None if value is None else microseconds(_instant(name, value, zone)) for name, value in ends.items()
    )
    if first is not None and last is not None and first > last:
        raise ValueError(f"start ({start}) must not be after end ({end})")
    # Nothing is older than the epoch.
    return TimeRangeUs(None if first is None else max(first, 0), None if last is None else max(last, 0))


def first_and_last_us(within: TimeRangeUs) -> tuple[int | None, int | None]:
    """The range as the HTTP API has it, whose `end` is inclusive; an empty range has no exact equivalent."""
    if within.end_us is None or within.is_empty:
        return within.start_us, within.start_us if within.is_empty else None
    return within.start_us, within.end_us - 1


def granularity(text: str, aggregate: Aggregate) -> Granularity:
    """`30s`, `15m`, `1h` as in the API; `1d`, `1w`, `1mo`, `1q`, `1y` by the calendar of the grid's zone.

    Raises:
        ValueError: it is neither, or too fine for the aggregate.
    """
    if isinstance(text, str) and CALENDAR.fullmatch(text):
        return Granularity(SLOT_S, text)
    match = FIXED.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(
            f"granularity is {text!r}: expected a number and s, m, h, d, w, mo, q or y, such as 15m or 1d"
        )
    width_s = int(match[1]) * UNIT_S[match[2]]
    if aggregate != "sum" and width_s % SLOT_S:
        raise ValueError(
            f"granularity is {text!r}: {aggregate} needs a multiple of 5m; aggregate='sum' has finer ones"
        )
    return Granularity(width_s)


def _instant(argument: str, value: object, zone: ZoneInfo) -> datetime:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise _no_instant(argument, value) from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if not isinstance(value, datetime):
        raise _no_instant(argument, value)
    return (value.replace(tzinfo=zone) if value.tzinfo is None else value).astimezone(UTC)


def _no_instant(argument: str, value: object) -> ValueError:
    return ValueError(
        f"{argument} is {value!r}: expected 2026-07-15, 2026-07-15T18:00, or a date or datetime of Python"
    )
