"""The summary and the raw rows that it is made of, for verifying and rebuilding."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Select,
    Table,
    cast,
    func,
    literal,
    or_,
    select,
    text,
    true,
)
from sqlalchemy.sql import ColumnElement

from jobs.ranges import Range
from jobs.transforms.latest import LOADS, VENS
from schemas.instants import EPOCH
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
from schemas.tables.raw import ven_statuses, ven_telemetry
from schemas.tables.registry import vens
from schemas.tables.snapshots import (
    load_snapshots,
    ven_snapshots,
)


def consumed(
    table: Table, model: type[Frame], lane: str, within: Range, ven_ids: Sequence[str] | None
) -> Select[Any]:
    """Raw rows of a range that a lane's summary holds: those of batches that are not pending there."""
    pending = select(pending_batches.c.batch_id).where(pending_batches.c.lane == lane)
    query = select(*(table.c[name] for name in model.types()))
    return _of_vens(
        query.where(*_within(table.c.ts, within), table.c.batch_id.not_in(pending)), table, ven_ids
    )


def reports_by_slot(within: Range) -> Select[Any]:
    """How many reports each slot has, to cut a range into even parts."""
    slot = func.date_bin(literal(timedelta(seconds=SLOT_S)), ven_telemetry.c.ts, literal(EPOCH))
    in_slots = select(slot.label("slot")).where(*_within(ven_telemetry.c.ts, within)).subquery()
    counted = select(in_slots.c.slot, func.count().label("reports")).group_by(in_slots.c.slot)
    return counted.order_by(in_slots.c.slot)


def latest(table: Table, ven_ids: Sequence[str] | None) -> Select[Any]:
    """The rows of a table of latest values."""
    return _of_vens(select(table), table, ven_ids)


def buckets(
    table: Table, within: Range, ven_ids: Sequence[str] | None = None, resolution_s: int | None = None
) -> Select[Any]:
    """Rows of a table of history whose bucket starts in a range."""
    query = _of_vens(select(table), table, ven_ids).where(*_within(table.c.bucket, within))
    return query if resolution_s is None else query.where(table.c.resolution_s == resolution_s)


def energy_not_stale(within: Range) -> Select[Any]:
    """The network's energy, but for the slots that are to be computed again anyway."""
    stale = select(stale_slots.c.bucket)
    return buckets(network_energy, within).where(network_energy.c.bucket.not_in(stale))


def stale(within: Range) -> Select[Any]:
    return select(stale_slots.c.bucket).where(*_within(stale_slots.c.bucket, within))


HOLD_RAW = text("LOCK TABLE ONLY ven_telemetry IN ACCESS SHARE MODE")
"""To the end of the transaction no partition is dropped or replaced: that takes the lock for itself.

COPY takes its snapshot before its locks: without this, having waited for a lock, it would not see rows that
were moved meanwhile.
"""


def known_vens(ven_ids: Sequence[str]) -> Select[Any]:
    """Those of some VENs that the registry has, retired or not."""
    return select(vens.c.ven_id).where(vens.c.ven_id.in_(ven_ids))


def stored() -> Select[Any]:
    """The first and the last device time that any batch or status brought; null without any."""
    batches = select(func.min(ingest_batches.c.first_ts), func.max(ingest_batches.c.last_ts)).subquery()
    statuses = select(func.min(ven_statuses.c.ts), func.max(ven_statuses.c.ts)).subquery()
    (first, last), (first_status, last_status) = batches.c, statuses.c
    return select(func.least(first, first_status), func.greatest(last, last_status)).select_from(
        batches.join(statuses, true())
    )


NOT_FOR_EVER = datetime(9999, 12, 31, tzinfo=UTC)


def strays(instant: ColumnElement[Any], stored: Range, since: datetime) -> Select[Any]:
    """The first and the last of some instants of the summary that lie outside of what is stored."""
    outside = or_(instant < stored.start, instant >= stored.end)
    return select(func.min(instant), func.max(instant)).where(
        instant >= since, instant < NOT_FOR_EVER, outside
    )


def _of_stamps(pick: Callable[..., ColumnElement[Any]]) -> ColumnElement[Any]:
    stamps = (cast(load_snapshots.c[stamp], BigInteger) for stamp in LOADS.groups)
    return literal(EPOCH) + pick(*stamps) / 2 * literal(timedelta(microseconds=1))


DATED = (
    *(table.c.bucket for table in (network_history, network_energy, ven_history, load_history)),
    *(ven_snapshots.c[order] for order in VENS.groups),
    load_snapshots.c.ts,
    _of_stamps(func.least),
    _of_stamps(func.greatest),
)
"""What says of a row of the summary which time it is about."""


def _of_vens(query: Select[Any], table: Table, ven_ids: Sequence[str] | None) -> Select[Any]:
    return query if ven_ids is None else query.where(table.c.ven_id.in_(ven_ids))


def _within(instant: ColumnElement[Any], within: Range) -> tuple[ColumnElement[bool], ...]:
    return instant >= within.start, instant < within.end
