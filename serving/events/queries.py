"""The SQL of events: reading, creating, cancelling and stopping them."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import NamedTuple

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Delete,
    Null,
    Numeric,
    ScalarSelect,
    Select,
    Text,
    Update,
    and_,
    any_,
    bindparam,
    case,
    delete,
    func,
    null,
    or_,
    select,
    update,
)
from sqlalchemy import tuple_ as row_of
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.sql.dml import ReturningInsert, ReturningUpdate
from sqlalchemy.sql.selectable import Subquery

from schemas.db import locks
from schemas.db.channels import event_changed
from schemas.db.queries import Query, Relation, fields_of
from schemas.demand_response import candidates
from schemas.demand_response.candidates import AskedEvent, PassedOverReason
from schemas.demand_response.event_requests import requested_kw
from schemas.demand_response.groups import Targets
from schemas.tables.events import (
    ENDED_EVENTS,
    TO_COME,
    commands,
    event_participations,
    event_progress,
    event_reductions,
    event_requests,
    event_settlements,
    event_shares,
    events,
    ven_settlements,
)
from schemas.tables.registry import vens
from schemas.times.instants import from_microseconds
from serving.db.statements import VEN_ID
from serving.events.rows import (
    EventRow,
    EventVenRow,
)
from serving.events.rules import EventRules, PlannedEvent
from serving.events.terms import TERMS
from serving.page import Page

LIVE = events.c.status.in_(TO_COME)
ALWAYS = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
IN_TURN = (events.c.start_time, events.c.event_id)
SETTLED = event_settlements.alias("settled")
SIMILAR_START_S = 7_200


def all_events(page: Page) -> Query[EventRow]:
    """Select events by start; `after` is the id of the last one seen."""
    query = _with_progress().order_by(*IN_TURN).limit(page.limit)
    if page.after is None:
        return Query(EventRow, query)
    last = events.alias()
    last_seen = select(last.c.start_time, last.c.event_id).where(last.c.event_id == page.after).subquery()
    return Query(EventRow, query.join(last_seen, row_of(*IN_TURN) > row_of(*last_seen.c)))


def event(event_id: str) -> Query[EventRow]:
    return Query(EventRow, _with_progress().where(events.c.event_id == event_id))


def current_event() -> Query[EventRow]:
    """Select the running event, of several the most urgent; else the next one."""
    is_waiting = case((events.c.status == "active", 0), else_=1)
    order = (is_waiting, case((events.c.status == "active", -events.c.priority), else_=0), *IN_TURN)
    return Query(EventRow, _with_progress().where(LIVE).order_by(*order).limit(1))


def past_events(start: datetime | None, end: datetime | None) -> Query[EventRow]:
    """Select events that run or are over, and overlap a range, both ends included; newest first.

    Events cancelled before their start are left out.
    """
    has_begun = or_(events.c.status != "cancelled", events.c.ended_at > events.c.start_time)
    order = (events.c.start_time.desc(), events.c.event_id.desc())
    query = _with_progress().where(events.c.status != "scheduled", has_begun).order_by(*order)
    if start is not None:
        query = query.where(func.least(events.c.end_time, events.c.ended_at) >= start)
    return Query(EventRow, query if end is None else query.where(events.c.start_time <= end))


def _with_progress() -> Relation:
    progress, settled = event_progress.c, event_settlements.c
    return select(
        events.c.event_id,
        events.c.status,
        events.c.start_time,
        events.c.end_time,
        events.c.ended_at,
        events.c.notify_at,
        events.c.requested_reduction_kw,
        events.c.actual_reduction_kw,
        events.c.priority,
        events.c.ven_ids,
        events.c.group_ids,
        events.c.load_types,
        events.c.lead_time_s,
        events.c.notes,
        *(events.c[name] for name in TERMS),
        select(settled.event_id).where(settled.event_id == events.c.event_id).exists().label("is_settled"),
        progress.current_reduction_kw,
        progress.delivered_kwh,
        progress.refreshed_at,
        func.coalesce(progress.vens_responding, 0).label("vens_responding"),
        func.coalesce(progress.vens_reporting, 0).label("vens_reporting"),
        progress.avg_response_ms,
    ).outerjoin(event_progress, progress.event_id == events.c.event_id)


def vens_of_event(event_id: str, baseline: str) -> Query[EventVenRow]:
    """Select participants with the request to each and its current delivery; after the end the mean delivery,
    provisional until it is settled. With the acknowledgement of the last command.
    """
    part, settled, now = event_participations.c, ven_settlements.c, event_reductions.c
    newest = (
        select(func.max(event_settlements.c.revision))
        .where(event_settlements.c.event_id == event_id)
        .scalar_subquery()
    )
    of_ven = and_(
        settled.ven_id == part.ven_id,
        settled.event_id == part.event_id,
        settled.revision == newest,
        settled.baseline == baseline,
    )
    participants = (
        select(
            part.ven_id,
            func.coalesce(vens.c.name, part.ven_id).label("ven_name"),
            func.coalesce(settled.delivered_kw, _provisional_kw(), now.reduction_kw, 0.0).label("shed_kw"),
            part.status,
            part.requested_reduction_kw,
            part.acknowledged_at,
            commands.c.error,
            commands.c.acknowledgement,
        )
        .outerjoin(vens, vens.c.ven_id == part.ven_id)
        .outerjoin(commands, and_(commands.c.ven_id == part.ven_id, commands.c.command_id == part.command_id))
        .outerjoin(event_reductions, and_(now.event_id == part.event_id, now.ven_id == part.ven_id))
        .join(events, events.c.event_id == part.event_id)
        .outerjoin(event_progress, event_progress.c.event_id == part.event_id)
        .outerjoin(ven_settlements, of_ven)
        .where(part.event_id == event_id)
        .order_by(part.ven_id)
    )
    return Query(EventVenRow, participants)


def _provisional_kw() -> ColumnElement[float | None]:
    """The measured mean of an event that is over; null while it runs, or if it is unknown."""
    until = func.least(event_progress.c.refreshed_at, events.c.end_time, events.c.ended_at)
    hours = func.extract("epoch", until - events.c.start_time) / 3600
    is_over = and_(events.c.status.in_(ENDED_EVENTS), hours > 0)
    return case((is_over, event_reductions.c.delivered_kwh / func.nullif(hours, 0)))


# Participations


class ParticipationRow(NamedTuple):
    """The time within which a VEN had a share in an event."""

    start: datetime
    end: datetime
    event_id: str
    requested_reduction_kw: float


class VenParticipationRow(NamedTuple):
    """A `ParticipationRow` with its VEN."""

    start: datetime
    end: datetime
    event_id: str
    requested_reduction_kw: float
    ven_id: str


def participations(ven_id: str, start_us: int | None, end_us: int | None) -> Query[ParticipationRow]:
    """Select the participations of a VEN that overlap a range of time."""
    first = ALWAYS[0] if start_us is None else from_microseconds(start_us)
    last = ALWAYS[1] if end_us is None else from_microseconds(end_us)
    return Query(ParticipationRow, _participations(), {"ven_id": ven_id, "first": first, "last": last})


def participations_of(
    ven_ids: Sequence[str], start_us: int | None, end_us: int | None
) -> Query[VenParticipationRow]:
    """Select the participations of several VENs, with their `ven_id`."""
    of_one = participations("", start_us, end_us)
    times = {name: value for name, value in of_one.values.items() if name != "ven_id"}
    return Query(VenParticipationRow, _participations_of(), {"ven_ids": list(ven_ids), **times})


@cache
def _participations() -> Relation:
    return _participations_where(lambda ven_id: ven_id == VEN_ID)


@cache
def _participations_of() -> Relation:
    listed = bindparam("ven_ids", type_=ARRAY(Text))
    return _participations_where(lambda ven_id: ven_id == any_(listed)).add_columns(
        event_participations.c.ven_id
    )


def _participations_where(chosen: Callable[[ColumnElement[str]], ColumnElement[bool]]) -> Relation:
    part, share = event_participations.c, _shares_where(chosen)
    since = func.coalesce(share.c.at, part.notified_at)
    start = func.greatest(events.c.start_time, since).label("start")
    left_at = (part.finished_at, part.opted_out_at, part.released_at)
    end = func.least(events.c.end_time, events.c.ended_at, *left_at, share.c.until).label("end")
    requested_kw = func.coalesce(share.c.requested_reduction_kw, part.requested_reduction_kw)
    return (
        select(start, end, part.event_id, requested_kw.label("requested_reduction_kw"))
        .join(events, events.c.event_id == part.event_id)
        .outerjoin(share, and_(share.c.ven_id == part.ven_id, share.c.event_id == part.event_id))
        .where(chosen(part.ven_id), part.notified_at.is_not(None), start < end)
        .where(end > bindparam("first"), start < bindparam("last"))
        .order_by(start, part.event_id)
    )


def _shares_where(chosen: Callable[[ColumnElement[str]], ColumnElement[bool]]) -> Subquery:
    """Select shares of VENs in events, each with the time of the next one; old events have none."""
    share = event_shares.c
    of_ven = [share.ven_id, share.event_id]
    until = func.lead(share.at).over(partition_by=of_ven, order_by=share.at).label("until")
    return (
        select(*of_ven, share.at, until, share.requested_reduction_kw)
        .where(chosen(share.ven_id), share.at < bindparam("last"))
        .subquery("share")
    )


# Writing


LOCK_NEW_EVENTS = locks.exclusive(locks.NEW_EVENT)
"""The lock for new events: two concurrent ones that overlap would not see each other."""


class OverlappingEventRow(NamedTuple):
    """What decides whether two events claim the same VENs at the same time."""

    event_id: str
    priority: int
    ven_ids: list[str] | None
    group_ids: list[str] | None
    load_types: list[str] | None
    start_time: datetime
    end_time: datetime


def at_the_same_time(start: datetime, end: datetime) -> Query[OverlappingEventRow]:
    """Select events that run, or will run, between two instants, without those being stopped."""
    overlapping = (
        select(*fields_of(OverlappingEventRow, events))
        .where(LIVE, events.c.ended_at.is_(None), events.c.start_time < end, events.c.end_time > start)
        .order_by(events.c.priority.desc(), *IN_TURN)
    )
    return Query(OverlappingEventRow, overlapping)


def passed_over(event: PlannedEvent, now: datetime, rules: EventRules) -> Select[str, int]:
    """Count the VENs that an event would pass over now, by reason."""
    rows = candidates.asked_vens(AskedEvent.of(event), now, rules.rest, rules.loads_gone_after).subquery()
    return select(rows.c.reason, rows.c.vens).where(rows.c.reason.is_not(None))


class CandidateRow(NamedTuple):
    """A VEN that an event targets, with its available power and the reason why it is passed over, if any."""

    ven_id: str
    available_kw: float
    reason: PassedOverReason | None


class SimilarEventRow(NamedTuple):
    """What a settled event delivered."""

    event_id: str
    start_time: datetime
    end_time: datetime
    vens: int
    requested_kw: float
    requested_kwh: float | None
    delivered_kw: float | None
    delivered_kwh: float | None
    performance_percent: float | None


def candidates_of(event: PlannedEvent, now: datetime, rules: EventRules) -> Query[CandidateRow]:
    rows = candidates.candidates(AskedEvent.of(event), now, rules.rest, rules.loads_gone_after).subquery()
    return Query(CandidateRow, select(*fields_of(CandidateRow, rows)).order_by(rows.c.ven_id))


def flexibility_kw(event: AskedEvent, now: datetime, rules: EventRules) -> Select[float]:
    """Select the available power of the VENs that an event would select now, kW."""
    rows = candidates.candidates(event, now, rules.rest, rules.loads_gone_after).subquery()
    return select(func.coalesce(func.sum(rows.c.available_kw), 0)).where(rows.c.reason.is_(None))


def similar_events(event: PlannedEvent, baseline: str) -> Query[SimilarEventRow]:
    """Select settled events of half to twice the length, within two hours of the time of day."""
    of_event = SETTLED.c
    vens_count = (
        select(func.count())
        .where(event_participations.c.event_id == events.c.event_id)
        .correlate(events)
        .scalar_subquery()
    )
    apart_s = func.mod(
        func.abs(func.extract("epoch", events.c.start_time - event.start_time)).cast(Numeric), 86_400
    )
    length = func.least(events.c.end_time, events.c.ended_at) - events.c.start_time
    own = event.end_time - event.start_time
    similar = (
        select(
            events.c.event_id,
            events.c.start_time,
            func.least(events.c.end_time, events.c.ended_at).label("end_time"),
            vens_count.label("vens"),
            of_event.requested_kw,
            of_event.requested_kwh,
            of_event.delivered_kw,
            of_event.delivered_kwh,
            of_event.performance_percent,
        )
        .join(SETTLED, of_event.event_id == events.c.event_id)
        .where(
            of_event.baseline == baseline,
            of_event.revision == _newest_revision(),
            events.c.direction == event.direction,
            or_(apart_s <= SIMILAR_START_S, apart_s >= 86_400 - SIMILAR_START_S),
            length.between(own / 2, own * 2),
        )
        .order_by(events.c.start_time.desc(), events.c.event_id)
        .limit(10)
    )
    return Query(SimilarEventRow, similar)


def _newest_revision() -> ScalarSelect[int]:
    settled = event_settlements.c
    revisions = select(func.max(settled.revision)).where(settled.event_id == events.c.event_id)
    return revisions.correlate(events).scalar_subquery()


def add_event(
    event: PlannedEvent, notes: Sequence[Mapping[str, object]], now: datetime
) -> ReturningInsert[str]:
    """Insert an event; returns no row if the id exists."""
    values = {
        **_planned_values(event),
        "notes": notes,
        "event_id": event.event_id,
        "status": "scheduled",
        "created_at": now,
    }
    return insert(events).values(values).on_conflict_do_nothing().returning(events.c.event_id)


def _planned_values(event: PlannedEvent) -> dict[str, object]:
    return {
        "start_time": event.start_time,
        "end_time": event.end_time,
        "requested_reduction_kw": event.requested_reduction_kw,
        "priority": event.priority,
        **{name: _or_null(getattr(event, name)) for name in Targets.__struct_fields__},
        "lead_time_s": event.lead_time_s,
        "notify_at": event.notify_at,
        **{name: getattr(event, name) for name in TERMS},
        "intervals": null() if event.intervals is None else event.intervals,
    }


def _or_null(value: list[str] | None) -> list[str] | Null:
    """Return SQL's null for None, which would be stored as JSON's null."""
    return null() if value is None else value


def cancel_event(event_id: str, now: datetime) -> ReturningUpdate[str]:
    """Cancel an event that is not over; the jobs then release the VENs."""
    return (
        _change(event_id, LIVE, events.c.end_time > now)
        .values(status="cancelled", ended_at=func.coalesce(events.c.ended_at, now))
        .returning(events.c.event_id)
    )


def stop_event(event_id: str, now: datetime) -> ReturningUpdate[str]:
    """Stop a running event; the jobs complete it, and release the VENs."""
    is_running = and_(events.c.status == "active", events.c.end_time > now, events.c.ended_at.is_(None))
    return _change(event_id, is_running).values(ended_at=now).returning(events.c.event_id)


def lock_event(event_id: str) -> Query[EventRow]:
    """Lock an event to the end of the transaction, with its progress; no row if there is none."""
    return Query(EventRow, event(event_id).statement.with_for_update(of=events))


def requested_at(connection: Connection, event_id: str, now: datetime) -> float:
    """Return the stored request of an event at a time, kW."""
    query = select(requested_kw(now)).where(events.c.event_id == event_id)
    return float(connection.execute(query).scalar_one())


def put_request(event_id: str, at: datetime, kw: float) -> Insert:
    """Upsert the request of an event from a time on."""
    new = insert(event_requests).values(event_id=event_id, at=at, requested_reduction_kw=kw)
    changed = {"requested_reduction_kw": new.excluded.requested_reduction_kw}
    key = [column.name for column in event_requests.primary_key]
    return new.on_conflict_do_update(index_elements=key, set_=changed)


def keep_request(event_id: str, at: datetime, kw: float) -> Insert:
    """Insert the request of an event from a time on, unless it exists."""
    row = {"event_id": event_id, "at": at, "requested_reduction_kw": kw}
    return insert(event_requests).values(row).on_conflict_do_nothing()


def forget_requests(event_id: str, after: datetime | None = None) -> Delete:
    """Delete the future requests of an event, all of them or after a time."""
    statement = delete(event_requests).where(event_requests.c.event_id == event_id)
    return statement if after is None else statement.where(event_requests.c.at > after)


def change_event(
    event: PlannedEvent, notes: Sequence[Mapping[str, object]], *, is_renotified: bool
) -> Update:
    """Store a changed event; `is_renotified`: notified VENs are notified again."""
    values = {**_planned_values(event), "notes": notes}
    if is_renotified:
        values["terms_revision"] = events.c.terms_revision + 1
    return update(events).where(events.c.event_id == event.event_id).values(values)


def _change(event_id: str, *conditions: ColumnElement[bool]) -> Update:
    return update(events).where(events.c.event_id == event_id, *conditions)


def notify_event(event_id: str) -> Select[object, object]:
    """Notify of a changed event when this transaction commits."""
    return event_changed(event_id)
