"""Webhooks and their deliveries."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Delete, Insert, Select, Update, delete, func, insert, select, update

from schemas.db import locks
from schemas.tables.webhooks import webhook_deliveries, webhooks
from serving.page import Page

_W, _D = webhooks.c, webhook_deliveries.c
COUNT_ALONE = locks.exclusive(locks.WEBHOOKS)


def all_webhooks(page: Page) -> Select[Any]:
    query = _shown().order_by(_W.webhook_id).limit(page.limit)
    return query if page.after is None else query.where(_W.webhook_id > page.after)


def webhook(webhook_id: str) -> Select[Any]:
    return _shown().where(_W.webhook_id == webhook_id)


def _shown() -> Select[Any]:
    """Without the secret."""
    is_pending = (_D.webhook_id == _W.webhook_id, _D.status == "pending")
    pending = select(func.count()).select_from(webhook_deliveries).where(*is_pending).scalar_subquery()
    shown = [column for column in webhooks.c if column.name not in {"secret", "leased_by", "leased_until"}]
    return select(*shown, pending.label("pending"))


def lock_webhook(webhook_id: str) -> Select[Any]:
    return select(_W.webhook_id).where(_W.webhook_id == webhook_id).with_for_update()


def count() -> Select[Any]:
    return select(func.count()).select_from(webhooks)


def add(values: Mapping[str, Any]) -> Insert:
    return insert(webhooks).values(**values)


def change(webhook_id: str, values: Mapping[str, Any]) -> Update:
    return update(webhooks).where(_W.webhook_id == webhook_id).values(**values)


def remove(webhook_id: str) -> Delete:
    return delete(webhooks).where(_W.webhook_id == webhook_id)


def remove_deliveries(webhook_id: str) -> Delete:
    return delete(webhook_deliveries).where(_D.webhook_id == webhook_id)


def add_test(webhook_id: str, now: datetime) -> Insert:
    values = {"type": "webhook.test", "object_id": "test", "data": {"webhookId": webhook_id}}
    times = {"created_at": now, "next_attempt_at": now}
    return (
        insert(webhook_deliveries).values(webhook_id=webhook_id, **values, **times).returning(_D.delivery_id)
    )


def deliveries(webhook_id: str, page: Page) -> Select[Any]:
    """The newest first; `after` a delivery come older ones."""
    shown = [column for column in webhook_deliveries.c if column.name != "data"]
    query = (
        select(*shown).where(_D.webhook_id == webhook_id).order_by(_D.delivery_id.desc()).limit(page.limit)
    )
    return query if page.after is None else query.where(_D.delivery_id < int(page.after))
