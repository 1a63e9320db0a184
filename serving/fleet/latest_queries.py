"""The SQL of one VEN's latest values: the snapshot, merged with batches that the lane has not consumed yet.

They are merged as the lane does it: for each field, the value with the latest device time wins.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TypeVar

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    ScalarSelect,
    Select,
    Subquery,
    Table,
    case,
    cast,
    func,
    null,
    select,
    union_all,
)

from schemas.db.horizons import compared_before
from schemas.db.queries import Relation
from schemas.tables.ledger import ingest_batches, pending_batches
from schemas.tables.raw import ven_load_descriptions, ven_load_samples, ven_statuses, ven_telemetry
from schemas.tables.snapshots import LOAD_FIELDS, load_snapshots, ven_snapshots
from schemas.times.instants import BEGINNING
from serving.db.pending import covers_all_pending, within_days_pending
from serving.db.statements import VEN_ID

ENTRIES = ((ven_load_samples, 1), (ven_load_descriptions, 0))
"""Tables with values of loads; a tie of device times is broken by the greater rank."""

VEN_FIELDS = {
    "shed_power_kw": "ts",
    "event_id": "ts",
    "used_power_kw": "used_power_ts",
    "status": "status_ts",
}
"""The fields of a VEN in responses, and the column with the time of each."""

VEN_COLUMNS = [
    ven_snapshots.c[name] for name in dict.fromkeys((*VEN_FIELDS, *VEN_FIELDS.values(), "received_at"))
]
LOAD_COLUMNS = [load_snapshots.c[name] for field in LOAD_FIELDS for name in (field, f"{field}_stamp")]
LANE = "snapshot"
T = TypeVar("T")


def is_complete() -> Subquery:
    """Select whether all pending days of the snapshot lane are among the statement's values."""
    return select(covers_all_pending(LANE).scalar_subquery().label("is_complete")).subquery("completeness")


def new_of_load(table: Table, load_id: ColumnElement[str]) -> Relation:
    """Select rows of pending batches with values of a load."""
    return _new(table, [table.c.load_id]).where(*_of(table, load_id))


def latest_of_ven() -> Subquery:
    """Select a row like that of `ven_snapshots`, with the fields of responses; or none."""
    snapshot = select(ven_snapshots.c.ven_id, *VEN_COLUMNS).where(ven_snapshots.c.ven_id == VEN_ID)
    rows = union_all(snapshot, _new_reports(), _new_statuses()).subquery()
    fields = [_newest(rows.c[field], rows.c[order]) for field, order in VEN_FIELDS.items()]
    received_at = func.max(rows.c.received_at).label("received_at")
    return select(rows.c.ven_id, received_at, *fields).group_by(rows.c.ven_id).subquery("latest")


def latest_of_loads(load_id: ColumnElement[str] | None = None) -> Subquery:
    """Select rows like those of `load_snapshots`, for all loads of a VEN or for one."""
    snapshot = select(load_snapshots.c.ven_id, load_snapshots.c.load_id, load_snapshots.c.ts, *LOAD_COLUMNS)
    snapshot = snapshot.where(*_of(load_snapshots, load_id))
    new = (_new_entries(table, rank).where(*_of(table, load_id)) for table, rank in ENTRIES)
    rows = union_all(snapshot, *new).subquery()
    fields = [_newest(rows.c[field], rows.c[f"{field}_stamp"]) for field in LOAD_FIELDS]
    keys = (rows.c.ven_id, rows.c.load_id)
    return select(*keys, func.max(rows.c.ts).label("ts"), *fields).group_by(*keys).subquery("latest")


def newest_ts_of_ven() -> ScalarSelect[datetime]:
    """Select the device time of a VEN's newest report; null without any."""
    snapshot = select(ven_snapshots.c.ts).where(ven_snapshots.c.ven_id == VEN_ID)
    new = _new(ven_telemetry, [ven_telemetry.c.ts]).where(ven_telemetry.c.ven_id == VEN_ID)
    rows = union_all(snapshot, new).subquery()
    return select(func.max(rows.c.ts)).scalar_subquery()


def newest_ts_of_loads() -> Select[datetime]:
    """Select the newest device time of a VEN's loads, `ts`; null without any."""
    snapshot = select(load_snapshots.c.ts).where(load_snapshots.c.ven_id == VEN_ID)
    new = (_new(table, [table.c.ts]).where(table.c.ven_id == VEN_ID) for table, _rank in ENTRIES)
    rows = union_all(snapshot, *new).subquery()
    return select(func.max(rows.c.ts).label("ts"))


def _new_reports() -> Relation:
    report = ven_telemetry.c
    values = {**report, "used_power_ts": _if_not_null(report.used_power_kw, report.ts)}
    return _new(ven_telemetry, [report.ven_id, *_as(VEN_COLUMNS, values)]).where(report.ven_id == VEN_ID)


def _new_statuses() -> Relation:
    """Select all statuses of a VEN, which are few: the ledger does not record their times."""
    status = ven_statuses.c
    values = {"status": status.status, "status_ts": status.ts}
    pending = select(_batches().c.batch_id)
    return select(status.ven_id, *_as(VEN_COLUMNS, values)).where(
        status.ven_id == VEN_ID, status.batch_id.in_(pending)
    )


def _new_entries(table: Table, rank: int) -> Relation:
    stamp = cast(func.extract("epoch", table.c.ts) * 1_000_000, BigInteger) * 2 + rank
    stamps = {f"{field}_stamp": _if_not_null(table.c[field], stamp) for field in LOAD_FIELDS}
    columns = _as(LOAD_COLUMNS, {**table.c, **stamps})
    return _new(table, [table.c.ven_id, table.c.load_id, table.c.ts, *columns])


def _new(table: Table, columns: Sequence[ColumnElement[object]]) -> Relation:
    """Select rows of pending batches; their days prune other partitions, and avoid locks on them.

    Late rows of archived days are left out: the archive may have the same message, or contradict it.
    """
    batches = _batches()
    return (
        select(*columns)
        .join(batches, batches.c.batch_id == table.c.batch_id)
        .where(
            table.c.ts.between(batches.c.first_ts, batches.c.last_ts),
            within_days_pending(table.c.ts),
            table.c.ts >= func.coalesce(compared_before().scalar_subquery(), BEGINNING),
        )
    )


def _batches() -> Subquery:
    return (
        select(ingest_batches.c.batch_id, ingest_batches.c.first_ts, ingest_batches.c.last_ts)
        .join(pending_batches, pending_batches.c.batch_id == ingest_batches.c.batch_id)
        .where(pending_batches.c.lane == LANE)
        .subquery()
    )


def _of(table: Table, load_id: ColumnElement[str] | None) -> list[ColumnElement[bool]]:
    of_ven = [table.c.ven_id == VEN_ID]
    return of_ven if load_id is None else [*of_ven, table.c.load_id == load_id]


def _as(
    columns: Sequence[ColumnElement[object]], values: Mapping[str, ColumnElement[object]]
) -> list[ColumnElement[object]]:
    """Return columns of these names and types; null without a value."""
    return [values.get(column.name, cast(null(), column.type)).label(column.name) for column in columns]


def _if_not_null(
    field: ColumnElement[object], order: ColumnElement[int] | ColumnElement[datetime]
) -> ColumnElement[object]:
    return case((field.is_not(None), order))


def _newest(field: ColumnElement[T], order: ColumnElement[object]) -> ColumnElement[T]:
    in_turn = func.array_agg(field).aggregate_order_by(order.desc()).filter(order.is_not(None))
    return in_turn[1].label(field.name)
