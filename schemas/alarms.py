"""The kinds of alarms: what each measures, in which unit, and how severe it is.

The jobs evaluate the conditions, serving shows the alarms, and Prometheus rules have the same kinds.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, get_args

from msgspec import Struct

AlarmKind = Literal[
    "jobs_late",
    "vens_offline",
    "messages_refused",
    "event_underdelivers",
    "clocks_off",
    "disk_full",
    "ingest_silent",
    "webhook_disabled",
]
AlarmSeverity = Literal["critical", "warning"]
ALARM_KINDS: tuple[AlarmKind, ...] = get_args(AlarmKind)


class KindOfAlarm(Struct, frozen=True):
    """Severity, unit and meaning of a kind of alarm, raised when its value reaches a threshold."""

    severity: AlarmSeverity
    unit: str
    meaning: str


KINDS: Mapping[AlarmKind, KindOfAlarm] = MappingProxyType(
    {
        "jobs_late": KindOfAlarm("critical", "s", "a job has not succeeded for longer than its period"),
        "vens_offline": KindOfAlarm("critical", "%", "VENs that went offline within minutes"),
        "messages_refused": KindOfAlarm("warning", "1/min", "messages and load entries that ingest rejected"),
        "event_underdelivers": KindOfAlarm(
            "warning", "%", "shortfall of a running event, of its requested reduction"
        ),
        "clocks_off": KindOfAlarm("warning", "%", "VENs whose device clocks are wrong"),
        "disk_full": KindOfAlarm("critical", "%", "used space of a disk, or of the database's size limit"),
        "ingest_silent": KindOfAlarm(
            "critical", "s", "since ingest last stored anything: the broker, or ingest, is down"
        ),
        "webhook_disabled": KindOfAlarm(
            "warning", "", "webhooks that were disabled after failing for too long"
        ),
    }
)
