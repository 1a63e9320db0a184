"""Reports whose device time and time of receipt disagree, for presence."""

from sqlalchemy import Column, Index, Table, text

from schemas.db.frame_models import pa
from schemas.tables.metadata import Frame, Utc, instant, metadata, text_key


def _ts() -> Column[object]:
    column = instant("ts")
    column.primary_key = True
    return column


skewed_reports = Table(
    "skewed_reports",
    metadata,
    text_key("ven_id"),
    _ts(),
    instant("received_at"),
    instant("judged_at", nullable=True),
    Index("ix_skewed_reports_new", "ven_id", postgresql_where=text("judged_at IS NULL")),
)


class SkewedReportFrame(Frame):
    """A VEN's last few reports, by receipt, whose device time differs from their receipt.

    They are replays, or the VEN's clock is wrong; the job `presence` decides that, at `judged_at`.
    """

    ven_id: str
    ts: Utc
    received_at: Utc
    judged_at: Utc = pa.Field(nullable=True)
