"""A page of a list."""

from datetime import datetime

from msgspec import Struct


class Page(Struct, frozen=True):
    """At most `limit` entries, after the one with the id `after`; the default is the whole list."""

    limit: int | None = None
    after: str | None = None


class NewestWithin(Struct, frozen=True):
    """The newest entries between two instants, both included; None: unbounded."""

    start: datetime | None
    end: datetime | None
    limit: int
