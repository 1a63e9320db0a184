"""Webhooks of subscriptions."""

from collections.abc import Mapping

from sqlalchemy import ColumnElement, Delete, Integer, delete, func, literal
from sqlalchemy.dialects.postgresql import Insert as Upsert
from sqlalchemy.dialects.postgresql import insert as upsert

from schemas.tables.webhooks import webhooks

WEBHOOK = webhooks.c
FRESH = ("failures", "failing_since", "retry_at", "disabled_at", "error", "enabled", "url", "bearer_token")


def put_webhook(values: Mapping[str, object]) -> Upsert:
    """One that is there begins anew, without failures; it keeps what is still to be sent."""
    statement = upsert(webhooks).values(failures=0, **values)
    return statement.on_conflict_do_update(
        index_elements=["webhook_id"], set_={name: statement.excluded[name] for name in FRESH}
    )


def remove_webhooks(subscription_id: str, from_number: int = 0) -> Delete:
    """All webhooks of a subscription, or those from a number on."""
    number: ColumnElement[str] = func.substring(WEBHOOK.webhook_id, literal(r"\d+$"))
    return delete(webhooks).where(
        WEBHOOK.subscription_id == subscription_id, number.cast(Integer) >= from_number
    )
