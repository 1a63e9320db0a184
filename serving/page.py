"""Pages and filters of lists."""

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
    """A filter of credentials; None: all. Pending ones are not confirmed by the broker."""

    is_pending: bool | None = None
    is_enabled: bool | None = None


class AlarmFilter(Struct, frozen=True):
    """A filter of alarms; None: all."""

    is_open: bool | None = None
    is_acknowledged: bool | None = None
    kind: AlarmKind | None = None
    start: datetime | None = None
    end: datetime | None = None
    """Range of the times when alarms were raised, both ends included."""
