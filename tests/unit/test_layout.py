"""Partitions: few, without gaps, whatever there was before and whatever the day is."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.storage.layout import MOST_SOURCES, PartitionChange, cells, changes, contains, name_of, overlap
from jobs.storage.partitions import Partition, slice_end
from schemas.times.time_ranges import TimeRange, ranges_of_days

DAY = timedelta(days=1)
NOW = datetime(2026, 11, 27, 1, tzinfo=UTC)
FIRST = datetime(2020, 1, 1, tzinfo=UTC)

days = st.dates(date(2020, 1, 1), date(2027, 12, 31))


def between(start: str, end: str) -> TimeRange:
    return TimeRange(*(datetime.fromisoformat(each).replace(tzinfo=UTC) for each in (start, end)))


def of_day(day: date) -> TimeRange:
    start = datetime.combine(day, time(), UTC)
    return TimeRange(start, start + DAY)


def after(partitions: Iterable[TimeRange], change: PartitionChange) -> list[TimeRange]:
    left = [each for each in partitions if not contains(change.within, each)]
    assert not any(overlap(each, change.within) for each in left)
    return sorted([*left, change.within], key=lambda each: each.start)


def arranged(
    partitions: list[TimeRange], now: datetime, astray: TimeRange | None = None, kept: timedelta | None = None
) -> list[TimeRange]:
    """The partitions when nothing is left to do; one change at a time, as the job has it."""
    while change := next(changes(partitions, astray, now, kept), None):
        inside = [each for each in partitions if contains(change.within, each)]
        assert len(inside) <= MOST_SOURCES
        assert change.has_rows or not inside
        partitions = after(partitions, change)
    return partitions


@given(st.sets(days, max_size=120), days, st.integers(0, 4000))
def test_any_days_become_few_partitions_without_a_gap(present: set[date], today: date, later: int) -> None:
    now = datetime.combine(today, time(1), UTC)
    for at in (now, now + later * DAY):
        partitions = arranged([of_day(day) for day in sorted(present)], at)
        covered = [each for each in partitions if each.start < of_day(at.date()).end + 3 * DAY]
        assert covered[0].start == FIRST
        assert all(one.end == other.start for one, other in pairwise(covered))
        assert covered[-1].end >= of_day(at.date()).end + 3 * DAY
        ahead = {day for day in present if day > at.date()}
        assert len(partitions) <= 65 + 24 + (at.year - 2020) + len(ahead)


def test_twenty_years_of_days_are_some_hundred_partitions() -> None:
    partitions = arranged(
        [of_day(date(2020, 1, 1) + number * DAY) for number in range(20 * 365)],
        datetime(2039, 12, 23, 9, tzinfo=UTC),
    )
    assert len(partitions) == len(cells(date(2039, 12, 23), None)) <= 110
    assert [name_of(each) for each in partitions[:2]] == ["p2020", "p2021"]


def test_where_there_is_nothing_few_partitions_will_do() -> None:
    found = list(changes([], None, NOW, None))
    assert [name_of(change.within) for change in found] == [
        *("p2020", "p2021", "p2022", "p2023", "p2024", "p2025", "p20260101_20261127"),
        *("p20261127", "p20261128", "p20261129", "p20261130"),
    ]
    assert not any(change.has_rows for change in found)


def test_new_days_come_before_what_costs_time() -> None:
    old = [of_day(date(2024, 2, 1) + number * DAY) for number in range(40)]
    found = list(changes(old, None, NOW, None))
    assert [change.has_rows for change in found] == sorted(change.has_rows for change in found)
    assert [name_of(change.within) for change in found if change.has_rows] == ["p2024"]


def test_rows_of_the_default_partition_are_moved_to_what_covers_them() -> None:
    astray = between("2023-05-01", "2024-01-01 00:00:01")
    found = {name_of(change.within): change.has_rows for change in changes([], astray, NOW, None)}
    assert [name for name, has_rows in found.items() if has_rows] == ["p2023", "p2024"]


def test_a_range_of_somebody_else_is_left_alone() -> None:
    odd = between("2023-12-30", "2024-01-02")
    partitions = arranged([odd], NOW)
    assert odd in partitions
    assert [name_of(each) for each in partitions[3:6]] == [
        "p20230101_20231230",
        "p20231230_20240102",
        "p20240102_20250101",
    ]


@pytest.mark.parametrize("kept", [1, 30, 75, 100, 400])
def test_what_retention_has_let_go_needs_no_partitions(kept: int) -> None:
    partitions = arranged([], NOW, kept=kept * DAY)
    oldest = datetime.combine((NOW - kept * DAY).date(), time(), UTC)
    assert partitions[0].start == oldest
    assert list(changes(partitions, None, NOW + DAY, kept * DAY)) == [
        PartitionChange(of_day((NOW + 4 * DAY).date()), has_rows=False)
    ]


@pytest.mark.parametrize("kept", [30, 75, 100])
def test_days_that_are_kept_for_weeks_go_as_days(kept: int) -> None:
    """To merge them first, only to delete row by row, would be work for nothing."""
    partitions = arranged([], NOW, kept=kept * DAY)
    for number in range(1, 200):
        now = NOW + number * DAY
        partitions = [
            each for each in arranged(partitions, now, kept=kept * DAY) if each.end > now - kept * DAY
        ]
    assert all(each.end - each.start == DAY for each in partitions)


def partition(within: TimeRange, size: int, *, is_default: bool = False) -> Partition:
    return Partition("x", within, is_default, 0, size)


YEAR = between("2024-01-01", "2025-01-01")


def test_a_slice_is_as_many_sources_as_come_to_its_size() -> None:
    sources = [partition(of_day(date(2024, 1, number)), 40) for number in range(1, 32)]
    left = TimeRange(sources[0].within.start, sources[-1].within.end)
    assert slice_end(left, sources, 80) == datetime(2024, 1, 3, tzinfo=UTC)
    assert slice_end(left, sources, 100) == datetime(2024, 1, 3, 12, tzinfo=UTC)
    assert slice_end(left, sources, 10_000) == left.end


def test_a_slice_of_one_large_source_is_a_share_of_its_time_and_never_nothing() -> None:
    assert slice_end(YEAR, [partition(YEAR, 366)], 1) == datetime(2024, 1, 2, tzinfo=UTC)
    assert slice_end(YEAR, [partition(YEAR, 10**12)], 1) == YEAR.start + timedelta(minutes=1)


def test_gaps_cost_what_the_default_partition_holds() -> None:
    gap = between("2024-01-01", "2024-01-11")
    nothing = [partition(between("2024-01-11", "2025-01-01"), 10)]
    default = partition(YEAR, 100, is_default=True)
    assert slice_end(YEAR, nothing, 50) == YEAR.end
    assert slice_end(YEAR, [*nothing, default], 50) == gap.start + 5 * DAY


@given(st.sets(days, max_size=60), st.integers(1, 16))
def test_ranges_of_days_hold_every_day_and_are_few(present: set[date], most: int) -> None:
    ranges = ranges_of_days(present, most)
    assert len(ranges) <= most
    assert all(any(contains(each, of_day(day)) for each in ranges) for day in present)
    assert all(one.end < other.start for one, other in pairwise(ranges))
    assert {each.start.date() for each in ranges} <= present


def test_ranges_of_days_leave_out_what_lies_between() -> None:
    some = [date(2020, 5, 1), date(2026, 11, 27), date(2026, 11, 26)]
    assert ranges_of_days(some, 16) == [
        between("2020-05-01", "2020-05-02"),
        between("2026-11-26", "2026-11-28"),
    ]
    assert ranges_of_days([], 16) == []
