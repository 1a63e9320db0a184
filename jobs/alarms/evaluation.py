"""The job `alarms`: evaluates every condition, raises and clears alarms."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection

from jobs.alarms.measures import Measure
from jobs.alarms.rules import CLEARS_BELOW, AlarmLimits, AlarmReading, Verdict, judge
from jobs.queries import alarms as queries
from jobs.queries.alarms import OpenAlarm
from schemas.alarms import AlarmKind
from schemas.db import locks

LONGEST_STATEMENT = timedelta(seconds=5)
"""Statement timeout, so that a slow condition does not delay the others."""

LONGEST_ERROR = 500
COPIED_FIELDS = ("detail", "value", "worst_value", "calm_since")


def evaluate_alarms(
    connection: Connection,
    now: datetime,
    limits: AlarmLimits,
    measures: Mapping[AlarmKind, Measure],
    longest_statement: timedelta = LONGEST_STATEMENT,
) -> int:
    """Evaluate each kind in a savepoint of its own; returns how many alarms were raised and cleared.

    A kind whose evaluation fails keeps its alarms and the time of its last evaluation, with the error.
    """
    connection.execute(locks.exclusive(locks.ALARMS))
    connection.execute(queries.bound_statements(longest_statement))
    connection.execute(queries.forget_conditions(list(measures)))
    open_alarms = queries.open_alarms().all(connection)
    return sum(
        _evaluate(
            connection, now, limits, kind, measure, [alarm for alarm in open_alarms if alarm.kind == kind]
        )
        for kind, measure in measures.items()
    )


def _evaluate(
    connection: Connection,
    now: datetime,
    limits: AlarmLimits,
    kind: AlarmKind,
    measure: Measure,
    open_alarms: Sequence[OpenAlarm],
) -> int:
    threshold = limits.thresholds()[kind]
    condition: dict[str, object] = {"threshold": threshold, "clears_below": CLEARS_BELOW * threshold}
    try:
        with connection.begin_nested():
            readings = measure(connection, now, open_alarms)
            verdict = judge(threshold, readings, open_alarms, now, limits.clear_after)
            _write(connection, now, kind, threshold, verdict)
    except Exception as error:  # noqa: BLE001 - of any kind: it must not stop the other conditions
        reason = f"{type(error).__name__}: {error.__cause__ or error}".strip()[:LONGEST_ERROR]
        structlog.get_logger().error("alarm_not_evaluated", kind=kind, error=reason)
        connection.execute(queries.put_condition(kind, {**condition, "error": reason}))
        return 0
    condition |= {"value": _worst(readings), "evaluated_at": now, "error": None}
    connection.execute(queries.put_condition(kind, condition))
    return len(verdict.raised) + len(verdict.cleared)


def _worst(readings: Sequence[AlarmReading]) -> float | None:
    return max((reading.value for reading in readings if reading.value is not None), default=None)


def _write(
    connection: Connection, now: datetime, kind: AlarmKind, threshold: float, verdict: Verdict
) -> None:
    log = structlog.get_logger()
    for reading in verdict.raised:
        log.warning("alarm_raised", kind=kind, subject=reading.subject, detail=reading.detail)
        connection.execute(queries.raise_alarm(_new_alarm(reading, now, kind, threshold)))
    for alarm in verdict.changed:
        connection.execute(queries.change_alarm(alarm.alarm_id, _changes(alarm)))
    for alarm in verdict.cleared:
        log.info("alarm_cleared", kind=kind, subject=alarm.subject)
        values = {**_changes(alarm), "calm_since": None, "cleared_at": now}
        connection.execute(queries.change_alarm(alarm.alarm_id, values))


def _changes(alarm: OpenAlarm) -> dict[str, object]:
    return {name: value for name, value in alarm._asdict().items() if name in COPIED_FIELDS}


def _new_alarm(reading: AlarmReading, now: datetime, kind: AlarmKind, threshold: float) -> dict[str, object]:
    return {
        "kind": kind,
        "subject": reading.subject,
        "detail": reading.detail,
        "value": reading.value,
        "worst_value": reading.value,
        "threshold": threshold,
        "raised_at": now,
    }
