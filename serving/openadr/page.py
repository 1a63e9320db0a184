"""Parts of lists: OpenADR counts objects, and has no cursor."""

from msgspec import Struct

MOST = 50
"""The largest `limit`. Without one, a list is whole, and streamed."""


class ObjectPage(Struct, frozen=True):
    skip: int = 0
    limit: int | None = None


EVERY_OBJECT = ObjectPage()


class EventFilter(Struct, frozen=True):
    """Which events a client asks for.

    Args:
        program_id: only of this program.
        targets: with one of these; None: any.
        is_active: only those that are not over.
        page: which part of them.
    """

    program_id: str | None = None
    targets: tuple[str, ...] | None = None
    is_active: bool = False
    page: ObjectPage = EVERY_OBJECT
