"""Reports of VENs beside their latest values, and rejected messages."""

from typing import Annotated, Any

from msgspec import Meta

from schemas.api.fields import Count, Instant, Shape


class CircuitSnapshot(Shape, frozen=True, gc=False):
    """One sample of a load."""

    timestamp: Instant
    load_id: str
    name: str
    type: str
    capacity_kw: float
    current_power_kw: float
    shed_capability_kw: float
    enabled: bool
    priority: int


class CircuitHistory(Shape, frozen=True):
    """Samples of the loads of a VEN, oldest first."""

    ven_id: str
    load_id: Annotated[str | None, Meta(description="Null: of all its loads.")]
    snapshots: list[CircuitSnapshot]
    total_count: Annotated[Count, Meta(description="How many there are, also beyond `limit`.")]


class VenEvent(Shape, frozen=True):
    """A VEN's acknowledgement of a command."""

    id: str
    ven_id: str
    event_id: Annotated[str, Meta(description="Empty for a command outside of events.")]
    correlation_id: str
    op: str
    status: Annotated[str, Meta(examples=["acknowledged", "rejected"])]
    timestamp: Annotated[Instant, Meta(description="When the acknowledgement arrived.")]
    requested_shed_kw: float
    actual_shed_kw: Annotated[float, Meta(description="0 if the VEN did not report it.")]
    circuits_curtailed: Annotated[
        list[dict[str, Any]], Meta(description="Objects, as the VEN sent them; empty without any.")
    ]


class RejectedMessage(Shape, frozen=True):
    """A rejected message, or a rejected load entry of a stored message."""

    id: str
    received_at: Instant
    topic: str
    reason: Annotated[str, Meta(description="A reason of the VEN contract.", examples=["not_json"])]
    detail: Annotated[str, Meta(description="The error, in words.")]
    device_time: Annotated[Instant | None, Meta(description="Null if the message was rejected as a whole.")]
    bytes: Annotated[Count, Meta(description="The length of the rejected part.")]
    start: Annotated[str, Meta(description="Its first 1,000 bytes as UTF-8; invalid bytes are replaced.")]
