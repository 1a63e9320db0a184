"""The latest values of VENs and loads, and their totals.

Messages may lack fields, and arrive in any order; so each field has the stamp of its message. A *stamp*
orders messages totally: twice the device time in microseconds since the Unix epoch, plus one for a telemetry
sample, so that at the same instant a sample outranks a description. The greater stamp wins, which is
commutative and idempotent.
"""

import polars as pl
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    Integer,
    SmallInteger,
    Table,
    Text,
)

from schemas.db.frame_models import pa
from schemas.tables.metadata import ROOM_FOR_UPDATES, Frame, Utc, instant, metadata, power_kw, text_key
from schemas.tables.raw import EntryFrame

LOAD_FIELDS = (
    "load_type",
    "name",
    "used_power_kw",
    "shed_power_kw",
    "capacity_kw",
    "shed_capability_kw",
    "enabled",
    "priority",
)
"""Optional fields of a load entry."""


def _stamp(field: str) -> Column[int]:
    return Column(f"{field}_stamp", BigInteger)


ven_snapshots = Table(
    "ven_snapshots",
    metadata,
    text_key("ven_id"),
    instant("ts", nullable=True),
    power_kw("used_power_kw"),
    instant("used_power_ts", nullable=True),
    power_kw("shed_power_kw"),
    power_kw("requested_reduction_kw"),
    Column("event_id", Text),
    power_kw("battery_soc"),
    instant("received_at", nullable=True),
    instant("heard_at", nullable=True),
    Column("status", Text),
    instant("status_ts", nullable=True),
    postgresql_with=ROOM_FOR_UPDATES,
)

load_snapshots = Table(
    "load_snapshots",
    metadata,
    text_key("ven_id"),
    text_key("load_id"),
    instant("ts"),
    Column("load_type", Text),
    Column("name", Text),
    power_kw("used_power_kw"),
    power_kw("shed_power_kw"),
    power_kw("capacity_kw"),
    power_kw("shed_capability_kw"),
    Column("enabled", Boolean),
    Column("priority", Integer),
    *(_stamp(field) for field in LOAD_FIELDS),
    postgresql_with=ROOM_FOR_UPDATES,
)

network_snapshot = Table(
    "network_snapshot",
    metadata,
    Column("network", SmallInteger, CheckConstraint("network = 1", name="one_row"), primary_key=True),
    Column("ven_count", BigInteger, nullable=False),
    Column("online_vens", BigInteger, nullable=False),
    Column("reporting_vens", BigInteger, nullable=False),
    power_kw("controllable_power_kw", nullable=False),
    power_kw("potential_load_reduction_kw", nullable=False),
    power_kw("household_usage_kw", nullable=False),
    power_kw("current_load_reduction_kw", nullable=False),
    Column("energy_day", Date, nullable=False),
    power_kw("energy_today_kwh"),
    instant("refreshed_at"),
    postgresql_with=ROOM_FOR_UPDATES,
)

load_type_rollups = Table(
    "load_type_rollups",
    metadata,
    text_key("load_type"),
    power_kw("total_capacity_kw", nullable=False),
    power_kw("total_shed_capability_kw", nullable=False),
    power_kw("current_usage_kw", nullable=False),
    postgresql_with=ROOM_FOR_UPDATES,
)


class VenSnapshotFrame(Frame):
    """`used_power_kw` is the last one reported, at `used_power_ts`; the rest is of the report at `ts`.

    `received_at` is the last receipt of any report; `heard_at` the last receipt of one that was not a replay.
    """

    ven_id: str
    ts: Utc = pa.Field(nullable=True)
    used_power_kw: float = pa.Field(nullable=True)
    used_power_ts: Utc = pa.Field(nullable=True)
    shed_power_kw: float = pa.Field(nullable=True)
    requested_reduction_kw: float = pa.Field(nullable=True)
    event_id: str = pa.Field(nullable=True)
    battery_soc: float = pa.Field(nullable=True)
    received_at: Utc = pa.Field(nullable=True)
    heard_at: Utc = pa.Field(nullable=True)
    status: str = pa.Field(nullable=True)
    status_ts: Utc = pa.Field(nullable=True)


class LoadSnapshotFrame(EntryFrame):
    """The latest entry: the newest value of each field, with the stamp of its message."""

    load_type_stamp: int = pa.Field(nullable=True)
    name_stamp: int = pa.Field(nullable=True)
    used_power_kw_stamp: int = pa.Field(nullable=True)
    shed_power_kw_stamp: int = pa.Field(nullable=True)
    capacity_kw_stamp: int = pa.Field(nullable=True)
    shed_capability_kw_stamp: int = pa.Field(nullable=True)
    enabled_stamp: int = pa.Field(nullable=True)
    priority_stamp: int = pa.Field(nullable=True)


class NetworkSnapshotFrame(Frame):
    network: pl.Int16 = pa.Field(eq=1)
    ven_count: int = pa.Field(ge=0)
    online_vens: int = pa.Field(ge=0)
    reporting_vens: int = pa.Field(ge=0)
    controllable_power_kw: float
    potential_load_reduction_kw: float
    household_usage_kw: float
    current_load_reduction_kw: float
    energy_day: pl.Date
    energy_today_kwh: float = pa.Field(nullable=True)
    refreshed_at: Utc


class LoadTypeRollupFrame(Frame):
    load_type: str
    total_capacity_kw: float
    total_shed_capability_kw: float
    current_usage_kw: float = pa.Field(ge=0)
