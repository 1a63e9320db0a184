"""Who is told of changes of objects: webhooks of subscriptions, where there is one the broker, and caches."""

from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import Connection

from schemas.db.channels import OPENADR, notify
from schemas.openadr import ObjectType, Operation
from serving.openadr.notifications.mqtt import MqttNotifications
from serving.openadr.notifications.webhooks import Notifications
from serving.openadr.objects import Listener, Object

IN_NO_CACHE = ("REPORT", "SUBSCRIPTION")
"""Objects that no cached answer shows, nor depends on."""


def change_listener(clock: Callable[[], datetime], *, has_mqtt: bool) -> Listener:
    """A listener for all changes, in their transactions."""
    listeners = [Notifications(clock).notify, _clear_caches]
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


def _clear_caches(
    connection: Connection,
    _operation: Operation,
    kind: ObjectType,
    _changed: Object,
    _targets: Sequence[str],
) -> None:
    if kind not in IN_NO_CACHE:
        connection.execute(notify(OPENADR))
