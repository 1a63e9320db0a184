"""Ranges of time and of VENs cover what they are cut from, once, and no part is too large."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from jobs.summaries.ven_ranges import ALL_VENS, VenRange, even_ven_ranges
from schemas.times.time_ranges import TimeRange, days, even_parts, widened, without

NOON = datetime(2024, 7, 10, 12, tzinfo=UTC)
minutes = st.integers(0, 3_000).map(lambda number: NOON + timedelta(minutes=number))
time_ranges = st.tuples(minutes, minutes).map(lambda ends: TimeRange(min(ends), max(ends)))
sizes = st.integers(1, 50)


@given(
    st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=3), sizes),
    st.integers(1, 100),
)
def test_ven_ranges_contain_each_id_once(size_of: dict[str, int], most: int) -> None:
    ranges = list(even_ven_ranges(sorted(size_of.items()), most))
    assert (ranges[0].first, ranges[-1].before) == (None, None)
    assert all(one.before == other.first for one, other in pairwise(ranges))
    for each in ranges:
        inside = [ven_id for ven_id in size_of if contains(each, ven_id)]
        assert len(inside) <= 1 or sum(size_of[ven_id] for ven_id in inside) <= most
    for one, other in pairwise(ranges):  # no more ranges than are needed
        following = str(other.first)
        assert (
            sum(size for ven_id, size in size_of.items() if contains(one, ven_id)) > most - size_of[following]
        )


def contains(vens: VenRange, ven_id: str) -> bool:
    return (vens.first is None or ven_id >= vens.first) and (vens.before is None or ven_id < vens.before)


def test_few_vens_are_one_range() -> None:
    assert list(even_ven_ranges([], 5)) == [ALL_VENS]
    assert list(even_ven_ranges([("a", 9)], 5)) == [ALL_VENS]
    assert list(even_ven_ranges([("a", 9), ("b", 1)], 5)) == [VenRange(None, "b"), VenRange("b")]


@given(time_ranges, st.dictionaries(minutes, sizes), st.integers(1, 100))
def test_even_parts_cover_the_range_once(within: TimeRange, size_at: dict[datetime, int], most: int) -> None:
    inside = {at: size for at, size in sorted(size_at.items()) if within.start <= at < within.end}
    parts = list(even_parts(within, inside.items(), most))
    assert (parts[0][0].start, parts[-1][0].end) == (within.start, within.end)
    assert all(one.end == other.start for (one, _), (other, _) in pairwise(parts))
    for part, size in parts:
        begins = [at for at in inside if part.start <= at < part.end]
        assert size == sum(inside[at] for at in begins)
        assert size <= most or len(begins) == 1


@given(time_ranges.filter(lambda each: each.start < each.end), st.lists(time_ranges, max_size=4))
def test_without(within: TimeRange, excluded: list[TimeRange]) -> None:
    left = without([within], excluded)
    minute = within.start
    while minute < within.end:
        is_left = not any(away.start <= minute < away.end for away in excluded)
        assert sum(each.start <= minute < each.end for each in left) == is_left
        minute += timedelta(minutes=7)
    assert all(each.start < each.end for each in left)


@given(time_ranges, st.sampled_from((1, 60, 3600, 86_400)))
def test_widened_is_the_smallest_range_on_borders(within: TimeRange, width_s: int) -> None:
    wide, width = widened(within, width_s), timedelta(seconds=width_s)
    assert wide.start <= within.start < wide.start + width
    assert wide.end - width < within.end <= wide.end
    assert wide.start.timestamp() % width_s == wide.end.timestamp() % width_s == 0


@given(time_ranges)
def test_days_are_cut_at_midnight(within: TimeRange) -> None:
    cut = list(days(within))
    assert [each.start for each in cut[1:]] == [each.end for each in cut[:-1]]
    assert all(each.start.hour == each.start.minute == 0 for each in cut[1:])
    assert all(each.end - each.start <= timedelta(days=1) for each in cut)
    if cut:
        assert (cut[0].start, cut[-1].end) == (within.start, within.end)
