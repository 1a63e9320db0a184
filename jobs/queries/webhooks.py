"""Webhooks and the outbox of their deliveries."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    Text,
    Update,
    and_,
    cast,
    exists,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate

from schemas.tables.webhooks import webhook_deliveries, webhooks

_W, _D = webhooks.c, webhook_deliveries.c


def _is_due(now: datetime) -> ColumnElement[bool]:
    """Of a delivery: it may be sent, and none about the same object is before it."""
    earlier = webhook_deliveries.alias("earlier")
    is_earlier = and_(
        earlier.c.webhook_id == _D.webhook_id,
        earlier.c.object_id == _D.object_id,
        earlier.c.delivery_id < _D.delivery_id,
        earlier.c.status == "pending",
    )
    is_first = ~exists().where(is_earlier)
    return and_(_D.status == literal_column("'pending'"), _D.next_attempt_at <= now, is_first)


def _is_ready(now: datetime) -> ColumnElement[bool]:
    return and_(_W.enabled, or_(_W.retry_at.is_(None), _W.retry_at <= now))


def webhooks_with_work(now: datetime, holder: str) -> Select[Any]:
    """Ids of webhooks that have something to send, and that nobody else holds."""
    is_free = or_(_W.leased_until.is_(None), _W.leased_until <= now, _W.leased_by == holder)
    has_work = exists().where(_D.webhook_id == _W.webhook_id, _is_due(now)).correlate(webhooks)
    return select(_W.webhook_id).where(_is_ready(now), is_free, has_work).order_by(_W.webhook_id)


def hold(webhook_id: str, holder: str, now: datetime, until: datetime) -> ReturningUpdate[Any]:
    """Take the lease of a webhook, or renew it; no row if somebody else holds it, or it is not to be sent to."""
    is_free = or_(_W.leased_until.is_(None), _W.leased_until <= now, _W.leased_by == holder)
    return (
        update(webhooks)
        .where(_W.webhook_id == webhook_id, _is_ready(now), is_free)
        .values(leased_by=holder, leased_until=until)
        .returning(_W.webhook_id, _W.url, _W.secret, _W.failures, _W.failing_since)
    )


def next_delivery(webhook_id: str, now: datetime) -> Select[Any]:
    """The oldest that is due; its data are text, which is sent as it is."""
    return (
        select(_D.delivery_id, _D.type, cast(_D.data, Text).label("data"), _D.attempts, _D.created_at)
        .where(_D.webhook_id == webhook_id, _is_due(now))
        .order_by(_D.delivery_id)
        .limit(1)
    )


def settle_delivery(delivery_id: int, values: Mapping[str, Any]) -> Update:
    return update(webhook_deliveries).where(_D.delivery_id == delivery_id).values(**values)


def settle_webhook(webhook_id: str, holder: str, values: Mapping[str, Any]) -> Update:
    """Only of who holds it: another program may have taken over."""
    return update(webhooks).where(_W.webhook_id == webhook_id, _W.leased_by == holder).values(**values)


def release(webhook_id: str, holder: str) -> Update:
    return settle_webhook(webhook_id, holder, {"leased_by": None, "leased_until": None})


def disabled_webhooks() -> Select[Any]:
    """Those that were disabled for failing."""
    return (
        select(_W.webhook_id, _W.url, _W.failing_since, _W.disabled_at, _W.error)
        .where(_W.disabled_at.is_not(None), ~_W.enabled)
        .order_by(_W.webhook_id)
    )


def old_deliveries(closed_before: datetime) -> Select[Any]:
    ctid: Any = literal_column("ctid")
    return select(ctid).select_from(webhook_deliveries).where(_D.closed_at < closed_before)


def surplus_deliveries(created_before: datetime) -> Select[Any]:
    """Of webhooks that are disabled or deleted: those that would not be sent any more."""
    ctid: Any = literal_column("webhook_deliveries.ctid")
    is_live = exists().where(_W.webhook_id == _D.webhook_id, _W.enabled)
    return select(ctid).where(_D.status == "pending", _D.created_at < created_before, ~is_live)
