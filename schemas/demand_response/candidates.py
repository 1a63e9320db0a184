"""The candidates of an event: VENs that it selects, and the reasons why it passes over others.

One rule for the jobs, which notify VENs, and for serving, which previews events. Powers in kW.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Literal, Protocol, Self, get_args

from msgspec import Struct
from sqlalchemy import (
    CTE,
    ColumnElement,
    Integer,
    Subquery,
    Text,
    and_,
    case,
    cast,
    func,
    literal,
    null,
    or_,
    select,
    true,
)

from schemas.db.queries import Relation
from schemas.demand_response.groups import Targeted, Targets, load_type, targeted_vens
from schemas.demand_response.opt_outs import opted_out_vens
from schemas.devices.abilities import DIRECTION, vens_that_understand
from schemas.devices.load_values import headroom_kw, sheddable_kw
from schemas.devices.protocols import vens_by_openadr
from schemas.devices.statuses import MAINTENANCE, OFFLINE
from schemas.tables.events import LIVE_PARTICIPATIONS, TO_COME, event_participations, events
from schemas.tables.registry import vens
from schemas.tables.snapshots import ven_snapshots

EventDirection = Literal["reduce", "increase"]
PassedOverReason = Literal[
    "retired",
    "unaddressable",
    "opted out",
    "offline",
    "maintenance",
    "in another event",
    "resting",
    "asked too often",
    "unable to increase",
    "no flexibility",
]
REASONS: tuple[PassedOverReason, ...] = get_args(PassedOverReason)
"""Reasons in order of precedence: the first that applies to a VEN counts."""

PART = event_participations.c
DAY = timedelta(days=1)
NO_TOPIC_LEVEL = "[/+#]"
"""Characters that an id in the topic `ven/cmd/{venId}` must not contain."""


class Rest(Struct, frozen=True):
    """The rest time of a VEN after an event, and its most events in a day."""

    after: timedelta = timedelta(minutes=15)
    most_per_day: int = 6


class Selecting(Targeted, Protocol):
    """An event, stored or planned, with all that determines its candidates."""

    @property
    def event_id(self) -> str: ...
    @property
    def start_time(self) -> datetime: ...
    @property
    def end_time(self) -> datetime: ...
    @property
    def priority(self) -> int: ...
    @property
    def direction(self) -> EventDirection: ...


class AskedEvent(Struct, frozen=True):
    """The properties of an event, stored or not, that determine its candidates."""

    event_id: str
    start_time: datetime
    end_time: datetime
    priority: int
    targets: Targets
    direction: EventDirection = "reduce"

    @classmethod
    def of(cls, event: Selecting) -> Self:
        """Return the properties of a row of `events`, or of a planned one."""
        of_times = (event.event_id, event.start_time, event.end_time, event.priority)
        return cls(*of_times, Targets.of(event), event.direction)


def asked_vens(event: AskedEvent, now: datetime, rest: Rest, gone_after: timedelta | None) -> Relation:
    """Select VENs that an event would notify, and the numbers of VENs that it passes over.

    Returns:
        A row for each of the former with `ven_id` and its available power, `available_kw` (its part of
        `controllablePowerKw`); a row for each `reason` of the latter, with their number, `vens`.
    """
    candidate = candidates(event, now, rest, gone_after).cte("candidate").prefix_with("MATERIALIZED")
    selected = select(
        candidate.c.ven_id,
        candidate.c.available_kw,
        cast(null(), Text).label("reason"),
        literal(1, Integer).label("vens"),
    ).where(candidate.c.reason.is_(None))
    counts = (
        select(null(), null(), candidate.c.reason, func.count())
        .where(candidate.c.reason.is_not(None))
        .group_by(candidate.c.reason)
    )
    rows = selected.union_all(counts).subquery("asked_vens")
    return select(rows).order_by(rows.c.ven_id, rows.c.reason)


def candidates(event: AskedEvent, now: datetime, rest: Rest, gone_after: timedelta | None) -> Relation:
    """Select targeted VENs without a live participation, each with the reason why it is passed over, if any.

    VENs that are not targets are left out. If load types are targeted, only their loads count.

    Returns:
        `ven_id`, `available_kw` and `reason`, which is null for VENs to be notified now. If the event
        requests more load, `available_kw` is what a VEN could use more than now.
    """
    load_types = event.targets.load_types
    unnotified = _vens_to_notify(event, gone_after)
    judged = _with_reason(unnotified, event, now, rest)
    # The shed capability of loads is read only for VENs without another reason.
    asks_for_more = event.direction == "increase"
    possible_kw = headroom_kw if asks_for_more else sheddable_kw
    of_judged = possible_kw(judged.c.ven_id, judged.c.ts, gone_after).where(judged.c.reason.is_(None))
    if load_types is not None:
        of_judged = of_judged.where(load_type().in_(load_types))
    sheddable = of_judged.lateral("sheddable")
    whole_kw = [] if asks_for_more or load_types is not None else [judged.c.shed_power_kw]
    available_kw = func.coalesce(sheddable.c.shed_kw, *whole_kw, 0.0)
    reason = case(
        (judged.c.reason.is_not(None), judged.c.reason),
        (available_kw <= 0, "no flexibility"),
    )
    return select(judged.c.ven_id, available_kw.label("available_kw"), reason.label("reason")).select_from(
        judged.join(sheddable, true())
    )


def passed_over_notes(counts: Iterable[tuple[str | None, int]]) -> list[dict[str, object]]:
    """Return `events.notes` from `reason` and `vens` of the rows of `asked_vens`."""
    vens_by_reason = dict(counts)
    return [{"reason": each, "vens": vens_by_reason[each]} for each in REASONS if each in vens_by_reason]


def _with_reason(unnotified: CTE, event: AskedEvent, now: datetime, rest: Rest) -> CTE:
    """Add `reason`s that do not depend on loads; each list of VENs is computed once, and only if needed."""
    begin = max(event.start_time, now)
    latest, ven_id = ven_snapshots.c, unnotified.c.ven_id
    status = func.coalesce(latest.status, unnotified.c.status)
    reason = case(
        (unnotified.c.is_retired, "retired"),
        (ven_id.regexp_match(NO_TOPIC_LEVEL), "unaddressable"),
        (
            or_(unnotified.c.part == "opted_out", ven_id.in_(opted_out_vens(begin, event.end_time))),
            "opted out",
        ),
        (status == OFFLINE, "offline"),
        (status == MAINTENANCE, "maintenance"),
        (or_(unnotified.c.part == "finished", ven_id.in_(_elsewhere(event))), "in another event"),
        (ven_id.in_(_resting(event, begin, rest.after)), "resting"),
        (ven_id.in_(_at_daily_limit(event, begin, rest.most_per_day)), "asked too often"),
        *_unable(event, ven_id),
    )
    return (
        select(ven_id, latest.ts, latest.shed_power_kw, reason.label("reason"))
        .select_from(unnotified.outerjoin(ven_snapshots, latest.ven_id == ven_id))
        .cte("judged")
        .prefix_with("MATERIALIZED")
    )


def _unable(event: AskedEvent, ven_id: ColumnElement[str]) -> list[tuple[ColumnElement[bool], str]]:
    """Return the reason for VENs that do not support a direction, if the event requests more load.

    OpenADR VENs do support it: their power has a sign.
    """
    if event.direction == "reduce":
        return []
    by_mqtt = ven_id.not_in(vens_by_openadr())
    return [(and_(ven_id.not_in(vens_that_understand(DIRECTION)), by_mqtt), "unable to increase")]


def _vens_to_notify(event: AskedEvent, gone_after: timedelta | None) -> CTE:
    """Select targeted VENs without a live participation, first, as there are mostly none.

    `part` is the status of a VEN's participation, if any: it opted out, is offline, or left for another
    event.
    """
    part = _parts(event.event_id)
    query = (
        select(
            vens.c.ven_id,
            vens.c.status,
            vens.c.retired_at.is_not(None).label("is_retired"),
            part.c.status.label("part"),
        )
        .outerjoin(part, part.c.ven_id == vens.c.ven_id)
        .where(or_(part.c.status.is_(None), part.c.status.in_(["planned", "opted_out", "finished"])))
    )
    targeted = targeted_vens(event.targets, gone_after)
    if targeted is not None:
        query = query.where(vens.c.ven_id.in_(targeted))
    return query.cte("unnotified").prefix_with("MATERIALIZED")


def _parts(event_id: str) -> Subquery:
    return select(PART.ven_id, PART.status).where(PART.event_id == event_id).subquery("part")


def _elsewhere(event: AskedEvent) -> Relation:
    """Select VENs that participate in an event with precedence."""
    return (
        select(PART.ven_id)
        .join(events, events.c.event_id == PART.event_id)
        .where(PART.status.in_(LIVE_PARTICIPATIONS), overlaps(event), events.c.priority >= event.priority)
    )


def overlaps(event: AskedEvent) -> ColumnElement[bool]:
    """Select other events that are scheduled or run at the same time."""
    return and_(
        events.c.event_id != event.event_id,
        events.c.status.in_(TO_COME),
        events.c.ended_at.is_(None),
        events.c.start_time < event.end_time,
        events.c.end_time > event.start_time,
    )


def _took_part(event_id: str) -> Relation:
    """Select VENs that participated in other events that have run, or are about to."""
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


def _resting(event: AskedEvent, begin: datetime, after: timedelta) -> Relation:
    end = func.coalesce(PART.finished_at, events.c.ended_at, events.c.end_time)
    # No VEN leaves an event after its end, so participations of other events need not be read.
    is_recent = func.coalesce(events.c.ended_at, events.c.end_time) > begin - after
    return _took_part(event.event_id).where(is_recent, end <= begin, end > begin - after)


def _at_daily_limit(event: AskedEvent, begin: datetime, most_per_day: int) -> Relation:
    """Select VENs that have reached their most events in a day."""
    return (
        _took_part(event.event_id)
        .where(events.c.start_time > begin - DAY, events.c.start_time <= begin)
        .group_by(PART.ven_id)
        .having(func.count() >= most_per_day)
    )
