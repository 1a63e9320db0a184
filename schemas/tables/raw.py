"""The raw rows: messages of VENs without duplicates, each with its ingest batch.

Samples and descriptions have the same columns, as load entries have the same fields in both; but samples are
history, while descriptions only describe a load. Days are UTC; the database function `ensure_raw_partitions`
creates their partitions.
"""

import polars as pl
from sqlalchemy import JSON, BigInteger, Boolean, Column, Integer, Table, Text

from schemas.db.frame_models import pa
from schemas.tables.metadata import Frame, Utc, arrival_index, instant, metadata, power_kw, text_key


def _ts() -> Column[object]:
    column = instant("ts")
    column.primary_key = True
    return column


def _batch_id() -> Column[int]:
    return Column("batch_id", BigInteger, nullable=False)


ven_telemetry = Table(
    "ven_telemetry",
    metadata,
    text_key("ven_id"),
    _ts(),
    power_kw("used_power_kw"),
    power_kw("shed_power_kw", nullable=False),
    power_kw("requested_reduction_kw"),
    Column("event_id", Text),
    power_kw("baseline_power_kw"),
    power_kw("battery_soc"),
    Column("payload", JSON, nullable=False),
    instant("received_at"),
    _batch_id(),
    arrival_index("ven_telemetry", "batch_id"),
    arrival_index("ven_telemetry", "ts"),
    postgresql_partition_by="RANGE (ts)",
)


def _load_entries(name: str) -> Table:
    return Table(
        name,
        metadata,
        text_key("ven_id"),
        text_key("load_id"),
        _ts(),
        Column("load_type", Text),
        Column("name", Text),
        power_kw("used_power_kw"),
        power_kw("shed_power_kw"),
        power_kw("capacity_kw"),
        power_kw("shed_capability_kw"),
        Column("enabled", Boolean),
        Column("priority", Integer),
        Column("metadata", JSON),
        _batch_id(),
        arrival_index(name, "batch_id"),
        arrival_index(name, "ts"),
        postgresql_partition_by="RANGE (ts)",
    )


ven_load_samples = _load_entries("ven_load_samples")
ven_load_descriptions = _load_entries("ven_load_descriptions")

ven_statuses = Table(
    "ven_statuses",
    metadata,
    text_key("ven_id"),
    _ts(),
    Column("status", Text, nullable=False),
    Column("details", JSON),
    instant("received_at"),
    _batch_id(),
    arrival_index("ven_statuses", "batch_id"),
    arrival_index("ven_statuses", "ts"),
)

PARTITIONED = (ven_telemetry, ven_load_samples, ven_load_descriptions)


class TelemetryFrame(Frame):
    ven_id: str
    ts: Utc
    used_power_kw: float = pa.Field(nullable=True)
    shed_power_kw: float
    requested_reduction_kw: float = pa.Field(nullable=True)
    event_id: str = pa.Field(nullable=True)
    baseline_power_kw: float = pa.Field(nullable=True)
    battery_soc: float = pa.Field(nullable=True)
    payload: str
    received_at: Utc
    batch_id: int


class EntryFrame(Frame):
    """A load entry at a device time; missing fields are null. Powers in kW."""

    ven_id: str
    load_id: str
    ts: Utc
    load_type: str = pa.Field(nullable=True)
    name: str = pa.Field(nullable=True)
    used_power_kw: float = pa.Field(nullable=True)
    shed_power_kw: float = pa.Field(nullable=True)
    capacity_kw: float = pa.Field(nullable=True)
    shed_capability_kw: float = pa.Field(nullable=True)
    enabled: bool = pa.Field(nullable=True)
    priority: pl.Int32 = pa.Field(nullable=True)


class LoadEntryFrame(EntryFrame):
    """Rows of `ven_load_samples`, and of `ven_load_descriptions`."""

    metadata: str = pa.Field(nullable=True)
    batch_id: int


class StatusFrame(Frame):
    ven_id: str
    ts: Utc
    status: str
    details: str = pa.Field(nullable=True)
    received_at: Utc
    batch_id: int
