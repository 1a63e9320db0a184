"""Reports of settlements by interval: which intervals there are, what they add up to, which a report has."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.transforms.events.interval_energies import Energies, energies
from jobs.transforms.events.report_intervals import ReportInterval, ReportPlan, cells_of, intervals_of
from jobs.transforms.events.settlement_reports import (
    Measured,
    Method,
    Requested,
    report_bodies,
    requested_reports,
    rounded_sums,
)
from jobs.transforms.events.usage import counted_hours
from schemas.baseline_model.days import part_within
from schemas.openadr import EventRequest, ReportDescriptor
from schemas.times.time_ranges import TimeRange

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
NO_TIME: dict[str, pl.DataType | type[pl.DataType]] = {
    "ven_id": pl.String,
    "start": pl.Datetime("us", "UTC"),
    "end": pl.Datetime("us", "UTC"),
}


def described(fields: dict[str, Any]) -> ReportDescriptor:
    return msgspec.convert({"payloadType": "BASELINE", **fields}, ReportDescriptor)


def event(*intervals: tuple[int, float, float], **fields: Any) -> EventRequest:
    """With intervals of an id, a start and a length in minutes after noon."""
    body = [
        {
            "id": id_,
            "intervalPeriod": {
                "start": (NOON + start * MINUTE).isoformat(),
                "duration": f"PT{60 * length:g}S",
            },
            "payloads": [],
        }
        for id_, start, length in intervals
    ]
    return msgspec.convert({"programID": "p", "intervals": body, **fields}, EventRequest)


def window(start: float, end: float) -> TimeRange:
    return TimeRange(NOON + start * MINUTE, NOON + end * MINUTE)


def minutes(intervals: Sequence[ReportInterval]) -> list[tuple[int, int, float, float]]:
    return [
        (each.number, each.id, (each.time.start - NOON) / MINUTE, (each.time.end - NOON) / MINUTE)
        for each in intervals
    ]


# Which intervals there are


def test_they_are_those_of_the_event() -> None:
    asked = event((7, 0, 20), (8, 20, 40))
    assert minutes(intervals_of("INTERVALS", asked, NOON, window(0, 60))) == [(0, 7, 0, 20), (1, 8, 20, 60)]


def test_gaps_have_an_id_of_their_own() -> None:
    asked = event((0, 0, 10), (3, 20, 10))
    found = intervals_of("INTERVALS", asked, NOON, window(0, 45))
    assert minutes(found) == [(0, 0, 0, 10), (0, 4, 10, 20), (1, 3, 20, 30), (1, 4, 30, 45)]


def test_an_event_that_was_stopped_has_those_that_began() -> None:
    asked = event((0, 0, 20), (1, 20, 20), (2, 40, 20))
    assert minutes(intervals_of("INTERVALS", asked, NOON, window(0, 25))) == [(0, 0, 0, 20), (1, 1, 20, 25)]


def test_repeated_intervals_have_the_same_ids() -> None:
    asked = event((0, 0, 10), (1, 10, 5), duration="PT40M")
    found = intervals_of("INTERVALS", asked, NOON, window(0, 40))
    assert [(id_, end - start) for _, id_, start, end in minutes(found)] == [
        *((0, 10), (1, 5), (0, 10), (1, 5), (0, 10)),
    ]


def test_sub_intervals_are_slots_with_the_id_of_their_interval() -> None:
    asked = event((0, 0, 7), (1, 7, 5))
    found = intervals_of("SUB_INTERVALS", asked, NOON, window(0, 12))
    assert minutes(found) == [(0, 0, 0, 5), (0, 0, 5, 7), (1, 1, 7, 10), (1, 1, 10, 12)]


def test_open_intervals_are_slots_whatever_the_event_has() -> None:
    found = intervals_of("OPEN_INTERVALS", event((9, 0, 12)), NOON, window(2, 12))
    assert minutes(found) == [(0, 0, 2, 5), (1, 1, 5, 10), (2, 2, 10, 12)]


def test_an_event_without_intervals_has_one() -> None:
    assert minutes(intervals_of("INTERVALS", event(), NOON, window(0, 9))) == [(0, 0, 0, 9)]


LENGTHS = st.lists(st.tuples(st.integers(0, 90), st.integers(1, 40)), max_size=6)


@given(LENGTHS, st.sampled_from([None, "P1D"]), st.integers(0, 60), st.integers(1, 90))
def test_they_follow_one_another_through_the_measured_time(
    parts: list[tuple[int, int]], duration: str | None, start: int, length: int
) -> None:
    """Also where intervals overlap, or lie outside; and all layouts are made of the same cells."""
    asked = event(*((id_, *each) for id_, each in enumerate(parts)), duration=duration)
    whole = window(start, start + length)
    layouts = [
        intervals_of(layout, asked, NOON, whole)
        for layout in ("INTERVALS", "SUB_INTERVALS", "OPEN_INTERVALS")
    ]
    cells = cells_of(layouts)
    for times in (cells, *([each.time for each in layout] for layout in layouts)):
        assert (times[0].start, times[-1].end) == (whole.start, whole.end)
        assert all(first.end == second.start for first, second in pairwise(times))
        assert {each.start for each in times} <= {each.start for each in cells}


# Which a report has


@pytest.mark.parametrize(
    ("descriptor", "intervals", "reports"),
    [
        ({}, 4, [[0, 1, 2, 3]]),
        ({"historical": False}, 4, [[0, 1, 2, 3]]),
        ({"startInterval": 1, "numIntervals": 3}, 5, [[1, 2, 3]]),
        ({"startInterval": 5}, 10, [[5, 6, 7, 8, 9]]),
        ({"numIntervals": 3}, 10, [[7, 8, 9]]),
        (
            {"startInterval": 1, "numIntervals": 2, "frequency": 2, "repeat": 3},
            6,
            [[0, 1], [2, 3], [4, 5]],
        ),
        (
            {"startInterval": 0, "numIntervals": 3, "frequency": 1, "repeat": 3, "historical": False},
            5,
            [[0, 1, 2], [1, 2, 3], [2, 3, 4]],
        ),
        ({"startInterval": 1, "numIntervals": 2, "repeat": -1}, 5, [[0, 1], [2, 3]]),
        ({"startInterval": 2, "numIntervals": 2, "frequency": 0, "repeat": -1}, 5, [[1, 2]]),
        ({"startInterval": 9}, 4, []),
        ({"repeat": 0}, 2, [[0, 1]]),
    ],
)
def test_descriptors_choose_intervals(
    descriptor: dict[str, Any], intervals: int, reports: list[list[int]]
) -> None:
    """As the examples of the specification's guide do."""
    assert [list(each) for each in ReportPlan.of(described(descriptor)).selections(intervals)] == reports


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "startInterval": st.integers(-1, 12),
            "numIntervals": st.integers(-1, 12),
            "frequency": st.integers(-2, 12),
            "repeat": st.integers(-1, 12),
            "historical": st.booleans(),
        },
    ),
    st.integers(1, 10),
)
def test_no_report_is_empty_or_reaches_beyond(descriptor: dict[str, Any], intervals: int) -> None:
    for each in ReportPlan.of(described(descriptor)).selections(intervals):
        assert 0 <= each.start < each.stop <= intervals


def test_descriptors_with_the_same_plan_share_a_report() -> None:
    requested = requested_reports(
        [
            ReportDescriptor(payload_type="DATA_QUALITY"),
            ReportDescriptor(payload_type="BASELINE", units="KW"),
            ReportDescriptor(payload_type="USAGE", report_intervals="SUB_INTERVALS"),
            ReportDescriptor(payload_type="DEMAND"),
        ]
    )
    assert [(each.plan.layout, each.units) for each in requested] == [
        ("INTERVALS", {"BASELINE": "KW", "DATA_QUALITY": ""}),
        ("SUB_INTERVALS", {"USAGE": "KWH"}),
    ]
    assert requested_reports([ReportDescriptor(payload_type="USAGE")]) == []


# What they add up to


@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=50))
def test_rounded_intervals_add_up_to_the_rounded_whole(values: list[float]) -> None:
    rounded = rounded_sums(np.array(values))
    assert np.round(rounded.sum(), 3) == pytest.approx(np.round(np.sum(values), 3), abs=0.0011)
    assert np.abs(rounded - values).max() <= 0.0011
    assert sum(round(each * 1000) for each in rounded) == round(
        float(np.round(np.cumsum(values)[-1], 3)) * 1000
    )


@given(
    st.integers(0, 7),
    st.integers(1, 40),
    st.lists(st.integers(0, 39), max_size=8),
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 20)), max_size=2),
    st.integers(0, 2**32 - 1),
)
def test_energies_of_intervals_are_those_of_the_settlement(
    start: int, length: int, cuts: list[int], gone: list[tuple[int, int]], seed: int
) -> None:
    """Whatever is missing, wherever slots are cut, and whenever a VEN counts in another event."""
    whole = window(start, start + length)
    borders = sorted({0, length, *(each for each in cuts if each < length)})
    cells = [window(start + first, start + end) for first, end in pairwise(borders)]
    away_rows = [
        ("b", NOON + (start + 100 * n + at) * MINUTE, NOON + (start + 100 * n + at + span) * MINUTE)
        for n, (at, span) in enumerate(gone)
    ]
    away = pl.DataFrame(away_rows, NO_TIME, orient="row")
    slots = len(part_within([whole]).slots)
    random = np.random.default_rng(seed)
    used, baseline = (
        np.where(random.random((2, slots)) < 0.2, np.nan, random.normal(size=(2, slots))) for _ in range(2)
    )
    hours = counted_hours(["a", "b"], away, whole)
    both = ~np.isnan(used) & ~np.isnan(baseline)
    parts = energies(used, baseline, away, ["a", "b"], cells)
    for kw, kwh in (
        (baseline, parts.baseline_kwh),
        (used, parts.used_kwh),
        (np.ones_like(used), parts.covered_h),
    ):
        assert kwh.shape == (2, len(cells))
        expected = (np.where(both, kw, 0.0) * hours).sum(axis=1)
        np.testing.assert_allclose(kwh.sum(axis=1), expected, atol=1e-9)


def test_a_cut_slot_counts_by_the_time_in_each_interval() -> None:
    used, baseline = np.array([[3.0, 6.0]]), np.array([[6.0, 6.0]])
    parts = energies(used, baseline, pl.DataFrame(schema=NO_TIME), ["a"], [window(0, 2), window(2, 10)])
    assert parts.used_kwh[0].tolist() == pytest.approx([3 * 2 / 60, 3 * 3 / 60 + 6 * 5 / 60])
    assert parts.covered_h[0].tolist() == pytest.approx([2 / 60, 8 / 60])


def test_time_in_another_event_counts_in_no_interval() -> None:
    away = pl.DataFrame([("a", NOON + 4 * MINUTE, NOON + 9 * MINUTE)], NO_TIME, orient="row")
    kw = np.array([[6.0, 6.0]])
    parts = energies(kw, kw, away, ["a"], [window(0, 6), window(6, 10)])
    assert parts.covered_h[0].tolist() == pytest.approx([4 / 60, 1 / 60])
    assert parts.used_kwh[0].tolist() == pytest.approx([6 * 4 / 60, 6 * 1 / 60])


# What they say


def values(measured: Measured, **units: str) -> list[dict[str, Any]]:
    intervals = intervals_of("INTERVALS", event((0, 0, 30), (1, 30, 30), (2, 60, 30)), NOON, window(0, 90))
    requested = Requested(ReportPlan(), units)
    [body] = report_bodies("o", requested, Method("10-of-10", 1, 80.0), intervals, measured)
    resources: Any = body["resources"]
    [resource] = resources
    return [
        {each["type"]: each["values"][0] for each in interval["payloads"]}
        for interval in resource["intervals"]
    ]


ALL_KINDS = {"BASELINE": "KWH", "USAGE": "KWH", "DELTA_USAGE": "KWH", "DATA_QUALITY": ""}
MEASURED = Energies(np.array([1.0, 2.0, 0.0]), np.array([0.5, 2.5, 0.0]), np.array([0.5, 0.2, 0.0]))


def test_what_is_unknown_of_an_interval_is_left_out() -> None:
    assert values(Measured("a", MEASURED, is_noted=False), **ALL_KINDS) == [
        {"BASELINE": 1.0, "USAGE": 0.5, "DELTA_USAGE": -0.5, "DATA_QUALITY": "OK"},
        {"BASELINE": 2.0, "USAGE": 2.5, "DELTA_USAGE": 0.5, "DATA_QUALITY": "ESTIMATED"},
        {"DATA_QUALITY": "MISSING"},
    ]


def test_a_note_makes_all_of_it_an_estimate() -> None:
    assert values(Measured("a", MEASURED, is_noted=True), DATA_QUALITY="")[0] == {"DATA_QUALITY": "ESTIMATED"}


def test_powers_are_means_of_the_interval() -> None:
    assert values(Measured("a", MEASURED, is_noted=False), USAGE="KW")[:2] == [{"USAGE": 1.0}, {"USAGE": 5.0}]


def test_nobody_has_delivered_nothing() -> None:
    nothing = Energies(*np.zeros((3, 3)))
    measured = Measured("all", nothing, is_noted=True, is_nobody=True)
    assert values(measured, **ALL_KINDS) == [{"DELTA_USAGE": 0.0, "DATA_QUALITY": "ESTIMATED"}] * 3
