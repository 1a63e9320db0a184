"""Who listens to changes of objects: webhooks of subscriptions and, where there is one, the broker."""

from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import Connection

from schemas.openadr import ObjectType, Operation
from serving.openadr.mqtt_notifications import MqttNotifications
from serving.openadr.notifications import Notifications
from serving.openadr.objects import Listener, Object


def change_listener(clock: Callable[[], datetime], *, has_mqtt: bool) -> Listener:
    webhooks = Notifications(clock).notify
    if not has_mqtt:
        return webhooks
    mqtt = MqttNotifications(clock).notify

    def listen(
        connection: Connection,
        operation: Operation,
        kind: ObjectType,
        changed: Object,
        targets: Sequence[str],
    ) -> None:
        for listener in (webhooks, mqtt):
            listener(connection, operation, kind, changed, targets)

    return listen
