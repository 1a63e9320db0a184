"""Totals over latest values, and the energy of the network."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time
from typing import Any

from sqlalchemy import (
    Delete,
    Select,
    and_,
    delete,
    exists,
    func,
    select,
    true,
)
from sqlalchemy.sql.dml import ReturningDelete

from schemas.tables.history import (
    SLOT_S,
    network_energy,
    stale_slots,
    ven_history,
)
from schemas.tables.registry import loads, vens
from schemas.tables.snapshots import (
    load_snapshots,
    load_type_rollups,
    ven_snapshots,
)


def ven_groups() -> Select[Any]:
    """Counts of, and sums over, VENs that are not retired, by status: the latest, else as registered."""
    latest = ven_snapshots.c
    # One VEN at a time, and only where it matters: to know it of all takes as long as reading their loads.
    a_load = select(load_snapshots.c.load_id).where(load_snapshots.c.ven_id == vens.c.ven_id).limit(1)
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


def load_groups() -> Select[Any]:
    """Sums over the latest of loads that are of one type, and that may or may not be controlled now.

    Where people have set a field, theirs counts. A load's shed capability is the reported one, else what it
    sheds now, else none; its capacity the reported one, else usage and shed capability together. Generation
    is not negative usage: a load that exports adds nothing to it.
    """
    latest, people = load_snapshots.c, loads.c
    used_kw = func.coalesce(latest.used_power_kw, 0.0)
    shed_kw = func.coalesce(people.shed_capability_kw, latest.shed_capability_kw, latest.shed_power_kw, 0.0)
    capacity_kw = func.coalesce(people.capacity_kw, latest.capacity_kw, used_kw + shed_kw)
    # Of VENs only the few that are an exception are joined: each of all the loads is looked up among them.
    offline = select(ven_snapshots.c.ven_id).where(ven_snapshots.c.status == "offline").subquery()
    is_retired = exists().where(vens.c.ven_id == latest.ven_id, vens.c.retired_at.is_not(None))
    groups = (
        func.coalesce(people.load_type, latest.load_type).label("load_type"),
        func.coalesce(people.enabled, latest.enabled, true()).label("enabled"),
        offline.c.ven_id.is_(None).label("online"),
    )
    return (
        select(
            *groups,
            func.sum(capacity_kw).label("capacity_kw"),
            func.sum(shed_kw).label("shed_capability_kw"),
            func.sum(func.greatest(used_kw, 0.0)).label("usage_kw"),
        )
        .select_from(load_snapshots)
        .outerjoin(offline, offline.c.ven_id == latest.ven_id)
        .outerjoin(loads, and_(people.ven_id == latest.ven_id, people.load_id == latest.load_id))
        .where(~is_retired)
        .group_by(*groups)
    )


def energy_since(day: date) -> Select[Any]:
    """The network's energy, kWh, since 00:00 UTC of a day; null without a slot."""
    start = datetime.combine(day, time(), UTC)
    return select(func.sum(network_energy.c.used_energy_kwh)).where(network_energy.c.bucket >= start)


def take_stale_slots() -> ReturningDelete[datetime]:
    """Slots whose network energy must be computed again.

    Whoever marks one meanwhile waits for us; and we wait for whoever has marked one and not committed.
    """
    in_order = select(stale_slots.c.bucket).order_by(stale_slots.c.bucket).with_for_update()
    return delete(stale_slots).where(stale_slots.c.bucket.in_(in_order)).returning(stale_slots.c.bucket)


def slots(buckets: Iterable[datetime]) -> Select[Any]:
    """VEN history in some slots."""
    columns = ("bucket", "used_power_kw_sum", "shed_power_kw_sum", "used_samples", "shed_samples")
    return select(*(ven_history.c[name] for name in columns)).where(
        ven_history.c.resolution_s == SLOT_S, ven_history.c.bucket.in_(list(buckets))
    )


def drop_energy(buckets: Iterable[datetime]) -> Delete:
    return delete(network_energy).where(network_energy.c.bucket.in_(list(buckets)))


def drop_types_except(kept: Sequence[str]) -> Delete:
    return delete(load_type_rollups).where(load_type_rollups.c.load_type.not_in(kept))
