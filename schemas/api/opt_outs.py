"""Times within which a VEN takes no part in events."""

from typing import Annotated

from msgspec import Meta, field

from schemas.api.fields import PLAIN_OR_EMPTY, Instant, IsoText, Shape


class OptOutCreate(Shape, frozen=True, kw_only=True):
    """A new opt-out of a VEN from events: from `from` until before `to`."""

    start: Annotated[IsoText, Meta(examples=["2026-01-15T17:00:00Z"])] = field(name="from")
    end: Annotated[
        IsoText, Meta(description="After `from`, and still ahead.", examples=["2026-01-16T08:00:00Z"])
    ] = field(name="to")
    reason: Annotated[
        str, Meta(max_length=255, pattern=PLAIN_OR_EMPTY, description="For people.", examples=["guests"])
    ] = ""


class OptOut(Shape, frozen=True):
    """A half-open time within which a VEN does not take part in events."""

    id: str
    ven_id: str
    start: Instant = field(name="from")
    end: Instant = field(name="to")
    reason: Annotated[str, Meta(description="Empty without one.")]
    created_at: Instant
