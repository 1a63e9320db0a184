"""Converts rows of VENs, loads and totals to the types of the API, rounded by the contract."""

from collections.abc import Sequence
from datetime import date
from typing import cast

from schemas.api.statistics import LoadTypeStats, NetworkStats
from schemas.api.vens import Load, Location, SlotMinutes, SlotSource, Ven, VenMetrics, VenSummary
from schemas.demand_response.groups import UNKNOWN_TYPE
from schemas.devices.statuses import UNAVAILABLE
from schemas.tables.history import SLOT_S
from schemas.times.rounding import rounded
from serving.fleet.queries import LoadRow, LoadTypeRow, NetworkRow, VenRow, VenSummaryRow

SLOT_MINUTES: dict[int, SlotMinutes] = {300: 5, 900: 15, 1_800: 30}
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
"""The totals before the jobs have run for the first time."""


def network_stats(row: NetworkRow, today: date) -> NetworkStats:
    """Return the totals; if the jobs stopped before midnight, yesterday's energy is not shown as today's."""
    average_kw = row.household_usage_kw / row.reporting_vens if row.reporting_vens else None
    return NetworkStats(
        ven_count=row.ven_count,
        controllable_power_kw=rounded(row.controllable_power_kw),
        potential_load_reduction_kw=rounded(row.potential_load_reduction_kw),
        household_usage_kw=rounded(row.household_usage_kw),
        online_vens=row.online_vens,
        current_load_reduction_kw=rounded(row.current_load_reduction_kw),
        average_house_power=rounded(average_kw),
        total_house_power_today=rounded(row.energy_today_kwh) if row.energy_day == today else None,
        network_efficiency=rounded(row.efficiency_percent),
    )


def load_type_stats(row: LoadTypeRow) -> LoadTypeStats:
    return LoadTypeStats(
        row.load_type,
        rounded(row.total_capacity_kw),
        rounded(row.total_shed_capability_kw),
        rounded(row.current_usage_kw),
    )


def load(row: LoadRow) -> Load:
    return Load(
        id=row.load_id,
        type=row.load_type or UNKNOWN_TYPE,
        capacity_kw=rounded(row.capacity_kw),
        shed_capability_kw=rounded(row.shed_capability_kw),
        current_power_kw=_or_zero(row.used_power_kw),
        name=row.name or row.load_id,
        enabled=row.is_enabled,
        priority=row.priority or 0,
        is_reporting=row.used_power_kw is not None,
    )


def ven(row: VenRow, loads: Sequence[LoadRow]) -> Ven:
    return Ven(
        id=row.ven_id,
        name=row.name,
        status=row.status,
        location=Location(row.latitude_deg or 0.0, row.longitude_deg or 0.0),
        loads=[load(each) for each in loads],
        metrics=_metrics(row, loads),
        created_at=row.created_at,
        last_seen=row.received_at,
        registration_id=row.registration_id or "",
        address=row.address or "",
        is_located=_is_located(row),
        is_reporting=row.used_power_kw is not None,
        slot_minutes=SLOT_MINUTES[row.slot_width_s or SLOT_S],
        slot_minutes_since=row.slot_since,
        slot_minutes_source=cast("SlotSource", row.slot_source or "default"),
        region=row.region or "",
        tags=list(row.tags),
    )


def _metrics(row: VenRow, loads: Sequence[LoadRow]) -> VenMetrics:
    available_kw = sum(each.shed_capability_kw for each in loads if each.is_enabled)
    if not loads:
        available_kw = row.shed_power_kw or 0.0
    return VenMetrics(
        current_power_kw=_or_zero(row.used_power_kw),
        shed_availability_kw=0.0 if row.status in UNAVAILABLE else rounded(available_kw),
        active_event_id=row.event_id,
        shed_load_ids=[each.load_id for each in loads if each.is_shedding],
    )


def ven_summary(row: VenSummaryRow) -> VenSummary:
    return VenSummary(
        id=row.ven_id,
        name=row.name,
        location=place_label(row.latitude_deg, row.longitude_deg),
        status=row.status,
        controllable_power=rounded(row.controllable_power_kw),
        current_power=_or_zero(row.used_power_kw),
        address=row.address or "",
        last_seen=row.received_at,
        response_time=max(0, round(row.response_ms or 0)),
        is_located=_is_located(row),
        is_reporting=row.used_power_kw is not None,
        has_answered=row.response_ms is not None,
    )


def _is_located(row: VenRow | VenSummaryRow) -> bool:
    return row.latitude_deg is not None and row.longitude_deg is not None


def place_label(latitude_deg: float | None, longitude_deg: float | None) -> str:
    """Return the label of a location in the list of VENs; empty without one."""
    if latitude_deg is None or longitude_deg is None:
        return ""
    return f"{latitude_deg:.4f}, {longitude_deg:.4f}"


def _or_zero(power_kw: float | None) -> float:
    return 0.0 if power_kw is None else rounded(power_kw)
