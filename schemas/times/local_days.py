"""Days of a time zone: where each begins, and which one an instant lies in. Pure."""

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from schemas.times.instants import microseconds

DAY = timedelta(days=1)


def local_day(at: datetime, zone: str) -> date:
    """The day of a time zone that an instant lies in: from its first instant until before that of the next.

    Where clocks go back over midnight a date comes twice, but has one range.
    """
    day = at.astimezone(ZoneInfo(zone)).date()
    while midnight_us(day, zone) > microseconds(at):
        day -= DAY
    while midnight_us(day + DAY, zone) <= microseconds(at):
        day += DAY
    return day


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
