"""A page of a list."""

from msgspec import Struct


class Page(Struct, frozen=True):
    """At most `limit` entries, after the one with the id `after`; the default is the whole list."""

    limit: int | None = None
    after: str | None = None
