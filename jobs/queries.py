"""All of the jobs' SQL, as SQLAlchemy statements over `schemas.tables`."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any

from sqlalchemy import (
    BigInteger,
    Delete,
    FromClause,
    MetaData,
    ScalarSelect,
    Select,
    Table,
    Update,
    and_,
    any_,
    case,
    cast,
    delete,
    exists,
    func,
    literal,
    literal_column,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.base import ReadOnlyColumnCollection
from sqlalchemy.sql.dml import ReturningDelete, ReturningInsert, ReturningUpdate
from sqlalchemy.sql.elements import TextClause

from jobs.ranges import Range
from jobs.transforms.latest import LOADS, VENS, Latest
from schemas.instants import EPOCH
from schemas.tables import Frame
from schemas.tables.events import OPEN_COMMANDS, commands, events
from schemas.tables.history import (
    SLOT_S,
    horizons,
    load_history,
    network_energy,
    network_history,
    stale_slots,
    ven_history,
)
from schemas.tables.ledger import LANES, ingest_batches, job_leases, job_runs, pending_batches
from schemas.tables.live import live_changes
from schemas.tables.raw import ven_load_samples, ven_statuses, ven_telemetry
from schemas.tables.registry import loads, vens
from schemas.tables.snapshots import (
    load_snapshots,
    load_type_rollups,
    ven_snapshots,
)

MOST_SPANS = 16

STATE = ("used_power_kw_sum", "shed_power_kw_sum", "samples", "used_samples", "shed_samples")


ROWS_OF_BATCH = (
    ingest_batches.c.telemetry_rows
    + ingest_batches.c.sample_rows
    + ingest_batches.c.description_rows
    + ingest_batches.c.status_rows
)


def pending(lane: str, most: int) -> Select[Any]:
    """Batches that a lane has not consumed, oldest first, locked against other workers of the lane."""
    return (
        select(
            pending_batches.c.batch_id,
            ROWS_OF_BATCH.label("rows"),
            ingest_batches.c.first_ts,
            ingest_batches.c.last_ts,
        )
        .join(ingest_batches, ingest_batches.c.batch_id == pending_batches.c.batch_id)
        .where(pending_batches.c.lane == lane)
        .order_by(pending_batches.c.batch_id)
        .limit(most)
        .with_for_update(of=pending_batches, skip_locked=True)
    )


def oldest_pending() -> Select[Any]:
    """The oldest batch that any lane has pending; waits for a worker that holds it."""
    oldest = select(pending_batches.c.batch_id).order_by(pending_batches.c.batch_id).limit(1)
    return oldest.with_for_update()


def backlog() -> Select[Any]:
    """How much each lane has pending, and since when."""
    return (
        select(
            pending_batches.c.lane,
            func.count().label("batches"),
            func.sum(ROWS_OF_BATCH).label("rows"),
            func.min(ingest_batches.c.received_at).label("oldest"),
        )
        .join(ingest_batches, ingest_batches.c.batch_id == pending_batches.c.batch_id)
        .group_by(pending_batches.c.lane)
    )


def take_lease(
    job: str, holder: str, now: datetime, due_at: datetime, expires_at: datetime
) -> ReturningInsert[str]:
    """Take a job's lease, or renew it; no row while somebody else holds it."""
    statement = insert(job_leases).values(job=job, holder=holder, due_at=due_at, expires_at=expires_at)
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=["job"],
        set_={"holder": new.holder, "due_at": new.due_at, "expires_at": new.expires_at},
        where=or_(job_leases.c.holder == new.holder, job_leases.c.expires_at <= now),
    ).returning(job_leases.c.holder)


def give_up_leases(holder: str, now: datetime) -> Update:
    """Let others take over at once."""
    return update(job_leases).where(job_leases.c.holder == holder).values(expires_at=now)


def due() -> Select[Any]:
    return select(job_leases.c.job, job_leases.c.due_at)


def consume(lane: str, batch_ids: Sequence[int]) -> Delete:
    return delete(pending_batches).where(
        pending_batches.c.lane == lane, pending_batches.c.batch_id.in_(batch_ids)
    )


def rows_of_batches(
    table: Table,
    model: type[Frame],
    batch_ids: Sequence[int],
    days: tuple[datetime, datetime] | None,
) -> Select[Any]:
    """The rows that some batches brought; `days` (both inclusive) spares the other partitions."""
    columns = [table.c[name] for name in model.types()]
    # The index finds the spans; a list would have it search once for each batch, so that is a mere filter.
    spans = (table.c.batch_id.between(first, last) for first, last in spans_of(batch_ids))
    query = select(*columns).where(or_(*spans), (table.c.batch_id + 0).in_(batch_ids))
    return query if days is None else query.where(table.c.ts.between(*days))


def spans_of(batch_ids: Sequence[int], most: int = MOST_SPANS) -> list[tuple[int, int]]:
    """Few spans, first and last, that hold all the ids and leave out the widest gaps between them."""
    ids = sorted(batch_ids)
    gaps = [place for place in range(1, len(ids)) if ids[place] - ids[place - 1] > 1]
    widest = sorted(gaps, key=lambda place: ids[place - 1] - ids[place])[: most - 1]
    borders = [0, *sorted(widest), len(ids)]
    return [(ids[start], ids[end - 1]) for start, end in pairwise(borders)]


def merge_latest_vens(target: Table, staged: str) -> Insert:
    """Insert or update the latest of VENs: in each group of columns the newer one wins."""
    return _merge_latest(target, staged, VENS)


def merge_latest_loads(target: Table, staged: str) -> Insert:
    """Insert or update the latest of loads, field by field."""
    return _merge_latest(target, staged, LOADS)


def _merge_latest(target: Table, staged: str, latest: Latest) -> Insert:
    statement, new = _upsert(target, staged)
    changes: dict[str, ColumnElement[Any]] = {
        name: func.greatest(target.c[name], new[name]) for name in latest.greatest
    }
    for order, fields in latest.groups.items():
        is_newer = new[order] > func.coalesce(target.c[order], _before_all(target.c[order]))
        for column in (*fields, order):
            changes[column] = case((is_newer, new[column]), else_=target.c[column])
    return statement.on_conflict_do_update(index_elements=list(target.primary_key), set_=changes)


def _before_all(order: ColumnElement[Any]) -> ColumnElement[Any]:
    return (
        literal_column("-1")
        if isinstance(order.type, BigInteger)
        else literal_column("'-infinity'::timestamptz")
    )


def merge_sums(target: Table, staged: str) -> Insert:
    """Insert buckets, or add to those that exist."""
    statement, new = _upsert(target, staged)
    sums = {name: target.c[name] + new[name] for name in STATE}
    return statement.on_conflict_do_update(index_elements=list(target.primary_key), set_=sums)


def replace(target: Table, staged: str) -> Insert:
    """Insert rows, or put them in the place of those with the same key."""
    statement, new = _upsert(target, staged)
    values = {column.name: new[column.name] for column in target.c if not column.primary_key}
    return statement.on_conflict_do_update(index_elements=list(target.primary_key), set_=values)


def remove(target: Table, staged: str) -> Delete:
    """Delete the rows that have the keys of staged ones."""
    twin = target.to_metadata(MetaData(), name=staged)
    return delete(target).where(*(column == twin.c[column.name] for column in target.primary_key))


def insert_missing(target: Table, staged: str) -> Insert:
    statement, _ = _upsert(target, staged)
    return statement.on_conflict_do_nothing()


def _upsert(target: Table, staged: str) -> tuple[Insert, ReadOnlyColumnCollection[str, Any]]:
    """Insert from the staged twin, in the order of the key, so that two workers cannot deadlock."""
    twin = target.to_metadata(MetaData(), name=staged)
    rows = select(twin).order_by(*(twin.c[key.name] for key in target.primary_key))
    statement = insert(target).from_select([column.name for column in twin.c], rows)
    return statement, statement.excluded


def ven_groups() -> Select[Any]:
    """Counts of, and sums over, VENs that are not retired and whose last status is the same."""
    latest = ven_snapshots.c
    # One VEN at a time, and only where it matters: to know it of all takes as long as reading their loads.
    a_load = select(load_snapshots.c.load_id).where(load_snapshots.c.ven_id == vens.c.ven_id).limit(1)
    is_whole = and_(latest.shed_power_kw != 0, a_load.scalar_subquery().is_(None))
    shed_kw = func.sum(latest.shed_power_kw)
    return (
        select(
            latest.status,
            func.count().label("vens"),
            func.count(latest.ts).label("reporting_vens"),
            func.coalesce(func.sum(latest.used_power_kw), 0.0).label("used_power_kw"),
            func.coalesce(shed_kw, 0.0).label("shed_power_kw"),
            func.coalesce(shed_kw.filter(is_whole), 0.0).label("whole_shed_power_kw"),
        )
        .select_from(vens.outerjoin(ven_snapshots, latest.ven_id == vens.c.ven_id))
        .where(vens.c.retired_at.is_(None))
        .group_by(latest.status)
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


def mark_stale(target: Table, staged: str) -> Insert:
    """Mark slots; one that is marked already is locked, so that it cannot be taken before we commit."""
    statement, new = _upsert(target, staged)
    return statement.on_conflict_do_update(index_elements=["bucket"], set_={"bucket": new["bucket"]})


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


def watched_vens(heard_before: datetime) -> Select[Any]:
    """VENs that are not offline and were last heard before a time; and those offline, but heard since.

    Under maintenance a VEN may be silent; one that was never heard live is not expected to be.
    """
    ven = ven_snapshots.c
    not_offline = func.coalesce(ven.status, "").not_in(("offline", "maintenance"))
    return (
        select(ven.ven_id, ven.status, ven.status_ts, ven.heard_at)
        .join(vens, and_(vens.c.ven_id == ven.ven_id, vens.c.retired_at.is_(None)))
        .where(
            or_(
                and_(not_offline, ven.heard_at < heard_before),
                and_(ven.status == "offline", ven.heard_at > ven.status_ts),
            )
        )
    )


def recent_reports(ven_ids: Sequence[str], since: datetime, most: int) -> Select[Any]:
    """The last reports, at most so many each, of some VENs."""
    asked = select(ven_snapshots.c.ven_id).where(ven_snapshots.c.ven_id.in_(ven_ids)).subquery()
    last = (
        select(ven_telemetry.c.ts)
        .where(ven_telemetry.c.ven_id == asked.c.ven_id, ven_telemetry.c.ts >= since)
        .order_by(ven_telemetry.c.ts.desc())
        .limit(most)
        .lateral()
    )
    return select(asked.c.ven_id, last.c.ts).join(last, true())


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
"""To the end of the transaction no partition is dropped: that takes the parent's lock for itself."""


def horizon(resolution_s: int) -> Select[Any]:
    """What retention has let go of a resolution is before this; no row if it has not let anything go."""
    return select(horizons.c.since).where(horizons.c.resolution_s == resolution_s)


def advance_horizon(resolution_s: int, since: datetime) -> Insert:
    """Let go of a resolution before a time; never take it back."""
    statement = insert(horizons).values(resolution_s=resolution_s, since=since)
    later = func.greatest(horizons.c.since, statement.excluded.since)
    return statement.on_conflict_do_update(index_elements=["resolution_s"], set_={"since": later})


PARTITIONS = text(
    "SELECT relname AS name, greatest(reltuples, 0)::bigint AS rows, pg_total_relation_size(oid) AS bytes,"
    " pg_relation_size(oid) > 0 AS is_filled"
    " FROM pg_class WHERE relispartition AND relkind = 'r' ORDER BY relname"
)
SOON_OR_NOT_AT_ALL = text("SET LOCAL lock_timeout = '2s'")
RAW_FOR_ONESELF = text(
    "LOCK TABLE ONLY ven_telemetry, ONLY ven_load_samples, ONLY ven_load_descriptions"
    " IN ACCESS EXCLUSIVE MODE"
)


def drop(names: Sequence[str]) -> TextClause:
    return text(f"DROP TABLE {', '.join(names)}")


def empty(names: Sequence[str]) -> TextClause:
    return text(f"TRUNCATE {', '.join(names)}")


def lanes_behind(within: Range) -> Select[Any]:
    """Lanes with a pending batch that may have rows in a range."""
    batch = ingest_batches.c
    reaches = (batch.first_ts < within.end, batch.last_ts >= within.start)
    return (
        select(pending_batches.c.lane)
        .join(ingest_batches, batch.batch_id == pending_batches.c.batch_id)
        .where(*reaches)
        .distinct()
        .order_by(pending_batches.c.lane)
    )


_CTID: ColumnElement[Any] = literal_column("ctid")
"""Where a row is, as long as the statement runs."""


def outdated(table: Table, resolution_s: int, since: datetime) -> Select[Any]:
    """The rows of a resolution that begin before a time: where they are."""
    rows = select(_CTID).select_from(table).where(table.c.bucket < since)
    return rows if "resolution_s" not in table.c else rows.where(table.c.resolution_s == resolution_s)


def done_batches(before: datetime) -> Select[Any]:
    """Batches whose rows are all older than a time, and in every summary."""
    is_pending = select(pending_batches.c.batch_id)
    batch = ingest_batches.c
    return (
        select(_CTID)
        .select_from(ingest_batches)
        .where(func.greatest(batch.last_ts, batch.received_at) < before, batch.batch_id.not_in(is_pending))
    )


def old_runs(before: datetime) -> Select[Any]:
    return select(_CTID).select_from(job_runs).where(job_runs.c.started_at < before)


def old_live_changes(before: datetime) -> Select[Any]:
    """All but the newest that were written before a time."""
    newest = select(func.max(live_changes.c.position)).scalar_subquery()
    return (
        select(_CTID)
        .select_from(live_changes)
        .where(live_changes.c.written_at < before, live_changes.c.position < newest)
    )


def closed_commands(before: datetime) -> Select[Any]:
    """Commands made before a time that nobody has to see to any more."""
    return (
        select(_CTID)
        .select_from(commands)
        .where(commands.c.created_at < before, commands.c.status.not_in(OPEN_COMMANDS))
    )


def of_old_events(table: Table, before: datetime) -> Select[Any]:
    """Rows of events that were over before a time."""
    over_at = func.coalesce(events.c.ended_at, events.c.end_time)
    old = select(events.c.event_id).where(events.c.status.in_(("completed", "cancelled")), over_at < before)
    return select(_CTID).select_from(table).where(table.c.event_id.in_(old))


def notify(channel: str, payload: str = "") -> Select[Any]:
    """Wake who listens, when the transaction commits."""
    return select(func.pg_notify(channel, payload))


def count(rows: FromClause) -> Select[Any]:
    return select(func.count()).select_from(rows)


def forget(table: Table, rows: Select[Any], most: int) -> Delete:
    """Delete some rows, at most so many."""
    return delete(table).where(any_(func.array(rows.limit(most).scalar_subquery())) == _CTID)


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


def open_batch(worker: str, status_rows: int, now: datetime) -> ReturningInsert[int]:
    """A batch that a job writes: nothing but statuses."""
    counts = {"messages": 0, "telemetry_rows": 0, "sample_rows": 0, "description_rows": 0}
    values = {"worker": worker, "received_at": now, "status_rows": status_rows, **counts}
    return insert(ingest_batches).values(**values).returning(ingest_batches.c.batch_id)


def queue_batch(batch_id: int, done: str) -> Insert:
    """Queue a batch for every lane but the one whose work is done already."""
    lanes = [lane for lane in LANES if lane != done]
    return insert(pending_batches).values([{"lane": lane, "batch_id": batch_id} for lane in lanes])


def lock(name: str) -> Select[Any]:
    """Wait for, and hold to the end of the transaction, the lock of this name."""
    return select(func.pg_advisory_xact_lock(func.hashtext(literal(name))))


def share(name: str) -> Select[Any]:
    """Hold, together with others, to the end of the transaction, what `lock` takes alone."""
    return select(func.pg_advisory_xact_lock_shared(func.hashtext(literal(name))))


def record_run(**values: object) -> Insert:
    return insert(job_runs).values(**values)


def ensure_partitions(days: Sequence[date]) -> Select[Any]:
    return select(func.ensure_raw_partitions(list(days)))


LATE = timedelta(hours=1)
"""Telemetry that comes later than so long after a command was to end shows nothing of it any more."""

LONGEST_COMMAND = timedelta(days=1)
SET_WITHIN = timedelta(days=1)
SAME_KW = 0.0005
"""Powers are told with three decimals."""


def loads_that_shed(now: datetime) -> ReturningUpdate[str | None]:
    """Date `shedLoad` commands by the first sample within their time in which the load sheds."""
    sample = ven_load_samples.c
    return _executed("shedLoad", now, _first_shedding(ven_load_samples, sample.load_id == commands.c.load_id))


def panels_that_shed(now: datetime) -> ReturningUpdate[str | None]:
    """Date `shedPanel` commands by the first report within their time in which the panel sheds."""
    return _executed("shedPanel", now, _first_shedding(ven_telemetry))


def _first_shedding(table: Table, *conditions: ColumnElement[bool]) -> ScalarSelect[datetime]:
    seconds = commands.c.data["durationS"].as_float()
    since = func.coalesce(commands.c.sent_at, commands.c.created_at)
    return (
        select(table.c.ts)
        .where(
            table.c.ven_id == commands.c.ven_id,
            *conditions,
            table.c.ts > since,
            table.c.ts <= since + seconds * literal(timedelta(seconds=1)),
            table.c.shed_power_kw > 0,
        )
        .order_by(table.c.ts)
        .limit(1)
        .correlate(commands)
        .scalar_subquery()
    )


def loads_as_set(now: datetime) -> ReturningUpdate[str | None]:
    """Date `setLoad` commands by what their load has last said: all that was set, and after it was sent."""
    said, data = load_snapshots.c, commands.c.data
    fields = (
        (data["enabled"], said.enabled == data["enabled"].as_boolean(), said.enabled_stamp),
        (
            data["capacityKw"],
            func.abs(said.capacity_kw - data["capacityKw"].as_float()) < SAME_KW,
            said.capacity_kw_stamp,
        ),
        (data["priority"], said.priority == data["priority"].as_integer(), said.priority_stamp),
    )
    since = func.coalesce(commands.c.sent_at, commands.c.created_at)
    since_us = cast(func.extract("epoch", since) * 1_000_000, BigInteger)
    is_set = (or_(asked.is_(None), and_(holds, stamp / 2 > since_us)) for asked, holds, stamp in fields)
    last_us = func.greatest(*(case((asked.is_not(None), stamp / 2)) for asked, _, stamp in fields))
    at = literal(EPOCH) + last_us * literal(timedelta(microseconds=1))
    query = (
        select(at)
        .where(said.ven_id == commands.c.ven_id, said.load_id == commands.c.load_id, *is_set)
        .where(at <= since + literal(SET_WITHIN))
        .correlate(commands)
    )
    return _executed("setLoad", now, query.scalar_subquery())


def _executed(op: str, now: datetime, seen_at: ScalarSelect[Any]) -> ReturningUpdate[str | None]:
    """Date what is watched and has been seen; answers the events that it belongs to."""
    is_watched: ColumnElement[bool] = literal_column(
        "commands.status = 'acknowledged' AND commands.executed_at IS NULL"
    )
    watched = (
        select(commands.c.ven_id, commands.c.command_id, seen_at.label("seen_at"))
        .where(is_watched, commands.c.op == op, commands.c.acknowledged_at > now - LONGEST_COMMAND - LATE)
        .cte("watched")
        .prefix_with("MATERIALIZED")
    )
    return (
        update(commands)
        .where(
            commands.c.ven_id == watched.c.ven_id,
            commands.c.command_id == watched.c.command_id,
            commands.c.executed_at.is_(None),
            watched.c.seen_at.is_not(None),
        )
        .values(executed_at=watched.c.seen_at)
        .returning(commands.c.event_id)
    )
