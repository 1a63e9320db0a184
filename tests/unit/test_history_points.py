"""Which event a bucket lies in: the first that has any of its time, as a plain search finds it."""

from hypothesis import given
from hypothesis import strategies as st

from schemas.api.histories import VenPowerPoint
from schemas.times.instants import from_microseconds, microseconds
from serving.history.planner import HistoryRequest
from serving.history.points import EventSpan, with_events

WIDTH_S = 60
WIDTH_US = WIDTH_S * 1_000_000

spans = st.tuples(st.integers(0, 50), st.integers(1, 30), st.integers(0, WIDTH_US - 1)).map(
    lambda span: (span[0] * WIDTH_US + span[2], (span[0] + span[1]) * WIDTH_US)
)


@given(st.lists(spans, max_size=8), st.sets(st.integers(0, 90)))
def test_the_first_event_of_each_bucket(taken: list[tuple[int, int]], minutes: set[int]) -> None:
    occasions = [
        EventSpan(*span, f"e{n}", float(n)) for n, span in enumerate(sorted(taken)) if span[0] < span[1]
    ]
    points = [VenPowerPoint(from_microseconds(minute * WIDTH_US), 1.0, 0.0) for minute in sorted(minutes)]
    found = list(with_events(points, occasions, HistoryRequest(None, None, WIDTH_S)))
    assert [point.timestamp for point in found] == [point.timestamp for point in points]
    for before, point in zip(points, found, strict=True):
        start_us = microseconds(point.timestamp)
        here = [each for each in occasions if each.start_us < start_us + WIDTH_US and each.end_us > start_us]
        expected = (
            (here[0].event_id, here[0].requested_kw)
            if here
            else (before.event_id, before.requested_reduction_kw)
        )
        assert isinstance(point, VenPowerPoint)
        assert (point.event_id, point.requested_reduction_kw) == expected
