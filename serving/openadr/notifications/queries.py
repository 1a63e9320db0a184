"""Subscriptions to an object, their webhooks, and what is queued for them."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Delete,
    Insert,
    Integer,
    Select,
    Text,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import Insert as Upsert
from sqlalchemy.dialects.postgresql import insert as upsert

from schemas.tables.openadr import (
    openadr_events,
    openadr_messages,
    openadr_resources,
    openadr_subscriptions,
    openadr_vens,
)
from schemas.tables.webhooks import webhook_deliveries, webhooks

SUBSCRIPTION, WEBHOOK = openadr_subscriptions.c, webhooks.c
FRESH = ("failures", "failing_since", "retry_at", "disabled_at", "error", "enabled", "url", "bearer_token")


def subscriptions_to(kind: str, program_id: str | None) -> Select[Any]:
    """Subscriptions to a type of object, to any program or to that of the object."""
    of_program: ColumnElement[bool] = SUBSCRIPTION.program_id.is_(None)
    if program_id is not None:
        of_program = or_(of_program, SUBSCRIPTION.program_id == program_id)
    has_kind = SUBSCRIPTION.objects.op("@>", is_comparison=True)(_texts([kind]))
    return select(openadr_subscriptions).where(has_kind, of_program).order_by(SUBSCRIPTION.object_id)


def program_of_event(event_object_id: str) -> Select[Any]:
    return select(openadr_events.c.program_id).where(openadr_events.c.object_id == event_object_id)


def clients_granted(targets: Sequence[str]) -> Select[Any]:
    """`client_id` and `target` of clients whose VENs or resources were granted one of some targets."""
    parts = []
    for table in (openadr_vens, openadr_resources):
        overlaps = table.c.targets.op("&&", is_comparison=True)(_texts(targets))
        columns = (table.c.client_id, func.unnest(table.c.targets).label("target"))
        parts.append(select(*columns).where(overlaps))
    granted = parts[0].union(parts[1]).subquery()
    return select(granted.c.client_id, granted.c.target).where(granted.c.target.in_(targets))


def vens_granted(targets: Sequence[str]) -> Select[Any]:
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
    return select(granted).where(granted.c.target.in_(targets))


def all_vens() -> Select[Any]:
    return select(openadr_vens.c.client_id, openadr_vens.c.object_id.label("ven_object_id"))


def queue_messages(messages: Sequence[Mapping[str, Any]]) -> Insert:
    """For the broker."""
    return insert(openadr_messages).values(list(messages))


def queue(deliveries: Sequence[Mapping[str, Any]]) -> Insert:
    """Also for webhooks that are disabled: the jobs delete what is never sent."""
    return insert(webhook_deliveries).values(list(deliveries))


def put_webhook(values: Mapping[str, Any]) -> Upsert:
    """One that is there begins anew, without failures; it keeps what is still to be sent."""
    statement = upsert(webhooks).values(failures=0, **values)
    return statement.on_conflict_do_update(
        index_elements=["webhook_id"], set_={name: statement.excluded[name] for name in FRESH}
    )


def remove_webhooks(subscription_id: str, from_number: int = 0) -> Delete:
    """All webhooks of a subscription, or those from a number on."""
    number: ColumnElement[str] = func.substring(WEBHOOK.webhook_id, literal(r"\d+$"))
    return delete(webhooks).where(
        WEBHOOK.subscription_id == subscription_id, number.cast(Integer) >= from_number
    )


def _texts(texts: Sequence[str]) -> ColumnElement[Any]:
    return literal(list(texts), ARRAY(Text(collation="C")))
