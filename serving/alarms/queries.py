"""Alarms: queries, and the acknowledgement."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, Update, func, select, update

from schemas.tables.alarms import alarm_conditions, alarms
from serving.alarms.shapes import AlarmRow
from serving.page import AlarmFilter, Page

SHOWN = [alarms.c[name] for name in AlarmRow._fields]


def list_alarms(wanted: AlarmFilter, page: Page) -> Select[Any]:
    """The newest first; `after` an alarm come older ones."""
    query = select(*SHOWN).where(*_meets(wanted)).order_by(alarms.c.alarm_id.desc()).limit(page.limit)
    return query if page.after is None else query.where(alarms.c.alarm_id < int(page.after))


def _meets(wanted: AlarmFilter) -> Iterator[ColumnElement[bool]]:
    if wanted.is_open is not None:
        yield alarms.c.cleared_at.is_(None) if wanted.is_open else alarms.c.cleared_at.is_not(None)
    if wanted.is_acknowledged is not None:
        at = alarms.c.acknowledged_at
        yield at.is_not(None) if wanted.is_acknowledged else at.is_(None)
    if wanted.kind is not None:
        yield alarms.c.kind == wanted.kind
    if wanted.start is not None:
        yield alarms.c.raised_at >= wanted.start
    if wanted.end is not None:
        yield alarms.c.raised_at <= wanted.end


def one_alarm(alarm_id: int) -> Select[Any]:
    return select(*SHOWN).where(alarms.c.alarm_id == alarm_id)


def acknowledge(alarm_id: int, who: str, now: datetime) -> Update:
    """Whoever acknowledged it first stays."""
    is_new = (alarms.c.alarm_id == alarm_id, alarms.c.acknowledged_at.is_(None))
    return update(alarms).where(*is_new).values(acknowledged_at=now, acknowledged_by=who)


def conditions() -> Select[Any]:
    """Each kind with its condition, and how many of its alarms are open."""
    is_open = (alarms.c.kind == alarm_conditions.c.kind, alarms.c.cleared_at.is_(None))
    count = select(func.count()).select_from(alarms).where(*is_open).scalar_subquery()
    return select(alarm_conditions, count.label("open_alarms")).order_by(alarm_conditions.c.kind)
