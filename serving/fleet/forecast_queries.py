"""Statements that read the forecast by type of load."""

from datetime import datetime
from typing import Any

from sqlalchemy import Select, select

from schemas.tables.forecasts import HALF_HOUR, load_type_forecasts


def origin() -> Select[Any]:
    """The first half hour of the forecast when it was made; no row without one."""
    return select(load_type_forecasts.c.origin).limit(1)


def types() -> Select[Any]:
    """The types of load of which there is a forecast."""
    load_type = load_type_forecasts.c.load_type
    return select(load_type).distinct().order_by(load_type)


def half_hours(load_type: str, start: datetime | None, end: datetime | None) -> Select[Any]:
    """The forecast of a type, oldest first, of half hours that a range touches; both ends are inclusive."""
    row = load_type_forecasts.c
    query = select(load_type_forecasts).where(row.load_type == load_type).order_by(row.half_hour)
    if start is not None:
        query = query.where(row.half_hour > start - HALF_HOUR)
    return query if end is None else query.where(row.half_hour <= end)
