"""The SQL of following the participations in events that are to come or run."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import (
    JSON,
    ColumnElement,
    Select,
    and_,
    case,
    cast,
    false,
    func,
    literal_column,
    null,
    or_,
    select,
    text,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.selectable import Subquery

from jobs.queries.events.lifecycle import IS_TO_COME, PART, any_of, is_live
from jobs.transforms.events.participation import SILENCE_MEANS_NO
from schemas.db.queries import Query, Relation
from schemas.demand_response.groups import Targets, load_type, targeted_vens
from schemas.demand_response.opt_outs import opted_out_vens
from schemas.devices.load_values import GONE_AFTER, with_settings
from schemas.devices.statuses import MAINTENANCE, OFFLINE
from schemas.tables.events import TO_COME, commands, event_participations, events
from schemas.tables.openadr import openadr_events, openadr_reports, openadr_vens
from schemas.tables.registry import vens
from schemas.tables.snapshots import load_snapshots, ven_snapshots
from schemas.times.instants import MICROSECOND

REPORTED_EVENT = events.alias("reported_event")
WITHOUT_LOOPS = text("SET LOCAL enable_nestloop = off")
"""Joins of whole tables, whatever the statistics say of an event whose participations have just been made."""


class FollowedEvent(NamedTuple):
    """An event and its targets; `ven_ids` is empty if the event names VENs."""

    event_id: str
    ven_ids: list[str] | None
    group_ids: list[str] | None
    load_types: list[str] | None


def followed_events() -> Query[FollowedEvent]:
    """Select the events that are to come or run, and of which VENs have been notified.

    The VENs that an event names are left out, as they may be many.
    """
    in_it = select(PART.event_id).where(PART.event_id == events.c.event_id, _is_followed())
    some = case((events.c.ven_ids.is_not(None), literal_column("'[]'::json", JSON))).label("ven_ids")
    columns = (events.c.event_id, some, events.c.group_ids, events.c.load_types)
    with_parts = select(*columns).where(IS_TO_COME, in_it.exists()).order_by(events.c.event_id)
    return Query(FollowedEvent, with_parts)


def openadr_objects(event_ids: Sequence[str]) -> Select[str]:
    """The objects of OpenADR that some events are."""
    return select(openadr_events.c.object_id).where(openadr_events.c.event_id.in_(event_ids))


def _reporting(object_ids: Sequence[str]) -> Subquery:
    """VENs that speak OpenADR and have made a report of an event: `ven_id`, `event_id`, `reported_at`."""
    report, event, ven = openadr_reports.c, openadr_events.c, openadr_vens.c
    return (
        select(ven.ven_id, event.event_id, func.max(report.modified_at).label("reported_at"))
        .select_from(openadr_reports)
        .join(openadr_events, event.object_id == report.event_id)
        .join(openadr_vens, ven.client_id == report.client_id)
        .where(report.event_id == any_of(object_ids), ven.is_registered_here)
        .group_by(ven.ven_id, event.event_id)
        .subquery("reporting")
    )


def _is_followed() -> ColumnElement[bool]:
    """Whether a VEN takes part, or has opted out and might return."""
    return or_(is_live(PART.status), and_(PART.status == "opted_out", PART.released_at.is_(None)))


def followed_parts(
    followed: Sequence[FollowedEvent],
    now: datetime,
    gone_after: timedelta | None = GONE_AFTER,
    *,
    only_news: bool = True,
    object_ids: Sequence[str] = (),
) -> Relation:
    """Participations in some events that may have changed their status, with the present state of their VENs.

    A VEN that speaks OpenADR names an event by a report of it, as long as its telemetry is of its time.

    Args:
        followed: rows of `followed_events`.
        now: the time of this look.
        gone_after: how far a load's newest device time may lie behind its VEN's; None for any distance.
        only_news: leave out those that cannot have moved on.
        object_ids: the objects of OpenADR that the events are.
    """
    latest = ven_snapshots.c
    ids = [row.event_id for row in followed]
    reporting = _reporting(object_ids) if object_ids else None
    reported_event_id = _reported_event_id(reporting)
    answers = _answers(ids, are_of_loads=any(row.load_types for row in followed))
    is_unwanted = _is_unwanted(followed, gone_after)
    is_away = or_(vens.c.ven_id.is_(None), func.coalesce(latest.status, "") == OFFLINE, is_unwanted)
    has_opt_out = PART.ven_id.in_(opted_out_vens(now, now + MICROSECOND))
    query = (
        select(
            event_participations,
            answers.c.status.label("command_status"),
            answers.c.acknowledged_at.label("answered_at"),
            latest.ts.label("reported_at"),
            reported_event_id.label("reported_event_id"),
            latest.shed_power_kw,
            is_away.label("is_away"),
            is_unwanted.label("is_unwanted"),
            has_opt_out.label("has_opt_out"),
            events.c.status.label("event_status"),
            events.c.start_time,
            events.c.end_time,
        )
        .select_from(event_participations)
        .join(events, events.c.event_id == PART.event_id)
        .outerjoin(vens, vens.c.ven_id == PART.ven_id)
        .outerjoin(ven_snapshots, latest.ven_id == PART.ven_id)
        .outerjoin(REPORTED_EVENT, REPORTED_EVENT.c.event_id == latest.event_id)
        .outerjoin(answers, and_(answers.c.ven_id == PART.ven_id, answers.c.command_id == PART.command_id))
        .where(_is_followed(), IS_TO_COME, PART.event_id.in_(ids))
        .order_by(PART.event_id, PART.ven_id)
    )
    if reporting is not None:
        is_same = and_(reporting.c.ven_id == PART.ven_id, reporting.c.event_id == PART.event_id)
        query = query.outerjoin(reporting, is_same)
    if not only_news:
        return query
    is_news = _is_news(answers, is_away, reported_event_id, now)
    return query.where(or_(is_news, _is_to_go(is_unwanted, has_opt_out)))


def _answers(event_ids: Sequence[str], *, are_of_loads: bool) -> Subquery:
    """Commands by which VENs were notified: `ven_id`, `command_id`, `status`, `acknowledged_at`.

    Commands to several loads of a VEN that were made together are one, with the least of their ids. It is
    acknowledged if one of them is, and rejected if all are.
    """
    command = commands.c
    columns = (command.ven_id, command.command_id, command.status, command.acknowledged_at)
    of_events = command.event_id.in_(event_ids)
    whole = select(*columns).where(of_events, command.op == "event")
    if not are_of_loads:
        return whole.subquery("answers")
    is_rejected = command.status == "rejected"
    accepted_at = func.min(command.acknowledged_at).filter(command.status == "acknowledged")
    status = case(
        (func.bool_or(command.status == "acknowledged"), "acknowledged"),
        (func.bool_and(is_rejected), "rejected"),
        else_=func.min(command.status).filter(~is_rejected),
    )
    answered_at = func.coalesce(accepted_at, func.max(command.acknowledged_at))
    together = (
        select(command.ven_id, func.min(command.command_id), status, answered_at)
        .where(of_events, command.op == "shedLoad")
        .group_by(command.ven_id, command.event_id, command.created_at)
    )
    return union_all(whole, together).subquery("answers")


def _is_unwanted(followed: Sequence[FollowedEvent], gone_after: timedelta | None) -> ColumnElement[bool]:
    """Whether a VEN is not asked any more: it is retired, in maintenance, no target of the event, or was
    notified of other types of load, or of loads that have another type now.
    """
    notified_types, types = (cast(column, JSONB) for column in (PART.told_load_types, events.c.load_types))
    return or_(
        vens.c.retired_at.is_not(None),
        func.coalesce(ven_snapshots.c.status, vens.c.status, "") == MAINTENANCE,
        and_(PART.notified_at.is_not(None), notified_types.is_distinct_from(types)),
        *(_is_no_target(row, gone_after) for row in followed if not Targets.of(row).is_everybody),
        *(
            _sheds_another_type(row.event_id, row.load_types)
            for row in followed
            if row.load_types is not None
        ),
    )


def _is_no_target(row: FollowedEvent, gone_after: timedelta | None) -> ColumnElement[bool]:
    targeted = targeted_vens(Targets.of(row), gone_after, row.event_id)
    assert targeted is not None  # noqa: S101 - it does not aim at everybody
    return and_(PART.event_id == row.event_id, PART.ven_id.not_in(targeted))


def _sheds_another_type(event_id: str, load_types: Sequence[str]) -> ColumnElement[bool]:
    """Whether the newest commands of an event to a VEN name a load that is of none of its types any more."""
    command, latest = commands.c, load_snapshots.c
    of_event = and_(command.event_id == event_id, command.op == "shedLoad")
    newest = (
        select(command.ven_id, func.max(command.created_at).label("created_at"))
        .where(of_event)
        .group_by(command.ven_id)
        .subquery("newest")
    )
    together = and_(newest.c.ven_id == command.ven_id, newest.c.created_at == command.created_at)
    of_load = and_(latest.ven_id == command.ven_id, latest.load_id == command.load_id)
    ven_ids = (
        select(command.ven_id)
        .select_from(with_settings())
        .join(commands, of_load)
        .join(newest, together)
        .where(of_event, load_type().not_in(load_types))
    )
    return and_(PART.event_id == event_id, PART.ven_id.in_(ven_ids))


def _is_to_go(is_unwanted: ColumnElement[bool], has_opt_out: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether a notified VEN is to be released, or has been opted out by people."""
    is_announced = and_(PART.notified_at.is_not(None), PART.released_at.is_(None))
    return and_(PART.status != "opted_out", or_(and_(is_unwanted, is_announced), has_opt_out))


def _reported_event_id(reporting: Subquery | None) -> ColumnElement[str | None]:
    """The event that a VEN names; null for one that is over, which some VENs go on naming."""
    named, latest = REPORTED_EVENT.c, ven_snapshots.c
    is_over = or_(named.status.not_in(TO_COME), named.ended_at.is_not(None))
    in_telemetry = case((func.coalesce(is_over, false()), null()), else_=latest.event_id)
    if reporting is None:
        return in_telemetry
    is_of_its_time = and_(latest.ts >= events.c.start_time, latest.ts < events.c.end_time)
    has_report = and_(reporting.c.reported_at >= events.c.start_time, is_of_its_time)
    return case((has_report, PART.event_id), else_=in_telemetry)


def _is_news(
    answers: Subquery,
    is_away: ColumnElement[bool],
    reported_event_id: ColumnElement[str | None],
    now: datetime,
) -> ColumnElement[bool]:
    """Whether a participation can have changed its status; `jobs.transforms.events.participation` decides."""
    latest, share_kw = ven_snapshots.c, PART.requested_reduction_kw
    names_it = reported_event_id == PART.event_id
    sheds = and_(latest.shed_power_kw > 0, reported_event_id.is_(None))
    is_behind = or_(
        and_(PART.status == "notified", PART.acknowledged_at.is_not(None)),
        and_(PART.status != "planned", PART.status != "started", PART.started_at.is_not(None)),
    )
    begins = or_(
        and_(PART.started_at.is_(None), or_(names_it, sheds)), and_(PART.named_at.is_(None), names_it)
    )
    is_silent = and_(
        latest.ts > PART.named_at,
        func.coalesce(~names_it, true()),
        or_(PART.asked_again_at.is_(None), PART.asked_again_at <= now - SILENCE_MEANS_NO),
    )
    since = func.coalesce(PART.opted_out_at, PART.asked_again_at)
    returns = or_(
        and_(answers.c.status == "acknowledged", answers.c.acknowledged_at > since),
        and_(names_it, or_(PART.asked_again_at.is_not(None), latest.ts > PART.opted_out_at)),
    )
    takes_part = PART.status != "opted_out"
    return or_(
        returns,
        and_(takes_part, answers.c.status == "rejected"),
        and_(takes_part, answers.c.status == "acknowledged", PART.acknowledged_at.is_(None)),
        and_(takes_part, is_away, or_(PART.status != "planned", PART.command_id.is_not(None), share_kw != 0)),
        and_(takes_part, is_behind),
        and_(
            events.c.status == "active", PART.status.not_in(["planned", "opted_out"]), or_(begins, is_silent)
        ),
    )
