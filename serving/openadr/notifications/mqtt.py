"""Queues notifications of changed objects for the broker; ingest publishes them.

Business logic is notified of all, each VEN of what its client may read by its own targets.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import Connection

from schemas.db.channels import OPENADR_MESSAGES, notify
from schemas.openadr import ObjectType, Operation
from serving.openadr.notifications import queries, topics
from serving.openadr.notifications.content import TARGETED, notification, with_targets, without_tokens
from serving.openadr.objects import Object

VenStems = dict[tuple[str, ...], list[str]]
"""By the targets of an object that VENs may see: where they are notified."""


class MqttNotifications:
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
        shown = without_tokens(changed)
        messages = [(_stems_of_all(kind, changed), notification(operation, kind, shown))]
        for seen, stems in _stems_of_vens(connection, kind, changed, targets).items():
            messages.append((stems, notification(operation, kind, with_targets(shown, seen))))
        rows = [
            {
                "topics": topics.of_operation(stems, operation),
                "payload": payload,
                "created_at": self._clock(),
            }
            for stems, payload in messages
        ]
        connection.execute(queries.queue_messages(rows))
        connection.execute(notify(OPENADR_MESSAGES))


def _stems_of_all(kind: ObjectType, changed: Object) -> list[str]:
    """Where business logic is notified; one program is not there yet when it is made."""
    stems = [topics.of_all(topics.NOUNS[kind])]
    if kind == "PROGRAM":
        stems.append(topics.of_program(changed["id"]))
    if kind == "EVENT":
        stems.append(topics.of_program_events(changed["programID"]))
    return stems


def _stems_of_vens(
    connection: Connection, kind: ObjectType, changed: Object, targets: Sequence[str]
) -> VenStems:
    """Where VENs are notified, by the targets that they see."""
    if kind in TARGETED:
        return _stems_of_readers(connection, topics.NOUNS[kind], targets)
    if kind not in ("VEN", "RESOURCE") or not topics.may_be_level(changed["clientID"]):
        return {}
    own = (changed["id"],) if kind == "VEN" else (changed["venID"], "resources")
    return {tuple(targets): [topics.of_ven(changed["clientID"], *own)]}


def _stems_of_readers(connection: Connection, noun: str, targets: Sequence[str]) -> VenStems:
    seen: dict[tuple[str, str], set[str]] = defaultdict(set)
    query = queries.vens_granted(targets) if targets else queries.all_vens()
    for row in connection.execute(query):
        if topics.may_be_level(row.client_id):
            seen[row.client_id, row.ven_object_id].update([row.target] if targets else [])
    stems: VenStems = defaultdict(list)
    for (client_id, ven_object_id), some in sorted(seen.items()):
        stems[tuple(sorted(some))].append(topics.of_ven(client_id, ven_object_id, noun))
    return stems
