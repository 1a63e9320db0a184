"""Opt-out windows: times in which VENs are asked for nothing."""

from datetime import datetime

from sqlalchemy import Select, select

from schemas.tables.registry import ven_opt_outs


def opted_out_vens(start: datetime, end: datetime) -> Select[str]:
    """VENs that are opted out at some time within a half-open range."""
    times = ven_opt_outs.c
    return select(times.ven_id).where(times.start_time < end, times.end_time > start)
