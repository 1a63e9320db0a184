"""Queues notifications of changed objects for the webhooks of subscriptions; the jobs send them.

A subscription has a webhook for each of its operations. Whoever may not read an object is not notified of it;
the client of VENs sees its own share of an event.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby

from msgspec import Struct
from sqlalchemy import Connection

from schemas.openadr import ObjectType, Operation
from schemas.openadr_notifications import queries
from schemas.openadr_notifications.content import (
    TARGETED,
    Concerns,
    ObjectChange,
    notification,
    with_targets,
    without_tokens,
)
from schemas.openadr_notifications.parts import NO_PARTS, EventParts, parts_in_event
from schemas.openadr_notifications.queries import SubscriptionRow
from schemas.openadr_objects import Object
from schemas.openadr_shares import with_own_share

QUEUED_AT_ONCE = 1_000


class Audience(Struct, frozen=True):
    """Who may read an object: the targets of it that clients were granted, and their parts in an event."""

    granted: Mapping[str, frozenset[str]]
    parts: EventParts

    @classmethod
    def of(cls, connection: Connection, change: ObjectChange) -> "Audience":
        parts = NO_PARTS
        if change.kind == "EVENT":
            is_deleted = change.operation == "DELETE"
            parts = parts_in_event(connection, change.changed["id"], even_if_over=is_deleted)
        return cls(_granted(connection, change.targets), parts)

    def has(self, subscription: SubscriptionRow, change: ObjectChange) -> bool:
        """Whether a subscription's client may read an object, and has subscribed to one of its targets."""
        if subscription.targets and not set(subscription.targets) & set(change.targets):
            return False
        if subscription.reads_all:
            return True
        client_id = subscription.client_id
        if change.kind in TARGETED:
            return not change.targets or client_id in self.granted or client_id in self.parts.clients
        return bool(change.changed["clientID"] == client_id)

    def shown(self, subscription: SubscriptionRow, change: ObjectChange) -> Object:
        """An object as a client sees it: without tokens of webhooks, others' targets, and others' shares."""
        if change.kind not in TARGETED or subscription.reads_all:
            return without_tokens(change.changed)
        client_id = subscription.client_id
        seen = with_targets(change.changed, self.granted.get(client_id, frozenset()))
        return with_own_share(seen, self.parts.of(client_id))


def queue_for_subscribers(
    connection: Connection, changes: Sequence[ObjectChange], now: datetime, concerns: Concerns | None = None
) -> None:
    """Queue notifications for all webhooks that want them.

    Args:
        connection: in the transaction of the changes.
        changes: with those of one type and program next to each other.
        now: the time.
        concerns: of which clients of VENs; None for all, and for business logic.
    """
    for (kind, program_id), some in groupby(changes, lambda each: (each.kind, _program(connection, each))):
        subscriptions = queries.subscriptions_to(kind, program_id).all(connection)
        if concerns is not None:
            subscriptions = [row for row in subscriptions if not row.reads_all and concerns(row.client_id)]
        if subscriptions:
            deliveries = [
                each for change in some for each in _deliveries(connection, change, subscriptions, now)
            ]
            for first in range(0, len(deliveries), QUEUED_AT_ONCE):
                connection.execute(queries.queue(deliveries[first : first + QUEUED_AT_ONCE]))


def _deliveries(
    connection: Connection, change: ObjectChange, subscriptions: Sequence[SubscriptionRow], now: datetime
) -> Iterator[dict[str, object]]:
    audience = Audience.of(connection, change)
    for row in subscriptions:
        if audience.has(row, change):
            for webhook_id in _webhooks_of(row, change.operation, change.kind):
                yield {
                    "webhook_id": webhook_id,
                    "object_id": f"{change.kind}/{change.changed['id']}",
                    "data": notification(change, audience.shown(row, change)),
                    "created_at": now,
                    "next_attempt_at": now,
                    "type": change.operation,
                }


def _program(connection: Connection, change: ObjectChange) -> str | None:
    """The program that an object belongs to; VENs and resources belong to none."""
    if change.kind == "PROGRAM":
        return str(change.changed["id"])
    if change.program_id is not None:
        return change.program_id
    if change.kind == "REPORT":
        query = queries.program_of_event(change.changed["eventID"])
        return connection.execute(query).scalar_one_or_none()
    return change.changed.get("programID")


def _granted(connection: Connection, targets: Sequence[str]) -> Mapping[str, frozenset[str]]:
    granted: dict[str, set[str]] = defaultdict(set)
    if targets:
        for client_id, target in connection.execute(queries.clients_granted(targets)):
            granted[client_id].add(target)
    return {client_id: frozenset(some) for client_id, some in granted.items()}


def _webhooks_of(row: SubscriptionRow, operation: Operation, kind: ObjectType) -> Iterator[str]:
    for number, part in enumerate(row.body["objectOperations"]):
        if kind in part["objects"] and operation in part["operations"]:
            yield webhook_id(row.object_id, number)


def webhook_id(subscription_id: str, number: int) -> str:
    return f"openadr-{subscription_id}-{number}"
