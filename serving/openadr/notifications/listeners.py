"""Who is notified of changes of objects: webhooks of subscriptions, MQTT if it is on, lists in memory."""

from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import Connection

from schemas.db.channels import openadr_changed
from schemas.openadr import ObjectType, Operation
from serving.openadr.notifications.mqtt import MqttNotifications
from serving.openadr.notifications.webhooks import Notifications
from serving.openadr.objects import Listener, Object

GRANTING = ("VEN", "RESOURCE")
"""Objects whose targets are grants of their client."""


def change_listener(clock: Callable[[], datetime], *, has_mqtt: bool) -> Listener:
    """A listener for all changes, in their transactions."""
    listeners = [Notifications(clock).notify, _notify_lists]
    if has_mqtt:
        listeners.append(MqttNotifications(clock).notify)

    def listen(
        connection: Connection,
        operation: Operation,
        kind: ObjectType,
        changed: Object,
        targets: Sequence[str],
    ) -> None:
        for listener in listeners:
            listener(connection, operation, kind, changed, targets)

    return listen


def _notify_lists(
    connection: Connection,
    _operation: Operation,
    kind: ObjectType,
    changed: Object,
    _targets: Sequence[str],
) -> None:
    if kind == "EVENT":
        connection.execute(openadr_changed("object", changed["id"]))
    elif kind in GRANTING:
        connection.execute(openadr_changed("client", changed["clientID"]))
