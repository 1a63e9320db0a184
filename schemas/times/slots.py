"""The energy of slots: one definition for jobs, serving and analysis, as SQL over mergeable states.

A slot is five minutes. A VEN whose meter is slower has, from a half-hour on, a slot width of 15 or 30 minutes
(`slot_widths`): the mean of all samples in such a wide slot is the power of each of the slots within, so its
energy is its mean times its width, spread evenly. A wide slot without samples stays empty. No row stored by
VEN depends on the width: it is applied when means are computed, so a change of it needs no new sums. Only the
network's energy is precomputed, and is marked stale where a width changes.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import (
    ColumnElement,
    Executable,
    Float,
    FromClause,
    Interval,
    Select,
    Subquery,
    and_,
    cast,
    delete,
    func,
    literal,
    literal_column,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.sql.elements import CollectionAggregate

from schemas.db.locks import ENERGY, exclusive
from schemas.tables.history import SLOT_S, stale_slots, ven_history
from schemas.tables.registry import SLOT_WIDTHS_S, slot_widths
from schemas.times.instants import EPOCH

SLOT_HOURS = SLOT_S / 3600
WIDEST_S = max(SLOT_WIDTHS_S)
WIDEST = timedelta(seconds=WIDEST_S)
SLOT = timedelta(seconds=SLOT_S)
QUANTITIES = ("used", "shed")


def floor(
    instant: ColumnElement[datetime], width: ColumnElement[timedelta] | timedelta
) -> ColumnElement[datetime]:
    """The start of the slot of a width that contains an instant."""
    return func.date_bin(width, instant, literal(EPOCH))


def mean_kw(total_kw: ColumnElement[float], samples: ColumnElement[int]) -> ColumnElement[float]:
    """The mean power of a sum of samples, kW; null without any."""
    return total_kw / cast(func.nullif(samples, 0), Float)


def spans(ven_id: ColumnElement[str] | CollectionAggregate[bool] | None = None) -> Subquery:
    """Select the ranges in which VENs have slots wider than five minutes: of one VEN, or of all."""
    row = slot_widths.c
    until = func.lead(row.since).over(partition_by=row.ven_id, order_by=row.since)
    dated = select(
        row.ven_id,
        row.since,
        func.coalesce(until, literal_column("'infinity'::timestamptz")).label("until"),
        row.width_s,
    )
    if ven_id is not None:
        dated = dated.where(row.ven_id == ven_id)
    each = dated.subquery("dated")
    width = (each.c.width_s * _interval(timedelta(seconds=1))).label("width")
    is_wide = each.c.width_s > SLOT_S
    return select(each.c.ven_id, each.c.since, each.c.until, width).where(is_wide).subquery("span")


def slot_means(
    states: FromClause,
    keys: Sequence[str] = (),
    ven_id: ColumnElement[str] | CollectionAggregate[bool] | None = None,
) -> Subquery:
    """Select `slot`, `used_kw`, `shed_kw` (null without a value) and the keys, for every slot with states.

    Args:
        states: mergeable states by `bucket` of a slot, `used_sum`, `used_samples`, `shed_sum`,
            `shed_samples` and the keys; several rows may share a bucket. Means are correct for wide slots
                with all their buckets.
        keys: the key columns of entities, `ven_id` among them unless all states are of one VEN.
        ven_id: of that VEN.
    """
    span, each = spans(ven_id), offsets()
    is_in_span = [states.c.bucket >= span.c.since, states.c.bucket < span.c.until]
    if "ven_id" in keys:
        is_in_span.append(span.c.ven_id == states.c.ven_id)
    width: ColumnElement[timedelta] = func.coalesce(span.c.width, literal(SLOT))
    first = floor(states.c.bucket, width).label("first")
    each_width, of = width.label("width"), [states.c[key] for key in keys]
    means = [
        mean_kw(func.sum(states.c[f"{name}_sum"]), func.sum(states.c[f"{name}_samples"])).label(f"{name}_kw")
        for name in QUANTITIES
    ]
    wide = (
        select(first, each_width, *of, *means)
        .select_from(states.outerjoin(span, and_(*is_in_span)))
        .group_by(first, each_width, *of)
        .subquery("wide")
    )
    columns = [wide.c[name] for name in (*(f"{name}_kw" for name in QUANTITIES), *keys)]
    slot = (wide.c.first + each.c.after).label("slot")
    return select(slot, *columns).join_from(wide, each, each.c.after < wide.c.width).subquery("slot_means")


def energy_kwh(power_kw: ColumnElement[float]) -> ColumnElement[float]:
    """The energy of a slot with this mean power; null counts as zero."""
    return func.coalesce(power_kw * SLOT_HOURS, 0.0)


def offsets() -> Subquery:
    """The offsets of slots from the start of a wide slot."""
    number = func.generate_series(0, WIDEST_S // SLOT_S - 1).table_valued("number").render_derived()
    return select((number.c.number * _interval(SLOT)).label("after")).subquery("offset_of")


def _interval(length: timedelta) -> ColumnElement[timedelta]:
    """A typed interval: in a prepared statement it would be ambiguous with the operator `*`."""
    return cast(literal(length, Interval), Interval)


def widest() -> ColumnElement[timedelta]:
    """Select the widest slot that any VEN has, or had."""
    widest_s = select(func.coalesce(func.max(slot_widths.c.width_s), SLOT_S)).scalar_subquery()
    return widest_s * _interval(timedelta(seconds=1))


def sharing_energy(slots: Subquery) -> Select[datetime]:
    """Select slots whose energy may depend on samples of given slots (`slot`), by their wide slots."""
    width, each = select(widest().label("width")).subquery("widest"), offsets()
    inside = slots.join(width, true()).join(each, each.c.after < width.c.width)
    return select((floor(slots.c.slot, width.c.width) + each.c.after).label("slot")).select_from(inside)


def width_changes(ven_id: str, since: datetime, width_s: int, source: str, now: datetime) -> list[Executable]:
    """Return statements, for one transaction and in order, that set a VEN's slot width from a half-hour on.

    Later rows are deleted. `since` is on the border of a half-hour.
    """
    row = {"ven_id": ven_id, "since": since, "width_s": width_s, "source": source, "recorded_at": now}
    return [
        exclusive(ENERGY),
        delete(slot_widths).where(slot_widths.c.ven_id == ven_id, slot_widths.c.since >= since),
        insert(slot_widths).values(row),
        mark_stale(ven_id, since),
    ]


def forget_widths(ven_id: str, source: str) -> list[Executable]:
    """Return statements, for one transaction, that delete a VEN's slot widths of one source."""
    since = select(func.min(slot_widths.c.since)).where(*_by(ven_id, source)).scalar_subquery()
    return [exclusive(ENERGY), mark_stale(ven_id, since), delete(slot_widths).where(*_by(ven_id, source))]


def _by(ven_id: str, source: str) -> list[ColumnElement[bool]]:
    return [slot_widths.c.ven_id == ven_id, slot_widths.c.source == source]


def half_hour(at: datetime) -> datetime:
    """Return the border of wide slots at or before an instant."""
    return EPOCH + (at - EPOCH) // WIDEST * WIDEST


def latest_widths() -> Subquery:
    """Select the newest row of each VEN: its current slot width."""
    row = slot_widths.c
    newest = select(row.ven_id, func.max(row.since).label("since")).group_by(row.ven_id).subquery("newest")
    is_newest = and_(newest.c.ven_id == row.ven_id, newest.c.since == row.since)
    return (
        select(row.ven_id, row.since, row.width_s, row.source)
        .join_from(newest, slot_widths, is_newest)
        .subquery("slot_width")
    )


def mark_stale(ven_id: str, since: ColumnElement[datetime] | datetime) -> Insert:
    """Mark slots as stale whose network energy a new width of a VEN changes, from a half-hour on.

    A transaction that changes a width takes the lock `ENERGY` first: until its commit no energy is computed
    by the old width.
    """
    of_ven = ven_history.c
    buckets = (
        select(of_ven.bucket.label("slot"))
        .where(of_ven.ven_id == ven_id, of_ven.resolution_s == SLOT_S, of_ven.bucket >= since)
        .subquery("changed")
    )
    each, half_hour = offsets(), floor(buckets.c.slot, literal(WIDEST)).label("first")
    half_hours = select(half_hour).distinct().subquery("half_hour")
    slots = select((half_hours.c.first + each.c.after).label("slot")).select_from(
        half_hours.join(each, each.c.after < literal(WIDEST))
    )
    statement = insert(stale_slots).from_select(["bucket"], slots.order_by("slot"))
    return statement.on_conflict_do_update(
        index_elements=["bucket"], set_={"bucket": statement.excluded.bucket}
    )
