"""Totals over latest values, and the energy of the network."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    DateTime,
    Delete,
    Select,
    and_,
    delete,
    exists,
    func,
    literal,
    select,
)
from sqlalchemy.sql.dml import ReturningDelete

from schemas.load_values import (
    capacity_kw,
    effective,
    gone_loads,
    is_enabled,
    is_gone,
    shed_capability_kw,
    with_settings,
)
from schemas.slots import QUANTITIES, energy_kwh, slot_means
from schemas.slots import sharing_energy as sharing
from schemas.statuses import UNAVAILABLE
from schemas.tables.history import (
    SLOT_S,
    network_energy,
    stale_slots,
    ven_history,
)
from schemas.tables.registry import vens
from schemas.tables.snapshots import (
    load_snapshots,
    load_type_rollups,
    ven_snapshots,
)


def ven_groups(gone_after: timedelta | None) -> Select[Any]:
    """Counts of, and sums over, VENs that are not retired, by status: the latest, else as registered."""
    latest = ven_snapshots.c
    # One VEN at a time, and only where it matters: to know it of all takes as long as reading their loads.
    a_load = (
        select(load_snapshots.c.load_id)
        .select_from(with_settings())
        .where(load_snapshots.c.ven_id == vens.c.ven_id, ~is_gone(gone_after, latest.ts))
        .limit(1)
        .correlate(vens, ven_snapshots)
    )
    is_whole = and_(latest.shed_power_kw != 0, a_load.scalar_subquery().is_(None))
    shed_kw = func.sum(latest.shed_power_kw)
    status = func.coalesce(latest.status, vens.c.status).label("status")
    return (
        select(
            status,
            func.count().label("vens"),
            func.count(latest.ts).label("reporting_vens"),
            func.coalesce(func.sum(latest.used_power_kw), 0.0).label("used_power_kw"),
            func.coalesce(shed_kw, 0.0).label("shed_power_kw"),
            func.coalesce(shed_kw.filter(is_whole), 0.0).label("whole_shed_power_kw"),
        )
        .select_from(vens.outerjoin(ven_snapshots, latest.ven_id == vens.c.ven_id))
        .where(vens.c.retired_at.is_(None))
        .group_by(status)
    )


def load_groups(gone_after: timedelta | None) -> Select[Any]:
    """Sums over the latest of loads that are of one type, and that may or may not be controlled now.

    Generation is not negative usage: a load that exports adds nothing to it.
    """
    used_kw = func.greatest(func.coalesce(load_snapshots.c.used_power_kw, 0.0), 0.0)
    # Of VENs only the few that are an exception are joined: each of all the loads is looked up among them.
    is_unreachable = ven_snapshots.c.status.in_(UNAVAILABLE)
    unreachable = select(ven_snapshots.c.ven_id).where(is_unreachable).subquery("unreachable")
    gone = gone_loads(gone_after).subquery("gone")
    is_retired = exists().where(vens.c.ven_id == load_snapshots.c.ven_id, vens.c.retired_at.is_not(None))
    groups = (
        effective("load_type").label("load_type"),
        is_enabled().label("enabled"),
        unreachable.c.ven_id.is_(None).label("controllable"),
    )
    return (
        select(
            *groups,
            func.sum(capacity_kw()).label("capacity_kw"),
            func.sum(shed_capability_kw()).label("shed_capability_kw"),
            func.sum(used_kw).label("usage_kw"),
        )
        .select_from(with_settings())
        .outerjoin(unreachable, unreachable.c.ven_id == load_snapshots.c.ven_id)
        .outerjoin(
            gone, and_(gone.c.ven_id == load_snapshots.c.ven_id, gone.c.load_id == load_snapshots.c.load_id)
        )
        .where(~is_retired, gone.c.ven_id.is_(None))
        .group_by(*groups)
    )


def energy_since(start: datetime) -> Select[Any]:
    """The network's energy, kWh, of the slots since an instant; null without a slot."""
    return select(func.sum(network_energy.c.used_energy_kwh)).where(network_energy.c.bucket >= start)


def take_stale_slots(most: int) -> ReturningDelete[datetime]:
    """Slots whose network energy must be computed again, the newest first.

    Whoever marks one meanwhile waits for us; and we wait for whoever has marked one and not committed.
    """
    newest = select(stale_slots.c.bucket).order_by(stale_slots.c.bucket.desc()).limit(most)
    some = select(stale_slots.c.bucket).where(stale_slots.c.bucket.in_(newest))
    in_order = some.order_by(stale_slots.c.bucket).with_for_update()
    return delete(stale_slots).where(stale_slots.c.bucket.in_(in_order)).returning(stale_slots.c.bucket)


def sharing_energy(slots: Iterable[datetime]) -> Select[Any]:
    """Some slots, and those that lie in the same wide slots."""
    those = select(func.unnest(literal(list(slots), ARRAY(DateTime(timezone=True)))).label("slot"))
    return sharing(those.subquery("those"))


def network_energy_of(*of_slots: ColumnElement[bool]) -> Select[Any]:
    """The network's energy in some slots, computed from VEN history: by VEN and slot, mean power times hours.

    Args:
        of_slots: conditions on `ven_history.bucket`; of a wide slot they hold for all slots or for none.
    """
    bucket = ven_history.c
    states = select(
        bucket.ven_id,
        bucket.bucket,
        bucket.used_power_kw_sum.label("used_sum"),
        bucket.used_samples,
        bucket.shed_power_kw_sum.label("shed_sum"),
        bucket.shed_samples,
    ).where(bucket.resolution_s == SLOT_S, *of_slots)
    means = slot_means(states.subquery("states"), ["ven_id"])
    energies = [
        func.sum(energy_kwh(means.c[f"{name}_kw"])).label(f"{name}_energy_kwh") for name in QUANTITIES
    ]
    return select(means.c.slot.label("bucket"), *energies).group_by(means.c.slot).order_by(means.c.slot)


def drop_energy(buckets: Iterable[datetime]) -> Delete:
    return delete(network_energy).where(network_energy.c.bucket.in_(list(buckets)))


def drop_types_except(kept: Sequence[str]) -> Delete:
    return delete(load_type_rollups).where(load_type_rollups.c.load_type.not_in(kept))
