"""Commands to VENs, and the shedding of one load."""

from typing import Annotated, Any, Literal

from msgspec import Meta

from schemas.api.fields import Count, Instant, PositiveKw, Shape


class ShedRequest(Shape, frozen=True):
    """What a load is to shed, and for how long."""

    amount_kw: PositiveKw
    duration_s: Annotated[float, Meta(gt=0, le=86_400, description="How long.")] = 900


class ShedAccepted(Shape, frozen=True):
    """The stored command, which will be sent; `/api/commands/{commandId}` has its status."""

    ven_id: str
    load_id: str
    amount_kw: float
    command_id: str
    status: Literal["accepted"] = "accepted"


CommandStatus = Literal["pending", "sent", "acknowledged", "rejected", "expired", "failed"]


class Command(Shape, frozen=True):
    """A command to a VEN. `acknowledgedAt` is reported by the VEN, `executedAt` detected in its telemetry."""

    id: Annotated[str, Meta(description="The correlation id.")]
    ven_id: str
    op: Annotated[str, Meta(examples=["setLoad", "shedLoad", "event", "restore"])]
    load_id: str | None
    event_id: str | None
    data: Annotated[Any, Meta(description="An object, as the VEN contract defines it for this `op`.")]
    status: CommandStatus
    attempts: Count
    created_at: Instant
    sent_at: Annotated[Instant | None, Meta(description="When the broker first confirmed it.")]
    acknowledged_at: Annotated[Instant | None, Meta(description="When the VEN's acknowledgement arrived.")]
    executed_at: Annotated[Instant | None, Meta(description="Since when telemetry shows its execution.")]
    expires_at: Annotated[Instant, Meta(description="When it expires, if it is not sent before.")]
    acknowledgement: Annotated[
        Any, Meta(description="The VEN's acknowledgement as received; null without one.")
    ]
    error: Annotated[str | None, Meta(description="Why it failed or expired.")]
