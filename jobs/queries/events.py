"""The SQL of events and of who takes part in them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct
from sqlalchemy import (
    CTE,
    ColumnElement,
    MetaData,
    Row,
    Select,
    Table,
    Text,
    Update,
    and_,
    any_,
    case,
    false,
    func,
    literal,
    null,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, Insert, insert
from sqlalchemy.sql.dml import ReturningUpdate
from sqlalchemy.sql.selectable import Subquery

from schemas.load_values import sheddable_kw
from schemas.tables.events import LIVE_PARTICIPATIONS, OPEN_COMMANDS, commands, event_participations, events
from schemas.tables.registry import vens
from schemas.tables.snapshots import ven_snapshots

TO_COME = ("scheduled", "active")
DAY = timedelta(days=1)
IS_TO_COME = and_(events.c.status.in_(TO_COME), events.c.ended_at.is_(None))
PART = event_participations.c
REPORTED_EVENT = events.alias("reported_event")
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
        statement = statement.where(PART.ven_id == _any_of(ven_ids))
    return statement.values(status="finished", finished_at=at)


def call_back(event_id: str, ven_ids: Sequence[str] | None = None) -> ReturningUpdate[Any]:
    """Expire open commands that announced an event: it has gone on without them."""
    command = commands.c
    conditions = [command.event_id == event_id, command.op == "event"]
    if ven_ids is not None:
        conditions.append(command.ven_id == _any_of(ven_ids))
    return _expire(conditions, "the event has gone on without it")


def call_back_restores(ven_ids: Sequence[str]) -> ReturningUpdate[Any]:
    """Expire the open `restore` commands of VENs that are told of another event: sent again, they might end
    that one. Those that were never sent go first, and stay.
    """
    command = commands.c
    is_restore = and_(command.op == "restore", command.event_id.is_not(None), command.attempts > 0)
    return _expire([command.ven_id == _any_of(ven_ids), is_restore], "the VEN has been told of another event")


def _expire(conditions: Sequence[ColumnElement[bool]], reason: str) -> ReturningUpdate[Any]:
    """Expire open commands, locked in the order of the key, as the dispatcher locks them."""
    command = commands.c
    is_open = command.status.in_(OPEN_COMMANDS)
    open_commands = select(command.ven_id, command.command_id).where(is_open, *conditions)
    held = open_commands.order_by(command.ven_id, command.command_id).with_for_update().cte("held")
    return (
        update(commands)
        .where(command.ven_id == held.c.ven_id, command.command_id == held.c.command_id)
        .values(status="expired", error=reason)
        .returning(command.command_id)
    )


def _any_of(ven_ids: Sequence[str]) -> ColumnElement[Any]:
    return any_(literal(list(ven_ids), ARRAY(Text)))


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


def newcomers(row: Row[Any], now: datetime, rest: Rest, gone_after: timedelta | None) -> Select[Any]:
    """VENs that could give something to an event and have not been told: what each could shed now, kW.

    That is its part of `controllablePowerKw`. VENs that an event of at least this priority has at the same
    time, those that deserve a rest, and those whose id no topic can name, are passed over.
    """
    latest = ven_snapshots.c
    untold = _untold(row.event_id)
    sheddable = sheddable_kw(untold.c.ven_id, latest.ts, gone_after).lateral("sheddable")
    available_kw = func.coalesce(sheddable.c.shed_kw, latest.shed_power_kw, 0.0)
    begin = max(row.start_time, now)
    passed_over = (_elsewhere(row), _resting(row, begin, rest.after), _tired(row, begin, rest.most_per_day))
    return (
        select(untold.c.ven_id, available_kw.label("available_kw"))
        .select_from(untold)
        .outerjoin(ven_snapshots, latest.ven_id == untold.c.ven_id)
        .join(sheddable, true())
        .where(
            ~untold.c.ven_id.regexp_match(NO_TOPIC_LEVEL),
            func.coalesce(latest.status, "") != "offline",
            *(untold.c.ven_id.not_in(vens_of) for vens_of in passed_over),
            available_kw > 0,
        )
        .order_by(untold.c.ven_id)
    )


def _untold(event_id: str) -> CTE:
    """VENs that are asked and have no part yet; found first, for nearly always there are none.

    What is asked of each VEN after that is a list that is made once, and only if there is anybody.
    """
    has_part = select(PART.ven_id).where(PART.event_id == event_id, PART.status != "planned")
    asked = select(events.c.ven_ids).where(events.c.event_id == event_id)
    named = func.json_array_elements_text(asked.scalar_subquery()).table_valued("value")
    is_asked = or_(asked.scalar_subquery().is_(null()), vens.c.ven_id.in_(select(named.c.value)))
    return (
        select(vens.c.ven_id)
        .where(vens.c.retired_at.is_(None), vens.c.ven_id.not_in(has_part), is_asked)
        .cte("untold")
        .prefix_with("MATERIALIZED")
    )


def _elsewhere(row: Row[Any]) -> Select[Any]:
    """VENs that have a part in an event that goes before this one."""
    return (
        select(PART.ven_id)
        .join(events, events.c.event_id == PART.event_id)
        .where(_is_live(PART.status), *_overlaps(row), events.c.priority >= row.priority)
    )


def _overlaps(row: Row[Any]) -> list[ColumnElement[bool]]:
    """Other events that are to come, or run, at the same time."""
    return [
        events.c.event_id != row.event_id,
        events.c.status.in_(TO_COME),
        events.c.ended_at.is_(None),
        events.c.start_time < row.end_time,
        events.c.end_time > row.start_time,
    ]


def _took_part(event_id: str) -> Select[Any]:
    """VENs in other events that ran, or are about to, while they were in them."""
    began_at = func.coalesce(events.c.started_at, events.c.start_time)
    return (
        select(PART.ven_id)
        .join(events, events.c.event_id == PART.event_id)
        .where(
            PART.event_id != event_id,
            PART.status != "opted_out",
            or_(events.c.status == "scheduled", events.c.started_at.is_not(None)),
            or_(PART.finished_at.is_(None), PART.finished_at > began_at),
        )
    )


def _resting(row: Row[Any], begin: datetime, after: timedelta) -> Select[Any]:
    end = func.coalesce(PART.finished_at, events.c.ended_at, events.c.end_time)
    # Nobody leaves an event after its end: of the others the participations need not be read.
    is_recent = func.coalesce(events.c.ended_at, events.c.end_time) > begin - after
    return _took_part(row.event_id).where(is_recent, end <= begin, end > begin - after)


def _tired(row: Row[Any], begin: datetime, most_per_day: int) -> Select[Any]:
    """VENs that have been asked often enough in a day."""
    return (
        _took_part(row.event_id)
        .where(events.c.start_time > begin - DAY, events.c.start_time <= begin)
        .group_by(PART.ven_id)
        .having(func.count() >= most_per_day)
    )


def lost_to(row: Row[Any], ven_ids: Sequence[str]) -> Select[Any]:
    """Those of some VENs, now in this event, that also have a part in ones that overlap and come after it."""
    return (
        select(events.c.event_id, events.c.end_time, PART.ven_id)
        .join(event_participations, events.c.event_id == PART.event_id)
        .where(
            PART.ven_id == _any_of(ven_ids),
            _is_live(PART.status),
            *_overlaps(row),
            events.c.priority < row.priority,
        )
        .order_by(events.c.event_id, PART.ven_id)
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


WITHOUT_LOOPS = text("SET LOCAL enable_nestloop = off")
"""Joins of whole tables, whatever the statistics say of an event whose participations have just been made."""


def followed_events() -> Select[Any]:
    """Events that are to come or run, and of which somebody has been told."""
    live = select(PART.event_id).where(PART.event_id == events.c.event_id, _is_live(PART.status))
    return select(events.c.event_id).where(IS_TO_COME, live.exists()).order_by(events.c.event_id)


def followed_parts(event_ids: Sequence[str], *, only_news: bool = True) -> Select[Any]:
    """Participations in some events with what is known of their VENs now: those that may have moved on."""
    latest, command = ven_snapshots.c, commands.c
    ids = list(event_ids)
    told = select(commands).where(command.event_id.in_(ids), command.op == "event").subquery("told")
    is_away = or_(
        vens.c.ven_id.is_(None),
        vens.c.retired_at.is_not(None),
        func.coalesce(latest.status, "") == "offline",
    )
    query = (
        select(
            event_participations,
            told.c.status.label("command_status"),
            told.c.acknowledged_at.label("answered_at"),
            latest.ts.label("reported_at"),
            _reported_event_id().label("reported_event_id"),
            latest.shed_power_kw,
            is_away.label("is_away"),
            events.c.status.label("event_status"),
            events.c.start_time,
            events.c.end_time,
        )
        .select_from(event_participations)
        .join(events, events.c.event_id == PART.event_id)
        .outerjoin(vens, vens.c.ven_id == PART.ven_id)
        .outerjoin(ven_snapshots, latest.ven_id == PART.ven_id)
        .outerjoin(REPORTED_EVENT, REPORTED_EVENT.c.event_id == latest.event_id)
        .outerjoin(told, and_(told.c.ven_id == PART.ven_id, told.c.command_id == PART.command_id))
        .where(_is_live(PART.status), IS_TO_COME, PART.event_id.in_(ids))
        .order_by(PART.event_id, PART.ven_id)
    )
    return query.where(_is_news(told, is_away)) if only_news else query


def _reported_event_id() -> ColumnElement[str | None]:
    """The event that a VEN names; null for one that is over, which some VENs go on naming."""
    named = REPORTED_EVENT.c
    is_over = or_(named.status.not_in(TO_COME), named.ended_at.is_not(None))
    return case((func.coalesce(is_over, false()), null()), else_=ven_snapshots.c.event_id)


def _is_news(told: Subquery, is_away: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether a participation can have moved on; what has, `jobs.transforms.participation` says."""
    latest, share_kw = ven_snapshots.c, PART.requested_reduction_kw
    reported_event_id = _reported_event_id()
    names_it = reported_event_id == PART.event_id
    sheds = and_(latest.shed_power_kw > 0, reported_event_id.is_(None))
    is_behind = or_(
        and_(PART.status == "notified", PART.acknowledged_at.is_not(None)),
        and_(PART.status != "planned", PART.status != "started", PART.started_at.is_not(None)),
    )
    begins = or_(
        and_(PART.started_at.is_(None), or_(names_it, sheds)), and_(PART.named_at.is_(None), names_it)
    )
    has_left = and_(latest.ts > PART.named_at, func.coalesce(~names_it, true()))
    return or_(
        told.c.status == "rejected",
        and_(told.c.status == "acknowledged", PART.acknowledged_at.is_(None)),
        and_(is_away, or_(PART.status != "planned", PART.command_id.is_not(None), share_kw != 0)),
        is_behind,
        and_(events.c.status == "active", PART.status != "planned", or_(begins, has_left)),
    )


def _is_live(status: ColumnElement[str]) -> ColumnElement[bool]:
    return status.in_(LIVE_PARTICIPATIONS)
