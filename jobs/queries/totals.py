"""The SQL of the network's energy, and of load types that have totals."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import ARRAY, ColumnElement, DateTime, Delete, Select, delete, func, literal, select
from sqlalchemy.sql.dml import ReturningDelete

from schemas.db.queries import Relation
from schemas.tables.history import SLOT_S, network_energy, stale_slots, ven_history
from schemas.tables.snapshots import load_type_rollups
from schemas.times.slots import QUANTITIES, energy_kwh, slot_means
from schemas.times.slots import sharing_energy as sharing


def energy_since(start: datetime) -> Select[float | None]:
    """Select the network's energy, kWh, of the slots since an instant; null without a slot."""
    return select(func.sum(network_energy.c.used_energy_kwh)).where(network_energy.c.bucket >= start)


def take_stale_slots(most: int) -> ReturningDelete[datetime]:
    """Claim slots whose network energy is stale, newest first: delete their marks and return them.

    Concurrent sessions that mark one wait for this transaction, which waits for uncommitted marks.
    """
    newest = select(stale_slots.c.bucket).order_by(stale_slots.c.bucket.desc()).limit(most)
    some = select(stale_slots.c.bucket).where(stale_slots.c.bucket.in_(newest))
    in_order = some.order_by(stale_slots.c.bucket).with_for_update()
    return delete(stale_slots).where(stale_slots.c.bucket.in_(in_order)).returning(stale_slots.c.bucket)


def sharing_energy(slots: Iterable[datetime]) -> Select[datetime]:
    """Select the given slots, and those within the same wide slots."""
    those = select(func.unnest(literal(list(slots), ARRAY(DateTime(timezone=True)))).label("slot"))
    return sharing(those.subquery("those"))


def network_energy_of(*of_slots: ColumnElement[bool]) -> Relation:
    """Compute the network's energy in slots from VEN history: by VEN and slot, mean power times hours.

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


def drop_types_except(types: Sequence[str]) -> Delete:
    return delete(load_type_rollups).where(load_type_rollups.c.load_type.not_in(types))
