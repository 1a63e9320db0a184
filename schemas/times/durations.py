"""ISO 8601 durations: years and months by the calendar; `P9999Y` and the like are infinite."""

import re
from calendar import monthrange
from datetime import datetime, timedelta

from msgspec import Struct

LAST_YEAR = 9998
"""A later end counts as infinite."""

_PARTS = re.compile(
    r"(?P<sign>-?)P(?=\d|T\d)(?:(?P<years>\d+)Y)?(?:(?P<months>\d+)M)?(?:(?P<days>\d+)(?P<unit>[DW]))?"
    r"(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?"
)


class Duration(Struct, frozen=True):
    """Months by the calendar, and the rest in seconds."""

    months: int
    seconds: float

    def after(self, start: datetime) -> datetime | None:
        """Return the instant after this duration; None if it is infinite."""
        try:
            return _later(start, self.months) + timedelta(seconds=self.seconds)
        except (OverflowError, ValueError):
            return None


def parse_duration(text: str) -> Duration:
    """Parse a duration such as `PT1H30M` or `P1M`.

    Raises:
        ValueError: it is not a duration.
    """
    parts = _PARTS.fullmatch(text)
    if parts is None:
        raise ValueError("expected an ISO 8601 duration such as PT1H")
    number = {name: float(value or 0) for name, value in parts.groupdict().items() if name not in _WORDS}
    days = number["days"] * (7 if parts["unit"] == "W" else 1)
    seconds = ((days * 24 + number["hours"]) * 60 + number["minutes"]) * 60 + number["seconds"]
    sign = -1 if parts["sign"] else 1
    return Duration(sign * int(number["years"] * 12 + number["months"]), sign * seconds)


_WORDS = ("sign", "unit")


def _later(start: datetime, months: int) -> datetime:
    """Return the same day and time of a later month, or its last day.

    Raises:
        ValueError: the result is beyond the calendar.
    """
    years, month = divmod(start.month - 1 + months, 12)
    year = start.year + years
    if not 1 <= year <= LAST_YEAR:
        raise ValueError("out of the calendar")
    return start.replace(year=year, month=month + 1, day=min(start.day, monthrange(year, month + 1)[1]))
