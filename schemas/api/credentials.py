"""Logins of VENs at the broker."""

from typing import Annotated, Literal

from msgspec import Meta

from schemas.api.fields import Count, Instant, Shape

CredentialStatus = Literal["pending", "active", "revoking", "revoked"]


class VenCredential(Shape, frozen=True, kw_only=True):
    """How a VEN logs in to the broker: its user name is its id."""

    id: Annotated[str, Meta(description="The VEN's.")]
    status: Annotated[
        CredentialStatus,
        Meta(description="`pending`, `revoking`: the broker has not confirmed the last change yet."),
    ]
    created_at: Instant
    changed_at: Annotated[Instant, Meta(description="When it was last created, rotated or revoked.")]
    changed_by: str
    applied_at: Annotated[Instant | None, Meta(description="When the broker last confirmed a change.")]
    attempts: Annotated[Count, Meta(description="Failed attempts since the last change.")]
    error: Annotated[str | None, Meta(description="Why the broker has not applied the last change yet.")]


class MadeCredential(Shape, frozen=True):
    """A credential and its password."""

    credential: VenCredential
    username: str
    password: Annotated[str, Meta(description="Shown only once; it works when `status` is `active`.")]
