"""Converts rows of events to the types of the API. Their numbers and texts are never null."""

from datetime import datetime, timedelta
from typing import TypedDict

from msgspec import UNSET
from msgspec.structs import asdict

from schemas.api.events import Event, EventMetrics, EventTargets, EventVen, EventWithMetrics, PassedOver
from schemas.demand_response.groups import Targets
from schemas.times.rounding import rounded
from serving.events.rows import EventRow, EventVenRow
from serving.events.rules import PlannedEvent
from serving.events.terms import as_given

HOUR = timedelta(hours=1)
OVER = ("completed", "cancelled")


class ProgressFields(TypedDict):
    """The fields that `EventWithMetrics` and `EventMetrics` share."""

    current_reduction_kw: float
    vens_responding: int
    vens_reporting: int
    avg_response_ms: int


def event(row: EventRow) -> Event:
    actual_kw = _actual_kw(row)
    return Event(
        id=row.event_id,
        status=row.status,
        start_time=row.start_time,
        end_time=_shown_end(row),
        planned_end_time=row.end_time,
        requested_reduction_kw=rounded(row.requested_reduction_kw),
        actual_reduction_kw=rounded(actual_kw or 0.0),
        is_settled=bool(row.is_settled),
        is_measured=actual_kw is not None,
        ven_ids=row.ven_ids or [],
        targets=targets(row),
        priority=row.priority or 0,
        lead_time_s=lead_time_s(row),
        notes=[PassedOver(note["reason"], note["vens"]) for note in row.notes or ()],
        direction=row.direction or "reduce",
        intervals=as_given(row.intervals),
        randomize_start_s=row.randomize_start_s or 0.0,
        stagger_return_s=row.stagger_return_s or 0.0,
        import_limit_kw=UNSET if row.import_limit_kw is None else row.import_limit_kw,
        export_limit_kw=UNSET if row.export_limit_kw is None else row.export_limit_kw,
    )


def event_with_metrics(row: EventRow) -> EventWithMetrics:
    return EventWithMetrics(**asdict(event(row)), **_progress(row))


def event_metrics(row: EventRow) -> EventMetrics:
    return EventMetrics(**_progress(row), actual_reduction_kw=rounded(_actual_kw(row) or 0.0))


def event_ven(row: EventVenRow) -> EventVen:
    return EventVen(
        row.ven_id,
        row.ven_name,
        rounded(row.shed_kw),
        row.status,
        rounded(row.requested_reduction_kw),
        None if row.status == "opted_out" else row.acknowledged_at,
        _refusal(row),
    )


REASONS = ("error", "reason", "message")


def _refusal(row: EventVenRow) -> str:
    """Return why a VEN does not take part, by its acknowledgement, or its `data`; else by the outbox."""
    answer = row.acknowledgement if isinstance(row.acknowledgement, dict) else {}
    data = answer.get("data")
    parts = (answer, data) if isinstance(data, dict) else (answer,)
    words = (part.get(name) for part in parts for name in REASONS)
    return next((word for word in words if isinstance(word, str)), row.error or "")


def _progress(row: EventRow) -> ProgressFields:
    return {
        "current_reduction_kw": rounded(row.current_reduction_kw or 0.0),
        "vens_responding": row.vens_responding or 0,
        "vens_reporting": row.vens_reporting or 0,
        "avg_response_ms": max(0, round(row.avg_response_ms or 0)),
    }


def targets(row: EventRow | Targets | PlannedEvent) -> EventTargets:
    return EventTargets(
        groups=list(row.group_ids or ()),
        load_types=list(row.load_types or ()),
        ven_ids=list(row.ven_ids or ()),
    )


def lead_time_s(row: EventRow) -> float:
    """Return the lead time as set; else the one stored by `EVENTS_LEAD_TIME_S`."""
    if row.lead_time_s is not None:
        return float(row.lead_time_s)
    return 0.0 if row.notify_at is None else max(0.0, (row.start_time - row.notify_at).total_seconds())


def _shown_end(row: EventRow) -> datetime:
    """Return the actual end, once it has ended; the planned end if it was cancelled before its start."""
    if row.ended_at is None or row.ended_at <= row.start_time:
        return row.end_time
    return min(row.end_time, row.ended_at)


def _actual_kw(row: EventRow) -> float | None:
    """Return the settled delivery; before that the mean of the measurements. None if unknown."""
    if row.is_settled:
        return row.actual_reduction_kw
    if row.delivered_kwh is None or row.refreshed_at is None:
        return None
    hours = (min(row.refreshed_at, _shown_end(row)) - row.start_time) / HOUR
    return float(row.delivered_kwh / hours) if hours > 0 else None
