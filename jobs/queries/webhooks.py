"""The SQL of webhooks and the outbox of their deliveries."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

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

from schemas.db.queries import Query, fields_of
from schemas.tables.webhooks import webhook_deliveries, webhooks

_W, _D = webhooks.c, webhook_deliveries.c


def _is_due(now: datetime) -> ColumnElement[bool]:
    """The condition that a delivery is due, and the first about its object."""
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


def webhooks_with_work(now: datetime, holder: str) -> Select[str]:
    """Select webhooks with due deliveries whose lease no other sender holds."""
    is_free = or_(_W.leased_until.is_(None), _W.leased_until <= now, _W.leased_by == holder)
    has_work = exists().where(_D.webhook_id == _W.webhook_id, _is_due(now)).correlate(webhooks)
    return select(_W.webhook_id).where(_is_ready(now), is_free, has_work).order_by(_W.webhook_id)


def hold(
    webhook_id: str, holder: str, now: datetime, until: datetime
) -> ReturningUpdate[str, str, int, datetime | None, str | None, str | None]:
    """Acquire or renew the lease of a webhook; no row if another sender holds it, or nothing may be sent."""
    is_free = or_(_W.leased_until.is_(None), _W.leased_until <= now, _W.leased_by == holder)
    return (
        update(webhooks)
        .where(_W.webhook_id == webhook_id, _is_ready(now), is_free)
        .values(leased_by=holder, leased_until=until)
        .returning(_W.url, _W.secret, _W.failures, _W.failing_since, _W.subscription_id, _W.bearer_token)
    )


class DueDelivery(NamedTuple):
    """A due delivery; its data is text, which is sent unchanged."""

    delivery_id: int
    type: str
    data: str
    attempts: int
    created_at: datetime


def next_delivery(webhook_id: str, now: datetime) -> Query[DueDelivery]:
    """Select the due delivery with the fewest attempts, so that failing ones do not block others."""
    data = cast(_D.data, Text).label("data")
    due = select(_D.delivery_id, _D.type, data, _D.attempts, _D.created_at)
    of_webhook = due.where(_D.webhook_id == webhook_id, _is_due(now))
    return Query(DueDelivery, of_webhook.order_by(_D.attempts, _D.delivery_id).limit(1))


def settle_delivery(delivery_id: int, values: Mapping[str, object]) -> Update:
    return update(webhook_deliveries).where(_D.delivery_id == delivery_id).values(**values)


def settle_webhook(webhook_id: str, holder: str, values: Mapping[str, object]) -> Update:
    """Update a webhook if `holder` still has its lease: another program may have taken over."""
    return update(webhooks).where(_W.webhook_id == webhook_id, _W.leased_by == holder).values(**values)


def release(webhook_id: str, holder: str) -> Update:
    return settle_webhook(webhook_id, holder, {"leased_by": None, "leased_until": None})


class DisabledWebhook(NamedTuple):
    """A webhook that was disabled after failures."""

    webhook_id: str
    url: str
    error: str | None


def disabled_webhooks() -> Query[DisabledWebhook]:
    query = select(*fields_of(DisabledWebhook, webhooks)).where(_W.disabled_at.is_not(None), ~_W.enabled)
    return Query(DisabledWebhook, query.order_by(_W.webhook_id))


def old_deliveries(closed_before: datetime) -> Select[str]:
    ctid: ColumnElement[str] = literal_column("ctid")
    return select(ctid).select_from(webhook_deliveries).where(_D.closed_at < closed_before)


def surplus_deliveries(created_before: datetime) -> Select[str]:
    """Select deliveries of disabled or deleted webhooks, which are not sent any more."""
    ctid: ColumnElement[str] = literal_column("webhook_deliveries.ctid")
    is_live = exists().where(_W.webhook_id == _D.webhook_id, _W.enabled)
    return select(ctid).where(_D.status == "pending", _D.created_at < created_before, ~is_live)
