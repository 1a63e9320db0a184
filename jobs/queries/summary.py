"""The SQL of `verify` and `rebuild`: the summary, and the raw rows that it is computed from."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from msgspec import Struct
from sqlalchemy import (
    BigInteger,
    Select,
    Subquery,
    Table,
    and_,
    cast,
    func,
    literal,
    or_,
    select,
    text,
    true,
    union_all,
)
from sqlalchemy.sql import ColumnElement

from jobs.summaries.raw_source import RawSource
from jobs.summaries.ven_ranges import ALL_VENS, VenRange
from jobs.transforms.latest import LOADS, VENS, Latest
from schemas.db.queries import Relation
from schemas.tables import Frame
from schemas.tables.history import (
    SLOT_S,
    load_history,
    network_energy,
    network_history,
    stale_slots,
    ven_history,
)
from schemas.tables.ledger import ingest_batches, pending_batches
from schemas.tables.raw import ven_load_samples, ven_statuses, ven_telemetry
from schemas.tables.registry import vens
from schemas.tables.snapshots import (
    load_snapshots,
    ven_snapshots,
)
from schemas.times.instants import EPOCH, microseconds
from schemas.times.slots import sharing_energy
from schemas.times.time_ranges import TimeRange


class Scope(Struct, frozen=True):
    """The scope of a comparison: a range on slot borders, and VENs."""

    within: TimeRange
    since: datetime
    """Raw rows before this may have been deleted."""

    ven_ids: Sequence[str] | None = None
    """None for all."""

    vens: VenRange = ALL_VENS
    source: RawSource | None = None
    """The source of raw rows that PostgreSQL has dropped."""


COUNTED = (ven_telemetry, ven_load_samples)
"""The raw tables with nearly all rows."""


def consumed(table: Table, model: type[Frame], lane: str, scope: Scope) -> Relation:
    """Select the raw rows of a scope that a lane has consumed: those of batches not pending for it."""
    pending = select(pending_batches.c.batch_id).where(pending_batches.c.lane == lane)
    query = select(*(table.c[name] for name in model.types()))
    in_scope = (*within_range(table.c.ts, scope.within), *of_vens(table, scope))
    return query.where(*in_scope, table.c.batch_id.not_in(pending))


def rows_by_slot(scope: Scope) -> Relation:
    """Count reports and samples by slot, to divide a range into even parts."""
    slots = [
        select(
            func.date_bin(literal(timedelta(seconds=SLOT_S)), table.c.ts, literal(EPOCH)).label("slot")
        ).where(*within_range(table.c.ts, scope.within), *of_vens(table, scope))
        for table in COUNTED
    ]
    counted = (
        select(in_slot.c.slot, func.count().label("rows")).group_by(in_slot.c.slot)
        for in_slot in (slot.subquery() for slot in slots)
    )
    return _totalled(union_all(*counted).subquery(), "slot")


def rows_by_ven(scope: Scope) -> Relation:
    """Count reports and samples by VEN, to divide a slot with too many rows."""
    counted = (
        select(table.c.ven_id, func.count().label("rows"))
        .where(*within_range(table.c.ts, scope.within), *of_vens(table, scope))
        .group_by(table.c.ven_id)
        for table in COUNTED
    )
    return _totalled(union_all(*counted).subquery(), "ven_id")


def _totalled(counted: Subquery, key: str) -> Relation:
    rows = cast(func.sum(counted.c.rows), BigInteger).label("rows")
    return select(counted.c[key], rows).group_by(counted.c[key]).order_by(counted.c[key])


def latest(table: Table, rules: Latest, scope: Scope, ven_ids: Sequence[str]) -> Relation:
    """Select rows of latest values that come, or may come, from a scope's messages.

    These are rows of the given VENs, and rows whose time is within the scope, or null.
    """
    orders = [table.c[order] for order in {"ts", *rules.groups}]
    in_time = (_is_of(order, scope.within) for order in orders)
    is_undated = and_(*(order.is_(None) for order in orders))
    is_of_scope = or_(table.c.ven_id.in_(ven_ids), *in_time, is_undated)
    return select(table).where(*of_vens(table, scope), is_of_scope)


def _is_of(order: ColumnElement[object], within: TimeRange) -> ColumnElement[bool]:
    if not isinstance(order.type, BigInteger):
        return and_(order >= within.start, order < within.end)
    start, end = (2 * microseconds(at) for at in (within.start, within.end))
    return and_(order >= start, order < end)


def buckets(table: Table, scope: Scope, resolution_s: int | None = None) -> Relation:
    """Select rows of a history table whose bucket starts in the scope's range."""
    query = select(table).where(*within_range(table.c.bucket, scope.within))
    if "ven_id" in table.c:
        query = query.where(*of_vens(table, scope))
    return query if resolution_s is None else query.where(table.c.resolution_s == resolution_s)


def energy(within: TimeRange) -> Relation:
    """Select the network's energy, without stale slots, which are recomputed anyway."""
    return select(network_energy).where(*is_current(network_energy.c.bucket, within))


def is_current(slot: ColumnElement[datetime], within: TimeRange) -> list[ColumnElement[bool]]:
    """Return the conditions for slots in a range whose energy is not stale."""
    stale = sharing_energy(select(stale_slots.c.bucket.label("slot")).subquery("stale"))
    return [*within_range(slot, within), slot.not_in(stale)]


HOLD_RAW = text("LOCK TABLE ONLY ven_telemetry IN ACCESS SHARE MODE")
"""To the end of the transaction no partition is dropped or replaced, as that needs an exclusive lock.

COPY takes its snapshot before its locks: without this, after waiting for a lock, it would miss rows that
were moved meanwhile.
"""


def known_vens(ven_ids: Sequence[str]) -> Select[str]:
    """Select the given VENs that are in the registry, retired or not."""
    return select(vens.c.ven_id).where(vens.c.ven_id.in_(ven_ids))


def stored() -> Select[datetime | None, datetime | None]:
    """Select the first and the last device time of any batch or status; null without any."""
    batches = select(func.min(ingest_batches.c.first_ts), func.max(ingest_batches.c.last_ts)).subquery()
    statuses = select(func.min(ven_statuses.c.ts), func.max(ven_statuses.c.ts)).subquery()
    (first, last), (first_status, last_status) = batches.c, statuses.c
    return select(func.least(first, first_status), func.greatest(last, last_status)).select_from(
        batches.join(statuses, true())
    )


NOT_FOR_EVER = datetime(9999, 12, 31, tzinfo=UTC)


def strays(
    instant: ColumnElement[datetime], stored: TimeRange, since: datetime
) -> Select[datetime | None, datetime | None]:
    """Select the first and the last instant of the summary outside the stored range."""
    outside = or_(instant < stored.start, instant >= stored.end)
    return select(func.min(instant), func.max(instant)).where(
        instant >= since, instant < NOT_FOR_EVER, outside
    )


def _of_stamps(pick: Callable[..., ColumnElement[int]]) -> ColumnElement[datetime]:
    stamps = (cast(load_snapshots.c[stamp], BigInteger) for stamp in LOADS.groups)
    return literal(EPOCH) + pick(*stamps) / 2 * literal(timedelta(microseconds=1))


DATED = (
    *(table.c.bucket for table in (network_history, network_energy, ven_history, load_history)),
    *(ven_snapshots.c[order] for order in VENS.groups),
    load_snapshots.c.ts,
    _of_stamps(func.least),
    _of_stamps(func.greatest),
)
"""The column with the time of a summary row."""


def of_vens(table: Table, scope: Scope) -> list[ColumnElement[bool]]:
    ven_id, vens_of = table.c.ven_id, scope.vens
    conditions: list[ColumnElement[bool]] = []
    if scope.ven_ids is not None:
        conditions.append(ven_id.in_(scope.ven_ids))
    if vens_of.first is not None:
        conditions.append(ven_id >= vens_of.first)
    if vens_of.before is not None:
        conditions.append(ven_id < vens_of.before)
    return conditions


def within_range(instant: ColumnElement[datetime], within: TimeRange) -> tuple[ColumnElement[bool], ...]:
    return instant >= within.start, instant < within.end
