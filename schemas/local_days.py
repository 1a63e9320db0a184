"""Days of a time zone, as instants. Pure.

A day begins at the first instant of its date: at 01:00 where clocks skip midnight.
"""

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from schemas.instants import from_microseconds, microseconds
from schemas.time_ranges import TimeRange

DAY = timedelta(days=1)


@lru_cache(maxsize=4_096)
def midnight_us(day: date, zone: str) -> int:
    """The first instant of a local date, microseconds since the Unix epoch.

    Of a time that clocks skip, Python's `fold=0` gives the instant at which they do, if they skip from
    midnight on; else the instant lies before it.
    """
    local = ZoneInfo(zone)
    midnight = datetime.combine(day, time(), local)
    found = midnight.astimezone(UTC)
    if found.astimezone(local).replace(tzinfo=None) == midnight.replace(tzinfo=None):
        return microseconds(found)
    early = midnight.replace(fold=1).astimezone(UTC) - timedelta(seconds=1)
    while found - early > timedelta(seconds=1):
        middle = early + timedelta(seconds=(found - early) // timedelta(seconds=2))
        if middle.astimezone(local).date() >= day:
            found = middle
        else:
            early = middle
    return microseconds(found)


def local_day(at: datetime, zone: str) -> TimeRange:
    """The day that an instant lies in, of 23 to 25 hours, by the IANA name of a zone.

    Where clocks go back over midnight, a date comes twice: the next day begins with its first instant.
    """
    at_us = microseconds(at)
    day = at.astimezone(ZoneInfo(zone)).date()
    while midnight_us(day, zone) > at_us:
        day -= DAY
    while midnight_us(day + DAY, zone) <= at_us:
        day += DAY
    return TimeRange(
        from_microseconds(midnight_us(day, zone)), from_microseconds(midnight_us(day + DAY, zone))
    )
