"""Alarms: queries, and the acknowledgement."""

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Update, func, select, update

from schemas.alarms import AlarmKind
from schemas.db.queries import Query, Relation, fields_of
from schemas.tables.alarms import alarm_conditions, alarms
from serving.page import AlarmFilter, Page


class AlarmRow(NamedTuple):
    """The columns of `alarms` in responses and live streams."""

    alarm_id: int
    kind: AlarmKind
    subject: str
    detail: str
    value: float
    worst_value: float
    threshold: float
    raised_at: datetime
    cleared_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None


class EvaluatedConditionRow(NamedTuple):
    """The last evaluation of a kind's condition."""

    kind: AlarmKind
    threshold: float
    clears_below: float
    value: float | None
    evaluated_at: datetime | None
    error: str | None
    open_alarms: int


def _alarms() -> Relation:
    return select(*fields_of(AlarmRow, alarms))


def list_alarms(criteria: AlarmFilter, page: Page) -> Query[AlarmRow]:
    """Select alarms, newest first; `after` an alarm come older ones."""
    query = _alarms().where(*_meets(criteria)).order_by(alarms.c.alarm_id.desc()).limit(page.limit)
    return Query(AlarmRow, query if page.after is None else query.where(alarms.c.alarm_id < int(page.after)))


def _meets(criteria: AlarmFilter) -> Iterator[ColumnElement[bool]]:
    if criteria.is_open is not None:
        yield alarms.c.cleared_at.is_(None) if criteria.is_open else alarms.c.cleared_at.is_not(None)
    if criteria.is_acknowledged is not None:
        at = alarms.c.acknowledged_at
        yield at.is_not(None) if criteria.is_acknowledged else at.is_(None)
    if criteria.kind is not None:
        yield alarms.c.kind == criteria.kind
    if criteria.start is not None:
        yield alarms.c.raised_at >= criteria.start
    if criteria.end is not None:
        yield alarms.c.raised_at <= criteria.end


def one_alarm(alarm_id: int) -> Query[AlarmRow]:
    return Query(AlarmRow, _alarms().where(alarms.c.alarm_id == alarm_id))


def acknowledge(alarm_id: int, who: str, now: datetime) -> Update:
    """Acknowledge an alarm, unless it is acknowledged already."""
    is_new = (alarms.c.alarm_id == alarm_id, alarms.c.acknowledged_at.is_(None))
    return update(alarms).where(*is_new).values(acknowledged_at=now, acknowledged_by=who)


def conditions() -> Query[EvaluatedConditionRow]:
    """Select each kind with its condition and the number of its open alarms."""
    is_open = (alarms.c.kind == alarm_conditions.c.kind, alarms.c.cleared_at.is_(None))
    count = select(func.count()).select_from(alarms).where(*is_open).scalar_subquery()
    stored = [alarm_conditions.c[name] for name in EvaluatedConditionRow._fields[:-1]]
    query = select(*stored, count.label("open_alarms")).order_by(alarm_conditions.c.kind)
    return Query(EvaluatedConditionRow, query)
