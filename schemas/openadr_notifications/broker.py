"""Queues notifications of changed objects for the broker; ingest publishes them.

Business logic is notified of all, each VEN of what its client may read by its own targets or since it takes
part, with the client's own share of an event.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime

from sqlalchemy import Connection

from schemas.db.channels import OPENADR_MESSAGES, notify
from schemas.openadr_notifications import queries, topics
from schemas.openadr_notifications.content import (
    TARGETED,
    Concerns,
    ObjectChange,
    notification,
    with_targets,
    without_tokens,
)
from schemas.openadr_notifications.parts import NO_PARTS, EventParts, parts_in_event
from schemas.openadr_objects import Object
from schemas.openadr_shares import Share, with_own_share

QUEUED_AT_ONCE = 1_000

SeenTargets = dict[tuple[str, str], set[str]]
"""By client and VEN: the targets of an object that it may see."""


def queue_for_broker(
    connection: Connection, changes: Sequence[ObjectChange], now: datetime, concerns: Concerns | None = None
) -> None:
    """Queue notifications for the broker.

    Args:
        connection: in the transaction of the changes.
        changes: in their order.
        now: the time.
        concerns: of which clients of VENs; None for all, and for business logic.
    """
    messages = [
        {"topics": topics.of_operation(stems, change.operation), "payload": payload, "created_at": now}
        for change in changes
        for stems, payload in _messages(connection, change, concerns)
    ]
    for first in range(0, len(messages), QUEUED_AT_ONCE):
        connection.execute(queries.queue_messages(messages[first : first + QUEUED_AT_ONCE]))
    if messages:
        connection.execute(notify(OPENADR_MESSAGES))


def _messages(
    connection: Connection, change: ObjectChange, concerns: Concerns | None
) -> Iterator[tuple[list[str], Object]]:
    shown = without_tokens(change.changed)
    if concerns is None:
        yield _stems_of_all(change), notification(change, shown)
    if change.kind in TARGETED:
        for stems, seen in _shown_to_vens(connection, change, concerns):
            yield stems, notification(change, seen)
    elif change.kind in ("VEN", "RESOURCE") and topics.may_be_level(change.changed["clientID"]):
        yield [_own_stem(change)], notification(change, shown)


def _stems_of_all(change: ObjectChange) -> list[str]:
    """Where business logic is notified; one program is not there yet when it is made."""
    stems = [topics.of_all(topics.NOUNS[change.kind])]
    if change.kind == "PROGRAM":
        stems.append(topics.of_program(change.changed["id"]))
    if change.kind == "EVENT":
        stems.append(topics.of_program_events(change.changed["programID"]))
    return stems


def _own_stem(change: ObjectChange) -> str:
    """Where the client of a VEN is notified of it, or of a resource of it."""
    changed = change.changed
    own = (changed["id"],) if change.kind == "VEN" else (changed["venID"], "resources")
    return topics.of_ven(changed["clientID"], *own)


def _shown_to_vens(
    connection: Connection, change: ObjectChange, concerns: Concerns | None
) -> Iterator[tuple[list[str], Object]]:
    """Where VENs are notified, by what they see."""
    parts, is_deleted = NO_PARTS, change.operation == "DELETE"
    if change.kind == "EVENT":
        parts = parts_in_event(connection, change.changed["id"], even_if_over=is_deleted)
    stems: dict[tuple[tuple[str, ...], Share | None], list[str]] = defaultdict(list)
    noun = topics.NOUNS[change.kind]
    for (client_id, ven_object_id), seen in sorted(_readers(connection, change.targets, parts).items()):
        if topics.may_be_level(client_id) and (concerns is None or concerns(client_id)):
            sees = tuple(sorted(seen)), parts.of(client_id)
            stems[sees].append(topics.of_ven(client_id, ven_object_id, noun))
    for (targets, share), some in stems.items():
        yield some, with_own_share(with_targets(change.changed, targets), share)


def _readers(connection: Connection, targets: Sequence[str], parts: EventParts) -> SeenTargets:
    seen: SeenTargets = defaultdict(set)
    if targets:
        for client_id, ven_object_id, target in connection.execute(queries.vens_granted(targets)):
            seen[client_id, ven_object_id].add(target)
    else:
        seen.update(
            ((client_id, ven_id), set()) for client_id, ven_id in connection.execute(queries.all_vens())
        )
    for each in parts.vens:
        seen[each].update(())
    return seen
