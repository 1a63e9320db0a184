"""The SQL of deliveries: of events that run, and by settlement."""

from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from sqlalchemy import Select, and_, func, select

from schemas.api.performance import AppliedAdjustment
from schemas.db.queries import Query, fields_of
from schemas.demand_response.baselines import BaselineName
from schemas.demand_response.event_requests import mean_requested_kw
from schemas.tables.events import (
    event_participations,
    event_progress,
    event_settlements,
    events,
    ven_settlements,
)


class ProgressRow(NamedTuple):
    """The request and the energy of an event so far."""

    requested_reduction_kw: float
    delivered_kwh: float | None
    hours: Decimal


class RevisionRow(NamedTuple):
    """A settlement of an event."""

    revision: int
    settled_at: datetime


class PortfolioDeliveryRow(NamedTuple):
    """The settled delivery of an event, by one baseline."""

    requested_kw: float
    requested_kwh: float | None
    baseline_kw: float | None
    actual_kw: float | None
    delivered_kw: float | None
    delivered_kwh: float | None
    delivered_low_kw: float | None
    delivered_high_kw: float | None
    performance_percent: float | None
    coverage_percent: float
    rrmse_percent: float | None
    days_used: int
    adjustment: AppliedAdjustment | None
    adjustment_kw: float | None
    adjustment_reason: str | None
    note: str | None


class VenDeliveryRow(NamedTuple):
    """The settled delivery of a VEN, by one baseline."""

    ven_id: str
    requested_kw: float
    requested_kwh: float | None
    baseline_kw: float | None
    actual_kw: float | None
    delivered_kw: float | None
    delivered_kwh: float | None
    delivered_low_kw: float | None
    delivered_high_kw: float | None
    performance_percent: float | None
    coverage_percent: float
    rrmse_percent: float | None
    days_used: int
    adjustment: AppliedAdjustment | None
    adjustment_kw: float | None
    adjustment_reason: str | None
    note: str | None


def progress_of(event_id: str) -> Query[ProgressRow]:
    """Select the progress of an event that has begun, with its elapsed hours."""
    progress = event_progress.c
    until = func.least(progress.refreshed_at, events.c.end_time, events.c.ended_at)
    so_far = (
        select(
            mean_requested_kw(until).label("requested_reduction_kw"),
            progress.delivered_kwh,
            (func.extract("epoch", until - events.c.start_time) / 3600).label("hours"),
        )
        .join(event_progress, progress.event_id == events.c.event_id)
        .where(events.c.event_id == event_id)
    )
    return Query(ProgressRow, so_far)


def revisions(event_id: str) -> Query[RevisionRow]:
    settled = event_settlements.c
    of_event = (
        select(settled.revision, func.min(settled.settled_at).label("settled_at"))
        .where(settled.event_id == event_id)
        .group_by(settled.revision)
        .order_by(settled.revision)
    )
    return Query(RevisionRow, of_event)


def settled_by(event_id: str, revision: int) -> Select[BaselineName]:
    """Select the baselines of a revision."""
    settled = event_settlements.c
    return select(settled.baseline).where(settled.event_id == event_id, settled.revision == revision)


def portfolio(event_id: str, revision: int, baseline: str) -> Query[PortfolioDeliveryRow]:
    settled = event_settlements.c
    delivery = select(*fields_of(PortfolioDeliveryRow, event_settlements)).where(
        settled.event_id == event_id, settled.revision == revision, settled.baseline == baseline
    )
    return Query(PortfolioDeliveryRow, delivery)


def deliveries(event_id: str, revision: int, baseline: str) -> Query[VenDeliveryRow]:
    """Select the settlement of each VEN, by id; joined by participations, which have an index by event."""
    settled, part = ven_settlements.c, event_participations.c
    of_vens = (
        select(*fields_of(VenDeliveryRow, ven_settlements))
        .select_from(event_participations)
        .join(ven_settlements, and_(settled.ven_id == part.ven_id, settled.event_id == part.event_id))
        .where(part.event_id == event_id, settled.revision == revision, settled.baseline == baseline)
        .order_by(settled.ven_id)
    )
    return Query(VenDeliveryRow, of_vens)
