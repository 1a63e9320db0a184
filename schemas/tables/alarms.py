"""Alarms with their history, and the last evaluation of each kind's condition."""

import polars as pl
from sqlalchemy import BigInteger, Column, Double, Identity, Index, Table, Text, text

from schemas.alarms import ALARM_KINDS
from schemas.db.frame_models import pa
from schemas.tables.metadata import Frame, Utc, instant, metadata, text_key

alarms = Table(
    "alarms",
    metadata,
    Column("alarm_id", BigInteger, Identity(), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("subject", Text(collation="C"), nullable=False),
    Column("detail", Text, nullable=False),
    Column("value", Double, nullable=False),
    Column("worst_value", Double, nullable=False),
    Column("threshold", Double, nullable=False),
    instant("raised_at"),
    instant("calm_since", nullable=True),
    instant("cleared_at", nullable=True),
    instant("acknowledged_at", nullable=True),
    Column("acknowledged_by", Text),
    Index("ix_alarms_open", "kind", "subject", unique=True, postgresql_where=text("cleared_at IS NULL")),
    Index("ix_alarms_cleared_at", "cleared_at"),
)

alarm_conditions = Table(
    "alarm_conditions",
    metadata,
    text_key("kind"),
    Column("threshold", Double, nullable=False),
    Column("clears_below", Double, nullable=False),
    Column("value", Double),
    instant("evaluated_at", nullable=True),
    Column("error", Text),
)


class AlarmFrame(Frame):
    """`subject`: what the alarm is about, such as an event's id; empty: the whole fleet or service.

    `value`: as last measured while the alarm was open. `calm_since`: since when it has been below the level
    at which the alarm clears; null while it is not, and once the alarm is cleared.
    """

    alarm_id: int
    kind: str = pa.Field(isin=ALARM_KINDS)
    subject: str
    detail: str
    value: float
    worst_value: float
    threshold: float
    raised_at: Utc
    calm_since: Utc = pa.Field(nullable=True)
    cleared_at: Utc = pa.Field(nullable=True)
    acknowledged_at: Utc = pa.Field(nullable=True)
    acknowledged_by: pl.String = pa.Field(nullable=True)


class AlarmConditionFrame(Frame):
    """`value`: the worst of all subjects; null where nothing can be measured. `error`: why the last
    evaluation failed; then the rest is as of `evaluated_at`.
    """

    kind: str = pa.Field(isin=ALARM_KINDS)
    threshold: float
    clears_below: float
    value: float = pa.Field(nullable=True)
    evaluated_at: Utc = pa.Field(nullable=True)
    error: str = pa.Field(nullable=True)
