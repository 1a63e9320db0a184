"""How many points a history may have: the count is right, and the granularity that is named would do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.tables.history import NETWORK_RESOLUTIONS_S
from serving.history.limits import (
    as_text,
    buckets,
    extent,
    fitting_granularity_s,
    is_short,
    is_small,
    points_per_bucket,
    quick_granularity_s,
    too_many_points,
)
from serving.history.planner import HistoryRequest, plan
from serving.history.series import NETWORK, VEN, Series
from serving.http.parameters.histories import history_request

S = 1_000_000
DAY = 86_400 * S
instants = st.integers(0, 10**16)
granularities = st.integers(1, 10**6)


@given(instants, st.integers(0, 10**9), granularities)
def test_buckets_are_counted_by_their_starts(first_us: int, length_us: int, granularity_s: int) -> None:
    width_us = granularity_s * S
    starts = {at // width_us for at in range(first_us, first_us + length_us + 1, width_us)}
    starts.add((first_us + length_us) // width_us)
    assert buckets(first_us, first_us + length_us, granularity_s) == len(starts)


@given(instants, instants, st.integers(1, 10**7), st.sampled_from(("sum", "energy", "mean")))
def test_what_is_named_would_do(one_us: int, other_us: int, max_points: int, aggregate: str) -> None:
    first_us, last_us = sorted((one_us, other_us))
    granularity_s = fitting_granularity_s(first_us, last_us, max_points, aggregate)
    fits = buckets(first_us, last_us, granularity_s) <= max_points
    # A range across a border has two buckets, however wide these are.
    assert fits or (max_points == 1 and first_us < last_us)
    said = history_request({"granularity": as_text(granularity_s), "aggregate": aggregate})
    assert said.granularity_s == granularity_s


@pytest.mark.parametrize(
    ("days", "granularity_s", "aggregate", "advice"),
    [
        (12, 1, "sum", "2s"),
        (365, 1, "sum", "1m"),
        (365, 13, "sum", "1m"),
        (3_650, 60, "sum", "10m"),
        (36_500, 300, "mean", "1h"),
    ],
)
def test_too_many(days: int, granularity_s: int, aggregate: str, advice: str) -> None:
    asked = HistoryRequest(None, None, granularity_s, aggregate)  # type: ignore[arg-type]
    refusal = too_many_points(asked, 0, days * DAY, 2_000_000, 1_000_000)
    assert str(refusal).startswith(f"granularity must be {advice} or coarser")
    assert "2000000 points" in str(refusal)


def test_as_many_as_there_may_be() -> None:
    assert is_short(HistoryRequest(0, 1_000_000 * S, 1), 1_000_000)
    assert not is_short(HistoryRequest(0, 1_000_000 * S + 1, 1), 1_000_000)
    assert not is_short(HistoryRequest(0, None, 3600), 1_000_000)


@given(st.sampled_from(NETWORK_RESOLUTIONS_S), granularities, st.integers(0, 10**9))
def test_a_bucket_makes_no_more_points_than_fit(width_s: int, granularity_s: int, number: int) -> None:
    first_us = number * width_s * S
    points = buckets(first_us, first_us + width_s * S - 1, granularity_s)
    assert points <= points_per_bucket(width_s, granularity_s)


def test_only_what_is_stored_counts() -> None:
    assert extent(HistoryRequest(None, None, 1), (5, 9)) == (5, 9)
    assert extent(HistoryRequest(0, 10**18, 1), (5, 9)) == (5, 9)
    assert extent(HistoryRequest(6, 9, 1), (5, 9)) == (6, 8)
    assert extent(HistoryRequest(10, 20, 1), (5, 9)) is None
    assert extent(HistoryRequest(None, None, 1), (None, None)) is None


def is_small_window(start_us: int | None, end_us: int | None, granularity_s: int, series: Series) -> bool:
    asked = HistoryRequest(start_us, end_us, granularity_s)
    return is_small(asked, plan(asked, series.resolutions_s), 10 * DAY, series.raw_rows_per_s, 1_000_000)


@pytest.mark.parametrize("series", [NETWORK, VEN])
def test_a_thousand_points_are_few(series: Series) -> None:
    assert is_small_window(0, 1_000 * 60 * S, 60, series)
    assert is_small_window(1, 1_000 * 60 * S + 1, 60, series)
    assert not is_small_window(0, 1_002 * 60 * S, 60, series)
    assert is_small_window(10 * DAY - 3_600 * S, None, 60, series)


def test_what_may_be_long_is_not_small() -> None:
    assert not is_small_window(None, DAY, 300, VEN)
    assert not is_small_window(0, None, 60, VEN), "ten days by the minute"
    assert not is_small_window(5 * DAY, 5 * DAY, 300, VEN), "of no length"
    assert not is_small_window(0, 9 * DAY, 1_000, VEN), "no bucket fits: all raw rows of nine days"
    assert is_small_window(0, 3 * DAY, 300, VEN)
    assert is_small_window(S // 2, DAY, 300, NETWORK), "half a second of raw rows"


def test_no_more_points_than_an_answer_may_have() -> None:
    asked = HistoryRequest(0, 700 * 300 * S, 300)
    assert is_small(asked, plan(asked, VEN.resolutions_s), 0, 1, 700)
    assert not is_small(asked, plan(asked, VEN.resolutions_s), 0, 1, 699)


@pytest.mark.parametrize(
    ("granularity_s", "resolutions_s", "quick_s"),
    [
        (780, (300,), 900),
        (301, (300,), 600),
        (301, (1, 60, 300, 3600), 600),
        (7, (1, 60, 300, 3600), 60),
        (129_601, (300,), 129_900),
        (300, (300,), None),
        (7200, (1, 60, 300, 3600), None),
    ],
)
def test_what_is_quicker_is_made_of_coarser_buckets(
    granularity_s: int, resolutions_s: tuple[int, ...], quick_s: int | None
) -> None:
    assert quick_granularity_s(granularity_s, resolutions_s) == quick_s
