"""Who is notified of changes of objects: webhooks of subscriptions, the broker, and caches."""

from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import Connection

from schemas.db.channels import OPENADR, notify
from schemas.openadr import ObjectType, Operation
from schemas.openadr_notifications.content import Change
from schemas.openadr_notifications.queueing import queue_notifications
from schemas.openadr_objects import Object
from serving.openadr.objects import Listener

IN_NO_CACHE = ("REPORT", "SUBSCRIPTION")
"""Objects that no cached answer shows, nor depends on."""


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
        if kind not in IN_NO_CACHE:
            connection.execute(notify(OPENADR))

    return listen
