"""The SQL of measuring events: who takes part, what they used, and what was settled."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from sqlalchemy import (
    ColumnElement,
    MetaData,
    Select,
    Table,
    Text,
    Update,
    and_,
    any_,
    exists,
    func,
    literal,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, Insert, insert

from schemas.db.queries import Query, Relation
from schemas.demand_response.candidates import EventDirection
from schemas.demand_response.event_requests import mean_requested_kw, requested_kw
from schemas.demand_response.participation_times import OPTED_OUT_BEFORE, ended_at, left_at
from schemas.tables.events import (
    commands,
    event_participations,
    event_progress,
    event_settlements,
    event_shares,
    events,
    ven_settlements,
)
from schemas.tables.history import SLOT_S, ven_history
from schemas.tables.ledger import ingest_batches, pending_batches
from schemas.tables.raw import ven_telemetry
from schemas.tables.registry import slot_widths, vens
from schemas.tables.snapshots import ven_snapshots
from schemas.times.slots import WIDEST_S, mean_kw, slot_means, spans
from schemas.times.time_ranges import TimeRange, widened

LANE = "history"
OVER = and_(events.c.status.in_(("completed", "cancelled")), events.c.started_at.is_not(None))


class MeasuredRow(NamedTuple):
    """An event that is measured; the end is that of the plan, or when it was stopped."""

    event_id: str
    start_time: datetime
    end_time: datetime
    notify_at: datetime
    requested_reduction_kw: float
    direction: EventDirection
    randomize_start_s: float


class SettledRow(NamedTuple):
    """A settled event, and when its figures were last checked."""

    event_id: str
    start_time: datetime
    end_time: datetime
    notify_at: datetime
    requested_reduction_kw: float
    direction: EventDirection
    randomize_start_s: float
    looked_at: datetime


class Responses(NamedTuple):
    """How many VENs have acknowledged an event and not opted out; how long that took."""

    vens: int
    mean_ms: Decimal | None


def _measured_events(requested: ColumnElement[float] | None = None) -> Relation:
    """The mean request of an event that is over; of others the request at a time."""
    return select(
        events.c.event_id,
        events.c.start_time,
        ended_at.label("end_time"),
        events.c.notify_at,
        (mean_requested_kw(ended_at) if requested is None else requested).label("requested_reduction_kw"),
        events.c.direction,
        events.c.randomize_start_s,
    )


def running_events(now: datetime) -> Query[MeasuredRow]:
    running = (
        _measured_events(requested_kw(now))
        .where(events.c.status == "active", events.c.start_time < now, ended_at > events.c.start_time)
        .order_by(events.c.event_id)
    )
    return Query(MeasuredRow, running)


def coming_events(now: datetime) -> Query[MeasuredRow]:
    """Events that have not begun, but of which VENs have been notified."""
    waits = and_(events.c.status == "scheduled", events.c.ended_at.is_(None))
    coming = (
        _measured_events(requested_kw(now))
        .where(waits, events.c.notify_at <= now)
        .order_by(events.c.event_id)
    )
    return Query(MeasuredRow, coming)


def ended_event(event_id: str) -> Query[MeasuredRow]:
    """An event that is over, unless it never began."""
    ended = _measured_events().where(OVER, ended_at > events.c.start_time, events.c.event_id == event_id)
    return Query(MeasuredRow, ended)


def next_unsettled_event(ended_before: datetime) -> Query[MeasuredRow]:
    """Of the events that are over and have not been settled, the first to end."""
    settled = exists().where(event_settlements.c.event_id == events.c.event_id)
    unsettled = (
        _measured_events()
        .where(OVER, ended_at > events.c.start_time, ended_at <= ended_before, ~settled)
        .order_by(ended_at, events.c.event_id)
        .limit(1)
    )
    return Query(MeasuredRow, unsettled)


def is_behind(received_until: datetime) -> Select[bool]:
    """Whether the history lane has still to consume anything that was received by then."""
    pending = (
        select(pending_batches.c.batch_id)
        .join(ingest_batches, ingest_batches.c.batch_id == pending_batches.c.batch_id)
        .where(pending_batches.c.lane == LANE, ingest_batches.c.received_at <= received_until)
    )
    return select(pending.exists())


def participants(event_id: str) -> Relation:
    """Each VEN's request and first notification; whether it had opted out before the start, or left."""
    part, share = event_participations.c, event_shares.c
    first = (
        select(share.ven_id, func.min(share.at).label("at"))
        .where(share.event_id == event_id)
        .group_by(share.ven_id)
        .subquery("first")
    )
    return (
        select(
            part.ven_id,
            part.requested_reduction_kw.label("requested_kw"),
            OPTED_OUT_BEFORE.label("has_opted_out"),
            func.least(part.notified_at, first.c.at).label("told_at"),
            part.opted_out_at,
            left_at.label("left_at"),
        )
        .join(events, events.c.event_id == part.event_id)
        .outerjoin(first, first.c.ven_id == part.ven_id)
        .where(part.event_id == event_id)
        .order_by(part.ven_id)
    )


def shares(event_id: str) -> Relation:
    """The requests to each VEN, by time."""
    share = event_shares.c
    return select(share.ven_id, share.at, share.requested_reduction_kw.label("requested_kw")).where(
        share.event_id == event_id
    )


def packed_slot_means(ven_ids: Sequence[str], within: TimeRange) -> Relation:
    """The mean power of some VENs in each slot of a range with samples, packed: a row for each VEN.

    Of VENs whose slots are five minutes; for others see `packed_wide_means`. A row has the VEN's id, the
    slots as `timestamptz`, and their means, as PostgreSQL sends them: one row for each slot would cost more
    to send and to read than all that is computed of it.
    """
    history = ven_history.c
    mean = mean_kw(history.used_power_kw_sum, history.used_samples)
    return (
        select(history.ven_id, *_packed(history.bucket, mean))
        .where(
            history.ven_id == any_(_array(ven_ids)),
            history.resolution_s == SLOT_S,
            history.bucket >= within.start,
            history.bucket < within.end,
            history.used_samples > 0,
        )
        .group_by(history.ven_id)
    )


def slot_columns(within: TimeRange, ids: tuple[str, str] | None = None) -> Relation:
    """The mean power of VENs in each slot of a range: a row for each slot, as lines of ids and as means.

    Args:
        within: from the border of a slot to that of another, of few slots: their means are held in memory.
        ids: the first and the last id; None for all VENs.

    History lies on the disk in the order of time. Of most of a fleet it is read five times faster so than VEN
    by VEN, where nearly each slot is on a page of its own.
    """
    history = ven_history.c
    line_feed: ColumnElement[str] = literal_column("E'\\n'")
    nothing: ColumnElement[bytes] = literal_column("''::bytea")
    mean = mean_kw(history.used_power_kw_sum, history.used_samples)
    columns = select(
        history.bucket,
        func.string_agg(history.ven_id, line_feed).label("ven_ids"),
        func.string_agg(func.float8send(mean), nothing).label("used_kw"),
    ).where(
        history.resolution_s == SLOT_S,
        history.bucket >= within.start,
        history.bucket < within.end,
        history.used_samples > 0,
    )
    some = columns if ids is None else columns.where(history.ven_id.between(*ids))
    return some.group_by(history.bucket)


def registered_vens() -> Select[int]:
    """How many VENs have history: all that ever registered."""
    return select(func.count()).select_from(vens)


def packed_wide_means(ven_ids: Sequence[str], within: TimeRange) -> Relation:
    """As `packed_slot_means`, of VENs that have wide slots: these are read whole, also beside the range."""
    history, around = ven_history.c, widened(within, WIDEST_S)
    states = (
        select(
            history.ven_id,
            history.bucket,
            history.used_power_kw_sum.label("used_sum"),
            history.used_samples,
            history.shed_power_kw_sum.label("shed_sum"),
            history.shed_samples,
        )
        .where(history.ven_id == any_(_array(ven_ids)), history.resolution_s == SLOT_S)
        .where(history.bucket >= around.start, history.bucket < around.end)
    )
    means = slot_means(states.subquery("states"), ["ven_id"])
    return (
        select(means.c.ven_id, *_packed(means.c.slot, means.c.used_kw))
        .where(means.c.used_kw.is_not(None), means.c.slot >= within.start, means.c.slot < within.end)
        .group_by(means.c.ven_id)
    )


def slow_vens(ven_ids: Sequence[str], within: TimeRange) -> Select[str]:
    """Those of some VENs that have wide slots at any time in a range."""
    span = spans(any_(_array(ven_ids)))
    return select(span.c.ven_id).where(span.c.since < within.end, span.c.until > within.start).distinct()


def changed_widths(event_id: str, since: datetime, before: datetime) -> Select[bool]:
    """Whether a participant's slot width from before some time on was recorded since another time."""
    width, part = slot_widths.c, event_participations.c
    of_participant = and_(part.ven_id == width.ven_id, part.event_id == event_id)
    return select(exists().where(width.recorded_at >= since, width.since < before, of_participant))


def _packed(slot: ColumnElement[datetime], used_kw: ColumnElement[float]) -> list[ColumnElement[bytes]]:
    nothing: ColumnElement[bytes] = literal_column("''::bytea")
    return [
        func.string_agg(func.timestamptz_send(slot), nothing).label("slots"),
        func.string_agg(func.float8send(used_kw), nothing).label("used_kw"),
    ]


def samples(ven_ids: Sequence[str], within: Sequence[TimeRange]) -> Relation:
    """The raw samples of some VENs."""
    raw = ven_telemetry.c
    inside = [and_(raw.ts >= part.start, raw.ts < part.end) for part in within]
    return select(raw.ven_id, raw.ts, raw.used_power_kw.label("used_kw")).where(
        raw.ven_id.in_(ven_ids), or_(*inside)
    )


def latest_usage(event_id: str, since: datetime) -> Relation:
    """Usage of participants that have reported since a time, and when each was last heard."""
    part, latest = event_participations.c, ven_snapshots.c
    return (
        select(
            part.ven_id,
            latest.used_power_kw.label("used_kw"),
            latest.status,
            func.coalesce(latest.heard_at, latest.used_power_ts).label("heard_at"),
        )
        .join(ven_snapshots, latest.ven_id == part.ven_id)
        .where(part.event_id == event_id, latest.used_power_ts >= since, latest.used_power_kw.is_not(None))
    )


def responses(event_id: str) -> Query[Responses]:
    command, part = commands.c, event_participations.c
    took = func.extract("epoch", command.acknowledged_at - command.sent_at) * 1000
    in_it = and_(part.ven_id == command.ven_id, part.event_id == command.event_id)
    stays = func.coalesce(part.status, "") != "opted_out"
    counts = (
        select(
            func.count(command.ven_id.distinct()).filter(stays).label("vens"),
            func.avg(took).label("mean_ms"),
        )
        .select_from(commands)
        .outerjoin(event_participations, in_it)
        .where(
            command.event_id == event_id,
            command.op.in_(("event", "shedLoad")),
            command.status == "acknowledged",
        )
    )
    return Query(Responses, counts)


def put_progress(progress: dict[str, object]) -> Insert:
    statement = insert(event_progress).values(progress)
    values = {name: statement.excluded[name] for name in progress if name != "event_id"}
    return statement.on_conflict_do_update(index_elements=["event_id"], set_=values)


def merge_reductions(target: Table, staged: str) -> Insert:
    """Write what has changed of what VENs deliver."""
    twin = target.to_metadata(MetaData(), name=staged)
    rows = select(twin).order_by(twin.c.event_id, twin.c.ven_id)
    statement = insert(target).from_select([column.name for column in twin.c], rows)
    new = statement.excluded
    names = ("reduction_kw", "delivered_kwh")
    has_changed = or_(*(target.c[name].is_distinct_from(new[name]) for name in names))
    return statement.on_conflict_do_update(
        index_elements=list(target.primary_key),
        set_={name: new[name] for name in names},
        where=has_changed,
    )


def looked(event_id: str, now: datetime) -> Insert:
    """Note that somebody has looked whether an event's figures still hold."""
    statement = insert(event_progress).values(event_id=event_id, vens_responding=0, refreshed_at=now)
    return statement.on_conflict_do_update(index_elements=["event_id"], set_={"refreshed_at": now})


def latest_revision(event_id: str) -> Select[int | None]:
    return select(func.max(event_settlements.c.revision)).where(event_settlements.c.event_id == event_id)


def portfolio_of(event_id: str, revision: int) -> Relation:
    settled = event_settlements.c
    return select(event_settlements).where(settled.event_id == event_id, settled.revision == revision)


def vens_of(event_id: str, revision: int, ven_ids: Sequence[str]) -> Relation:
    """What some VENs delivered, by a revision."""
    settled = ven_settlements.c
    return select(ven_settlements).where(
        settled.ven_id == any_(_array(ven_ids)),
        settled.event_id == event_id,
        settled.revision == revision,
    )


def next_settled_event(ended_after: datetime) -> Query[SettledRow]:
    """Of the settled events that ended after a time, the one whose figures were not checked for longest."""
    first = (
        select(event_settlements.c.event_id, func.min(event_settlements.c.settled_at).label("settled_at"))
        .group_by(event_settlements.c.event_id)
        .subquery()
    )
    looked_at = func.greatest(first.c.settled_at, event_progress.c.refreshed_at)
    settled = (
        _measured_events()
        .add_columns(looked_at.label("looked_at"))
        .join(first, first.c.event_id == events.c.event_id)
        .outerjoin(event_progress, event_progress.c.event_id == events.c.event_id)
        .where(ended_at > ended_after)
        .order_by(looked_at, events.c.event_id)
        .limit(1)
    )
    return Query(SettledRow, settled)


def newest_batches(before: int | None, most: int) -> Relation:
    """Batches that brought samples, newest first: when, and of which device times."""
    batch = ingest_batches.c
    query = (
        select(batch.batch_id, batch.received_at, batch.first_ts, batch.last_ts)
        .order_by(batch.batch_id.desc())
        .limit(most)
    )
    return query if before is None else query.where(batch.batch_id < before)


def set_actual(event_id: str, delivered_kw: float | None) -> Update:
    return update(events).where(events.c.event_id == event_id).values(actual_reduction_kw=delivered_kw)


def _array(texts: Sequence[str]) -> ColumnElement[Sequence[str]]:
    return func.cast(literal(list(texts), ARRAY(Text())), ARRAY(Text()))
