"""Queues notifications of changed objects for the webhooks of subscriptions; the jobs send them.

A subscription has a webhook for each of its operations. Whoever may not read an object is not notified of it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Connection, Row

from schemas.openadr import ObjectType, Operation
from schemas.webhooks import Network, check_url, new_secret
from serving.openadr.notifications import queries
from serving.openadr.notifications.content import TARGETED, notification, with_targets, without_tokens
from serving.openadr.objects import Object

QUEUED_AT_ONCE = 1_000

Granted = Mapping[str, frozenset[str]]
"""The targets of an object that clients were granted."""


class Notifications:
    """A listener of changes, in their transactions."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock

    def notify(
        self,
        connection: Connection,
        operation: Operation,
        kind: ObjectType,
        changed: Object,
        targets: Sequence[str],
    ) -> None:
        program_id = _program_id(connection, kind, changed)
        subscriptions = connection.execute(queries.subscriptions_to(kind, program_id)).all()
        if not subscriptions:
            return
        granted = _granted(connection, targets)
        readers = [row for row in subscriptions if _may_read(row, kind, changed, targets, granted)]
        now = self._clock()
        times = {"created_at": now, "next_attempt_at": now, "type": operation}
        deliveries = [
            {
                "webhook_id": webhook_id,
                "object_id": f"{kind}/{changed['id']}",
                "data": notification(operation, kind, _shown(changed, row, granted)),
                **times,
            }
            for row in readers
            for webhook_id in _webhooks_of(row, operation, kind)
        ]
        for first in range(0, len(deliveries), QUEUED_AT_ONCE):
            connection.execute(queries.queue(deliveries[first : first + QUEUED_AT_ONCE]))


def _program_id(connection: Connection, kind: ObjectType, changed: Object) -> str | None:
    """The program that an object belongs to; VENs and resources belong to none."""
    if kind == "PROGRAM":
        return str(changed["id"])
    if kind == "REPORT":
        program_id = connection.execute(queries.program_of_event(changed["eventID"])).scalar_one_or_none()
        return None if program_id is None else str(program_id)
    return changed.get("programID")


def _granted(connection: Connection, targets: Sequence[str]) -> Granted:
    granted: dict[str, set[str]] = defaultdict(set)
    if targets:
        for client_id, target in connection.execute(queries.clients_granted(targets)):
            granted[client_id].add(target)
    return {client_id: frozenset(some) for client_id, some in granted.items()}


def _may_read(
    row: Row[Any], kind: ObjectType, changed: Object, targets: Sequence[str], granted: Granted
) -> bool:
    """Whether a subscription's client may read an object, and has subscribed to one of its targets."""
    if row.targets and not set(row.targets) & set(targets):
        return False
    if row.reads_all:
        return True
    if kind in TARGETED:
        return not targets or row.client_id in granted
    return bool(changed["clientID"] == row.client_id)


def _shown(changed: Object, row: Row[Any], granted: Granted) -> Object:
    """An object as the subscription's client sees it: without tokens of webhooks, and others' targets."""
    if changed["objectType"] in TARGETED and not row.reads_all:
        return with_targets(changed, granted.get(row.client_id, frozenset()))
    return without_tokens(changed)


def _webhooks_of(row: Row[Any], operation: Operation, kind: ObjectType) -> Iterator[str]:
    for number, part in enumerate(row.body["objectOperations"]):
        if kind in part["objects"] and operation in part["operations"]:
            yield webhook_id(row.object_id, number)


def webhook_id(subscription_id: str, number: int) -> str:
    return f"openadr-{subscription_id}-{number}"


def put_webhooks(connection: Connection, row: Row[Any], networks: Sequence[Network], now: datetime) -> None:
    """Make or replace the webhooks of a subscription; one to which nothing may be sent is disabled."""
    parts = row.body["objectOperations"]
    for number, part in enumerate(parts):
        error = _fault(part["callbackUrl"], networks)
        if error is not None:
            structlog.get_logger().warning("openadr_callback_refused", id=row.object_id, reason=error)
        values = {
            "webhook_id": webhook_id(row.object_id, number),
            "subscription_id": row.object_id,
            "url": part["callbackUrl"],
            "bearer_token": part.get("bearerToken"),
            "secret": new_secret(),
            "kinds": [],
            "enabled": error is None,
            "error": error,
            "created_at": now,
        }
        connection.execute(queries.put_webhook(values))
    connection.execute(queries.remove_webhooks(row.object_id, from_number=len(parts)))


def remove_webhooks(connection: Connection, subscription_id: str) -> None:
    """Delete the webhooks of a subscription; the jobs forget what was still to be sent."""
    connection.execute(queries.remove_webhooks(subscription_id))


def _fault(url: str, networks: Sequence[Network]) -> str | None:
    try:
        check_url(url, networks)
    except ValueError as error:
        return f"callbackUrl {error}"
    return None
