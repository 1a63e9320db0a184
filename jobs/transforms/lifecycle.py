"""The state machine of an event: its state at a time, even after missed transitions."""

from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

SCHEDULED, ACTIVE, COMPLETED, CANCELLED = "scheduled", "active", "completed", "cancelled"
OVER = (COMPLETED, CANCELLED)

LAST_CHANGE = timedelta(minutes=1)
"""No VEN is notified within this time before an event's end; for a short event, within its last tenth."""


class Course(Struct, frozen=True):
    """The state of an event. An active one with `ended_at` has been stopped, and is still to be completed."""

    status: str
    start_time: datetime
    end_time: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None


def advanced(event: Course, now: datetime) -> Course:
    """Return the state of the event now.

    After a missed start it starts at once. After a missed end it is completed as of its end, and if the start
    was missed, too, it has begun as of its start: VENs were notified of both, and did not wait for us.
    """
    if event.status in OVER:
        return event
    if event.ended_at is not None:
        return replace(event, status=COMPLETED)
    if now >= event.end_time:
        started_at = event.started_at or event.start_time
        return replace(event, status=COMPLETED, started_at=started_at, ended_at=event.end_time)
    if event.status == SCHEDULED and now >= event.start_time:
        return replace(event, status=ACTIVE, started_at=now)
    return event


def may_notify(event: Course, now: datetime) -> bool:
    """Return whether VENs may still be notified of the event."""
    margin = min(LAST_CHANGE, (event.end_time - event.start_time) / 10)
    return event.status not in OVER and event.ended_at is None and now < event.end_time - margin
