"""Webhooks and their deliveries."""

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from schemas.api.fields import PRINTED, Count, Ignored, Instant, Shape
from schemas.webhooks import DeliveryStatus, WebhookKind

WebhookKinds = Annotated[
    list[WebhookKind],
    Meta(
        min_length=1, max_length=20, description="The changes that are sent.", examples=[["events", "alarms"]]
    ),
]
WebhookUrl = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=2_048,
        pattern=PRINTED,
        description="`https`, or `http` to networks of `WEBHOOK_NETWORKS`; no user, password or fragment.",
        examples=["https://example.com/hooks/gridgate"],
    ),
]


class WebhookCreate(Shape, frozen=True, kw_only=True):
    """A new webhook: changes are sent to its URL."""

    url: WebhookUrl
    kinds: WebhookKinds
    enabled: bool | UnsetType = UNSET


class WebhookUpdate(Shape, frozen=True, kw_only=True):
    """Changes of a webhook."""

    url: WebhookUrl | UnsetType = UNSET
    kinds: WebhookKinds | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    id: Ignored = UNSET
    created_at: Ignored = UNSET
    pending_deliveries: Ignored = UNSET
    succeeded_at: Ignored = UNSET
    failing_since: Ignored = UNSET
    retry_at: Ignored = UNSET
    disabled_at: Ignored = UNSET
    error: Ignored = UNSET


class Webhook(Shape, frozen=True):
    """A URL to which changes are sent. Its secret is shown only when it is created."""

    id: str
    url: str
    kinds: list[WebhookKind]
    enabled: bool
    created_at: Instant
    pending_deliveries: Annotated[Count, Meta(description="Not delivered yet.")]
    succeeded_at: Annotated[Instant | None, Meta(description="When a delivery last succeeded.")]
    failing_since: Annotated[Instant | None, Meta(description="The first failure after that.")]
    retry_at: Annotated[Instant | None, Meta(description="The earliest time of the next attempt.")]
    disabled_at: Annotated[
        Instant | None, Meta(description="When it was disabled after failures; null if people disabled it.")
    ]
    error: Annotated[str | None, Meta(description="The last failure since the last success.")]


class MadeWebhook(Shape, frozen=True):
    """A new webhook and its secret."""

    webhook: Webhook
    secret: Annotated[str, Meta(description="Shown only once; it verifies signatures.")]


class WebhookTest(Shape, frozen=True):
    """A test delivery in the outbox."""

    delivery_id: str


class WebhookDelivery(Shape, frozen=True):
    """A message to one webhook."""

    id: Annotated[str, Meta(description="The header `webhook-id` is `msg_` and this.")]
    type: Annotated[str, Meta(examples=["event.changed"])]
    object_id: Annotated[
        str, Meta(description="Deliveries of one object are in order.", examples=["event/evt-1"])
    ]
    status: DeliveryStatus
    attempts: Count
    created_at: Instant
    next_attempt_at: Annotated[
        Instant | None, Meta(description="Null once it has succeeded or finally failed.")
    ]
    closed_at: Annotated[Instant | None, Meta(description="When it succeeded or finally failed.")]
    response_status: Annotated[int | None, Meta(description="Of the receiver's last response.")]
    error: Annotated[str | None, Meta(description="Why the last attempt failed.")]
