"""Settings of the calendar that defines similar days."""

from typing import Annotated
from zoneinfo import available_timezones

from pydantic import AfterValidator, Field

from schemas.baseline_model.calendars import check_holidays
from schemas.programs.settings import BaselineSettings


def _time_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError("expected a time zone such as UTC or Europe/Berlin")
    return name


class CalendarSettings(BaselineSettings):
    """Settings that measuring jobs and responses with baselines share."""

    time_zone: Annotated[str, AfterValidator(_time_zone)] = Field(
        "UTC",
        validation_alias="TIME_ZONE",
        description="time zone of the VENs, such as `Europe/Berlin`: its days are those of baselines, of"
        " `totalHousePowerToday`, and of histories by `d`, `w`, `mo`, `y`",
    )
    holidays: Annotated[str, AfterValidator(check_holidays)] = Field(
        "",
        validation_alias="HOLIDAYS",
        description="holidays, left out of baselines: `US`, `US-CA`, `DE-BY`, `2026-12-24`, ..., by commas",
    )
