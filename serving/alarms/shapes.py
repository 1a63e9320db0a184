"""Alarms as the API shows them."""

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Row

from schemas.alarms import KINDS, AlarmKind
from schemas.http import Alarm, AlarmCondition
from schemas.times.rounding import rounded


class AlarmRow(NamedTuple):
    """What answers and live streams show of a row of `alarms`."""

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


def alarm(row: AlarmRow) -> Alarm:
    kind = KINDS[row.kind]
    return Alarm(
        id=str(row.alarm_id),
        kind=row.kind,
        severity=kind.severity,
        subject=row.subject,
        detail=row.detail,
        value=round(row.value, 3),
        worst_value=round(row.worst_value, 3),
        threshold=row.threshold,
        unit=kind.unit,
        raised_at=row.raised_at,
        cleared_at=row.cleared_at,
        acknowledged_at=row.acknowledged_at,
        acknowledged_by=row.acknowledged_by,
    )


def condition(row: Row[Any]) -> AlarmCondition:
    kind = KINDS[row.kind]
    return AlarmCondition(
        kind=row.kind,
        severity=kind.severity,
        meaning=kind.meaning,
        unit=kind.unit,
        threshold=row.threshold,
        clears_below=rounded(row.clears_below) or 0.0,
        value=rounded(row.value),
        open_alarms=row.open_alarms,
        evaluated_at=row.evaluated_at,
        error=row.error,
    )
