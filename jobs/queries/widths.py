"""The SQL of VENs whose reports may not match their recorded slot width."""

from collections.abc import Sequence

from sqlalchemy import func, or_, select

from schemas.db.queries import Relation
from schemas.tables.history import SLOT_S, ven_history
from schemas.tables.raw import ven_telemetry
from schemas.tables.registry import WIDTH_SOURCES
from schemas.times.slots import latest_widths
from schemas.times.time_ranges import TimeRange

PEOPLE = WIDTH_SOURCES[0]
MARGIN = 1.3
"""Ratio of slots with samples to those of the width, or its inverse, from which the width is doubtful."""


def doubtful_widths(within: TimeRange) -> Relation:
    """Select VENs whose number of slots with samples in a range of days does not fit their width.

    VENs whose width people have set are left out.
    """
    history, width = ven_history.c, latest_widths()
    slots = (
        select(history.ven_id, func.count().label("slots"))
        .where(
            history.resolution_s == SLOT_S,
            history.bucket >= within.start,
            history.bucket < within.end,
            history.used_samples > 0,
        )
        .group_by(history.ven_id)
        .subquery("slots")
    )
    width_s = func.coalesce(width.c.width_s, SLOT_S)
    expected = (within.end - within.start).total_seconds() / width_s
    return (
        select(slots.c.ven_id, width_s.label("width_s"))
        .outerjoin(width, width.c.ven_id == slots.c.ven_id)
        .where(
            func.coalesce(width.c.source, "") != PEOPLE,
            or_(slots.c.slots < expected / MARGIN, slots.c.slots > expected * MARGIN),
        )
        .order_by(slots.c.ven_id)
    )


def report_times(ven_ids: Sequence[str], within: TimeRange) -> Relation:
    """Select when VENs reported their usage."""
    raw = ven_telemetry.c
    return select(raw.ven_id, raw.ts).where(
        raw.ven_id.in_(ven_ids),
        raw.ts >= within.start,
        raw.ts < within.end,
        raw.used_power_kw.is_not(None),
    )
