"""The registry: VENs, and the values set by people for them and their loads.

Values reported by VENs are in the snapshots; values set by people override them, field by field.
"""

import polars as pl
from sqlalchemy import JSON, Boolean, Column, Double, Index, Integer, Table, Text

from schemas.db.frame_models import pa
from schemas.tables.metadata import (
    Frame,
    Texts,
    Utc,
    instant,
    key_instant,
    metadata,
    power_kw,
    text_key,
    text_list,
)

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
    Column("region", Text(collation="C")),
    text_list("tags"),
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


ven_opt_outs = Table(
    "ven_opt_outs",
    metadata,
    text_key("ven_id"),
    text_key("opt_out_id"),
    instant("start_time"),
    instant("end_time"),
    Column("reason", Text, nullable=False),
    instant("created_at"),
)

ven_abilities = Table(
    "ven_abilities",
    metadata,
    text_key("ven_id"),
    Column("understands", JSON, nullable=False),
    instant("said_at"),
)

groups = Table(
    "groups",
    metadata,
    text_key("group_id"),
    Column("name", Text),
    text_list("ven_ids"),
    text_list("load_types"),
    text_list("regions"),
    text_list("tags"),
    instant("created_at"),
)

SLOT_WIDTHS_S = (300, 900, 1800)
"""Slot widths that a VEN may have: the shortest time for which its energy is known."""

WIDTH_SOURCES = ("people", "learned")

slot_widths = Table(
    "slot_widths",
    metadata,
    text_key("ven_id"),
    key_instant("since"),
    Column("width_s", Integer, nullable=False),
    Column("source", Text, nullable=False),
    instant("recorded_at"),
    Index("ix_slot_widths_recorded_at", "recorded_at"),
)


class VenFrame(Frame):
    ven_id: str
    name: str = pa.Field(nullable=True)
    registration_id: str = pa.Field(nullable=True)
    status: str = pa.Field(nullable=True)
    latitude_deg: float = pa.Field(nullable=True, ge=-90, le=90)
    longitude_deg: float = pa.Field(nullable=True, ge=-180, le=180)
    address: str = pa.Field(nullable=True)
    region: str = pa.Field(nullable=True)
    tags: Texts
    created_at: Utc
    retired_at: Utc = pa.Field(nullable=True)


class LoadFrame(Frame):
    """Values set by people, null where not set.

    Values with device times up to `removed_ts` are not among the latest values.
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


class VenOptOutFrame(Frame):
    """Half-open times within which people have opted a VEN out of all events."""

    ven_id: str
    opt_out_id: str
    start_time: Utc
    end_time: Utc
    reason: str
    created_at: Utc


class VenAbilitiesFrame(Frame):
    """Optional parts of an `event` command that a VEN supports, by its newest message: a JSON array."""

    ven_id: str
    understands: str
    said_at: Utc


class GroupFrame(Frame):
    """A group of VENs; `schemas.demand_response.groups` defines its members."""

    group_id: str
    name: str = pa.Field(nullable=True)
    ven_ids: Texts
    load_types: Texts
    regions: Texts
    tags: Texts
    created_at: Utc


class SlotWidthFrame(Frame):
    """The width of a VEN's slots from a half-hour on, until its next row; without a row: five minutes.

    `source`: set by people, or learned from the times of its reports.
    """

    ven_id: str
    since: Utc
    width_s: pl.Int32 = pa.Field(isin=SLOT_WIDTHS_S)
    source: str = pa.Field(isin=WIDTH_SOURCES)
    recorded_at: Utc
