"""A preview of an event: its candidates, their shares, and what similar events delivered. Pure."""

from collections.abc import Sequence

from schemas.api.events import AskedVen, EventPreview, PassedOver, PassedOverVen, SimilarEvent
from schemas.demand_response.candidates import REASONS
from schemas.times.rounding import rounded
from serving.events.queries import CandidateRow, SimilarEventRow
from serving.events.rules import PlannedEvent
from serving.events.shapes import targets


def preview(
    event: PlannedEvent, candidates: Sequence[CandidateRow], similar: Sequence[SimilarEventRow]
) -> EventPreview:
    """Return the preview of an event.

    Args:
        event: the planned event.
        candidates: those without a reason would take part.
        similar: settled events.
    """
    selected = [row for row in candidates if row.reason is None]
    over = [PassedOverVen(row.ven_id, row.reason) for row in candidates if row.reason is not None]
    available_kw = sum(row.available_kw for row in selected)
    first_kw = event.requests[0][1] if event.requests else event.requested_reduction_kw
    shared_kw = min(first_kw, available_kw)
    part = shared_kw / available_kw if available_kw else 0.0
    return EventPreview(
        start_time=event.start_time,
        end_time=event.end_time,
        requested_reduction_kw=rounded(event.requested_reduction_kw),
        available_kw=rounded(available_kw),
        shared_reduction_kw=rounded(shared_kw),
        targets=targets(event),
        vens=[
            AskedVen(row.ven_id, rounded(row.available_kw), rounded(part * row.available_kw))
            for row in selected
        ],
        passed_over=over,
        notes=_counts(over),
        similar_events=[_similar(row) for row in similar],
        similar_performance_percent=_performance_percent(similar),
    )


def _counts(passed_over: Sequence[PassedOverVen]) -> list[PassedOver]:
    reasons = [each.reason for each in passed_over]
    return [PassedOver(reason, reasons.count(reason)) for reason in REASONS if reason in reasons]


def _similar(row: SimilarEventRow) -> SimilarEvent:
    return SimilarEvent(
        row.event_id,
        row.start_time,
        row.end_time,
        row.vens,
        rounded(row.requested_kw),
        rounded(row.delivered_kw),
        rounded(row.performance_percent),
    )


def _performance_percent(similar: Sequence[SimilarEventRow]) -> float | None:
    energies_kwh = [
        (row.requested_kwh, row.delivered_kwh)
        for row in similar
        if row.requested_kwh and row.delivered_kwh is not None
    ]
    requested_kwh = sum(requested_kwh for requested_kwh, _ in energies_kwh)
    delivered_kwh = sum(delivered_kwh for _, delivered_kwh in energies_kwh)
    return rounded(100 * delivered_kwh / requested_kwh) if energies_kwh else None
