"""A plan covers what is asked for, once, from buckets that can serve it."""

from itertools import pairwise
from math import lcm

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from schemas.tables.history import NETWORK_RESOLUTIONS_S
from serving.history.planner import MICROSECONDS_PER_S, HistoryRequest, Piece, next_cut_us, plan, shortfall

HOUR_US = 3600 * MICROSECONDS_PER_S
GRANULARITIES_S = (1, 7, 60, 300, 780, 900, 3600, 7200, 86_400)
NESTED_S = ((), (1,), (300,), (1, 300), (1, 300, 3600), (1, 60, 300, 3600))
UNRELATED_S = ((7, 300), (60, 90, 420))


def instants() -> st.SearchStrategy[int]:
    """Anywhere in a few hours, on borders, and a microsecond beside them."""
    border = st.integers(0, 8 * 60).map(lambda minutes: minutes * 60 * MICROSECONDS_PER_S)
    beside = st.tuples(border, st.sampled_from((-1, 0, 1))).map(lambda pair: max(0, sum(pair)))
    return st.integers(0, 8 * HOUR_US) | beside


@st.composite
def windows(draw: st.DrawFn, *, open_ends: bool = True) -> HistoryRequest:
    start, end = sorted((draw(instants()), draw(instants())))
    is_open_before, is_open_after = (draw(st.booleans()) and open_ends for _ in range(2))
    return HistoryRequest(
        None if is_open_before else start,
        None if is_open_after else end + 1,
        draw(st.sampled_from(GRANULARITIES_S)),
    )


resolutions = st.sampled_from(NESTED_S + UNRELATED_S)


@given(windows(), resolutions)
def test_covers_the_window_once_and_in_order(window: HistoryRequest, resolutions_s: tuple[int, ...]) -> None:
    pieces = plan(window, resolutions_s)
    assert (pieces[0].start_us, pieces[-1].end_us) == (window.start_us, window.end_us)
    for before, after in pairwise(pieces):
        assert before.end_us == after.start_us is not None
    for piece in pieces:
        assert piece.start_us is None or piece.end_us is None or piece.start_us < piece.end_us


@given(windows(), resolutions)
def test_rollups_divide_the_granularity_and_stand_on_their_own_borders(
    window: HistoryRequest, resolutions_s: tuple[int, ...]
) -> None:
    for piece in plan(window, resolutions_s):
        if piece.resolution_s is not None:
            assert piece.resolution_s in resolutions_s
            assert window.granularity_s % piece.resolution_s == 0
            width_us = piece.resolution_s * MICROSECONDS_PER_S
            assert all(edge is None or edge % width_us == 0 for edge in (piece.start_us, piece.end_us))


@given(windows(open_ends=False), st.sampled_from(NESTED_S))
def test_raw_rows_serve_only_the_two_edges(window: HistoryRequest, resolutions_s: tuple[int, ...]) -> None:
    usable_s = [r for r in resolutions_s if window.granularity_s % r == 0]
    raw = [piece for piece in plan(window, resolutions_s) if piece.resolution_s is None]
    if usable_s:
        assert len(raw) <= 2
        assert sum(_length_us(piece) for piece in raw) < 2 * min(usable_s) * MICROSECONDS_PER_S
        if len(raw) == 2:
            assert all(_length_us(piece) < min(usable_s) * MICROSECONDS_PER_S for piece in raw)
    else:
        assert raw == [Piece(None, window.start_us, window.end_us)]


@given(windows(open_ends=False), st.sampled_from(NESTED_S))
def test_a_coarser_bucket_is_used_wherever_a_whole_one_lies_inside(
    window: HistoryRequest, resolutions_s: tuple[int, ...]
) -> None:
    assert window.start_us is not None
    assert window.end_us is not None
    usable_s = [r for r in resolutions_s if window.granularity_s % r == 0]
    if usable_s:
        width_us = max(usable_s) * MICROSECONDS_PER_S
        first_us = -(-window.start_us // width_us) * width_us
        used = {piece.resolution_s for piece in plan(window, resolutions_s)}
        assert (max(usable_s) in used) == (first_us + width_us <= window.end_us)


@given(st.sampled_from(GRANULARITIES_S), resolutions)
def test_all_that_is_stored_is_one_piece(granularity_s: int, resolutions_s: tuple[int, ...]) -> None:
    usable_s = [r for r in resolutions_s if granularity_s % r == 0]
    assert plan(HistoryRequest(None, None, granularity_s), resolutions_s) == [
        Piece(max(usable_s, default=None), None, None)
    ]


@given(instants(), st.integers(1, 200_000), st.integers(1, 10_000))
def test_a_history_is_cut_where_all_buckets_end(at_us: int, granularity_s: int, most_buckets: int) -> None:
    """Whatever the granularity; further on, and not much further than was asked for."""
    cut_us = next_cut_us(at_us, granularity_s, most_buckets)
    width_us = granularity_s * MICROSECONDS_PER_S
    assert cut_us % width_us == cut_us % HOUR_US == 0
    assert at_us < cut_us <= at_us + (most_buckets + 2 * 3600) * width_us
    step_us = lcm(granularity_s, 3600) * MICROSECONDS_PER_S
    asked_us = at_us + most_buckets * width_us
    assert asked_us - step_us < cut_us < asked_us + step_us, "the border beside what was asked for"


@given(windows(), st.sampled_from(NESTED_S), instants(), st.integers(1, 100))
def test_parts_make_up_the_window(
    window: HistoryRequest, resolutions_s: tuple[int, ...], at_us: int, most_buckets: int
) -> None:
    cut_us = next_cut_us(at_us, window.granularity_s, most_buckets)
    if (window.start_us or 0) < cut_us < (window.end_us or 1 << 62):
        first = plan(structs.replace(window, end_us=cut_us), resolutions_s)
        second = plan(structs.replace(window, start_us=cut_us), resolutions_s)
        whole = plan(window, resolutions_s)
        assert _raw_us(first + second) == _raw_us(whole), "no more raw rows than in one piece"
        assert sum(_covered(first + second)) == sum(_covered(whole))


def _raw_us(pieces: list[Piece]) -> int:
    return sum(_covered([piece for piece in pieces if piece.resolution_s is None]))


def test_an_empty_window_needs_nothing() -> None:
    assert plan(HistoryRequest(5, 5, 300), (1, 300)) == []


def test_the_plan_of_a_ragged_day() -> None:
    """Read by eye: raw, seconds, five minutes, hours, and the same way back."""
    start_us, end_us = 3_299_500_000, 11_101_250_000
    assert plan(HistoryRequest(start_us, end_us, 3600), (1, 300, 3600)) == [
        Piece(None, 3_299_500_000, 3_300_000_000),
        Piece(300, 3_300_000_000, 3_600_000_000),
        Piece(3600, 3_600_000_000, 10_800_000_000),
        Piece(300, 10_800_000_000, 11_100_000_000),
        Piece(1, 11_100_000_000, 11_101_000_000),
        Piece(None, 11_101_000_000, 11_101_250_000),
    ]


def _length_us(piece: Piece) -> int:
    assert piece.start_us is not None
    assert piece.end_us is not None
    return piece.end_us - piece.start_us


# What retention has left

DAY_US = 24 * HOUR_US
SLOT_US = 300 * MICROSECONDS_PER_S
HORIZONS: tuple[dict[int, int], ...] = (
    {},
    {0: DAY_US},
    {0: 2 * DAY_US, 1: DAY_US},
    {0: 3 * DAY_US, 1: 2 * DAY_US, 300: DAY_US},
    {0: 3 * DAY_US, 1: 2 * DAY_US, 60: 2 * DAY_US, 300: DAY_US},
)


@st.composite
def old_windows(draw: st.DrawFn) -> HistoryRequest:
    days = st.integers(0, 4 * 24 * 60).map(lambda minutes: minutes * 60 * MICROSECONDS_PER_S)
    start, end = sorted((draw(days) + draw(st.sampled_from((0, 0, 1))), draw(days)))
    return HistoryRequest(
        draw(st.sampled_from((start, None))),
        draw(st.sampled_from((end + 1, end + MICROSECONDS_PER_S, None))),
        draw(st.sampled_from(GRANULARITIES_S)),
        horizons_us=draw(st.sampled_from(HORIZONS)),
    )


@given(old_windows(), st.sampled_from(((1, 300, 3600), NETWORK_RESOLUTIONS_S)))
def test_each_bucket_that_is_left_and_begins_in_the_window_counts_once(
    window: HistoryRequest, resolutions_s: tuple[int, ...]
) -> None:
    """A loop over seconds: the finest source that is kept there counts it, or a bucket that it begins."""
    pieces = plan(window, resolutions_s)
    for before, after in pairwise(pieces):
        assert before.end_us is not None
        assert after.start_us is not None
        assert before.end_us <= after.start_us
    for piece in pieces:
        source_s = piece.resolution_s or 0
        since_us = window.horizons_us.get(source_s, 0)
        assert (piece.start_us or since_us) >= since_us
        assert piece.is_closed == ((piece.start_us or 0) < window.horizons_us.get(0, 0))
        if source_s:
            width_us = source_s * MICROSECONDS_PER_S
            assert all(edge is None or edge % width_us == 0 for edge in (piece.start_us, piece.end_us))


@st.composite
def cut_windows(draw: st.DrawFn) -> tuple[HistoryRequest, int]:
    """A window, and an instant within it: on a slot's border where there are no raw rows any more."""
    window = draw(old_windows())
    first_us, last_us = window.start_us or 0, window.end_us or 5 * DAY_US
    at_us = draw(st.integers(first_us, last_us))
    is_raw = at_us >= window.horizons_us.get(0, 0)
    width_us = draw(st.sampled_from((MICROSECONDS_PER_S, SLOT_US))) if is_raw else SLOT_US
    return window, max(first_us, at_us // width_us * width_us)


@given(cut_windows())
def test_parts_of_a_window_serve_what_the_whole_does(cut_window: tuple[HistoryRequest, int]) -> None:
    """A bucket counts where it begins: cutting a request in two counts nothing twice."""
    window, cut_us = cut_window
    whole = _covered(plan(window, (300,)))
    before = _covered(plan(structs.replace(window, end_us=cut_us), (300,)))
    after = _covered(plan(structs.replace(window, start_us=cut_us), (300,)))
    assert sum(whole) == sum(before) + sum(after)


def _covered(pieces: list[Piece]) -> list[int]:
    last_us = 5 * DAY_US
    return [(last_us if p.end_us is None else p.end_us) - (p.start_us or 0) for p in pieces]


@pytest.mark.parametrize(
    ("start_us", "end_us", "granularity_s", "expected_s"),
    [
        (0, DAY_US, 86_400, 3600),  # nothing finer is kept
        (0, DAY_US, 300, 3600),  # though it does not divide the granularity
        (DAY_US, 2 * DAY_US, 3600, 3600),
        (DAY_US, 2 * DAY_US, 7200, 3600),
        (DAY_US, 2 * DAY_US, 900, 300),  # hours do not make up quarters of an hour
        (DAY_US + SLOT_US, 2 * DAY_US, 3600, 300),  # hours do not begin where the range does
        (DAY_US, 2 * DAY_US - SLOT_US, 3600, 300),  # nor end where it does
        (DAY_US, 2 * DAY_US, 7, 300),  # nothing fits: the finest that is kept
        (2 * DAY_US, 3 * DAY_US, 7, 1),
        (2 * DAY_US, 3 * DAY_US, 300, 300),
        (2 * DAY_US + MICROSECONDS_PER_S, 3 * DAY_US, 300, 1),
    ],
)
def test_a_closed_era_is_served_by_the_coarsest_that_fits_else_by_the_finest(
    start_us: int, end_us: int, granularity_s: int, expected_s: int
) -> None:
    request = HistoryRequest(start_us, end_us, granularity_s, horizons_us=HORIZONS[3])
    assert plan(request, (1, 300, 3600)) == [Piece(expected_s, start_us, end_us, is_closed=True)]


def test_a_warning_says_what_is_gone() -> None:
    horizons = {0: 2 * DAY_US, 1: 2 * DAY_US, 300: DAY_US}
    all_kept = HistoryRequest(2 * DAY_US + 1, None, 7, horizons_us=horizons)
    assert shortfall(all_kept, (1, 300, 3600)) is None
    fits = HistoryRequest(DAY_US, 2 * DAY_US, 900, horizons_us=horizons)
    assert shortfall(fits, (300,)) is None
    assert plan(fits, (300,)) == [Piece(300, DAY_US, 2 * DAY_US, is_closed=True)]
    ragged = HistoryRequest(DAY_US + 1, None, 900, horizons_us=horizons)
    assert shortfall(ragged, (300,)) == (
        "Before 1970-01-03T00:00:00Z there are no raw rows any more:"
        " buckets of up to 300 s count whole, where they begin."
    )
    too_old = HistoryRequest(0, DAY_US, 900, horizons_us=horizons)
    assert shortfall(too_old, (300,)) == "Of the time before 1970-01-02T00:00:00Z nothing is kept."
    assert plan(too_old, (300,)) == []
    open_start = HistoryRequest(None, None, 900, horizons_us=horizons)
    assert shortfall(open_start, (300,)) is None
    assert plan(open_start, (300,)) == [
        Piece(300, DAY_US, 2 * DAY_US, is_closed=True),
        Piece(300, 2 * DAY_US, None),
    ]
