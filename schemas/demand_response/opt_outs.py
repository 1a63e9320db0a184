"""Opt-outs: times within which VENs take part in no event."""

from datetime import datetime

from sqlalchemy import Select, select

from schemas.tables.registry import ven_opt_outs


def opted_out_vens(start: datetime, end: datetime) -> Select[str]:
    """Select VENs that are opted out at any time within a half-open range."""
    times = ven_opt_outs.c
    return select(times.ven_id).where(times.start_time < end, times.end_time > start)
