"""Builds the points of a history from columns; those of a VEN with their event. Pure."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from operator import truediv

from msgspec import Struct
from msgspec.structs import replace

from schemas.api.histories import (
    EnergyPoint,
    GroupEnergyRow,
    GroupPowerRow,
    LoadEnergyRow,
    LoadPowerRow,
    LoadTypeEnergyRow,
    LoadTypePowerRow,
    PowerPoint,
    VenEnergyPoint,
    VenEnergyRow,
    VenPowerPoint,
    VenPowerRow,
)
from schemas.times.instants import microseconds
from schemas.times.rounding import rounded
from serving.events.queries import ParticipationRow, VenParticipationRow
from serving.history.calendar import Columns
from serving.history.planner import MICROSECONDS_PER_S, HistoryRequest

TIE_MARGIN = 0.499
"""In thousandths: a number at most this far from a whole one is not a tie."""

Point = (
    PowerPoint
    | EnergyPoint
    | VenPowerPoint
    | VenEnergyPoint
    | VenPowerRow
    | VenEnergyRow
    | GroupPowerRow
    | GroupEnergyRow
    | LoadPowerRow
    | LoadEnergyRow
    | LoadTypePowerRow
    | LoadTypeEnergyRow
)
"""Of one history, or of many."""


class EventSpan(Struct, frozen=True):
    """The half-open time of a VEN's participation in an event, and its requested reduction."""

    start_us: int
    end_us: int
    event_id: str
    requested_kw: float


def with_events(
    points: Iterable[Point], spans: Iterable[EventSpan], request: HistoryRequest
) -> Iterator[Point]:
    """Yield the points of a VEN, each with the first event that overlaps its bucket.

    Args:
        points: in order of time, of a shape with fields for the event.
        spans: by start.
        request: gives the width of a bucket.
    """
    ahead, width_us, calendar = deque(spans), request.granularity_s * MICROSECONDS_PER_S, request.calendar
    for point in points:
        start_us = microseconds(point.timestamp)
        while ahead and ahead[0].end_us <= start_us:
            ahead.popleft()
        end_us = start_us + width_us if calendar is None else calendar.bucket_us(start_us)[1]
        yield _with_event(point, _first(ahead, start_us, end_us))


def _first(ahead: Iterable[EventSpan], start_us: int, end_us: int) -> EventSpan | None:
    for span in ahead:
        if span.start_us >= end_us:
            return None
        if span.end_us > start_us:
            return span
    return None


def _with_event(point: Point, span: EventSpan | None) -> Point:
    if span is None:
        return point
    return replace(point, event_id=span.event_id, requested_reduction_kw=span.requested_kw)


def sum_points(columns: Columns, shape: Callable[..., Point]) -> Iterable[Point]:
    used_kw, shed_kw = columns.values
    return map(shape, columns.buckets, all_rounded(used_kw), all_rounded(shed_kw))


def energy_points(columns: Columns, shape: Callable[..., Point]) -> Iterable[Point]:
    used_kwh, shed_kwh, _hours = columns.values
    return map(shape, columns.buckets, all_rounded(used_kwh), all_rounded(shed_kwh))


def mean_points(columns: Columns, shape: Callable[..., Point]) -> Iterable[Point]:
    """Return points of mean kW: the energy over the hours of the slots that have samples."""
    used_kwh, shed_kwh, hours = columns.values
    used_kw, shed_kw = map(truediv, used_kwh, hours), map(truediv, shed_kwh, hours)
    return map(shape, columns.buckets, all_rounded(used_kw), all_rounded(shed_kw))


def event_span(row: ParticipationRow | VenParticipationRow) -> EventSpan:
    requested_kw = rounded(row.requested_reduction_kw)
    return EventSpan(microseconds(row.start), microseconds(row.end), row.event_id, requested_kw)


def all_rounded(values: Iterable[float]) -> list[float]:
    """Round each value as `rounded` does, in half the time.

    Below 2^40, the nearest whole number of thousandths divided by 1000 equals the result of `round`, unless
    the value is near a tie; those are left to `round`.
    """
    return [
        whole / 1000
        if -TIE_MARGIN < (scaled := value * 1000) - (whole := round(scaled)) < TIE_MARGIN
        else rounded(value)
        for value in values
    ]
