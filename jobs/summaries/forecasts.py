"""The forecast by load type: changed half hours are summed again, then the forecast is recomputed.

Both depend only on stored rows, and are idempotent.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection

from jobs.queries.summaries import forecasts as queries
from jobs.queries.summaries import merging as merging_queries
from jobs.queries.summaries import summary as summary_queries
from jobs.summaries.models import PresentLoadsFrame
from jobs.summaries.rows import fetch, write
from jobs.transforms.summaries.forecasts import HORIZON, LOOK_BACK_DAYS, forecast
from schemas.baseline_model.calendars import calendar_for
from schemas.db import locks
from schemas.devices.load_values import GONE_AFTER
from schemas.tables.forecasts import (
    HALF_HOUR,
    LoadTypeHalfHourFrame,
    load_type_forecasts,
    load_type_half_hours,
    stale_half_hours,
)
from schemas.times.time_ranges import TimeRange, widened

FEWEST_AT_ONCE, MOST_AT_ONCE = 8, 96
LOADS_AT_ONCE = 500_000
"""Most half hours of one transaction, and most loads times half hours: each sample with a load's shed
capability is read.
"""

LOOK_BACK = timedelta(days=LOOK_BACK_DAYS + 2)
"""History to keep, in half hours: back to the similar days of the last half hour that is forecast."""

REPORTED_WITHIN = timedelta(days=7)
"""Loads that were silent for longer are not forecast."""


def forecast_load_types(
    connection: Connection,
    now: datetime,
    time_zone: str = "UTC",
    holidays: str = "",
    gone_after: timedelta | None = GONE_AFTER,
) -> int:
    """Sum some stale half hours; if none remain, recompute the forecast. Returns the rows written.

    Half hours that are not over stay stale. Days are those of `time_zone`; `holidays` as in `HOLIDAYS`.
    """
    connection.execute(locks.exclusive(locks.FORECAST))
    origin = widened(TimeRange(now, now), int(HALF_HOUR.total_seconds())).start
    loads = connection.execute(queries.count_loads()).scalar_one()
    most = min(max(LOADS_AT_ONCE // max(loads, 1), FEWEST_AT_ONCE), MOST_AT_ONCE)
    stale = _take_stale(connection, origin, most)
    rows = _sum_half_hours(connection, stale)
    if len(stale) == most:
        return rows
    if not stale and connection.execute(queries.origin()).scalar_one() == origin:
        return 0
    return rows + _recompute_forecast(connection, origin, time_zone, holidays, gone_after)


def _take_stale(connection: Connection, origin: datetime, most: int) -> Sequence[datetime]:
    since = origin - LOOK_BACK
    for table in (stale_half_hours, load_type_half_hours):
        connection.execute(queries.forget(table, since))
    return connection.execute(queries.take_stale(since, origin, most)).scalars().all()


def _sum_half_hours(connection: Connection, half_hours: Sequence[datetime]) -> int:
    """Recompute the sums of half hours."""
    if not half_hours:
        return 0
    connection.execute(summary_queries.HOLD_RAW)
    sums = fetch(connection, queries.half_hours_of(_ranges(half_hours)), LoadTypeHalfHourFrame)
    connection.execute(queries.clear(half_hours))
    write(connection, sums, load_type_half_hours, merging_queries.replace)
    return len(half_hours)


def _ranges(half_hours: Sequence[datetime]) -> list[TimeRange]:
    """Return ranges that contain exactly the given half hours, oldest first."""
    ranges = list[TimeRange]()
    for start in sorted(half_hours):
        if ranges and ranges[-1].end == start:
            ranges[-1] = TimeRange(ranges[-1].start, start + HALF_HOUR)
        else:
            ranges.append(TimeRange(start, start + HALF_HOUR))
    return ranges


def _recompute_forecast(
    connection: Connection, origin: datetime, time_zone: str, holidays: str, gone_after: timedelta | None
) -> int:
    history = fetch(connection, queries.history(origin), LoadTypeHalfHourFrame)
    present = fetch(
        connection, queries.present_loads(origin - REPORTED_WITHIN, gone_after), PresentLoadsFrame
    )
    connection.execute(queries.clear_forecast())
    if present.is_empty():
        return 0
    calendar = calendar_for(time_zone, holidays, LOOK_BACK_DAYS, origin + HORIZON)
    rows = forecast(history, present, origin, calendar)
    write(connection, rows, load_type_forecasts, merging_queries.replace)
    return rows.height
