"""Days of a time zone: their beginnings, and the day of an instant. Pure."""

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from schemas.times.instants import microseconds

DAY = timedelta(days=1)


def local_day(at: datetime, zone: str) -> date:
    """Return the local day of an instant: from its first instant until before that of the next.

    Where clocks go back over midnight a date occurs twice, but has one range.
    """
    day = at.astimezone(ZoneInfo(zone)).date()
    while midnight_us(day, zone) > microseconds(at):
        day -= DAY
    while midnight_us(day + DAY, zone) <= microseconds(at):
        day += DAY
    return day


@lru_cache(maxsize=4_096)
def midnight_us(day: date, zone: str) -> int:
    """Return the first instant of a local date, microseconds since the Unix epoch.

    For a skipped midnight, Python's `fold=0` gives the instant of the change, if it is at midnight; else an
    earlier instant.
    """
    local = ZoneInfo(zone)
    midnight = datetime.combine(day, time(), local)
    first = midnight.astimezone(UTC)
    if first.astimezone(local).replace(tzinfo=None) == midnight.replace(tzinfo=None):
        return microseconds(first)
    early = midnight.replace(fold=1).astimezone(UTC) - timedelta(seconds=1)
    while first - early > timedelta(seconds=1):
        middle = early + timedelta(seconds=(first - early) // timedelta(seconds=2))
        if middle.astimezone(local).date() >= day:
            first = middle
        else:
            early = middle
    return microseconds(first)
