"""Over 30 days of a simulated fleet the forecast is better than seasonal-naive ones, and its band holds.

    pytest tests/unit/test_forecast_score.py -s

prints the figures. The fleet has no weekends, so those have fewer similar days than they could.
"""

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import polars as pl
import pytest

from jobs.transforms.summaries.forecasts import LOOK_BACK_DAYS, QUANTILES, QUANTITIES, forecast
from local.fleet.homes.household import Household
from schemas.baseline_model.days import Calendar
from schemas.tables.forecasts import HALF_HOUR, TOTAL

pytestmark = pytest.mark.accuracy

SEEDS = (7, 23)
HOMES, STEP_S = 30, 900
BEGIN = datetime(2026, 5, 1, tzinfo=UTC)
DAY = timedelta(days=1)
LEARNED_DAYS, SCORED_DAYS, DAYS_AHEAD = 44, 30, 2
BETTER_BY = 0.15
COVERED = (0.75, 0.85)
ERROR_DAYS = 28
BAND_KW = 1e-6
"""A band that is no wider is certain, and does not count for how often bands hold."""

POWERS = [f"{quantity}_kw" for quantity in QUANTITIES]


@cache
def simulated(seed: int) -> pl.DataFrame:
    """Half hours of all loads of the fleet by type, from readings each quarter of an hour."""
    sums = defaultdict[tuple[str, int], list[float]](lambda: [0.0, 0.0])
    steps = range((LEARNED_DAYS + SCORED_DAYS + DAYS_AHEAD) * 86_400 // STEP_S)
    for home in (Household(seed, index) for index in range(1, HOMES + 1)):
        for step in steps:
            at = BEGIN.timestamp() + (step + 0.5) * STEP_S
            for load in home.read(at).loads:
                half_hour = sums[load.load.kind, step * STEP_S // 1_800]
                half_hour[0] += load.power_kw * STEP_S / 1_800
                half_hour[1] += load.capability_kw * STEP_S / 1_800
    rows = [(kind, BEGIN + number * HALF_HOUR, *values) for (kind, number), values in sums.items()]
    schema: dict[str, Any] = {
        "load_type": pl.String,
        "half_hour": pl.Datetime("us", "UTC"),
        **dict.fromkeys(POWERS, pl.Float64),
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def forecasts(history: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """One a day, each at another hour, from what was known by then."""
    loads = [pl.lit(HOMES, pl.Int64).alias(f"{quantity}_loads") for quantity in QUANTITIES]
    present = history.select("load_type").unique().sort("load_type").with_columns(loads)
    for number in range(SCORED_DAYS):
        origin = BEGIN + (LEARNED_DAYS + number) * DAY + number * 7 % 24 * 2 * HALF_HOUR
        oldest = origin - (LOOK_BACK_DAYS + 2) * DAY
        known = history.filter(pl.col("half_hour").is_between(oldest, origin, closed="left"))
        yield forecast(known.with_columns(loads), present, origin, Calendar())


def with_naive(made: pl.DataFrame, truth: pl.DataFrame) -> pl.DataFrame:
    """With what was used; the value of the last day that was known; and that with quantiles of its errors."""
    lag = pl.when(pl.col("half_hour") < pl.col("origin") + DAY).then(1).otherwise(2)
    scored = made.with_columns(lag=lag).join(truth, on=["load_type", "half_hour"])
    naive = pl.concat([naive_of(truth, days) for days in (1, 2)])
    return scored.join(naive, on=["load_type", "half_hour", "lag"])


def naive_of(truth: pl.DataFrame, lag: int) -> pl.DataFrame:
    by_time = truth.with_columns(at=pl.col("half_hour").dt.time()).sort("half_hour")
    series = ["load_type", "at"]
    before = {kw: pl.col(kw).shift(lag).over(series) for kw in POWERS}
    errors = by_time.with_columns(**{f"{kw}_error": pl.col(kw) - before[kw] for kw in POWERS})
    columns = {f"{kw}_naive": before[kw] for kw in POWERS}
    for kw in POWERS:
        for name, share in QUANTILES.items():
            known = pl.col(f"{kw}_error").shift(lag).over(series)
            usual = known.rolling_quantile(share, interpolation="linear", window_size=ERROR_DAYS).over(series)
            columns[f"{kw}_naive_{name}"] = before[kw] + usual
    dated = errors.with_columns(**columns).with_columns(lag=pl.lit(lag, pl.Int32))
    return dated.select("load_type", "half_hour", "lag", *columns)


def loss(actual: str, predicted: dict[str, str]) -> pl.Expr:
    """The mean pinball loss of three quantiles, kW."""
    errors = {share: pl.col(actual) - pl.col(predicted[name]) for name, share in QUANTILES.items()}
    parts = (pl.max_horizontal(share * error, (share - 1) * error).mean() for share, error in errors.items())
    return pl.sum_horizontal(parts) / len(QUANTILES)


def scores(scored: pl.DataFrame, quantity: str) -> pl.DataFrame:
    """By type: losses, and the share of half hours within P10 and P90, of those whose band has a width."""
    kw, low, high = f"{quantity}_kw", pl.col(f"{quantity}_p10_kw"), pl.col(f"{quantity}_p90_kw")
    inside = pl.col(kw).is_between(low, high).filter(high - low > BAND_KW)
    by_type = scored.group_by("load_type").agg(
        ours=loss(kw, {name: f"{quantity}_{name}_kw" for name in QUANTILES}),
        naive=loss(kw, dict.fromkeys(QUANTILES, f"{kw}_naive")),
        naive_band=loss(kw, {name: f"{kw}_naive_{name}" for name in QUANTILES}),
        coverage=inside.mean(),
    )
    return by_type.sort("load_type")


@pytest.mark.parametrize("seed", SEEDS)
def test_it_beats_seasonal_naive_and_its_band_holds(seed: int) -> None:
    history = simulated(seed)
    total = history.group_by("half_hour").agg(pl.col(POWERS).sum()).with_columns(load_type=pl.lit(TOTAL))
    truth = pl.concat([history, total.select(history.columns)])
    scored = with_naive(pl.concat(forecasts(history)), truth)
    assert scored.height == truth["load_type"].n_unique() * SCORED_DAYS * 96
    for quantity in QUANTITIES:
        by_type = scores(scored, quantity)
        types = by_type.filter(pl.col("load_type") != TOTAL)
        ours, naive, naive_band = types.select("ours", "naive", "naive_band").sum().row(0)
        coverage = types.select(pl.col("coverage").mean()).item()
        with pl.Config(tbl_rows=20, float_precision=3):
            print(
                f"\nseed {seed}, {quantity}: pinball loss, kW, and coverage; the total has no name", by_type
            )
        print(
            f"seed {seed}, {quantity}: loss {1 - ours / naive:.1%} lower than seasonal-naive,"
            f" {1 - ours / naive_band:.1%} lower than with quantiles of its errors;"
            f" P10 to P90 hold {coverage:.1%}"
        )
        assert ours <= (1 - BETTER_BY) * naive_band < naive
        assert COVERED[0] <= coverage <= COVERED[1]
        [(ours, naive_band, coverage)] = (
            by_type.filter(pl.col("load_type") == TOTAL).select("ours", "naive_band", "coverage").rows()
        )
        assert ours < naive_band
        assert COVERED[0] - 0.05 <= coverage <= COVERED[1] + 0.05
