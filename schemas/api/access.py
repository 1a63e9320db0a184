"""Sessions of browsers, and the audit log."""

from typing import Annotated, Any, Literal

from msgspec import Meta

from schemas.api.fields import Instant, Shape

Role = Literal["viewer", "operator"]


class Session(Shape, frozen=True):
    """Who we take the caller for."""

    name: Annotated[str, Meta(description="The key's name; `anonymous` where no keys are asked for.")]
    role: Role
    expires_at: Annotated[Instant | None, Meta(description="When this ends by itself.")]


class AuditEntry(Shape, frozen=True):
    """A request that was allowed to change something."""

    id: str
    at: Instant
    who: Annotated[
        str,
        Meta(description="The key's name; `anonymous` where none are asked for; `terminal:` and a user."),
    ]
    role: Role
    method: Annotated[str, Meta(description="Or `keys`, at a terminal.", examples=["POST"])]
    path: Annotated[str, Meta(description="With its query; or what was done.", examples=["/api/events"])]
    status: Annotated[int | None, Meta(description="Of the answer; null if nobody saw how it ended.")]
    request_id: str
    client_address: str | None
    body: Annotated[
        Any, Meta(description="As it came; of what is no JSON, or long, `bytes` and its `start`.")
    ]
