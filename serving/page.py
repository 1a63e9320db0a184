"""Pages of lists, and which entries they have."""

from datetime import datetime

from msgspec import Struct

from schemas.alarms import AlarmKind


class Page(Struct, frozen=True):
    """At most `limit` entries, after the one with the id `after`; the default is the whole list."""

    limit: int | None = None
    after: str | None = None


class NewestWithin(Struct, frozen=True):
    """The newest entries between two instants, both included; None: unbounded."""

    start: datetime | None
    end: datetime | None
    limit: int


class CredentialFilter(Struct, frozen=True):
    """Which credentials; None: all. Pending ones the broker has not confirmed."""

    is_pending: bool | None = None
    is_enabled: bool | None = None


class AlarmFilter(Struct, frozen=True):
    """Which alarms; None: all."""

    is_open: bool | None = None
    is_acknowledged: bool | None = None
    kind: AlarmKind | None = None
    start: datetime | None = None
    end: datetime | None = None
    """Both included, of when it was raised."""
