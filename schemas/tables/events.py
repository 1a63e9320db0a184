"""Demand response: events, who takes part in them, and the outbox of commands to the VENs."""

import pandera.polars as pa
import polars as pl
from sqlalchemy import JSON, Column, Index, Integer, Table, Text, text

from schemas.tables.metadata import Frame, Utc, instant, metadata, power_kw, text_key

events = Table(
    "events",
    metadata,
    text_key("event_id"),
    Column("status", Text, nullable=False),
    instant("start_time"),
    instant("end_time"),
    power_kw("requested_reduction_kw", nullable=False),
    power_kw("actual_reduction_kw"),
    Column("priority", Integer, nullable=False, server_default=text("0")),
    instant("created_at"),
    Index("ix_events_start_time", "start_time"),
)

event_participations = Table(
    "event_participations",
    metadata,
    text_key("ven_id"),
    text_key("event_id"),
    Column("status", Text, nullable=False),
    power_kw("requested_reduction_kw", nullable=False),
    instant("notified_at", nullable=True),
    instant("acknowledged_at", nullable=True),
    instant("opted_out_at", nullable=True),
    instant("started_at", nullable=True),
    instant("finished_at", nullable=True),
    Index("ix_event_participations_event_id", "event_id"),
)

commands = Table(
    "commands",
    metadata,
    text_key("ven_id"),
    text_key("command_id"),
    Column("op", Text, nullable=False),
    Column("load_id", Text),
    Column("event_id", Text),
    Column("data", JSON, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    instant("created_at"),
    instant("sent_at", nullable=True),
    instant("acknowledged_at", nullable=True),
    instant("expires_at"),
    Column("acknowledgement", JSON),
    Index("ix_commands_pending", "created_at", postgresql_where=text("status IN ('pending', 'sent')")),
)


class EventFrame(Frame):
    event_id: str
    status: str = pa.Field(isin=["scheduled", "active", "completed", "cancelled"])
    start_time: Utc
    end_time: Utc
    requested_reduction_kw: float = pa.Field(gt=0)
    actual_reduction_kw: float = pa.Field(nullable=True)
    priority: pl.Int32
    created_at: Utc


class EventParticipationFrame(Frame):
    ven_id: str
    event_id: str
    status: str
    requested_reduction_kw: float
    notified_at: Utc = pa.Field(nullable=True)
    acknowledged_at: Utc = pa.Field(nullable=True)
    opted_out_at: Utc = pa.Field(nullable=True)
    started_at: Utc = pa.Field(nullable=True)
    finished_at: Utc = pa.Field(nullable=True)


class CommandFrame(Frame):
    ven_id: str
    command_id: str
    op: str
    load_id: str = pa.Field(nullable=True)
    event_id: str = pa.Field(nullable=True)
    data: str
    status: str = pa.Field(isin=["pending", "sent", "acknowledged", "rejected", "expired", "failed"])
    attempts: pl.Int32 = pa.Field(ge=0)
    created_at: Utc
    sent_at: Utc = pa.Field(nullable=True)
    acknowledged_at: Utc = pa.Field(nullable=True)
    expires_at: Utc
    acknowledgement: str = pa.Field(nullable=True)
