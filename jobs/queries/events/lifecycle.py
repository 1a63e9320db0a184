"""The SQL of starting, ending and sharing out events."""

from collections.abc import Sequence
from datetime import datetime, timedelta
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
    case,
    exists,
    func,
    literal,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, Insert, insert
from sqlalchemy.sql.dml import ReturningUpdate

from schemas.db.queries import Query, Relation, fields_of
from schemas.demand_response.candidates import AskedEvent, EventDirection, overlaps
from schemas.demand_response.event_requests import requested_kw
from schemas.demand_response.groups import OneOf, load_type
from schemas.devices.load_values import is_enabled, is_gone, shed_capability_kw, with_settings
from schemas.tables.events import (
    LIVE_PARTICIPATIONS,
    OPEN_COMMANDS,
    TO_COME,
    commands,
    event_participations,
    events,
)
from schemas.tables.snapshots import load_snapshots, ven_snapshots

IS_TO_COME = and_(events.c.status.in_(TO_COME), events.c.ended_at.is_(None))
PART = event_participations.c
ASKING = ("event", "shedLoad")
"""Commands that ask a VEN to take part: with all that it has, or with single loads, a command for each."""


class DueEvent(NamedTuple):
    """An event with its state."""

    event_id: str
    status: str
    start_time: datetime
    end_time: datetime
    started_at: datetime | None
    ended_at: datetime | None


def due_events(now: datetime) -> Query[DueEvent]:
    """Events whose start or end has come, or that were stopped; their rows are locked."""
    has_begun = and_(events.c.status == "scheduled", events.c.start_time <= now)
    has_ended = and_(
        events.c.status.in_(TO_COME), or_(events.c.end_time <= now, events.c.ended_at.is_not(None))
    )
    due = select(*fields_of(DueEvent, events)).where(or_(has_begun, has_ended))
    return Query(DueEvent, due.order_by(events.c.event_id).with_for_update())


def cancelled_events(now: datetime) -> Query[DueEvent]:
    """Events that are cancelled, but not yet for the VENs that take part; until the planned end also those of
    which only VENs that have opted out are still to be released.
    """
    live = select(PART.event_id).where(is_live(PART.status))
    opted_out = exists().where(PART.event_id == events.c.event_id, _has_opted_out_only())
    is_due = or_(events.c.event_id.in_(live), and_(events.c.end_time > now, opted_out))
    cancelled = select(*fields_of(DueEvent, events)).where(events.c.status == "cancelled", is_due)
    return Query(DueEvent, cancelled.order_by(events.c.event_id))


def _has_opted_out_only() -> ColumnElement[bool]:
    """Whether a VEN was notified, has opted out, and has not been released since."""
    is_announced = and_(PART.notified_at.is_not(None), PART.finished_at.is_(None), PART.released_at.is_(None))
    return and_(PART.status == "opted_out", is_announced)


class EventToNotify(NamedTuple):
    """An event that is shared out; `wanted_kw`: what it requests now."""

    event_id: str
    status: str
    start_time: datetime
    end_time: datetime
    started_at: datetime | None
    ended_at: datetime | None
    priority: int
    direction: EventDirection
    ven_ids: list[str] | None
    group_ids: list[str] | None
    load_types: list[str] | None
    intervals: list[dict[str, object]] | None
    terms_revision: int
    notes: list[dict[str, object]] | None
    shared_reduction_kw: float | None
    wanted_kw: float


def events_to_notify(now: datetime) -> Query[EventToNotify]:
    """Select the events whose notification is due, the most urgent first."""
    stored = [events.c[name] for name in EventToNotify._fields[:-1]]
    to_notify = (
        select(*stored, requested_kw(now).label("wanted_kw"))
        .where(IS_TO_COME, events.c.notify_at <= now)
        .order_by(events.c.priority.desc(), events.c.start_time, events.c.event_id)
    )
    return Query(EventToNotify, to_notify)


def hold_event(event_id: str) -> Select[str]:
    """Locks the event against a cancel or a stop; no row if it has been cancelled or stopped."""
    return select(events.c.event_id).where(events.c.event_id == event_id, IS_TO_COME).with_for_update()


def move(event_id: str, status: str, started_at: datetime | None, ended_at: datetime | None) -> Update:
    return (
        update(events)
        .where(events.c.event_id == event_id)
        .values(status=status, started_at=started_at, ended_at=ended_at)
    )


def notified_vens(event_id: str) -> Select[str]:
    """VENs that were notified and have not been released since."""
    return (
        select(PART.ven_id)
        .where(
            PART.event_id == event_id,
            PART.notified_at.is_not(None),
            PART.finished_at.is_(None),
            PART.released_at.is_(None),
        )
        .order_by(PART.ven_id)
    )


def finish(event_id: str, at: datetime, ven_ids: Sequence[str] | None = None) -> Update:
    """It is over for all who take part or have opted out, or for some of those who take part."""
    statement = update(event_participations).where(PART.event_id == event_id)
    if ven_ids is not None:
        is_one = and_(PART.ven_id == any_of(ven_ids), is_live(PART.status))
        return statement.where(is_one).values(status="finished", finished_at=at)
    status = case((is_live(PART.status), "finished"), else_=PART.status)
    is_in_it = or_(is_live(PART.status), _has_opted_out_only())
    return statement.where(is_in_it).values(status=status, finished_at=at)


def expire_commands(event_id: str, ven_ids: Sequence[str] | None = None) -> ReturningUpdate[str]:
    """Expire open commands that announced an event: it has gone on without them."""
    command = commands.c
    conditions = [command.event_id == event_id, command.op.in_(ASKING)]
    if ven_ids is not None:
        conditions.append(command.ven_id == any_of(ven_ids))
    return _expire(conditions, "the event has gone on without it")


def expire_restores(ven_ids: Sequence[str]) -> ReturningUpdate[str]:
    """Expire the open `restore` commands that VENs have been sent, where they are notified of another event:
    sent again, they might end that one.
    """
    conditions = [*_restores_of(ven_ids), commands.c.attempts > 0]
    return _expire(conditions, "the VEN has been told of another event")


def bring_restores_forward(ven_ids: Sequence[str], now: datetime) -> ReturningUpdate[str]:
    """Send at once the `restore` commands that are not due yet, where VENs are notified of another event:
    later they might end that one, and without them a VEN might go on with an event that was stopped.
    """
    command = commands.c
    conditions = [*_restores_of(ven_ids), command.attempts == 0, command.next_attempt_at > now]
    return _change_open(conditions, next_attempt_at=now)


def _restores_of(ven_ids: Sequence[str]) -> list[ColumnElement[bool]]:
    command = commands.c
    return [command.ven_id == any_of(ven_ids), command.op == "restore", command.event_id.is_not(None)]


def _expire(conditions: Sequence[ColumnElement[bool]], reason: str) -> ReturningUpdate[str]:
    return _change_open(conditions, status="expired", error=reason)


def _change_open(conditions: Sequence[ColumnElement[bool]], **values: str | datetime) -> ReturningUpdate[str]:
    """Change open commands, locked in the order of the key, as the dispatcher locks them."""
    command = commands.c
    is_open = command.status.in_(OPEN_COMMANDS)
    open_commands = select(command.ven_id, command.command_id).where(is_open, *conditions)
    held = open_commands.order_by(command.ven_id, command.command_id).with_for_update().cte("held")
    return (
        update(commands)
        .where(command.ven_id == held.c.ven_id, command.command_id == held.c.command_id)
        .values(**values)
        .returning(command.command_id)
    )


def any_of(ven_ids: Sequence[str]) -> OneOf:
    return any_(literal(list(ven_ids), ARRAY(Text)))


class Balance(NamedTuple):
    """The request to those who take part, and what they could give, kW; how many of them were notified of
    another end or of other terms.
    """

    outdated_notices: int
    given_kw: float
    available_kw: float


def balance(event_id: str, end_time: datetime, terms_revision: int) -> Query[Balance]:
    was_changed = or_(
        PART.told_end_time != end_time, func.coalesce(PART.told_terms_revision, 0) != terms_revision
    )
    sums = select(
        func.count().filter(was_changed).label("outdated_notices"),
        func.coalesce(func.sum(PART.requested_reduction_kw), 0.0).label("given_kw"),
        func.coalesce(func.sum(PART.available_kw), 0.0).label("available_kw"),
    ).where(PART.event_id == event_id, is_live(PART.status), PART.status != "planned")
    return Query(Balance, sums)


def shares(event_id: str) -> Relation:
    return (
        select(
            PART.ven_id,
            PART.available_kw,
            PART.requested_reduction_kw,
            PART.told_end_time,
            PART.told_terms_revision,
        )
        .where(PART.event_id == event_id, is_live(PART.status), PART.status != "planned")
        .order_by(PART.ven_id)
    )


def set_notes(event_id: str, notes: list[dict[str, object]]) -> Update:
    """Store how many VENs are passed over; of an event that is over the last count stays."""
    return update(events).where(events.c.event_id == event_id, IS_TO_COME).values(notes=notes)


def set_shared(event_id: str, shared_kw: float) -> Update:
    """Note for which request the present shares were made."""
    return update(events).where(events.c.event_id == event_id).values(shared_reduction_kw=shared_kw)


class LostParticipation(NamedTuple):
    """The participation of a VEN in an event that it leaves for another."""

    event_id: str
    end_time: datetime
    ven_id: str


def participations_lost_to(event: AskedEvent, ven_ids: Sequence[str]) -> Query[LostParticipation]:
    """Those of some VENs, now in this event, that also have a part in ones that overlap and come after it."""
    lost = (
        select(events.c.event_id, events.c.end_time, PART.ven_id)
        .join(event_participations, events.c.event_id == PART.event_id)
        .where(
            PART.ven_id == any_of(ven_ids),
            is_live(PART.status),
            overlaps(event),
            events.c.priority < event.priority,
        )
        .order_by(events.c.event_id, PART.ven_id)
    )
    return Query(LostParticipation, lost)


def merge_notified(target: Table, staged: str) -> Insert:
    """Upsert participations: new ones, and new shares of those that exist."""
    twin = target.to_metadata(MetaData(), name=staged)
    rows = select(twin).order_by(twin.c.ven_id, twin.c.event_id)
    statement = insert(target).from_select([column.name for column in twin.c], rows)
    new, was_away = statement.excluded, target.c.status == "planned"
    return statement.on_conflict_do_update(
        index_elements=list(target.primary_key),
        set_={
            "status": case((was_away, new.status), else_=target.c.status),
            "available_kw": new.available_kw,
            "requested_reduction_kw": new.requested_reduction_kw,
            "command_id": new.command_id,
            "notified_at": case((was_away, new.notified_at), else_=target.c.notified_at),
            "acknowledged_at": case((was_away, null()), else_=target.c.acknowledged_at),
            "named_at": case((was_away, null()), else_=target.c.named_at),
            "asked_again_at": case((was_away, null()), else_=target.c.asked_again_at),
            "told_end_time": new.told_end_time,
            "told_terms_revision": new.told_terms_revision,
            "told_load_types": new.told_load_types,
            "released_at": null(),
        },
    )


def loads_to_shed(
    ven_ids: Sequence[str], load_types: Sequence[str], gone_after: timedelta | None
) -> Relation:
    """Loads of some types that VENs have and that may be controlled: `ven_id`, `load_id`, `available_kw`.

    What a load sheds now counts as capability, besides what it reports.
    """
    latest = load_snapshots.c
    available_kw = func.greatest(shed_capability_kw(), latest.shed_power_kw, 0.0)
    return (
        select(latest.ven_id, latest.load_id, available_kw.label("available_kw"))
        .select_from(with_settings())
        .outerjoin(ven_snapshots, ven_snapshots.c.ven_id == latest.ven_id)
        .where(latest.ven_id == any_of(ven_ids), is_enabled(), load_type().in_(load_types))
        .where(~is_gone(gone_after, ven_snapshots.c.ts))
        .order_by(latest.ven_id, latest.load_id)
    )


def is_live(status: ColumnElement[str]) -> ColumnElement[bool]:
    return status.in_(LIVE_PARTICIPATIONS)
