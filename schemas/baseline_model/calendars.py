"""The calendar that defines similar days: a time zone, and the holidays."""

import re
from datetime import date, datetime

import holidays

from schemas.baseline_model.days import Calendar

REGION = re.compile(r"(?P<country>[A-Z]{2})(-(?P<subdivision>[A-Z0-9]{1,3}))?")


def check_holidays(listed: str) -> str:
    """Validate countries, their subdivisions, or single days, separated by commas.

    Raises:
        ValueError: one of them is unknown.
    """
    for entry in _entries(listed):
        try:
            _days(entry, range(2024, 2025))
        except (NotImplementedError, ValueError):
            raise ValueError(f"expected US, DE-BY, 2026-12-24, ..., not {entry[:20]!r}") from None
    return listed


def calendar_for(time_zone: str, listed: str, look_back_days: int, around: datetime) -> Calendar:
    """Return the calendar of an event around a time."""
    years = range(around.year - look_back_days // 365 - 1, around.year + 2)
    days = frozenset(day for entry in _entries(listed) for day in _days(entry, years))
    return Calendar(time_zone, days, look_back_days)


def _entries(listed: str) -> list[str]:
    return [entry for part in listed.split(",") if (entry := part.strip())]


def _days(entry: str, years: range) -> set[date]:
    region = REGION.fullmatch(entry)
    if region is None:
        return {date.fromisoformat(entry)}
    return set(holidays.country_holidays(region["country"], subdiv=region["subdivision"], years=years))
