"""The SQL of webhooks and their deliveries."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Delete, Insert, Select, Update, delete, func, insert, select, update
from sqlalchemy.sql.dml import ReturningInsert

from schemas.db import locks
from schemas.db.queries import Query, Relation, fields_of
from schemas.tables.webhooks import webhook_deliveries, webhooks
from schemas.webhooks import DeliveryStatus, WebhookKind
from serving.page import Page

_W, _D = webhooks.c, webhook_deliveries.c
_IS_OWN = _W.subscription_id.is_(None)
"""Excludes webhooks of OpenADR subscriptions, which are changed with them."""

COUNT_ALONE = locks.exclusive(locks.WEBHOOKS)


class WebhookRow(NamedTuple):
    """A webhook without its secret, with the number of pending deliveries."""

    webhook_id: str
    url: str
    kinds: list[WebhookKind]
    enabled: bool
    created_at: datetime
    failing_since: datetime | None
    retry_at: datetime | None
    succeeded_at: datetime | None
    disabled_at: datetime | None
    error: str | None
    pending: int


class DeliveryRow(NamedTuple):
    """A delivery without its data."""

    delivery_id: int
    type: str
    object_id: str
    status: DeliveryStatus
    attempts: int
    created_at: datetime
    next_attempt_at: datetime
    closed_at: datetime | None
    response_status: int | None
    error: str | None


def all_webhooks(page: Page) -> Query[WebhookRow]:
    query = _shown().order_by(_W.webhook_id).limit(page.limit)
    return Query(WebhookRow, query if page.after is None else query.where(_W.webhook_id > page.after))


def webhook(webhook_id: str) -> Query[WebhookRow]:
    return Query(WebhookRow, _shown().where(_W.webhook_id == webhook_id))


def _shown() -> Relation:
    is_pending = (_D.webhook_id == _W.webhook_id, _D.status == "pending")
    pending = select(func.count()).select_from(webhook_deliveries).where(*is_pending).scalar_subquery()
    shown = select(*(_W[name] for name in WebhookRow._fields[:-1]), pending.label("pending"))
    return shown.where(_IS_OWN)


def lock_webhook(webhook_id: str) -> Select[str]:
    return select(_W.webhook_id).where(_W.webhook_id == webhook_id, _IS_OWN).with_for_update()


def count() -> Select[int]:
    return select(func.count()).select_from(webhooks).where(_IS_OWN)


def add(values: Mapping[str, object]) -> Insert:
    return insert(webhooks).values(**values)


def change(webhook_id: str, values: Mapping[str, object]) -> Update:
    return update(webhooks).where(_W.webhook_id == webhook_id).values(**values)


def remove(webhook_id: str) -> Delete:
    return delete(webhooks).where(_W.webhook_id == webhook_id)


def remove_deliveries(webhook_id: str) -> Delete:
    return delete(webhook_deliveries).where(_D.webhook_id == webhook_id)


def add_test(webhook_id: str, now: datetime) -> ReturningInsert[int]:
    values = {"type": "webhook.test", "object_id": "test", "data": {"webhookId": webhook_id}}
    times = {"created_at": now, "next_attempt_at": now}
    return (
        insert(webhook_deliveries).values(webhook_id=webhook_id, **values, **times).returning(_D.delivery_id)
    )


def deliveries(webhook_id: str, page: Page) -> Query[DeliveryRow]:
    """Select deliveries, newest first; `after` a delivery come older ones."""
    of_webhook = select(*fields_of(DeliveryRow, webhook_deliveries)).where(_D.webhook_id == webhook_id)
    query = of_webhook.order_by(_D.delivery_id.desc()).limit(page.limit)
    return Query(DeliveryRow, query if page.after is None else query.where(_D.delivery_id < int(page.after)))
