"""Webhooks, and the outbox of their deliveries, filled by triggers in the transactions of changes."""

import polars as pl
from sqlalchemy import JSON, BigInteger, Boolean, Column, Identity, Index, Integer, Table, Text, text

from schemas.db.frame_models import pa
from schemas.tables.metadata import Frame, Texts, Utc, instant, metadata, text_key, text_list
from schemas.webhooks import DELIVERY_STATUSES

webhooks = Table(
    "webhooks",
    metadata,
    text_key("webhook_id"),
    Column("url", Text, nullable=False),
    text_list("kinds"),
    Column("secret", Text, nullable=False),
    Column("enabled", Boolean, nullable=False),
    instant("created_at"),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    instant("failing_since", nullable=True),
    instant("retry_at", nullable=True),
    instant("succeeded_at", nullable=True),
    instant("disabled_at", nullable=True),
    Column("error", Text),
    Column("leased_by", Text),
    instant("leased_until", nullable=True),
    Column("subscription_id", Text(collation="C")),
    Column("bearer_token", Text),
    Index("ix_webhooks_subscription_id", "subscription_id"),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("delivery_id", BigInteger, Identity(), primary_key=True),
    Column("webhook_id", Text(collation="C"), nullable=False),
    Column("type", Text, nullable=False),
    Column("object_id", Text(collation="C"), nullable=False),
    Column("data", JSON, nullable=False),
    Column("status", Text, nullable=False, server_default=text("'pending'")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    instant("created_at"),
    instant("next_attempt_at"),
    instant("closed_at", nullable=True),
    Column("response_status", Integer),
    Column("error", Text),
    Index(
        "ix_webhook_deliveries_pending",
        "webhook_id",
        "object_id",
        "delivery_id",
        postgresql_where=text("status = 'pending'"),
    ),
    Index(
        "ix_webhook_deliveries_next",
        "webhook_id",
        "attempts",
        "delivery_id",
        postgresql_where=text("status = 'pending'"),
    ),
    Index("ix_webhook_deliveries_webhook_id", "webhook_id", "delivery_id"),
    Index("ix_webhook_deliveries_closed_at", "closed_at"),
    postgresql_with={"autovacuum_vacuum_scale_factor": 0, "autovacuum_vacuum_threshold": 10_000},
)


class WebhookFrame(Frame):
    """`secret`: in plain text, as signatures cannot be computed from a digest.

    `failures` in a row since `failing_since`, none before `retry_at`. `disabled_at`: when it was disabled for
    failing for too long; null if people have disabled it. A sender leases it until `leased_until`.
    `subscription_id`: of its OpenADR subscription, if any; then it has no kinds, and sends OpenADR messages
    with `bearer_token`.
    """

    webhook_id: str
    url: str
    kinds: Texts
    secret: str
    enabled: bool
    created_at: Utc
    failures: pl.Int32 = pa.Field(ge=0)
    failing_since: Utc = pa.Field(nullable=True)
    retry_at: Utc = pa.Field(nullable=True)
    succeeded_at: Utc = pa.Field(nullable=True)
    disabled_at: Utc = pa.Field(nullable=True)
    error: str = pa.Field(nullable=True)
    leased_by: str = pa.Field(nullable=True)
    leased_until: Utc = pa.Field(nullable=True)
    subscription_id: str = pa.Field(nullable=True)
    bearer_token: str = pa.Field(nullable=True)


class WebhookDeliveryFrame(Frame):
    """A message for one webhook. Those about one object are delivered in order of their ids.

    `closed_at`: when it succeeded, or finally failed.
    """

    delivery_id: int
    webhook_id: str
    type: str
    object_id: str
    data: str
    status: str = pa.Field(isin=DELIVERY_STATUSES)
    attempts: pl.Int32 = pa.Field(ge=0)
    created_at: Utc
    next_attempt_at: Utc
    closed_at: Utc = pa.Field(nullable=True)
    response_status: pl.Int32 = pa.Field(nullable=True)
    error: str = pa.Field(nullable=True)
