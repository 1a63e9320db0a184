"""Ranges of VEN ids, to divide a slot with too many rows. Pure."""

from collections.abc import Iterable, Iterator

from msgspec import Struct


class VenRange(Struct, frozen=True):
    """VENs whose id is at least `first` and before `before`, by code points; None is an open end."""

    first: str | None = None
    before: str | None = None


ALL_VENS = VenRange()


def even_ven_ranges(sizes: Iterable[tuple[str, int]], most: int) -> Iterator[VenRange]:
    """Ranges that together contain every id, each with not more than `most`, if no single VEN has more.

    Args:
        sizes: ids, ascending by code points, and how much belongs to each.
        most: what a range should not exceed.
    """
    first, size = None, 0
    for ven_id, added in sizes:
        if size and size + added > most:
            yield VenRange(first, ven_id)
            first, size = ven_id, 0
        size += added
    yield VenRange(first)
