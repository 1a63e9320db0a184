"""What counts in which event, what was asked over time, and whose rules baselines follow."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from analysis.baseline_accuracy import accuracy
from jobs.transforms.events.usage import counted_hours, elsewhere, requested_energy
from schemas.baseline_model.days import Calendar, Occasion
from schemas.baseline_model.prediction import predict
from schemas.baseline_model.usage import usage_of, without_events
from schemas.demand_response.baselines import (
    BASELINES,
    BY_TEMPERATURE,
    GENERIC,
    METHODS,
    PRIMARY,
    BaselineName,
)
from schemas.times.time_ranges import TimeRange
from tests.examples import costly
from tests.unit.test_baselines import (
    CAP,
    DAY,
    FOUR,
    HOUR,
    NOTHING_TAKEN,
    TAKEN,
    frame,
    month_of,
    one,
    participants,
    settled,
    steady,
    taken_frame,
)

MINUTE = timedelta(minutes=1)
EVENT = Occasion(FOUR, FOUR + HOUR, FOUR)
INSTANT = pl.Datetime("us", "UTC")
PART = pl.Schema({"ven_id": pl.String(), "told_at": INSTANT, "left_at": INSTANT})
OTHER = pl.Schema(
    {"ven_id": pl.String(), "start": INSTANT, "end": INSTANT, "told_at": INSTANT, "left_at": INSTANT}
)


def part(told_at: datetime, left_at: datetime | None = None) -> pl.DataFrame:
    return pl.DataFrame([{"ven_id": "a", "told_at": told_at, "left_at": left_at}], schema=PART)


def other(start: datetime, end: datetime, told_at: datetime, left_at: datetime | None = None) -> pl.DataFrame:
    row = {"ven_id": "a", "start": start, "end": end, "told_at": told_at, "left_at": left_at}
    return pl.DataFrame([row], schema=OTHER)


def test_time_in_two_events_counts_in_the_one_told_last() -> None:
    """From 16:20 on the second event has the VEN: what the first one keeps, the second lacks."""
    told, taken_at = FOUR - HOUR, FOUR + 20 * MINUTE
    second = TimeRange(FOUR + 10 * MINUTE, FOUR + 2 * HOUR)
    first_away = elsewhere(part(told, taken_at), other(second.start, second.end, taken_at), EVENT.window)
    assert first_away.rows() == [("a", taken_at, FOUR + HOUR)]
    second_away = elsewhere(part(taken_at), other(FOUR, FOUR + HOUR, told, taken_at), second)
    assert second_away.rows() == [("a", second.start, taken_at)]


def test_who_left_for_an_event_that_came_later_counts_nowhere_in_between() -> None:
    left = FOUR + 20 * MINUTE
    later = other(FOUR + 30 * MINUTE, FOUR + 2 * HOUR, left)
    assert elsewhere(part(FOUR - HOUR, left), later, EVENT.window).rows() == [("a", left, FOUR + HOUR)]


SLOT = timedelta(minutes=5)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("left_at", "slots"),
    [
        (FOUR, []),
        (FOUR + SLOT - SECOND, [299]),
        (FOUR + SLOT, [300]),
        (FOUR + SLOT + SECOND, [300, 1]),
        (FOUR + 11 * SLOT, [300] * 11),
        (FOUR + HOUR, [300] * 12),
        (FOUR + HOUR + SECOND, [300] * 12),
    ],
)
def test_a_slot_counts_until_its_ven_leaves(left_at: datetime, slots: list[int]) -> None:
    """Seconds of each slot: a VEN that leaves exactly at its end has all of it, and none of the next."""
    away = elsewhere(part(FOUR - HOUR, left_at), OTHER.to_frame(), EVENT.window)
    [counted] = counted_hours(["a"], away, EVENT.window)
    assert counted * 3600 == pytest.approx(slots + [0] * (12 - len(slots)), abs=1e-6)


@pytest.mark.parametrize("ends_at", [FOUR - DAY, FOUR - DAY + SLOT])
def test_an_event_that_ends_with_a_slot_leaves_the_next_slot_to_the_baseline(ends_at: datetime) -> None:
    usage = usage_of(frame({"a": steady(2.0, FOUR - DAY - HOUR, FOUR - DAY + HOUR)}))
    [kept] = without_events(usage, taken_frame({"a": [TimeRange(FOUR - DAY - HOUR, ends_at)]})).kw
    first = int((ends_at - (FOUR - DAY - HOUR)) / SLOT)
    assert np.isnan(kept[:first]).all()
    assert kept[first:] == pytest.approx([2.0] * (24 - first))


def test_other_events_at_another_time_take_nothing_away() -> None:
    before = other(FOUR - 2 * HOUR, FOUR, FOUR - 3 * HOUR)
    assert elsewhere(part(FOUR - HOUR), before, EVENT.window).is_empty()


@given(
    st.lists(st.tuples(st.integers(-30, 90), st.integers(0, 5)), max_size=6, unique_by=lambda pair: pair[0])
)
def test_requested_energy_is_the_integral_of_the_shares(revisions: list[tuple[int, int]]) -> None:
    rows = [
        {"ven_id": "a", "at": FOUR + minutes * MINUTE, "requested_kw": float(kw)} for minutes, kw in revisions
    ]
    shares = pl.DataFrame(rows, schema={"ven_id": pl.String, "at": INSTANT, "requested_kw": pl.Float64})
    people = part(FOUR - HOUR).with_columns(
        requested_kw=pl.lit(2.0),
        opted_out_at=pl.lit(None, INSTANT),
        left_at=pl.lit(FOUR + 50 * MINUTE).cast(INSTANT),
    )
    [kwh] = requested_energy(people, shares, EVENT.window).get_column("requested_kwh")
    expected = 0.0
    for minute in range(50):
        known = sorted((at, kw) for at, kw in revisions if at <= minute)
        expected += (known[-1][1] if known else 0.0 if revisions else 2.0) / 60
    assert kwh == pytest.approx(expected)


def test_the_power_of_a_portfolio_is_its_energy_over_the_hours_of_the_event() -> None:
    """4.5 kW were settled, the sum of means over different times: 3.542 kWh in 1.479 h are 2.395 kW.

    One home uses 2.5 kW less, and is taken over by another event after 14 minutes; the other one 2 kW.
    """
    occasion = Occasion(FOUR, FOUR + 1.479 * HOUR, FOUR)
    left_at = FOUR + 0.2336 * HOUR
    histories = {
        name: month_of(3.0) | steady(kw, FOUR, occasion.end) for name, kw in (("a", 0.5), ("b", 1.0))
    }
    away = taken_frame({"a": [TimeRange(left_at, occasion.end)]})
    vens, portfolio = settled(histories, occasion, participants(a=2.5, b=2.0), away=away)
    for name in GENERIC:
        whole = one(portfolio, baseline=name)
        assert whole["delivered_kwh"] == pytest.approx(3.542)
        assert whole["delivered_kw"] == pytest.approx(2.395, abs=5e-4)
        assert whole["performance_percent"] == pytest.approx(100 * 2.395 / 4.5, abs=0.02)
        assert whole["coverage_percent"] == pytest.approx((100 + 100 * 0.2336 / 1.479) / 2)
        parts = vens.filter(baseline=name).get_column("delivered_kw").to_list()
        assert parts == pytest.approx([2.5 * 0.2336 / 1.479, 2.0])
        assert one(vens, ven_id="a", baseline=name)["note"].endswith(
            "only 16 % of the event's time is covered"
        )


def test_one_that_goes_and_is_told_again_was_asked_for_both() -> None:
    """4 kW for a quarter of an hour, nothing for half of one, 2 kW for the rest."""
    rows = [("a", FOUR - MINUTE, 4.0), ("a", FOUR + 15 * MINUTE, 0.0), ("a", FOUR + 45 * MINUTE, 2.0)]
    shares = pl.DataFrame(
        rows, schema={"ven_id": pl.String, "at": INSTANT, "requested_kw": pl.Float64}, orient="row"
    )
    people = part(FOUR - HOUR).with_columns(requested_kw=pl.lit(2.0), opted_out_at=pl.lit(None, INSTANT))
    assert requested_energy(people, shares, EVENT.window).item(0, "requested_kwh") == pytest.approx(1.5)


HOMES = st.tuples(st.sampled_from([0.0, 0.4, 1.0]), st.floats(-3, 4), st.floats(-3, 4))
"""For which share of the event a home is away; its usual power, and that in the event, kW."""


@costly(4)
@given(st.lists(HOMES, min_size=1, max_size=4), st.sampled_from([7, 30, 61, 240]))
def test_kw_times_hours_is_kwh_and_parts_sum_to_the_whole(
    homes: list[tuple[float, float, float]], minutes: int
) -> None:
    """VENs are away for some of the event, each for another part of it: 4.5 kW were settled of 2.4."""
    occasion = Occasion(FOUR, FOUR + minutes * MINUTE, FOUR)
    by_name = {f"ven-{number}": home for number, home in enumerate(homes)}
    histories = {
        name: month_of(usual_kw) | steady(used_kw, FOUR, occasion.end)
        for name, (_, usual_kw, used_kw) in by_name.items()
    }
    away = pl.DataFrame(
        [
            {"ven_id": name, "start": FOUR, "end": FOUR + gap * minutes * MINUTE}
            for name, (gap, *_) in by_name.items()
        ],
        schema=TAKEN,
    )
    vens, portfolio = settled(histories, occasion, participants(**dict.fromkeys(by_name, 1.0)), away=away)
    hours = minutes / 60
    for row in [*vens.to_dicts(), *portfolio.to_dicts()]:
        if row["delivered_kw"] is not None:
            assert row["delivered_kw"] * hours == pytest.approx(row["delivered_kwh"], abs=1e-9)
            assert row["baseline_kw"] - row["actual_kw"] == pytest.approx(row["delivered_kw"], abs=1e-9)
        assert row["requested_kw"] * hours == pytest.approx(row["requested_kwh"])
    for name in GENERIC:
        parts, whole = vens.filter(baseline=name), one(portfolio, baseline=name)
        for figure in ("delivered_kwh", "delivered_kw", "baseline_kw", "actual_kw"):
            known = parts.get_column(figure).drop_nulls()
            assert whole[figure] == (pytest.approx(known.sum(), abs=1e-9) if known.len() else None)
        assert whole["coverage_percent"] == pytest.approx(parts.get_column("coverage_percent").mean())


BY_DAYS = [name for name in METHODS if METHODS[name].weekday is not None and name not in BY_TEMPERATURE]


def credited_kwh(history: dict[datetime, float], names: list[BaselineName]) -> dict[BaselineName, float]:
    """What baselines give a home for doing as always, kWh."""
    said = predict(frame({"a": history}), NOTHING_TAKEN, EVENT, Calendar(), CAP, names=names)
    used = [history[FOUR + number * 5 * MINUTE] for number in range(12)]
    return {name: float((said.event_kw(name)[0] - used).sum()) / 12 for name in names}


@costly(4)
@given(st.floats(-4, 4), st.floats(-4, 4), st.floats(-9, 9))
@example(2e-323, 1e-323, 9.0)
def test_no_baseline_gives_more_than_its_cap_where_nothing_was_done(
    event_kw: float, usual_kw: float, today_kw: float
) -> None:
    """The event's hours are as always; what happens beside it is worth the cap of its load at most."""
    history = month_of(usual_kw)
    for back in range(30):
        history |= steady(event_kw, FOUR - back * DAY, FOUR - back * DAY + HOUR)
    history |= steady(today_kw, FOUR - 4 * HOUR, FOUR - HOUR)
    history |= steady(today_kw, FOUR + 3 * HOUR, FOUR + 5 * HOUR)
    capped = [name for name in BY_DAYS if METHODS[name].adjustment.is_capped]
    assert capped == [name for name in BY_DAYS if name != "pjm-4-of-5"]
    for name, kwh in credited_kwh(history, capped).items():
        adjustment = METHODS[name].adjustment
        cap = 0.0 if adjustment.kind == "none" else CAP if adjustment.cap is None else adjustment.cap
        assert abs(kwh) <= cap * abs(event_kw) + 1e-9, name


@costly(4)
@given(st.lists(st.floats(-5, 5), min_size=24, max_size=24))
def test_no_baseline_gives_anything_where_days_are_alike(hours_kw: list[float]) -> None:
    """Whatever the day is like: with PV at noon, a battery in the evening, a car at night."""
    since = FOUR - 30 * DAY
    history = {
        since + number * 5 * MINUTE: hours_kw[(since + number * 5 * MINUTE).hour]
        for number in range(12 * (30 * 24 + 8))
    }
    for name, kwh in credited_kwh(history, BY_DAYS).items():
        assert kwh == pytest.approx(0, abs=1e-9), name


# Whose rules


def kw_by(name: BaselineName, history: dict[datetime, float], calendar: Calendar, start: datetime) -> float:
    occasion = Occasion(start, start + HOUR, start)
    said = predict(frame({"a": history}), NOTHING_TAKEN, occasion, calendar, CAP, names=[name])
    return float(said.event.select(pl.col("baseline_kw").mean()).item())


def evenings(start: datetime, usage_kw: dict[int, float], days: int = 30) -> dict[datetime, float]:
    """2 kW, and in the event's hour, so many days before, what is said."""
    history = steady(2.0, start - days * DAY, start + 5 * HOUR)
    for back, kw in usage_kw.items():
        history |= steady(kw, start - back * DAY, start - back * DAY + HOUR)
    return history


SATURDAY = FOUR + 3 * DAY


@pytest.mark.parametrize(
    ("name", "expected_kw"),
    [
        ("caiso-10-of-10", (1 + 2 + 3 + 4) / 4),  # the last four of Saturdays and Sundays
        ("aemo-10-of-10", (1 + 2 + 3 + 4) / 4),
        ("caiso-residential-5-of-10", (3 + 4 + 5) / 3),  # the highest three of the last five
        ("nyiso-5-of-10", (4 + 6) / 2),  # the highest two of the last three Saturdays
        ("pjm-4-of-5", (4 + 6) / 2),
    ],
)
def test_weekends_by_operator(name: BaselineName, expected_kw: float) -> None:
    """Sundays and Saturdays before a Saturday use 1, 2, 3, ... kW, the latest the least."""
    backs = [6, 7, 13, 14, 20, 21, 27, 28]
    history = evenings(SATURDAY, {back: float(kw) for kw, back in enumerate(backs, 1)})
    assert kw_by(name, history, Calendar(), SATURDAY) == pytest.approx(expected_kw)


def test_a_holiday_is_a_weekend_day_for_operators_and_never_one_for_the_site() -> None:
    history = evenings(SATURDAY, {3: 9.0, 6: 1.0, 7: 1.0, 13: 1.0, 14: 1.0})
    calendar = Calendar(holidays=frozenset({(SATURDAY - 3 * DAY).date()}))
    assert kw_by("caiso-10-of-10", history, calendar, SATURDAY) == pytest.approx((9 + 3) / 4)
    assert kw_by("10-of-10", history, calendar, SATURDAY) < 2.1


def test_days_of_low_usage_are_dropped() -> None:
    """Of five weekdays two use less than a quarter of the mean: two older ones take their place."""
    history = evenings(FOUR, {1: 0.1, 2: 4.0, 5: 4.0, 6: 0.2, 7: 4.0, 8: 3.0, 9: 3.0})
    assert kw_by("pjm-4-of-5", history, Calendar(), FOUR) == pytest.approx((4 + 4 + 4 + 3) / 4)


def test_the_window_and_the_cap_are_the_operators() -> None:
    """3 kW from 12:00 to 14:00 instead of 2, and 2 kW until 15:00; the event's hour has 2 kW."""
    history = evenings(FOUR, {}) | steady(3.0, FOUR - 4 * HOUR, FOUR - 2 * HOUR)
    by_name = {name: kw_by(name, history, Calendar(), FOUR) for name in METHODS}
    assert by_name["caiso-10-of-10"] == pytest.approx(2 * 1.2)  # 2.67 kW over 2 kW, capped
    assert by_name["nyiso-5-of-10"] == pytest.approx(2 * 1.2)
    assert by_name["pjm-4-of-5"] == pytest.approx(2 + 2 / 3)  # not capped
    assert by_name["aemo-10-of-10"] == pytest.approx(2 + 0.4)
    assert by_name["caiso-residential-5-of-10"] == pytest.approx(2 * 5 / 4)  # two hours before, two after


def test_every_baseline_says_whose_it_is() -> None:
    for method in METHODS.values():
        assert BASELINES[method.name] == method.meaning
        assert bool(method.operator) == bool(method.source)
        assert (method.look_back_days is None) == (method.name in GENERIC)


@pytest.mark.thorough
def test_homes_that_export_are_neither_charged_nor_credited_for_nothing() -> None:
    """A battery that feeds in every evening: by a factor of up to 1.2 that was worth up to 0.6 kW."""
    rows = accuracy(3, ["exporter", "v2g"]).filter(baseline="10-of-10-adjusted")
    assert all(used_kw < 0 for used_kw in rows.get_column("used_kw"))
    exporter = one(rows, kind="exporter")
    assert abs(exporter["bias_kw"]) < 0.02 * abs(exporter["used_kw"])
    assert exporter["rrmse_percent"] < 15


@pytest.mark.thorough
def test_the_default_gives_next_to_nothing_on_days_without_events_to_any_kind_of_home() -> None:
    """Single homes are not predictable; what they are given for nothing, on average, is."""
    rows = accuracy(2).filter(baseline=PRIMARY)
    assert set(rows.get_column("kind")) == {"plain", "ev", "pv", "battery", "exporter", "v2g"}
    assert rows.filter(pl.col("bias_kw").abs() > 0.1).is_empty(), rows
    others = accuracy(2, ["ev", "v2g"]).filter(baseline="high-5-of-10-adjusted")
    assert others.filter(pl.col("bias_kw") < 0.1).is_empty(), "else the bound would be too wide to tell"


@pytest.mark.parametrize("today_kw", [9.0, 1.0, 0.1, -0.1, -9.0])
def test_a_home_that_exports_3_kw_every_evening_has_delivered_nothing(today_kw: float) -> None:
    """Whatever it has used by day. Times 1.2 it was charged 0.6 kW, times 0.8 credited with it."""
    history = month_of(1.0)
    for back in range(30):
        history |= steady(-3.0, FOUR - back * DAY, FOUR - back * DAY + HOUR)
    history |= steady(today_kw, FOUR - 4 * HOUR, FOUR - HOUR)
    vens, portfolio = settled({"a": history}, EVENT, participants(a=1))
    for name in (name for name in GENERIC if "of-10" in name):
        for row in (one(vens, ven_id="a", baseline=name), one(portfolio, baseline=name)):
            assert row["baseline_kw"] == pytest.approx(-3)
            assert row["delivered_kw"] == row["delivered_kwh"] == pytest.approx(0, abs=1e-9)
            assert (row["adjustment"], row["coverage_percent"]) == ("none", 100)
    assert PRIMARY in GENERIC
    assert "of-10" in PRIMARY
