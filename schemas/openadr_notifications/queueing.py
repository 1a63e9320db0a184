"""Queues notifications for all who are notified: subscribers and, where clients may use it, the broker."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection

from schemas.openadr_notifications.broker import queue_for_broker
from schemas.openadr_notifications.content import Change, Concerns
from schemas.openadr_notifications.subscribers import queue_for_subscribers


def queue_notifications(
    connection: Connection,
    changes: Sequence[Change],
    now: datetime,
    *,
    has_mqtt: bool,
    concerns: Concerns | None = None,
) -> None:
    """Queue notifications of changes in their transaction, those of one type and program next to each other.

    `concerns`: only to clients of VENs of which it is so; None for all, and for business logic.
    """
    queue_for_subscribers(connection, changes, now, concerns)
    if has_mqtt:
        queue_for_broker(connection, changes, now, concerns)
