"""Prediction intervals of deliveries: the error of a baseline, by a bootstrap over similar days. Pure.

A baseline predicts up to ten similar days without an event, each from the others; its errors there (used less
predicted, the mean over the event's hours, kW) estimate its error in the event. A draw is one of these days'
errors, scaled by sqrt(n / (n - 1)) as the days' own mean is closer to them than to the event's day, less the
deviation of the mean of as many days, drawn with replacement. The interval leaves out the same fraction of
draws on both sides: the residual bootstrap of a prediction (Efron and Tibshirani, An Introduction to the
Bootstrap, chapters 9 and 25).

All VENs have the same draws, and the portfolio's errors are the sums over VENs of each day, as errors of VENs
are correlated, for example on hot days. A bias shifts the interval: that of a baseline that always predicts
too much may not contain the delivery that it computes.
"""

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.baseline_model.days import EVENT
from schemas.baseline_model.prediction import TARGETS, Prediction
from schemas.demand_response.baselines import BaselineName
from schemas.tables.events import INTERVAL_PERCENT

DRAWS = 200
SEED = 51
FEWEST_DAYS = 5
"""Fewest days without an event for an interval."""

LEAST_WEIGHT = 0.5
"""Fraction of the portfolio that must have an error on a day for the day to count."""

ENDS = ("delivered_low_kw", "delivered_high_kw")
Array = NDArray[np.float64]


def day_errors(prediction: Prediction, name: BaselineName) -> Array:
    """Return a baseline's errors on days without an event, by VEN and day, kW; NaN without a prediction."""
    baseline, hours = prediction.baselines[name], prediction.days.parts[EVENT].hours
    error = prediction.used[:, 1:] - baseline.kw[:, 1:]
    is_there = ~np.isnan(error) & baseline.targets[:, :, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(is_there, error, 0.0) @ hours / (is_there @ hours)


def error_interval(errors: Array) -> tuple[Array, Array]:
    """Return the interval of one more day's error for each row.

    Args:
        errors: by row and day; NaN where missing.

    Returns:
        The lower and the upper end; NaN for rows of less than `FEWEST_DAYS` errors.
    """
    low, high = np.full((2, len(errors)), np.nan)
    counts = (~np.isnan(errors)).sum(axis=1)
    for count in np.unique(counts[counts >= FEWEST_DAYS]):
        rows = counts == count
        some = errors[rows]
        days = some[~np.isnan(some)].reshape(-1, count)
        low[rows], high[rows] = _drawn(days)
    return low, high


def _drawn(days: Array) -> tuple[Array, Array]:
    mean = days.mean(axis=1)
    # Not by `@`: for such small arrays, threads of a BLAS library cost more than they gain.
    draws = np.einsum("vd,db->vb", days - mean[:, None], _weights(days.shape[1]))
    outside = round(DRAWS * (100 - INTERVAL_PERCENT) / 200)
    first, last = outside, DRAWS - 1 - outside
    draws.sort(axis=1)  # NumPy sorts with vector instructions, but does not partition with them
    return mean + draws[:, first], mean + draws[:, last]


@lru_cache(maxsize=TARGETS + 1)
def _weights(days: int) -> Array:
    """Return the weight of each day in each draw; the same number of days always gives the same draws."""
    random = np.random.default_rng(SEED)
    resampled = random.integers(0, days, (DRAWS, days))
    means = (resampled[:, :, None] == np.arange(days)).mean(axis=1)
    one = np.arange(DRAWS)[:, None] % days == np.arange(days)  # each day equally often
    return np.ascontiguousarray((one * np.sqrt(days / (days - 1)) - means).T)


def portfolio_misses(prediction: Prediction, shares: dict[BaselineName, Array], sign: float) -> pl.DataFrame:
    """Return the errors of VENs by day, which may be summed further.

    Args:
        prediction: of the VENs.
        shares: by baseline and VEN, the fraction of the event that counts: 0 for a VEN that does not count.
        sign: of baseline less usage, so that a delivery is positive.

    Returns:
        `baseline`, `target` (days before the event), `error_kw`, and `weight`: the shares of VENs with an
        error.
    """
    return pl.concat([_misses(name, prediction, share, sign) for name, share in shares.items()])


def _misses(name: BaselineName, prediction: Prediction, share: Array, sign: float) -> pl.DataFrame:
    errors = day_errors(prediction, name)
    weight = share @ ~np.isnan(errors)
    return pl.DataFrame(
        {
            "baseline": pl.Series([name] * len(weight), dtype=pl.String),
            "target": np.array(prediction.days.backs[1:], dtype=np.int64),
            "error_kw": sign * (share @ np.nan_to_num(errors)),
            "weight": weight,
        }
    ).filter(pl.col("weight") > 0)


def with_portfolio_interval(
    figures: pl.DataFrame, sums: Iterable[pl.DataFrame], misses: pl.DataFrame
) -> pl.DataFrame:
    """Add the `ENDS` of the interval to the portfolio's rows.

    A VEN without an error on a day counts with the mean error of the others, by its share of the event.

    Args:
        figures: as `settle_portfolio` returns them.
        sums: as `portfolio_sums` returns them, of all participants.
        misses: as `portfolio_misses` returns them, of all participants.
    """
    covered = pl.concat(sums).group_by("baseline").agg(whole=pl.col("coverage_percent").sum() / 100)
    days = (
        misses.group_by("baseline", "target")
        .agg(pl.col("error_kw", "weight").sum())
        .join(covered, on="baseline")
        .filter(pl.col("weight") >= LEAST_WEIGHT * pl.col("whole"))
        .with_columns(error_kw=pl.col("error_kw") * pl.col("whole") / pl.col("weight"))
        .sort("baseline", "target")
        .group_by("baseline", maintain_order=True)
        .agg(pl.col("error_kw").head(TARGETS))
    )
    ends = [(name, *_ends(errors)) for name, errors in days.iter_rows()]
    low, high = (pl.col("delivered_kw") + pl.col(name) for name in ("low", "high"))
    frame = pl.DataFrame(ends, {"baseline": pl.String, "low": pl.Float64, "high": pl.Float64}, orient="row")
    return (
        figures.join(frame, on="baseline", how="left", maintain_order="left")
        .with_columns(low.alias(ENDS[0]), high.alias(ENDS[1]))
        .drop("low", "high")
    )


def _ends(errors: list[float]) -> tuple[float | None, float | None]:
    if len(errors) < FEWEST_DAYS:
        return None, None
    [low], [high] = error_interval(np.array([errors]))
    return float(low), float(high)
