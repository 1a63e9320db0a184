"""From rows to the answers' shapes, with the rounding that the contract asks for."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from operator import truediv
from typing import Any, overload

from msgspec import Raw
from sqlalchemy import Row

from schemas.http import (
    Command,
    Delivery,
    EnergyPoint,
    Event,
    EventDetail,
    EventMetrics,
    EventVen,
    EventWithMetrics,
    Load,
    LoadTypeStats,
    Location,
    NetworkStats,
    PowerPoint,
    Ven,
    VenDelivery,
    VenMetrics,
    VenSummary,
)
from schemas.instants import microseconds
from serving.occasions import Occasion
from serving.queries.events import Taken
from serving.queries.fleet import LoadRow, VenRow

DECIMALS = 3
SURE = 0.499
"""Of two thousandths, a number that lies no further from one is not as near to the other."""

EMPTY_NETWORK = NetworkStats(
    ven_count=0,
    controllable_power_kw=0.0,
    potential_load_reduction_kw=0.0,
    household_usage_kw=0.0,
    online_vens=0,
    current_load_reduction_kw=0.0,
    average_house_power=None,
    total_house_power_today=None,
    network_efficiency=None,
)
"""Before the jobs have run for the first time."""


def network_stats(row: Row[Any], now: datetime) -> NetworkStats:
    """The totals; yesterday's energy is not today's, should the jobs have stopped before midnight."""
    average_kw = row.household_usage_kw / row.reporting_vens if row.reporting_vens else None
    is_today = row.energy_day == now.astimezone(UTC).date()
    return NetworkStats(
        ven_count=row.ven_count,
        controllable_power_kw=rounded(row.controllable_power_kw),
        potential_load_reduction_kw=rounded(row.potential_load_reduction_kw),
        household_usage_kw=rounded(row.household_usage_kw),
        online_vens=row.online_vens,
        current_load_reduction_kw=rounded(row.current_load_reduction_kw),
        average_house_power=rounded(average_kw),
        total_house_power_today=rounded(row.energy_today_kwh) if is_today else None,
        network_efficiency=rounded(row.efficiency_percent),
    )


def load_type_stats(row: Row[Any]) -> LoadTypeStats:
    return LoadTypeStats(
        row.load_type,
        rounded(row.total_capacity_kw),
        rounded(row.total_shed_capability_kw),
        rounded(row.current_usage_kw),
    )


def sum_points(columns: Iterable[Any], shape: type[PowerPoint]) -> Iterable[PowerPoint]:
    buckets, used_kw, shed_kw = columns
    return map(shape, buckets, all_rounded(used_kw), all_rounded(shed_kw))


def energy_points(columns: Iterable[Any], shape: type[EnergyPoint]) -> Iterable[EnergyPoint]:
    buckets, used_kwh, shed_kwh, _hours = columns
    return map(shape, buckets, all_rounded(used_kwh), all_rounded(shed_kwh))


def mean_points(columns: Iterable[Any], shape: type[PowerPoint]) -> Iterable[PowerPoint]:
    """Average kW: the energy over the hours of the slots that have samples."""
    buckets, used_kwh, shed_kwh, hours = columns
    used_kw, shed_kw = map(truediv, used_kwh, hours), map(truediv, shed_kwh, hours)
    return map(shape, buckets, all_rounded(used_kw), all_rounded(shed_kw))


def occasion(row: Row[Any] | Taken) -> Occasion:
    requested_kw = rounded(row.requested_reduction_kw)
    return Occasion(microseconds(row.start), microseconds(row.end), row.event_id, requested_kw)


def load(row: Row[Any] | LoadRow) -> Load:
    return Load(
        row.load_id,
        row.load_type,
        rounded(row.capacity_kw),
        rounded(row.shed_capability_kw),
        rounded(row.used_power_kw),
        row.name,
    )


def ven(row: Row[Any] | VenRow, loads: Sequence[Row[Any] | LoadRow]) -> Ven:
    return Ven(
        id=row.ven_id,
        name=row.name,
        status=row.status,
        location=Location(row.latitude_deg, row.longitude_deg),
        loads=[load(each) for each in loads],
        metrics=_metrics(row, loads),
        created_at=row.created_at,
        last_seen=row.received_at,
    )


def _metrics(row: Row[Any] | VenRow, loads: Sequence[Row[Any] | LoadRow]) -> VenMetrics:
    available_kw = sum(each.shed_capability_kw for each in loads if each.is_enabled)
    if not loads:
        available_kw = row.shed_power_kw or 0.0
    return VenMetrics(
        current_power_kw=rounded(row.used_power_kw),
        shed_availability_kw=0.0 if row.status == "offline" else rounded(available_kw),
        active_event_id=row.event_id,
        shed_load_ids=[each.load_id for each in loads if each.is_shedding],
    )


def ven_summary(row: Row[Any]) -> VenSummary:
    return VenSummary(
        id=row.ven_id,
        name=row.name,
        location=_place(row.latitude_deg, row.longitude_deg),
        status=row.status,
        controllable_power=rounded(row.controllable_power_kw),
        current_power=rounded(row.used_power_kw),
        address=row.address,
        last_seen=row.received_at,
        response_time=rounded(None if row.response_ms is None else float(row.response_ms)),
    )


def command(row: Row[Any]) -> Command:
    return Command(
        id=row.command_id,
        ven_id=row.ven_id,
        op=row.op,
        load_id=row.load_id,
        event_id=row.event_id,
        data=Raw(row.data.encode()),
        status=row.status,
        attempts=row.attempts,
        created_at=row.created_at,
        sent_at=row.sent_at,
        acknowledged_at=row.acknowledged_at,
        executed_at=row.executed_at,
        expires_at=row.expires_at,
        acknowledgement=None if row.acknowledgement is None else Raw(row.acknowledgement.encode()),
        error=row.error,
    )


def event(row: Row[Any]) -> Event:
    return Event(**_event(row))


def event_with_metrics(row: Row[Any]) -> EventWithMetrics:
    return EventWithMetrics(**_event(row), **_progress(row))


def event_detail(row: Row[Any], vens: Sequence[Row[Any]]) -> EventDetail:
    parts = [EventVen(each.ven_id, each.ven_name, rounded(each.shed_kw), each.status) for each in vens]
    return EventDetail(**_event(row), **_progress(row), vens=parts)


def event_metrics(row: Row[Any]) -> EventMetrics:
    return EventMetrics(**_progress(row), actual_reduction_kw=rounded(row.actual_reduction_kw))


def _event(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": row.event_id,
        "status": row.status,
        "start_time": row.start_time,
        "end_time": row.end_time,
        "requested_reduction_kw": rounded(row.requested_reduction_kw),
        "actual_reduction_kw": rounded(row.actual_reduction_kw),
    }


def _progress(row: Row[Any]) -> dict[str, Any]:
    return {
        "current_reduction_kw": rounded(row.current_reduction_kw),
        "vens_responding": row.vens_responding,
        "avg_response_ms": rounded(row.avg_response_ms),
    }


def delivery(row: Row[Any]) -> Delivery:
    return Delivery(**_delivery(row))


def ven_delivery(row: Row[Any]) -> VenDelivery:
    return VenDelivery(**_delivery(row), ven_id=row.ven_id)


def _delivery(row: Row[Any]) -> dict[str, Any]:
    return {
        "requested_kw": rounded(row.requested_kw),
        "baseline_kw": rounded(row.baseline_kw),
        "actual_kw": rounded(row.actual_kw),
        "delivered_kw": rounded(row.delivered_kw),
        "delivered_kwh": rounded(row.delivered_kwh),
        "performance_percent": rounded(row.performance_percent),
        "coverage_percent": rounded(row.coverage_percent),
        "rrmse_percent": rounded(row.rrmse_percent),
        "days_used": row.days_used,
        "note": row.note,
    }


def provisional_delivery(row: Row[Any]) -> Delivery:
    """Of an event that is not settled: the energy so far, and its mean over the time that has passed."""
    kw = row.delivered_kwh / float(row.hours) if row.delivered_kwh is not None and row.hours > 0 else None
    return Delivery(
        requested_kw=rounded(row.requested_reduction_kw),
        baseline_kw=None,
        actual_kw=None,
        delivered_kw=rounded(kw),
        delivered_kwh=rounded(row.delivered_kwh),
        performance_percent=None if kw is None else rounded(100 * kw / row.requested_reduction_kw),
        coverage_percent=None,
        rrmse_percent=None,
        days_used=0,
        note="so far; it is not settled yet",
    )


def _place(latitude_deg: float | None, longitude_deg: float | None) -> str | None:
    return (
        None if latitude_deg is None or longitude_deg is None else f"{latitude_deg:.4f}, {longitude_deg:.4f}"
    )


@overload
def rounded(value: float) -> float: ...
@overload
def rounded(value: None) -> None: ...
@overload
def rounded(value: float | None) -> float | None: ...
def rounded(value: float | None) -> float | None:
    """Three decimals; and never the -0.0 that rounding may leave."""
    return None if value is None else round(value, DECIMALS) + 0.0


def all_rounded(values: Iterable[float]) -> list[float]:
    """`rounded` of each, in half the time, which histories spend by the thousand.

    The nearest whole number of thousandths, over a thousand, is what `round` gives; it alone can tell
    where two are about as near. That holds below 2^40 in size.
    """
    return [
        whole / 1000 if -SURE < (scaled := value * 1000) - (whole := round(scaled)) < SURE else rounded(value)
        for value in values
    ]
