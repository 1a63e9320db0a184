"""Totals of a group's members, like those that jobs compute for the whole network."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import CTE, Double, Select, and_, func, select, type_coerce

from schemas.api.statistics import LoadTypeStats, NetworkStats
from schemas.db.queries import Query
from schemas.demand_response.groups import UNKNOWN_TYPE, one_of
from schemas.devices import totals
from schemas.devices.statuses import ONLINE, UNAVAILABLE
from schemas.tables.events import LIVE_PARTICIPATIONS, event_participations, event_reductions, events
from schemas.tables.history import SLOT_S, ven_history
from schemas.times.rounding import rounded
from schemas.times.slots import WIDEST_S, energy_kwh, slot_means
from schemas.times.time_ranges import TimeRange, widened


class VenSums(NamedTuple):
    """Counts of, and sums over, VENs of one status."""

    status: str | None
    vens: int
    reporting_vens: int
    used_power_kw: float
    shed_power_kw: float
    whole_shed_power_kw: float


class LoadSums(NamedTuple):
    """Sums over loads of one type, by whether they are enabled and controllable."""

    load_type: str | None
    enabled: bool
    controllable: bool
    capacity_kw: float
    shed_capability_kw: float
    usage_kw: float


def ven_sums(gone_after: timedelta | None, member: CTE) -> Query[VenSums]:
    return Query(VenSums, totals.ven_sums(gone_after, one_of(member)))


def load_sums(gone_after: timedelta | None, member: CTE) -> Query[LoadSums]:
    return Query(LoadSums, totals.load_sums(gone_after, one_of(member)))


def energy_since(midnight: datetime, member: CTE) -> Select[float]:
    """Select the energy that members have used since an instant, kWh, as consumed by the history lane; null
    without a slot.
    """
    history = ven_history.c
    states = select(
        history.ven_id,
        history.bucket,
        history.used_power_kw_sum.label("used_sum"),
        history.used_samples,
        history.shed_power_kw_sum.label("shed_sum"),
        history.shed_samples,
    ).where(
        history.ven_id == one_of(member),
        history.resolution_s == SLOT_S,
        history.bucket >= widened(TimeRange(midnight, midnight), WIDEST_S).start,
    )
    means = slot_means(states.subquery("states"), ["ven_id"]).c
    return select(func.sum(energy_kwh(means.used_kw))).where(means.slot >= midnight)


def efficiency_percent(member: CTE) -> Select[float]:
    """Select delivered over requested power of members in running events, percent; null if unmeasured."""
    part, now = event_participations.c, event_reductions.c
    requested_kw = func.sum(part.requested_reduction_kw)
    return (
        select(type_coerce(100 * func.sum(now.reduction_kw) / func.nullif(requested_kw, 0), Double))
        .select_from(event_participations)
        .join(events, and_(events.c.event_id == part.event_id, events.c.status == "active"))
        .join(event_reductions, and_(now.ven_id == part.ven_id, now.event_id == part.event_id))
        .where(part.ven_id == one_of(member), part.status.in_(LIVE_PARTICIPATIONS))
    )


def network_stats(
    vens: Sequence[VenSums], loads: Sequence[LoadSums], energy_today_kwh: float | None, percent: float | None
) -> NetworkStats:
    """Return the totals from sums by status and by load type (`schemas.devices.totals`)."""
    reporting_vens = sum(row.reporting_vens for row in vens)
    used_kw = sum(row.used_power_kw for row in vens)
    whole_kw = sum(row.whole_shed_power_kw for row in vens)
    controllable_kw = sum(row.shed_capability_kw for row in loads if row.controllable and row.enabled)
    controllable_kw += sum(row.whole_shed_power_kw for row in vens if row.status not in UNAVAILABLE)
    return NetworkStats(
        ven_count=sum(row.vens for row in vens),
        controllable_power_kw=rounded(float(controllable_kw)),
        potential_load_reduction_kw=rounded(float(sum(row.shed_capability_kw for row in loads) + whole_kw)),
        household_usage_kw=rounded(float(used_kw)),
        online_vens=sum(row.vens for row in vens if row.status == ONLINE),
        current_load_reduction_kw=rounded(float(sum(row.shed_power_kw for row in vens))),
        average_house_power=rounded(used_kw / reporting_vens) if reporting_vens else None,
        total_house_power_today=rounded(energy_today_kwh),
        network_efficiency=rounded(percent),
    )


def load_type_stats(loads: Sequence[LoadSums]) -> list[LoadTypeStats]:
    """Return the totals of each load type, sorted by type."""
    by_type = defaultdict[str, list[LoadSums]](list)
    for row in loads:
        by_type[row.load_type or UNKNOWN_TYPE].append(row)
    return [
        LoadTypeStats(
            load_type,
            rounded(sum(row.capacity_kw for row in rows)),
            rounded(sum(row.shed_capability_kw for row in rows)),
            rounded(sum(row.usage_kw for row in rows)),
        )
        for load_type, rows in sorted(by_type.items())
    ]
