"""Which event a bucket of a VEN's history lies in. Pure."""

from collections import deque
from collections.abc import Iterable, Iterator

from msgspec import Struct
from msgspec.structs import replace

from schemas.http import EnergyPoint, PowerPoint
from schemas.instants import microseconds
from serving.windows import MICROSECONDS_PER_S, Window

Point = PowerPoint | EnergyPoint


class Occasion(Struct, frozen=True):
    """The time that a VEN took part in an event, half-open, and what was asked of it."""

    start_us: int
    end_us: int
    event_id: str
    requested_kw: float


def marked(points: Iterable[Point], occasions: Iterable[Occasion], window: Window) -> Iterator[Point]:
    """The points of a VEN, each with the first event that has any of its bucket's time.

    Args:
        points: in the order of time, of a shape that has a place for it.
        occasions: by start.
        window: how wide a bucket is.
    """
    ahead, width_us = deque(occasions), window.granularity_s * MICROSECONDS_PER_S
    for point in points:
        start_us = microseconds(point.timestamp)
        while ahead and ahead[0].end_us <= start_us:
            ahead.popleft()
        yield _marked(point, _first(ahead, start_us, start_us + width_us))


def _first(ahead: Iterable[Occasion], start_us: int, end_us: int) -> Occasion | None:
    for occasion in ahead:
        if occasion.start_us >= end_us:
            return None
        if occasion.end_us > start_us:
            return occasion
    return None


def _marked(point: Point, occasion: Occasion | None) -> Point:
    if occasion is None:
        return point
    return replace(point, event_id=occasion.event_id, requested_reduction_kw=occasion.requested_kw)
