"""Instants: converted to UTC when they are read."""

import re
from datetime import UTC, datetime, timedelta

BEGINNING, EPOCH = datetime(1, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)
ISO_FORM = re.compile(r"(?P<date>[0-9W-]{8,10})([Tt ](?P<time>[0-9:.,]+) ?(?P<zone>[Zz]|[+-][0-9:.]+)?)?")
"""A date, and perhaps a time: `fromisoformat` also reads `2024-07-10-05:00`, and no further than a NUL."""

END_OF_DAY = re.compile(r"24:?00(:?00([.,]0+)?)?")
LEAP_SECOND = re.compile(r"(?P<minute>\d\d:?\d\d:?)60(?P<fraction>[.,]\d+)?")

MICROSECOND = timedelta(microseconds=1)


def parse_iso(text: str) -> datetime:
    """Parse an ISO 8601 instant; without a zone it is UTC.

    Raises:
        ValueError: it is not an instant, or outside the years 1 to 9998.
    """
    try:
        form = ISO_FORM.fullmatch(text)
        if form is None:
            raise ValueError  # noqa: TRY301
        parsed = _parsed(form["date"], form["time"], form["zone"])
        instant = parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("expected an ISO 8601 time such as 2024-07-10T15:00:00Z") from None
    if instant.year > 9998:  # noqa: PLR2004 - the last year that calendars can step past
        raise ValueError("expected a year before 9999")
    return instant


def _parsed(date: str, time: str | None, zone: str | None) -> datetime:
    """Parse the parts; 24:00:00 is the end of its day, second 60 (a leap second) the next minute's first."""
    if time is None:
        return datetime.fromisoformat(date)
    later = timedelta(0)
    if END_OF_DAY.fullmatch(time):
        time, later = "00:00", timedelta(days=1)
    elif leap := LEAP_SECOND.fullmatch(time):
        time, later = f"{leap['minute']}59{leap['fraction'] or ''}", timedelta(seconds=1)
    return datetime.fromisoformat(f"{date}T{time}{(zone or '').upper()}") + later


def from_unix(seconds: float) -> datetime:
    """Convert Unix seconds, to the nearest microsecond.

    Raises:
        ValueError: outside the years 1 to 9999, as milliseconds and nanoseconds are.
    """
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError):
        raise ValueError("expected Unix seconds; this looks like another unit") from None


def microseconds(instant: datetime) -> int:
    """Return microseconds since the Unix epoch, exactly."""
    return (instant - EPOCH) // MICROSECOND


def from_microseconds(us: int) -> datetime:
    return EPOCH + timedelta(microseconds=us)
