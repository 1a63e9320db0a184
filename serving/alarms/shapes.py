"""Alarms as the API shows them."""

from schemas.alarms import KINDS
from schemas.api.alarms import Alarm, AlarmCondition
from schemas.times.rounding import rounded
from serving.alarms.queries import AlarmRow, EvaluatedConditionRow


def alarm(row: AlarmRow) -> Alarm:
    kind = KINDS[row.kind]
    return Alarm(
        id=str(row.alarm_id),
        kind=row.kind,
        severity=kind.severity,
        subject=row.subject,
        detail=row.detail,
        value=rounded(row.value),
        worst_value=rounded(row.worst_value),
        threshold=row.threshold,
        unit=kind.unit,
        raised_at=row.raised_at,
        cleared_at=row.cleared_at,
        acknowledged_at=row.acknowledged_at,
        acknowledged_by=row.acknowledged_by,
    )


def condition(row: EvaluatedConditionRow) -> AlarmCondition:
    kind = KINDS[row.kind]
    return AlarmCondition(
        kind=row.kind,
        severity=kind.severity,
        meaning=kind.meaning,
        unit=kind.unit,
        threshold=row.threshold,
        clears_below=rounded(row.clears_below),
        value=rounded(row.value),
        open_alarms=row.open_alarms,
        evaluated_at=row.evaluated_at,
        error=row.error,
    )
