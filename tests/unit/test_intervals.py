"""Intervals of deliveries: deterministic, as wide as the days differ, and for a portfolio by whole days."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.transforms.events.intervals import (
    DRAWS,
    FEWEST_DAYS,
    SEED,
    error_interval,
    portfolio_misses,
    with_portfolio_interval,
)
from jobs.transforms.events.performance import covered_shares, directed, settle_vens
from jobs.transforms.events.usage import counted_hours, event_usage
from schemas.baseline_model.days import Calendar, Occasion
from schemas.baseline_model.prediction import Prediction, predict
from schemas.baseline_model.usage import usage_of
from schemas.demand_response.baselines import PRIMARY
from tests.unit.test_baselines import (
    CAP,
    DAY,
    FOUR,
    HOUR,
    NO_SAMPLES,
    NOTHING_TAKEN,
    History,
    frame,
    one,
    participants,
    steady,
)

EVENT = Occasion(FOUR, FOUR + HOUR, FOUR)
NAME = "10-of-10"


def loop_interval(days: list[float]) -> tuple[float, float]:
    """The bootstrap in words: one day, scaled, less what the mean of as many drawn days is off."""
    random, count = np.random.default_rng(SEED), len(days)
    resampled = random.integers(0, count, (DRAWS, count)).tolist()
    mean = sum(days) / count
    draws = sorted(
        (days[draw % count] - mean) * (count / (count - 1)) ** 0.5
        - sum(days[day] - mean for day in some) / count
        for draw, some in enumerate(resampled)
    )
    return mean + draws[10], mean + draws[189]


@given(st.lists(st.lists(st.floats(-20, 20), min_size=5, max_size=10), min_size=1, max_size=4))
def test_the_interval_is_that_of_a_loop(rows: list[list[float]]) -> None:
    """Of each row from its own days, whichever days the others have."""
    errors = np.full((len(rows), 12), np.nan)
    for number, days in enumerate(rows):
        errors[number, 12 - len(days) :] = days
    low, high = error_interval(errors)
    assert list(zip(low, high, strict=True)) == [
        (pytest.approx(first, abs=1e-9), pytest.approx(last, abs=1e-9))
        for first, last in map(loop_interval, rows)
    ]


def test_too_few_days_have_no_interval() -> None:
    errors = np.full((2, 10), np.nan)
    errors[0, : FEWEST_DAYS - 1] = errors[1, :FEWEST_DAYS] = 1.0
    low, high = error_interval(errors)
    assert np.isnan([low[0], high[0]]).all()
    assert (low[1], high[1]) == (1.0, 1.0)


@pytest.mark.parametrize("count", [6, 8, 11])
def test_about_nine_of_ten_hold_what_the_mean_of_such_days_misses(count: int) -> None:
    """Days with normal errors, each predicted from the others: 30,000 times."""
    random = np.random.default_rng(3)
    days, one_more = random.normal(3, 2, (30_000, count)), random.normal(3, 2, 30_000)
    others = (days.sum(axis=1, keepdims=True) - days) / (count - 1)
    low, high = error_interval((days - others)[:, :10])
    miss = one_more - days[:, :10].mean(axis=1)
    assert 0.86 < np.mean((low <= miss) & (miss <= high)) < 0.92


def evenings(kw: list[float], today: float) -> History:
    """One home's power in the event's hour, on the latest weekdays, latest first."""
    days = [back for back in range(1, 40) if (FOUR - back * DAY).weekday() < 5]
    history = steady(today, FOUR, FOUR + HOUR)
    for back, used_kw in zip(days, kw, strict=False):
        history |= steady(used_kw, FOUR - back * DAY, FOUR - back * DAY + HOUR)
    return history


def settled(
    histories: dict[str, History], direction: str = "reduce", **opted_out: bool
) -> tuple[pl.DataFrame, pl.DataFrame, Prediction]:
    """VENs; and of the portfolio what its interval is made of."""
    prediction = predict(frame(histories), NOTHING_TAKEN, EVENT, Calendar(), CAP)
    usage = usage_of(frame(histories))
    used = event_usage(usage, NO_SAMPLES, EVENT.window, [])
    people = participants(**dict.fromkeys(histories, 1.0)).with_columns(
        requested_kwh=pl.lit(1.0),
        has_opted_out=pl.col("ven_id").is_in([name for name, is_out in opted_out.items() if is_out]),
    )
    hours = counted_hours(usage.ven_ids, NOTHING_TAKEN, EVENT.window)
    vens = directed(settle_vens(used, hours, prediction, people, EVENT.window), direction)
    sign = 1.0 if direction == "reduce" else -1.0
    misses = portfolio_misses(
        prediction, covered_shares(vens, prediction.ven_ids, prediction.baselines), sign
    )
    return vens, misses, prediction


def portfolio_of(vens: pl.DataFrame, misses: pl.DataFrame) -> dict[str, Any]:
    counted = vens.filter(~pl.col("has_opted_out")).group_by("baseline")
    sums = counted.agg(pl.col("coverage_percent", "delivered_kw").sum())
    figures = sums.select("baseline", "delivered_kw")
    return one(with_portfolio_interval(figures, [sums], misses), baseline=NAME)


KW = [3.0, 2.0, 4.0, 2.5, 3.5, 1.0, 5.0, 3.0, 2.0, 4.0, 3.0, 3.0]


def test_the_interval_is_of_the_days_that_the_baseline_predicts() -> None:
    """Each of the last ten from the ten others of the last eleven."""
    vens, *_ = settled({"a": evenings(KW, 1.0)})
    first = KW[:11]
    errors = [day - (sum(first) - day) / 10 for day in first[:10]]
    low, high = loop_interval(errors)
    row = one(vens, ven_id="a", baseline=NAME)
    assert row["delivered_kw"] == pytest.approx(sum(KW[:10]) / 10 - 1)
    assert row["delivered_low_kw"] == pytest.approx(row["delivered_kw"] + low)
    assert row["delivered_high_kw"] == pytest.approx(row["delivered_kw"] + high)


def test_it_is_mirrored_where_more_is_asked_for() -> None:
    less, less_misses, _ = settled({"a": evenings(KW, 1.0), "b": evenings(KW[::-1], 4.0)})
    more, more_misses, _ = settled({"a": evenings(KW, 1.0), "b": evenings(KW[::-1], 4.0)}, "increase")
    for row, other in (
        (one(less, ven_id="a", baseline=NAME), one(more, ven_id="a", baseline=NAME)),
        (portfolio_of(less, less_misses), portfolio_of(more, more_misses)),
    ):
        assert other["delivered_kw"] == pytest.approx(-row["delivered_kw"])
        width = row["delivered_high_kw"] - row["delivered_low_kw"]
        assert other["delivered_high_kw"] - other["delivered_low_kw"] == pytest.approx(width, rel=0.25)
        assert other["delivered_low_kw"] < other["delivered_kw"] < other["delivered_high_kw"]


def test_homes_that_are_wrong_on_the_same_days_do_not_make_up_for_one_another() -> None:
    """Twenty alike are twenty times as wrong as one; of two that mirror each other nothing is left."""
    alike = {f"a{number:02}": evenings(KW, 1.0) for number in range(20)}
    vens, misses, _ = settled(alike)
    row, single = portfolio_of(vens, misses), one(vens, ven_id="a00", baseline=NAME)
    for end in ("delivered_low_kw", "delivered_high_kw"):
        assert row[end] == pytest.approx(20 * single[end])
    mirrored = [6 - kw for kw in KW]
    vens, misses, _ = settled({"a": evenings(KW, 1.0), "b": evenings(mirrored, 1.0)})
    row = portfolio_of(vens, misses)
    assert row["delivered_low_kw"] == pytest.approx(row["delivered_kw"])
    assert row["delivered_high_kw"] == pytest.approx(row["delivered_kw"])


def test_who_opted_out_has_no_part_and_who_lacks_days_is_as_wrong_as_others() -> None:
    """The second home has no days at all: the hour before the event stands in."""
    single, *_ = settled({"a": evenings(KW, 1.0)})
    row = one(single, ven_id="a", baseline=NAME)
    wild = [50.0, 0.0] * 6
    vens, misses, _ = settled({"a": evenings(KW, 1.0), "out": evenings(wild, 1.0)}, out=True)
    assert portfolio_of(vens, misses)["delivered_low_kw"] == pytest.approx(row["delivered_low_kw"])
    new = steady(1.0, FOUR - HOUR, FOUR + HOUR)
    vens, misses, _ = settled({"a": evenings(KW, 1.0), "new": new})
    assert one(vens, ven_id="new", baseline=NAME)["delivered_low_kw"] is None
    low, high = (portfolio_of(vens, misses)[f"delivered_{end}_kw"] for end in ("low", "high"))
    errors = (row["delivered_low_kw"] - row["delivered_kw"], row["delivered_high_kw"] - row["delivered_kw"])
    assert (low, high) == tuple(pytest.approx(row["delivered_kw"] + 2 * error) for error in errors)


def test_half_the_time_has_half_the_error() -> None:
    """Samples end after half an hour: what is not covered delivers nothing, for certain."""
    history = evenings(KW, 1.0)
    whole, *_ = settled({"a": history})
    half, *_ = settled({"a": {at: kw for at, kw in history.items() if at < FOUR + HOUR / 2}})
    row, other = (one(vens, ven_id="a", baseline=NAME) for vens in (whole, half))
    assert other["coverage_percent"] == pytest.approx(50)
    for end in ("delivered_low_kw", "delivered_high_kw"):
        assert other[end] - other["delivered_kw"] == pytest.approx((row[end] - row["delivered_kw"]) / 2)


def test_nobody_has_no_interval() -> None:
    prediction = predict(frame({}), NOTHING_TAKEN, EVENT, Calendar(), CAP, names=[PRIMARY])
    misses = portfolio_misses(prediction, {PRIMARY: np.empty(0)}, 1.0)
    figures = pl.DataFrame({"baseline": [PRIMARY], "delivered_kw": [0.0]})
    sums = pl.DataFrame(schema={"baseline": pl.String, "coverage_percent": pl.Float64})
    assert with_portfolio_interval(figures, [sums], misses).row(0) == (PRIMARY, 0.0, None, None)
