"""What an event may be, and which events may run at the same time. Pure."""

import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct
from sqlalchemy import Row

from schemas.baselines import PRIMARY, BaselineName
from schemas.http import EVENT_WORDS, NO_SEGMENTS, EventCreate
from schemas.instants import parse_iso


class Unfit(ValueError):  # noqa: N818 - an answer, in words, to whoever asked
    """What is asked for cannot be meant."""


class Conflict(Exception):  # noqa: N818
    """It could be meant, but not as things are."""


class EventRules(Struct, frozen=True):
    """How late a start may come in and still mean "now"; how long ahead VENs are told, unless it says; by
    which baseline events are measured first; and how long one may last.
    """

    start_grace: timedelta = timedelta(minutes=5)
    lead_time: timedelta = timedelta(minutes=5)
    baseline: BaselineName = PRIMARY
    longest: timedelta = timedelta(days=1)


class PlannedEvent(Struct, frozen=True):
    """A row of `events` to be; without `ven_ids` everybody is asked."""

    event_id: str
    start_time: datetime
    end_time: datetime
    notify_at: datetime
    requested_reduction_kw: float
    priority: int
    ven_ids: list[str] | None


def planned(wish: EventCreate, now: datetime, rules: EventRules) -> PlannedEvent:
    """The event that is wished for. A start that has just passed means at once.

    Raises:
        Unfit: it cannot be meant.
    """
    start, end = _instant("startTime", wish.start_time), _instant("endTime", wish.end_time)
    if end <= start:
        raise Unfit("endTime must be after startTime")
    if end <= now:
        raise Unfit("endTime must be still ahead")
    if start < now - rules.start_grace:
        seconds = rules.start_grace.total_seconds()
        raise Unfit(f"startTime must be ahead; one that passed up to {seconds:g} s ago means at once")
    require_free_path(wish.id, EVENT_WORDS)
    start = max(start, now)
    if end - start > rules.longest:
        seconds = rules.longest.total_seconds()
        raise Unfit(f"endTime must be at most {seconds:g} s after startTime, not {end - start}")
    lead = rules.lead_time if wish.lead_time_s is None else timedelta(seconds=wish.lead_time_s)
    return PlannedEvent(
        event_id=wish.id or f"evt-{uuid.uuid4().hex}",
        start_time=start,
        end_time=end,
        notify_at=max(start - lead, now),
        requested_reduction_kw=wish.requested_reduction_kw,
        priority=wish.priority,
        ven_ids=None if wish.ven_ids is None else sorted(set(wish.ven_ids)),
    )


def require_free_path(wished_id: str | None, taken: Sequence[str]) -> None:
    """An id must not make a path that leads elsewhere.

    Raises:
        Unfit: it would.
    """
    if wished_id in taken:
        raise Unfit(f"id must not be {wished_id!r}: that is a route")
    if wished_id in NO_SEGMENTS:
        raise Unfit(f"id must not be {wished_id!r}: that is no path")


def require_free(event: PlannedEvent, others: Iterable[Row[Any]]) -> None:
    """Of two events that want the same VENs at the same time, the later one must have the higher priority.

    Args:
        event: the one to be.
        others: those that run, or will run, at some time of its: `event_id`, `priority`, `ven_ids`.

    Raises:
        Conflict: one of them stands in its way; it is named.
    """
    for other in others:
        if other.priority >= event.priority and _share_vens(event.ven_ids, other.ven_ids):
            raise Conflict(
                f"Event {other.event_id!r} asks the same VENs at the same time, with priority "
                f"{other.priority}; choose another time, other VENs, or a higher priority."
            )


def _share_vens(some: list[str] | None, others: list[str] | None) -> bool:
    return some is None or others is None or not set(some).isdisjoint(others)


def _instant(name: str, text: str) -> datetime:
    try:
        return parse_iso(text)
    except ValueError as error:
        raise Unfit(f"{name} is {text[:40]!r}: {error}") from None
