"""The maximum temperature of a day, by which days are matched, in degrees Celsius. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.baseline_model.days import Days
from schemas.tables.weather import SITE
from schemas.times.time_ranges import TimeRange

Temperatures = NDArray[np.float64]
"""Maxima by VEN and day, the event's first; NaN if a day has too few values."""

FEWEST_HOURS = 20
"""Fewest hours with a temperature for a daily maximum, which could lie in the others."""


def temperature_range(days: Days) -> TimeRange:
    """Return the range from the first to the last local midnight of the compared days, in UTC."""
    first, last = (_midnight(days, back) for back in (max(days.backs), -1))
    return TimeRange(first, last)


def _midnight(days: Days, back: int) -> datetime:
    calendar = days.calendar
    day = calendar.day_of(days.occasion.start) - timedelta(days=back)
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(calendar.time_zone)).astimezone(UTC)


def daily_maxima(
    ven_ids: Sequence[str], regions: pl.DataFrame, temperatures: pl.DataFrame, days: Days
) -> Temperatures:
    """Return the highest temperature of each day by VEN.

    Args:
        ven_ids: of the rows.
        regions: `ven_id`, `region`: the region whose temperatures apply to a VEN.
        temperatures: `region`, `ts`, `temperature_c`.
        days: of the columns.
    """
    local = pl.col("ts").dt.convert_time_zone(days.calendar.time_zone)
    today = days.calendar.day_of(days.occasion.start)
    by_day = (
        temperatures.with_columns(
            back=(pl.lit(today) - local.dt.date()).dt.total_days(), hour=pl.col("ts").dt.truncate("1h")
        )
        .group_by("region", "back")
        .agg(pl.col("temperature_c").max(), hours=pl.col("hour").n_unique())
        .filter(pl.col("hours") >= FEWEST_HOURS)
    )
    rows = pl.DataFrame({"ven_id": list(ven_ids)}, {"ven_id": pl.String}).with_row_index("row")
    columns = pl.DataFrame({"back": days.backs}, {"back": pl.Int64}).with_row_index("column")
    by_position = rows.join(regions, on="ven_id").join(by_day, on="region").join(columns, on="back")
    maxima = np.full((len(ven_ids), len(days.backs)), np.nan)
    row, column, degrees = (
        by_position.get_column(name).to_numpy() for name in ("row", "column", "temperature_c")
    )
    maxima[row, column] = degrees
    return maxima


def everywhere(ven_ids: Sequence[str], temperatures: pl.DataFrame, days: Days) -> Temperatures:
    """Return the same daily maxima for all VENs, from `ts`, `temperature_c`."""
    regions = pl.DataFrame({"ven_id": list(ven_ids)}, {"ven_id": pl.String}).with_columns(region=pl.lit(SITE))
    return daily_maxima(ven_ids, regions, temperatures.with_columns(region=pl.lit(SITE)), days)
