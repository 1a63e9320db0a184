"""Instants: UTC everywhere inside, whatever the border says."""

import re
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ISO_FORM = re.compile(r"[0-9W-]{8,10}([Tt ][0-9:.,]+([Zz]|[+-][0-9:.]+)?)?")
"""A date, and perhaps a time: `fromisoformat` also reads `2024-07-10-05:00`, and no further than a NUL."""

MICROSECOND = timedelta(microseconds=1)


def parse_iso(text: str) -> datetime:
    """An ISO 8601 instant; without a zone it is UTC.

    Raises:
        ValueError: it is none, or lies outside the years 1 to 9998.
    """
    try:
        if not ISO_FORM.fullmatch(text):
            raise ValueError  # noqa: TRY301
        parsed = datetime.fromisoformat(text.upper())
        instant = parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("expected an ISO 8601 time such as 2024-07-10T15:00:00Z") from None
    if instant.year > 9998:  # noqa: PLR2004 - the last year that calendars can step past
        raise ValueError("expected a year before 9999")
    return instant


def from_unix(seconds: float) -> datetime:
    """Unix seconds, to the nearest microsecond.

    Raises:
        ValueError: outside the years 1 to 9999, as milliseconds and nanoseconds are.
    """
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError):
        raise ValueError("expected Unix seconds; this looks like another unit") from None


def microseconds(instant: datetime) -> int:
    """Microseconds since the Unix epoch, exactly."""
    return (instant - EPOCH) // MICROSECOND


def from_microseconds(us: int) -> datetime:
    return EPOCH + timedelta(microseconds=us)
