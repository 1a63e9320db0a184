"""The calendars of `schemas.baseline_model.calendars`, by the name that they had here."""

from schemas.baseline_model.calendars import (
    REGION,
    calendar_for,
    check_holidays,
)

__all__ = [
    "REGION",
    "calendar_for",
    "check_holidays",
]
