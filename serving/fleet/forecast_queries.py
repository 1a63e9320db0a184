"""The SQL of the forecast by load type."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Select, select

from schemas.db.queries import Query, fields_of
from schemas.tables.forecasts import HALF_HOUR, load_type_forecasts


class ForecastRow(NamedTuple):
    """One half hour of a type; powers in kW."""

    load_type: str
    half_hour: datetime
    used_p10_kw: float | None
    used_p50_kw: float | None
    used_p90_kw: float | None
    used_days: int
    shed_p10_kw: float | None
    shed_p50_kw: float | None
    shed_p90_kw: float | None
    shed_days: int


def origin() -> Select[datetime]:
    """Select the first half hour of the forecast when it was computed; no row without one."""
    return select(load_type_forecasts.c.origin).limit(1)


def types() -> Select[str]:
    """Select the load types with a forecast."""
    load_type = load_type_forecasts.c.load_type
    return select(load_type).distinct().order_by(load_type)


def half_hours(types: Sequence[str], start: datetime | None, end: datetime | None) -> Query[ForecastRow]:
    """Select the forecasts of types, one after the other, for half hours in a range, ends included."""
    row = load_type_forecasts.c
    query = select(*fields_of(ForecastRow, load_type_forecasts)).where(row.load_type.in_(types))
    if start is not None:
        query = query.where(row.half_hour > start - HALF_HOUR)
    if end is not None:
        query = query.where(row.half_hour <= end)
    return Query(ForecastRow, query.order_by(row.load_type, row.half_hour))
