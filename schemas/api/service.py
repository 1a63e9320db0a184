"""The service itself: its health, and its errors."""

from typing import Annotated, Literal

from msgspec import Meta

from schemas.api.fields import Shape


class Stopping(Shape, frozen=True):
    """The event will be stopped within a second."""

    event_id: str
    status: Literal["stopping"] = "stopping"


class Health(Shape, frozen=True):
    """The process is alive."""

    status: str = "ok"


class Readiness(Shape, frozen=True):
    """The service is ready: the database responds, is at the required revision, and is up to date."""

    status: str
    revision: Annotated[str, Meta(examples=["0002"])]
    last_rollup_age_s: Annotated[float | None, Meta(description="Seconds since the totals were refreshed.")]
    replica_rollup_age_s: Annotated[
        float | None, Meta(description="The same, as the replica has it that is read from; null without one.")
    ] = None


class Problem(Shape, frozen=True):
    """An error as defined by RFC 9457."""

    type: str
    title: str
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: Annotated[str, Meta(description="How to fix it.")]
