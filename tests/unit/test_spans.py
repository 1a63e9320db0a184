"""Spans of batch ids: few, in order, holding every id."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from jobs.queries.summaries.pending import spans_of


@given(st.lists(st.integers(1, 10_000), min_size=1, unique=True), st.integers(1, 20))
def test_they_hold_every_id_and_are_few(batch_ids: list[int], most: int) -> None:
    spans = spans_of(batch_ids, most)
    assert len(spans) <= most
    assert all(any(first <= each <= last for first, last in spans) for each in batch_ids)
    assert all(one[1] < other[0] for one, other in pairwise(spans))
    assert {end for span in spans for end in span} <= set(batch_ids)


def test_the_widest_gaps_are_left_out() -> None:
    assert spans_of([3, 4, 999]) == [(3, 4), (999, 999)]
    assert spans_of([1, 3, 5, 7, 100, 101], 2) == [(1, 7), (100, 101)]
