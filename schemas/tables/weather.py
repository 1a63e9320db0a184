"""Outdoor temperatures by region, by which baselines match days."""

from sqlalchemy import Column, Double, Table

from schemas.db.frame_models import pa
from schemas.tables.metadata import Frame, Utc, instant, key_instant, metadata, text_key

COLDEST_C, HOTTEST_C = -90.0, 60.0
"""Bounds of plausible temperatures; others are in another unit, or wrong."""

SITE = ""
"""The region of the series for VENs whose own region has none."""

temperatures = Table(
    "temperatures",
    metadata,
    text_key("region"),
    key_instant("ts"),
    Column("temperature_c", Double, nullable=False),
    instant("recorded_at"),
)


class TemperatureFrame(Frame):
    """`region`: as VENs have it, `SITE` for all others. `ts`: the time of the measurement or forecast.

    `recorded_at`: when the value was imported, or last changed by an import.
    """

    region: str
    ts: Utc
    temperature_c: float = pa.Field(ge=COLDEST_C, le=HOTTEST_C)
    recorded_at: Utc
