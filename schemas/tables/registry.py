"""The registry: which VENs exist, and what people have said of them and of their loads.

What VENs say of themselves lives in the snapshots; where both speak, people win, field by field.
"""

import pandera.polars as pa
import polars as pl
from sqlalchemy import Boolean, Column, Double, Integer, Table, Text

from schemas.tables.metadata import Frame, Utc, instant, metadata, power_kw, text_key

vens = Table(
    "vens",
    metadata,
    text_key("ven_id"),
    Column("name", Text),
    Column("registration_id", Text),
    Column("status", Text),
    Column("latitude_deg", Double),
    Column("longitude_deg", Double),
    Column("address", Text),
    instant("created_at"),
    instant("retired_at", nullable=True),
)

loads = Table(
    "loads",
    metadata,
    text_key("ven_id"),
    text_key("load_id"),
    Column("name", Text),
    Column("load_type", Text),
    power_kw("capacity_kw"),
    power_kw("shed_capability_kw"),
    Column("enabled", Boolean),
    Column("priority", Integer),
    instant("updated_at"),
    instant("removed_ts", nullable=True),
)


class VenFrame(Frame):
    ven_id: str
    name: str = pa.Field(nullable=True)
    registration_id: str = pa.Field(nullable=True)
    status: str = pa.Field(nullable=True)
    latitude_deg: float = pa.Field(nullable=True, ge=-90, le=90)
    longitude_deg: float = pa.Field(nullable=True, ge=-180, le=180)
    address: str = pa.Field(nullable=True)
    created_at: Utc
    retired_at: Utc = pa.Field(nullable=True)


class LoadFrame(Frame):
    """What people set, null where they set nothing.

    What was said of a load up to the device time `removed_ts` is not among the latest values.
    """

    ven_id: str
    load_id: str
    name: str = pa.Field(nullable=True)
    load_type: str = pa.Field(nullable=True)
    capacity_kw: float = pa.Field(nullable=True)
    shed_capability_kw: float = pa.Field(nullable=True)
    enabled: bool = pa.Field(nullable=True)
    priority: pl.Int32 = pa.Field(nullable=True)
    updated_at: Utc
    removed_ts: Utc = pa.Field(nullable=True)
