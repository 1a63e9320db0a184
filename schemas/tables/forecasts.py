"""Forecasts by load type, and the half-hourly history from which they are computed.

A half hour is a bucket of 30 minutes, aligned to the Unix epoch.
"""

from datetime import timedelta

import polars as pl
from sqlalchemy import BigInteger, Column, Integer, Table

from schemas.db.frame_models import pa
from schemas.tables.metadata import Frame, Utc, instant, key_instant, metadata, power_kw, text_key

HALF_HOUR = timedelta(minutes=30)
TOTAL = ""
"""The type of rows for all loads together; no load has an empty type."""

FEWEST_DAYS = 5
"""Fewest similar days for a forecast."""

PERCENTILES = ("p10", "p50", "p90")


def _percentiles(quantity: str) -> list[Column[float]]:
    return [power_kw(f"{quantity}_{name}_kw") for name in PERCENTILES]


load_type_half_hours = Table(
    "load_type_half_hours",
    metadata,
    text_key("load_type"),
    key_instant("half_hour"),
    power_kw("used_kw", nullable=False),
    Column("used_loads", BigInteger, nullable=False),
    power_kw("shed_kw", nullable=False),
    Column("shed_loads", BigInteger, nullable=False),
)

stale_half_hours = Table("stale_half_hours", metadata, key_instant("bucket"))

load_type_forecasts = Table(
    "load_type_forecasts",
    metadata,
    text_key("load_type"),
    key_instant("half_hour"),
    instant("origin"),
    Column("used_days", Integer, nullable=False),
    *_percentiles("used"),
    Column("shed_days", Integer, nullable=False),
    *_percentiles("shed"),
)


class LoadTypeHalfHourFrame(Frame):
    """Sums over the loads of a type, and their number; loads that took part in an event are left out.

    `used_kw`: of the mean powers of loads. `shed_kw`: of the mean shed capabilities of enabled loads.
    """

    load_type: str
    half_hour: Utc
    used_kw: float
    used_loads: int = pa.Field(ge=0)
    shed_kw: float = pa.Field(ge=0)
    shed_loads: int = pa.Field(ge=0)


class StaleHalfHourFrame(Frame):
    """Half hours whose samples have changed since `load_type_half_hours` was computed."""

    bucket: Utc


class LoadTypeForecastFrame(Frame):
    """Quantiles of a load type's usage and shed capability, kW; null with too few similar days.

    `origin`: the first half hour that was forecast then. `used_days`, `shed_days`: similar days.
    """

    load_type: str
    half_hour: Utc
    origin: Utc
    used_days: pl.Int32 = pa.Field(ge=0)
    used_p10_kw: float = pa.Field(nullable=True)
    used_p50_kw: float = pa.Field(nullable=True)
    used_p90_kw: float = pa.Field(nullable=True)
    shed_days: pl.Int32 = pa.Field(ge=0)
    shed_p10_kw: float = pa.Field(ge=0, nullable=True)
    shed_p50_kw: float = pa.Field(ge=0, nullable=True)
    shed_p90_kw: float = pa.Field(ge=0, nullable=True)
