"""History buckets: mergeable sums and counts, aligned to the Unix epoch.

A bucket covers `[bucket, bucket + resolution_s)`. Sums are additive, so that a late sample is simply added to
its bucket, and five minutes merge into an hour exactly. Means are not: the energy of the network in a
five-minute slot is the sum of its VENs' means, and has a table of its own.
"""

import polars as pl
from sqlalchemy import BigInteger, Column, Index, Integer, Table

from schemas.db.frame_models import pa
from schemas.tables.metadata import (
    ROOM_FOR_UPDATES,
    Frame,
    Utc,
    arrival_index,
    instant,
    key_instant,
    metadata,
    power_kw,
    text_key,
)

SLOT_S = 300
"""The slot of `aggregate=energy` and `aggregate=mean`, and the resolution of VEN and load history."""

RAW_S = 0
"""The number of raw rows among resolutions."""

NETWORK_RESOLUTIONS_S = (1, 60, 300, 3600)
ENTITY_RESOLUTIONS_S = (SLOT_S,)


def _resolution_s() -> Column[int]:
    return Column("resolution_s", Integer, primary_key=True, autoincrement=False)


def _bucket() -> Column[object]:
    return key_instant("bucket")


def _state() -> list[Column[float] | Column[int]]:
    return [
        power_kw("used_power_kw_sum", nullable=False),
        power_kw("shed_power_kw_sum", nullable=False),
        Column("samples", BigInteger, nullable=False),
        Column("used_samples", BigInteger, nullable=False),
        Column("shed_samples", BigInteger, nullable=False),
    ]


network_history = Table("network_history", metadata, _resolution_s(), _bucket(), *_state())

ven_history = Table(
    "ven_history",
    metadata,
    text_key("ven_id"),
    _resolution_s(),
    _bucket(),
    *_state(),
    Index("ix_ven_history_bucket", "bucket"),
    postgresql_with=ROOM_FOR_UPDATES,
)

load_history = Table(
    "load_history",
    metadata,
    text_key("ven_id"),
    text_key("load_id"),
    _resolution_s(),
    _bucket(),
    *_state(),
    arrival_index("load_history", "bucket"),
    postgresql_with=ROOM_FOR_UPDATES,
)

network_energy = Table(
    "network_energy",
    metadata,
    _bucket(),
    power_kw("used_energy_kwh", nullable=False),
    power_kw("shed_energy_kwh", nullable=False),
)

stale_slots = Table("stale_slots", metadata, _bucket())

horizons = Table("horizons", metadata, _resolution_s(), instant("since"))


class NetworkHistoryFrame(Frame):
    resolution_s: pl.Int32 = pa.Field(gt=0)
    bucket: Utc
    used_power_kw_sum: float
    shed_power_kw_sum: float
    samples: int = pa.Field(gt=0)
    used_samples: int = pa.Field(ge=0)
    shed_samples: int = pa.Field(ge=0)


class VenHistoryFrame(NetworkHistoryFrame):
    ven_id: str


class LoadHistoryFrame(VenHistoryFrame):
    load_id: str


class NetworkEnergyFrame(Frame):
    """Energy of the whole network in one slot, kWh, as `schemas.times.slots` defines it for each VEN."""

    bucket: Utc
    used_energy_kwh: float
    shed_energy_kwh: float


class StaleSlotFrame(Frame):
    """Slots whose VEN history has changed since their network energy was computed."""

    bucket: Utc


class HorizonFrame(Frame):
    """The horizon of a resolution (0: raw rows): rows before `since` are deleted, or ignored."""

    resolution_s: pl.Int32 = pa.Field(ge=0)
    since: Utc
