"""Changes that live streams send, stored so that a reconnecting client gets those that it missed.

Triggers insert a row in the transaction that changes a VEN's latest status, an event or its progress, or an
alarm. Such transactions commit in any order, so a reader could skip a sequence number that commits late. So a
row gets its `position` afterwards, under a lock, by the first reader: rows with a position are committed, and
none is ever inserted before them.
"""

import polars as pl
from sqlalchemy import JSON, BigInteger, Column, Identity, Index, Table, Text

from schemas.db.frame_models import pa
from schemas.tables.metadata import Frame, Utc, instant, metadata

KINDS = ("status", "event", "alarm")

live_changes = Table(
    "live_changes",
    metadata,
    Column("change_id", BigInteger, Identity(), primary_key=True),
    Column("position", BigInteger),
    Column("kind", Text, nullable=False),
    Column("data", JSON, nullable=False),
    instant("written_at"),
    Index("ix_live_changes_position", "position", unique=True),
    Index("ix_live_changes_written_at", "written_at"),
    postgresql_with={"autovacuum_vacuum_scale_factor": 0, "autovacuum_vacuum_threshold": 10_000},
)


class LiveChangeFrame(Frame):
    """`data`: a VEN's new status, an event and its progress, or an alarm. `position`: null before it is
    numbered.
    """

    change_id: int
    position: pl.Int64 = pa.Field(nullable=True, ge=1)
    kind: str = pa.Field(isin=KINDS)
    data: str
    written_at: Utc
