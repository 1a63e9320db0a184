"""Who is notified of an object: subscriptions, VENs with its targets or a part; and the two outboxes."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ARRAY, ColumnElement, Insert, Select, Text, case, func, insert, literal, or_, select

from schemas.db.queries import Query, fields_of
from schemas.openadr_objects import Object
from schemas.tables.events import LIVE_PARTICIPATIONS, TO_COME, event_participations, events
from schemas.tables.openadr import (
    openadr_events,
    openadr_messages,
    openadr_resources,
    openadr_subscriptions,
    openadr_vens,
)
from schemas.tables.webhooks import webhook_deliveries

SUBSCRIPTION = openadr_subscriptions.c


class SubscriptionRow(NamedTuple):
    """A subscription of a client; `targets`: only to objects with one of these, if there are any."""

    object_id: str
    client_id: str
    targets: list[str]
    reads_all: bool
    body: Object


class PartRow(NamedTuple):
    """An event that asks for power, with the part of a VEN; null in the only row if no VEN has a part."""

    of_all_kw: float | None
    """None: not shared out yet."""
    flexibility_kw: float | None
    is_over: bool
    client_id: str | None
    ven_object_id: str | None
    share_kw: float | None
    notified_at: datetime | None


def subscriptions_to(kind: str, program_id: str | None) -> Query[SubscriptionRow]:
    """Subscriptions to a type of object, to any program or to that of the object."""
    of_program: ColumnElement[bool] = SUBSCRIPTION.program_id.is_(None)
    if program_id is not None:
        of_program = or_(of_program, SUBSCRIPTION.program_id == program_id)
    has_kind = SUBSCRIPTION.objects.op("@>", is_comparison=True)(_texts([kind]))
    subscriptions = select(*fields_of(SubscriptionRow, openadr_subscriptions)).where(has_kind, of_program)
    return Query(SubscriptionRow, subscriptions.order_by(SUBSCRIPTION.object_id))


def program_of_event(event_object_id: str) -> Select[str]:
    return select(openadr_events.c.program_id).where(openadr_events.c.object_id == event_object_id)


def clients_granted(targets: Sequence[str]) -> Select[str, str]:
    """`client_id` and `target` of clients whose VENs or resources were granted one of some targets."""
    parts = []
    for table in (openadr_vens, openadr_resources):
        overlaps = table.c.targets.op("&&", is_comparison=True)(_texts(targets))
        columns = (table.c.client_id, func.unnest(table.c.targets).label("target"))
        parts.append(select(*columns).where(overlaps))
    granted = parts[0].union(parts[1]).subquery()
    return select(granted.c.client_id, granted.c.target).where(granted.c.target.in_(targets))


def vens_granted(targets: Sequence[str]) -> Select[str, str, str]:
    """VENs that were granted one of some targets, themselves or by a resource of theirs.

    Returns:
        `client_id`, `ven_object_id` and, of these targets, `target`.
    """
    parts = []
    for table, ven_object_id in (
        (openadr_vens, openadr_vens.c.object_id),
        (openadr_resources, openadr_resources.c.ven_object_id),
    ):
        overlaps = table.c.targets.op("&&", is_comparison=True)(_texts(targets))
        target = func.unnest(table.c.targets).label("target")
        columns = (table.c.client_id, ven_object_id.label("ven_object_id"), target)
        parts.append(select(*columns).where(overlaps))
    granted = parts[0].union(parts[1]).subquery()
    grant = granted.c
    return select(grant.client_id, grant.ven_object_id, grant.target).where(grant.target.in_(targets))


def all_vens() -> Select[str, str]:
    """`client_id` and `ven_object_id` of all VENs."""
    return select(openadr_vens.c.client_id, openadr_vens.c.object_id.label("ven_object_id"))


def parts_in_event(object_id: str) -> Query[PartRow]:
    """What an event that asks for power asks of VENs that speak OpenADR: a row for each, at least one."""
    part, event, ven = event_participations.c, openadr_events.c, openadr_vens.c
    share_kw = case((part.status.in_(LIVE_PARTICIPATIONS), part.requested_reduction_kw), else_=0.0)
    own = (
        select(part.event_id, ven.client_id, ven.object_id, share_kw.label("share_kw"), part.notified_at)
        .join(openadr_vens, part.ven_id == ven.ven_id)
        .subquery("own")
    )
    parts = (
        select(
            events.c.shared_reduction_kw.label("of_all_kw"),
            event.flexibility_kw,
            events.c.status.not_in(TO_COME).label("is_over"),
            own.c.client_id,
            own.c.object_id.label("ven_object_id"),
            own.c.share_kw,
            own.c.notified_at,
        )
        .select_from(openadr_events)
        .join(events, events.c.event_id == event.event_id)
        .outerjoin(own, own.c.event_id == event.event_id)
        .where(event.object_id == object_id)
    )
    return Query(PartRow, parts)


def queue_messages(messages: Sequence[Mapping[str, object]]) -> Insert:
    """For the broker."""
    return insert(openadr_messages).values(list(messages))


def queue(deliveries: Sequence[Mapping[str, object]]) -> Insert:
    """Also for webhooks that are disabled: the jobs delete what is never sent."""
    return insert(webhook_deliveries).values(list(deliveries))


def _texts(texts: Sequence[str]) -> ColumnElement[Sequence[str]]:
    return literal(list(texts), ARRAY(Text(collation="C")))
