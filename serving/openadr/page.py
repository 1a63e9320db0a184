"""A part of a list: OpenADR counts objects, and has no cursor."""

from msgspec import Struct

MOST = 50
"""The largest `limit`. Without one, a list is whole, and streamed."""


class ObjectPage(Struct, frozen=True):
    skip: int = 0
    limit: int | None = None
