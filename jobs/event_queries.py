"""The SQL of events and of who takes part in them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct
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
    cast,
    func,
    literal,
    null,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, Insert, insert
from sqlalchemy.sql.dml import ReturningUpdate

from schemas.channels import COMMANDS, EVENTS
from schemas.tables.events import LIVE_PARTICIPATIONS, OPEN_COMMANDS, commands, event_participations, events
from schemas.tables.registry import loads, vens
from schemas.tables.snapshots import load_snapshots, ven_snapshots

TO_COME = ("scheduled", "active")
DAY = timedelta(days=1)
IS_TO_COME = and_(events.c.status.in_(TO_COME), events.c.ended_at.is_(None))
PART = event_participations.c
NO_TOPIC_LEVEL = "[/+#]"
"""An id with one of these cannot be told anything: commands go to `ven/cmd/{venId}`."""


class Rest(Struct, frozen=True):
    """How long a VEN is left alone after an event, and how many events it is asked to in a day."""

    after: timedelta
    most_per_day: int


def due_events(now: datetime) -> Select[Any]:
    """Events whose start or end has come, or that somebody has stopped; held against whoever changes them."""
    has_begun = and_(events.c.status == "scheduled", events.c.start_time <= now)
    has_ended = and_(
        events.c.status.in_(TO_COME), or_(events.c.end_time <= now, events.c.ended_at.is_not(None))
    )
    return select(events).where(or_(has_begun, has_ended)).order_by(events.c.event_id).with_for_update()


def cancelled_events() -> Select[Any]:
    """Events that are cancelled, but not yet for the VENs that take part."""
    live = select(PART.event_id).where(_is_live(PART.status))
    return (
        select(events)
        .where(events.c.status == "cancelled", events.c.event_id.in_(live))
        .order_by(events.c.event_id)
    )


def events_to_tell(now: datetime) -> Select[Any]:
    """Events of which VENs are told by now, the most urgent first."""
    return (
        select(events)
        .where(IS_TO_COME, events.c.notify_at <= now)
        .order_by(events.c.priority.desc(), events.c.start_time, events.c.event_id)
    )


def hold_event(event_id: str) -> Select[Any]:
    """Whoever wants to cancel or stop it waits; no row if somebody has."""
    return select(events.c.event_id).where(events.c.event_id == event_id, IS_TO_COME).with_for_update()


def move(event_id: str, status: str, started_at: datetime | None, ended_at: datetime | None) -> Update:
    return (
        update(events)
        .where(events.c.event_id == event_id)
        .values(status=status, started_at=started_at, ended_at=ended_at)
    )


def told_vens(event_id: str) -> Select[Any]:
    """Everybody who was told and has not been released since."""
    return (
        select(PART.ven_id)
        .where(PART.event_id == event_id, PART.notified_at.is_not(None), PART.finished_at.is_(None))
        .order_by(PART.ven_id)
    )


def finish(event_id: str, at: datetime, ven_ids: Sequence[str] | None = None) -> Update:
    """It is over for all who take part, or for some of them."""
    statement = update(event_participations).where(PART.event_id == event_id, _is_live(PART.status))
    if ven_ids is not None:
        statement = statement.where(PART.ven_id == any_(literal(list(ven_ids), ARRAY(Text))))
    return statement.values(status="finished", finished_at=at)


def call_back(event_id: str, ven_ids: Sequence[str] | None = None) -> ReturningUpdate[Any]:
    """Commands that told of an event and are still on their way are not worth sending any more."""
    command = commands.c
    found = select(command.ven_id, command.command_id).where(
        command.event_id == event_id, command.op == "event", command.status.in_(OPEN_COMMANDS)
    )
    if ven_ids is not None:
        found = found.where(command.ven_id == any_(literal(list(ven_ids), ARRAY(Text))))
    # In the order of the key, as those who send them lock them.
    held = found.order_by(command.ven_id, command.command_id).with_for_update().cte("held")
    return (
        update(commands)
        .where(command.ven_id == held.c.ven_id, command.command_id == held.c.command_id)
        .values(status="expired", error="the event has gone on without it")
        .returning(command.command_id)
    )


def balance(event_id: str) -> Select[Any]:
    """What those who take part have been asked for, and what they could give, kW."""
    return select(
        func.coalesce(func.sum(PART.requested_reduction_kw), 0.0).label("given_kw"),
        func.coalesce(func.sum(PART.available_kw), 0.0).label("available_kw"),
    ).where(PART.event_id == event_id, _is_live(PART.status), PART.status != "planned")


def shares(event_id: str) -> Select[Any]:
    return (
        select(PART.ven_id, PART.available_kw, PART.requested_reduction_kw)
        .where(PART.event_id == event_id, _is_live(PART.status), PART.status != "planned")
        .order_by(PART.ven_id)
    )


def newcomers(event_id: str, now: datetime, rest: Rest) -> Select[Any]:
    """VENs that could give something and have not been told: what each could shed now, kW.

    That is its part of `controllablePowerKw`. VENs that an event of at least this priority has at the same
    time, those that deserve a rest, and those whose id no topic can name, are passed over.
    """
    event = events.alias("event")
    latest = ven_snapshots.c
    sheddable = _sheddable().lateral("sheddable")
    available_kw = func.coalesce(sheddable.c.shed_kw, latest.shed_power_kw, 0.0)
    has_part = select(PART.ven_id).where(
        PART.ven_id == vens.c.ven_id, PART.event_id == event.c.event_id, PART.status != "planned"
    )
    named = func.json_array_elements_text(event.c.ven_ids).table_valued("value")
    is_asked = or_(event.c.ven_ids.is_(null()), vens.c.ven_id.in_(select(named.c.value)))
    return (
        select(vens.c.ven_id, available_kw.label("available_kw"))
        .select_from(vens)
        .join(event, event.c.event_id == event_id)
        .outerjoin(ven_snapshots, latest.ven_id == vens.c.ven_id)
        .join(sheddable, true())
        .where(
            vens.c.retired_at.is_(None),
            ~vens.c.ven_id.regexp_match(NO_TOPIC_LEVEL),
            func.coalesce(latest.status, "") != "offline",
            is_asked,
            ~has_part.exists(),
            ~_elsewhere(event).exists(),
            ~_resting(event, now, rest.after).exists(),
            _events_of_day(event, now) < rest.most_per_day,
            available_kw > 0,
        )
        .order_by(vens.c.ven_id)
    )


def _sheddable() -> Select[Any]:
    """What the loads of a VEN could shed; null where it has none."""
    said, people = load_snapshots.c, loads.c
    enabled = func.coalesce(people.enabled, said.enabled, true())
    shed_kw = func.coalesce(people.shed_capability_kw, said.shed_capability_kw, said.shed_power_kw, 0.0)
    with_settings = load_snapshots.outerjoin(
        loads, and_(people.ven_id == said.ven_id, people.load_id == said.load_id)
    )
    return (
        select(func.sum(case((enabled, shed_kw), else_=0.0)).label("shed_kw"))
        .select_from(with_settings)
        .where(said.ven_id == vens.c.ven_id)
    )


def _elsewhere(event: Any) -> Select[Any]:  # noqa: ANN401 - an alias of `events`
    """The VEN's part in an event that goes before this one."""
    part, other = event_participations.alias(), events.alias()
    return (
        select(part.c.ven_id)
        .join(other, other.c.event_id == part.c.event_id)
        .where(
            part.c.ven_id == vens.c.ven_id,
            _is_live(part.c.status),
            *_overlaps(other, event),
            other.c.priority >= event.c.priority,
        )
    )


def _overlaps(other: Any, event: Any) -> list[ColumnElement[bool]]:  # noqa: ANN401
    return [
        other.c.event_id != event.c.event_id,
        other.c.status.in_(TO_COME),
        other.c.ended_at.is_(None),
        other.c.start_time < event.c.end_time,
        other.c.end_time > event.c.start_time,
    ]


def _took_part(part: Any, other: Any, event: Any) -> list[ColumnElement[bool]]:  # noqa: ANN401
    """In an event that ran, or is about to, while the VEN was in it."""
    ran = or_(other.c.status == "scheduled", other.c.started_at.is_not(None))
    in_it = or_(
        part.c.finished_at.is_(None),
        part.c.finished_at > func.coalesce(other.c.started_at, other.c.start_time),
    )
    return [
        part.c.ven_id == vens.c.ven_id,
        part.c.event_id != event.c.event_id,
        part.c.status != "opted_out",
        ran,
        in_it,
    ]


def _resting(event: Any, now: datetime, after: timedelta) -> Select[Any]:  # noqa: ANN401
    part, other = event_participations.alias(), events.alias()
    begin = func.greatest(event.c.start_time, now)
    end = func.coalesce(part.c.finished_at, other.c.ended_at, other.c.end_time)
    return (
        select(part.c.ven_id)
        .join(other, other.c.event_id == part.c.event_id)
        .where(*_took_part(part, other, event), end <= begin, end > begin - after)
    )


def _events_of_day(event: Any, now: datetime) -> ColumnElement[int]:  # noqa: ANN401
    part, other = event_participations.alias(), events.alias()
    begin = func.greatest(event.c.start_time, now)
    counted = (
        select(func.count())
        .select_from(part)
        .join(other, other.c.event_id == part.c.event_id)
        .where(*_took_part(part, other, event), other.c.start_time > begin - DAY, other.c.start_time <= begin)
    )
    return counted.scalar_subquery()


def lost_to(event_id: str) -> Select[Any]:
    """VENs of an event that also have a part in ones that overlap and come after it: which."""
    event, other = events.alias("event"), events.alias("other")
    theirs = event_participations.alias("theirs")
    return (
        select(other.c.event_id, other.c.end_time, PART.ven_id)
        .select_from(event_participations)
        .join(event, event.c.event_id == PART.event_id)
        .join(theirs, theirs.c.ven_id == PART.ven_id)
        .join(other, other.c.event_id == theirs.c.event_id)
        .where(
            PART.event_id == event_id,
            _is_live(PART.status),
            _is_live(theirs.c.status),
            *_overlaps(other, event),
            other.c.priority < event.c.priority,
        )
        .order_by(other.c.event_id, PART.ven_id)
    )


def merge_told(target: Table, staged: str) -> Insert:
    """Add who has been told; of those who take part already, change what they were told."""
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
        },
    )


def followed_parts() -> Select[Any]:
    """Participations that are not over, with what is known of their VENs now."""
    latest, command = ven_snapshots.c, commands.c
    of_command = and_(command.ven_id == PART.ven_id, command.command_id == PART.command_id)
    return (
        select(
            event_participations,
            command.status.label("command_status"),
            command.acknowledged_at.label("answered_at"),
            latest.ts.label("reported_at"),
            latest.event_id.label("reported_event_id"),
            latest.shed_power_kw,
            or_(
                vens.c.ven_id.is_(None),
                vens.c.retired_at.is_not(None),
                func.coalesce(latest.status, "") == "offline",
            ).label("is_away"),
            events.c.status.label("event_status"),
            events.c.start_time,
            events.c.end_time,
        )
        .select_from(event_participations)
        .join(events, events.c.event_id == PART.event_id)
        .outerjoin(vens, vens.c.ven_id == PART.ven_id)
        .outerjoin(ven_snapshots, latest.ven_id == PART.ven_id)
        .outerjoin(commands, of_command)
        .where(_is_live(PART.status), IS_TO_COME)
        .order_by(PART.event_id, PART.ven_id)
    )


def tell_of_event(event_id: str) -> Select[Any]:
    return select(func.pg_notify(EVENTS, event_id))


TELL_OF_COMMANDS = select(func.pg_notify(COMMANDS, cast("", Text)))


def _is_live(status: ColumnElement[str]) -> ColumnElement[bool]:
    return status.in_(LIVE_PARTICIPATIONS)
