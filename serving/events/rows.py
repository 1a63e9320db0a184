"""Rows of events and of their VENs, shared by queries, rules and shapes."""

from datetime import datetime
from typing import NamedTuple, TypedDict

from schemas.api.events import EventStatus, ParticipationStatus
from schemas.demand_response.candidates import EventDirection, PassedOverReason
from serving.events.terms import StoredInterval


class StoredNote(TypedDict):
    """The number of VENs that are passed over for a reason, as in `events.notes`."""

    reason: PassedOverReason
    vens: int


class EventRow(NamedTuple):
    """An event with its progress, from the database or from an entry of the change log."""

    event_id: str
    status: EventStatus
    start_time: datetime
    end_time: datetime
    ended_at: datetime | None
    notify_at: datetime | None
    requested_reduction_kw: float
    actual_reduction_kw: float | None
    priority: int | None
    ven_ids: list[str] | None
    group_ids: list[str] | None
    load_types: list[str] | None
    lead_time_s: float | None
    notes: list[StoredNote] | None
    direction: EventDirection | None
    intervals: list[StoredInterval] | None
    randomize_start_s: float | None
    stagger_return_s: float | None
    import_limit_kw: float | None
    export_limit_kw: float | None
    is_settled: bool | None
    current_reduction_kw: float | None
    delivered_kwh: float | None
    refreshed_at: datetime | None
    vens_responding: int | None
    vens_reporting: int | None
    avg_response_ms: float | None


class EventVenRow(NamedTuple):
    """A participant of an event."""

    ven_id: str
    ven_name: str
    shed_kw: float
    status: ParticipationStatus
    requested_reduction_kw: float
    acknowledged_at: datetime | None
    error: str | None
    acknowledgement: object
