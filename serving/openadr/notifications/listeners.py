"""Who is notified of changes of objects: webhooks of subscriptions, MQTT if it is on, lists in memory."""

from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import Connection

from schemas.db.channels import openadr_changed
from schemas.openadr import ObjectType, Operation
from schemas.openadr_notifications.content import Change
from schemas.openadr_notifications.queueing import queue_notifications
from schemas.openadr_objects import Object
from serving.openadr.objects import Listener

GRANTING = ("VEN", "RESOURCE")
"""Objects whose targets are grants of their client."""


def change_listener(clock: Callable[[], datetime], *, has_mqtt: bool) -> Listener:
    """A listener for all changes, in their transactions."""

    def listen(
        connection: Connection,
        operation: Operation,
        kind: ObjectType,
        changed: Object,
        targets: Sequence[str],
    ) -> None:
        change = Change(operation, kind, changed, targets)
        queue_notifications(connection, [change], clock(), has_mqtt=has_mqtt)
        _notify_lists(connection, kind, changed)

    return listen


def _notify_lists(connection: Connection, kind: ObjectType, changed: Object) -> None:
    if kind == "EVENT":
        connection.execute(openadr_changed("object", changed["id"]))
    elif kind in GRANTING:
        connection.execute(openadr_changed("client", changed["clientID"]))
