"""Decides when alarms are raised and cleared, from readings, open alarms and the time. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from jobs.queries.alarms import OpenAlarm
from schemas.alarms import AlarmKind

CLEARS_BELOW = 0.8
"""Fraction of its threshold below which a value has to fall before the alarm can clear."""


class AlarmLimits(Struct, frozen=True, kw_only=True):
    """The threshold of each kind, and the parameters of its measure."""

    jobs_late_s: float = 120
    offline_percent: float = 20
    offline_within: timedelta = timedelta(minutes=10)
    refused_per_minute: float = 60
    underdelivery_percent: float = 30
    underdelivery_after: timedelta = timedelta(minutes=5)
    clocks_percent: float = 5
    clock_offset: timedelta = timedelta(minutes=1)
    disk_percent: float = 85
    disk_path: str = ""
    """A directory on the disk to watch; empty: none."""
    database_gb: float | None = None
    ingest_silent_s: float = 300
    clear_after: timedelta = timedelta(minutes=2)

    def thresholds(self) -> Mapping[AlarmKind, float]:
        return {
            "jobs_late": self.jobs_late_s,
            "vens_offline": self.offline_percent,
            "messages_refused": self.refused_per_minute,
            "event_underdelivers": self.underdelivery_percent,
            "clocks_off": self.clocks_percent,
            "disk_full": self.disk_percent,
            "ingest_silent": self.ingest_silent_s,
            "webhook_disabled": 1,
        }


class AlarmReading(Struct, frozen=True):
    """A measured value; the higher, the worse. None: it cannot be measured now."""

    value: float | None
    detail: str = ""
    subject: str = ""


class Verdict(Struct, frozen=True):
    """What one evaluation of a kind changes."""

    raised: Sequence[AlarmReading]
    changed: Sequence[OpenAlarm]
    cleared: Sequence[OpenAlarm]


def judge(
    threshold: float,
    readings: Iterable[AlarmReading],
    open_alarms: Iterable[OpenAlarm],
    now: datetime,
    clear_after: timedelta,
) -> Verdict:
    """Raise at the threshold; clear after the value was below 80 % of it for a while.

    Args:
        threshold: of the kind.
        readings: one for each subject; a subject without one does not exist any more, and counts as calm.
        open_alarms: those of the kind.
        now: the time of this evaluation.
        clear_after: how long an alarm's value must be calm.
    """
    by_subject = {reading.subject: reading for reading in readings}
    alarms = {alarm.subject: alarm for alarm in open_alarms}
    raised = [
        reading
        for subject, reading in by_subject.items()
        if subject not in alarms and reading.value is not None and reading.value >= threshold
    ]
    updated = [_updated(alarm, by_subject.get(alarm.subject), threshold, now) for alarm in alarms.values()]
    cleared = [alarm for alarm in updated if _is_over(alarm, now, clear_after)]
    changed = [alarm for alarm in updated if alarm not in cleared and alarm != alarms[alarm.subject]]
    return Verdict(raised, changed, cleared)


def _updated(alarm: OpenAlarm, reading: AlarmReading | None, threshold: float, now: datetime) -> OpenAlarm:
    if reading is None:
        return alarm._replace(calm_since=alarm.calm_since or now)
    if reading.value is None:
        return alarm._replace(calm_since=None)
    is_calm = reading.value < threshold * CLEARS_BELOW
    return alarm._replace(
        value=reading.value,
        worst_value=max(reading.value, alarm.worst_value),
        detail=alarm.detail if is_calm else reading.detail,
        calm_since=(alarm.calm_since or now) if is_calm else None,
    )


def _is_over(alarm: OpenAlarm, now: datetime, clear_after: timedelta) -> bool:
    return alarm.calm_since is not None and now - alarm.calm_since >= clear_after
