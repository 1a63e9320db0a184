"""Alarms, and the conditions that raise them."""

from typing import Annotated

from msgspec import Meta

from schemas.alarms import AlarmKind, AlarmSeverity
from schemas.api.fields import Count, Instant, Shape


class Alarm(Shape, frozen=True):
    """A condition that people on duty must know of."""

    id: str
    kind: AlarmKind
    severity: AlarmSeverity
    subject: Annotated[
        str,
        Meta(description="What it is about: an event's id, a directory. Empty: the fleet, or the service."),
    ]
    detail: Annotated[str, Meta(examples=["120 of 500 VENs went offline within 10 minutes."])]
    value: Annotated[float, Meta(description="As last measured while the alarm was open.")]
    worst_value: Annotated[float, Meta(description="The highest, which is the worst, since it was raised.")]
    threshold: Annotated[float, Meta(description="The value at which it was raised.")]
    unit: Annotated[str, Meta(examples=["%", "s"])]
    raised_at: Instant
    cleared_at: Annotated[Instant | None, Meta(description="Null while it is open.")]
    acknowledged_at: Instant | None
    acknowledged_by: Annotated[
        str | None, Meta(description="The name of the key; `anonymous` if no keys are required.")
    ]


class AlarmCondition(Shape, frozen=True):
    """A kind of alarm, its threshold, and what was last measured."""

    kind: AlarmKind
    severity: AlarmSeverity
    meaning: str
    unit: Annotated[str, Meta(examples=["%", "s"])]
    threshold: Annotated[float, Meta(description="Alarms are raised from this value on.")]
    clears_below: Annotated[
        float, Meta(description="An alarm clears when its value has been below this for a while.")
    ]
    value: Annotated[float | None, Meta(description="The worst of all subjects; null without any.")]
    open_alarms: Count
    evaluated_at: Annotated[
        Instant | None,
        Meta(description="When it was last evaluated; if long ago, alarms are outdated; null: never."),
    ]
    error: Annotated[str | None, Meta(description="Why the last evaluation failed; null if it did not.")]
