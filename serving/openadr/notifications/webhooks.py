"""The webhooks of subscriptions: one for each operation of a subscription."""

from collections.abc import Sequence
from datetime import datetime

import structlog
from sqlalchemy import Connection

from schemas.openadr_notifications.subscribers import webhook_id
from schemas.webhooks import Network, check_url, new_secret
from serving.openadr.notifications import queries
from serving.openadr.queries import OpenAdrSubscriptionRow


def put_webhooks(
    connection: Connection, row: OpenAdrSubscriptionRow, networks: Sequence[Network], now: datetime
) -> None:
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
