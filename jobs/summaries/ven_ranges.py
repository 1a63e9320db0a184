"""Ranges of VEN ids, which divide a slot with too many rows. Pure."""

from collections.abc import Iterable, Iterator

from msgspec import Struct


class VenRange(Struct, frozen=True):
    """VENs with ids from `first` to below `before`, by code points; None is an open end."""

    first: str | None = None
    before: str | None = None


ALL_VENS = VenRange()


def even_ven_ranges(sizes: Iterable[tuple[str, int]], most: int) -> Iterator[VenRange]:
    """Return ranges that together contain every id, each with at most `most`, unless a single VEN has more.

    Args:
        sizes: ids, ascending by code points, with the rows of each.
        most: most rows of a range.
    """
    first, size = None, 0
    for ven_id, added in sizes:
        if size and size + added > most:
            yield VenRange(first, ven_id)
            first, size = ven_id, 0
        size += added
    yield VenRange(first)
