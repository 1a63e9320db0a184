"""Sessions of browsers, and the audit log."""

from typing import Annotated, Any, Literal

from msgspec import Meta

from schemas.api.fields import Instant, Shape

Role = Literal["viewer", "operator"]


class Session(Shape, frozen=True):
    """The authenticated caller."""

    name: Annotated[str, Meta(description="The key's name; `anonymous` if no keys are required.")]
    role: Role
    expires_at: Annotated[Instant | None, Meta(description="When the session expires.")]


class AuditEntry(Shape, frozen=True):
    """A request that was allowed to change something."""

    id: str
    at: Instant
    who: Annotated[
        str,
        Meta(description="The key's name; `anonymous` if none are required; `terminal:` and a user."),
    ]
    role: Role
    method: Annotated[str, Meta(description="Or `keys`, at a terminal.", examples=["POST"])]
    path: Annotated[str, Meta(description="With its query; or what was done.", examples=["/api/events"])]
    status: Annotated[int | None, Meta(description="Of the response; null if the outcome was not recorded.")]
    request_id: str
    client_address: str | None
    body: Annotated[
        Any, Meta(description="As received; of what is not JSON, or is long, `bytes` and its `start`.")
    ]
