"""Computes what an event delivered: baseline minus usage, or the reverse if it requested more load.

Powers in kW, energies in kWh, shares in percent. A power is an energy over the hours of the event, for a VEN
and for the portfolio, so that powers add up over VENs and kW times hours is kWh. Delivered is positive where
a VEN did what was requested, negative where it did the opposite. Time without samples, or without a baseline,
delivers nothing; `coverage_percent` is the part of the event's time that has both. Time that a VEN spent in
another event counts there.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jobs.transforms.events.intervals import ENDS, day_errors, error_interval
from schemas.baseline_model.prediction import FALL_BACK, LAST_SAMPLES, STANDS_IN, Prediction
from schemas.baseline_model.usage import Array
from schemas.demand_response.baselines import BaselineName
from schemas.times.time_ranges import TimeRange

FIGURES = (
    "requested_kw",
    "requested_kwh",
    "baseline_kw",
    "actual_kw",
    "delivered_kw",
    "delivered_kwh",
    "performance_percent",
    "coverage_percent",
    "rrmse_percent",
    "days_used",
    "adjustment_kw",
)
WORDS = ("adjustment", "adjustment_reason", "note")

ROUNDING = 0.0005
"""Figures that differ by no more are equal in a response."""

SIGNS = {"reduce": 1.0, "increase": -1.0}
"""Sign of baseline less usage, by the direction of an event."""

NEGLIGIBLE_KW = 1e-6
"""Smallest mean to which an error is related."""

_CASE = ["ven_id", "baseline"]
_POWERS = ("baseline_kw", "actual_kw", "delivered_kw")
_KINDS = ("multiplicative", "additive", "none")


def settle_vens(
    used: Array,
    hours: Array,
    prediction: Prediction,
    participants: pl.DataFrame,
    window: TimeRange,
    least_coverage_percent: float = 0.0,
) -> pl.DataFrame:
    """Return each participant's performance, by each baseline.

    Args:
        used: as `event_usage` returns it, of the VENs of the prediction.
        hours: as `counted_hours` returns them.
        prediction: of the baselines.
        participants: `ven_id`, `requested_kwh`, `has_opted_out`.
        window: the event's.
        least_coverage_percent: figures that cover less have a note.

    Returns:
        `ven_id`, `baseline`, the `FIGURES`, the `ENDS`, the `WORDS`, `has_opted_out`, `is_stand_in`. Without
        a baseline, or without samples, the delivery is unknown: null.
    """
    event_h = _event_h(window)
    silent = np.where(np.isnan(used), 0.0, hours).sum(axis=1) == 0
    speaking = pl.DataFrame({"ven_id": prediction.ven_ids, "is_silent": silent}, _SILENT)
    names = pl.DataFrame({"baseline": list(prediction.baselines)})
    return (
        participants.select("ven_id", "requested_kwh", "has_opted_out")
        .join(names, how="cross")
        .join(_measured(used, hours, prediction, event_h), on=_CASE, how="left")
        .join(speaking, on="ven_id", how="left")
        .join(prediction.method, on=_CASE, how="left")
        .with_columns(
            pl.col("is_silent").fill_null(value=True),
            (pl.col("requested_kwh") / event_h).alias("requested_kw"),
            _percent("delivered_kwh", "requested_kwh").alias("performance_percent"),
            pl.col("coverage_percent").fill_null(0.0),
            pl.col("days_used").fill_null(0),
            is_stand_in=pl.col("note").str.contains(STANDS_IN, literal=True).fill_null(value=False),
        )
        .with_columns(note=_note(least_coverage_percent))
        .select(*_CASE, *FIGURES, *ENDS, *WORDS, "has_opted_out", "is_stand_in")
        .sort(_CASE)
    )


def directed(vens: pl.DataFrame, direction: str) -> pl.DataFrame:
    """Return what VENs delivered in an event's direction: less than the baseline, or more.

    Args:
        vens: as `settle_vens` returns them, by baseline less usage.
        direction: `reduce` or `increase`.
    """
    turned = ("delivered_kw", "delivered_kwh", "performance_percent")
    low, high = ENDS
    ends = [(-pl.col(high)).alias(low), (-pl.col(low)).alias(high)]
    return vens if SIGNS[direction] > 0 else vens.with_columns(-pl.col(*turned), *ends)


_SILENT = {"ven_id": pl.String, "is_silent": pl.Boolean}


def _event_h(window: TimeRange) -> float:
    return (window.end - window.start).total_seconds() / 3600


def _measured(used: Array, hours: Array, prediction: Prediction, event_h: float) -> pl.DataFrame:
    """Return energies over the hours of the event, their coverage, and the error of each baseline."""
    return pl.concat([_measured_by(name, used, hours, prediction, event_h) for name in prediction.baselines])


def _measured_by(
    name: BaselineName, used: Array, hours: Array, prediction: Prediction, event_h: float
) -> pl.DataFrame:
    baseline = prediction.event_kw(name)
    both = ~np.isnan(baseline) & ~np.isnan(used)
    covered_h = np.where(both, hours, 0.0)
    baseline_kwh, used_kwh = ((np.where(both, kw, 0.0) * covered_h).sum(axis=1) for kw in (baseline, used))
    total_h = covered_h.sum(axis=1)
    delivered_kw = (baseline_kwh - used_kwh) / event_h
    low_kw, high_kw = (
        np.where(prediction.has_own(name), end * total_h / event_h, np.nan)
        for end in error_interval(day_errors(prediction, name))
    )
    frame = pl.DataFrame(
        {
            "ven_id": pl.Series(prediction.ven_ids, dtype=pl.String),
            "baseline": pl.Series([name] * len(prediction.ven_ids), dtype=pl.String),
            "baseline_kw": baseline_kwh / event_h,
            "actual_kw": used_kwh / event_h,
            "delivered_kw": delivered_kw,
            "delivered_kwh": baseline_kwh - used_kwh,
            ENDS[0]: pl.Series(delivered_kw + low_kw, nan_to_null=True),
            ENDS[1]: pl.Series(delivered_kw + high_kw, nan_to_null=True),
            "coverage_percent": np.clip(100 * total_h / event_h, 0.0, 100.0),
            "rrmse_percent": pl.Series(ven_rrmse(*prediction.hourly[name]), nan_to_null=True),
        }
    )
    is_known = pl.Series(total_h > 0)
    return frame.with_columns(pl.when(is_known).then(pl.col(*_POWERS, "delivered_kwh", *ENDS)).name.keep())


def ven_rrmse(used: Array, predicted: Array) -> Array:
    """Return the relative root mean square error of each VEN by hours, in percent of their mean usage.

    NaN where that mean is not above `NEGLIGIBLE_KW`. PJM accepts a baseline with 20 % or less.
    """
    has_usage = ~np.isnan(used)
    count = has_usage.sum(axis=(1, 2))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        miss = np.sqrt(np.where(has_usage, (used - predicted) ** 2, 0.0).sum(axis=(1, 2)) / count)
        mean = np.where(has_usage, used, 0.0).sum(axis=(1, 2)) / count
        return np.where(mean > NEGLIGIBLE_KW, 100 * miss / mean, np.nan)


def portfolio_sums(vens: pl.DataFrame) -> pl.DataFrame:
    """Return the sums of VENs for the portfolio, by baseline, which may be summed further.

    VENs that opted out before the start are left out.
    """
    is_measured = pl.col("delivered_kw").is_not_null()
    sums = ("baseline_kw", "actual_kw", "delivered_kw", "delivered_kwh", "adjustment_kw")
    return (
        vens.filter(~pl.col("has_opted_out"))
        .group_by("baseline")
        .agg(
            pl.col(*sums).filter(is_measured).sum(),
            pl.col("coverage_percent").sum(),
            pl.col("days_used").filter(pl.col("days_used") > 0).min(),
            pl.len().alias("vens"),
            is_measured.sum().alias("known"),
            (is_measured & pl.col("is_stand_in")).sum().alias("stand_ins"),
            *((is_measured & pl.col("adjustment").eq_missing(kind)).sum().alias(kind) for kind in _KINDS),
        )
    )


def settle_portfolio(
    sums: Iterable[pl.DataFrame],
    errors: pl.DataFrame,
    requested_kw: float,
    window: TimeRange,
    names: Iterable[str],
    least_coverage_percent: float = 0.0,
) -> pl.DataFrame:
    """Return the performance of all participants together, by each baseline.

    Args:
        sums: as `portfolio_sums` returns them, of all participants.
        errors: `baseline`, `target`, `hour`, and the sums over VENs of `used_kw` and `predicted_kw`: errors
            of VENs partly cancel, so the portfolio's are smaller.
        requested_kw: the event's request; it may exceed what could be allocated.
        window: the event's.
        names: of the baselines.
        least_coverage_percent: figures that cover less have a note.

    Returns:
        `baseline`, the `FIGURES`, the `WORDS`. `days_used` is the least of the VENs to which the baseline
        itself applies. Without participants the delivery is zero.
    """
    every = pl.concat(sums).group_by("baseline").agg(pl.exclude("days_used").sum(), pl.col("days_used").min())
    nobody, event_h = pl.col("vens") == 0, _event_h(window)
    return (
        pl.DataFrame({"baseline": list(names)})
        .join(every, on="baseline", how="left")
        .join(rrmse(errors, ["baseline"]), on="baseline", how="left")
        .with_columns(
            pl.col("vens", "known", "stand_ins", *_KINDS, "coverage_percent", "days_used").fill_null(0)
        )
        .with_columns(
            pl.lit(requested_kw).alias("requested_kw"),
            pl.lit(requested_kw * event_h).alias("requested_kwh"),
            pl.when(pl.col("known") > 0).then(pl.col(*_POWERS, "delivered_kwh", "adjustment_kw")).name.keep(),
            pl.when(nobody)
            .then(0.0)
            .otherwise(pl.col("coverage_percent") / pl.col("vens"))
            .alias("coverage_percent"),
        )
        .with_columns(
            pl.when(nobody).then(0.0).otherwise(pl.col("delivered_kw", "delivered_kwh")).name.keep()
        )
        .with_columns(
            _percent("delivered_kwh", "requested_kwh").alias("performance_percent"),
            pl.when(nobody)
            .then(pl.lit("nobody took part"))
            .otherwise(_portfolio_note(least_coverage_percent))
            .alias("note"),
            *_portfolio_adjustment(),
        )
        .select("baseline", *FIGURES, *WORDS)
        .sort("baseline")
    )


def rrmse(errors: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Like `ven_rrmse`, by keys: `keys`, `used_kw`, `predicted_kw`; null where the mean is negligible."""
    miss = (pl.col("used_kw") - pl.col("predicted_kw")).pow(2).mean().sqrt()
    mean = pl.col("used_kw").mean()
    return errors.group_by(keys).agg(
        pl.when(mean > NEGLIGIBLE_KW).then(100 * miss / mean).alias("rrmse_percent")
    )


def portfolio_errors(prediction: Prediction, is_counted: NDArray[np.bool_]) -> pl.DataFrame:
    """Return sums over counted VENs, which may be summed further: `baseline`, `target`, `hour`, powers."""
    return pl.concat([_errors_of(name, prediction, is_counted) for name in prediction.baselines])


def _errors_of(name: BaselineName, prediction: Prediction, is_counted: NDArray[np.bool_]) -> pl.DataFrame:
    used, predicted = (values[is_counted] for values in prediction.hourly[name])
    target, hour = np.nonzero((~np.isnan(used)).any(axis=0))
    return pl.DataFrame(
        {
            "baseline": pl.Series([name] * len(target), dtype=pl.String),
            "target": np.array(prediction.days.backs[1:], dtype=np.int64)[target],
            "hour": hour.astype(np.int64),
            "used_kw": np.nansum(used, axis=0)[target, hour],
            "predicted_kw": np.nansum(predicted, axis=0)[target, hour],
        }
    )


def covered_shares(
    vens: pl.DataFrame, ven_ids: Sequence[str], names: Iterable[BaselineName]
) -> dict[BaselineName, Array]:
    """Return the fraction of the event's time that counts for each VEN, by baseline: 0 without participation.

    Args:
        vens: as `settle_vens` returns them.
        ven_ids: in which order.
        names: of the baselines.
    """
    every = pl.DataFrame({"ven_id": list(ven_ids)}, {"ven_id": pl.String})
    counted = vens.filter(~pl.col("has_opted_out")).select(
        "ven_id", "baseline", pl.col("coverage_percent") / 100
    )
    return {
        name: every.join(counted.filter(baseline=name), on="ven_id", how="left", maintain_order="left")
        .get_column("coverage_percent")
        .fill_null(0.0)
        .to_numpy()
        for name in names
    }


def differ(first: pl.DataFrame, second: pl.DataFrame, keys: list[str]) -> bool:
    """Return whether two settlements differ beyond rounding."""
    both = first.join(second, on=keys, how="full", suffix="_other")
    changed = [
        pl.col(name).is_null().ne(pl.col(f"{name}_other").is_null())
        | ((pl.col(name) - pl.col(f"{name}_other")).abs() > ROUNDING).fill_null(value=False)
        for name in FIGURES
    ]
    unmatched = [pl.col(key).is_null() | pl.col(f"{key}_other").is_null() for key in keys]
    return not both.filter(pl.any_horizontal(*changed, *unmatched)).is_empty()


def _percent(part: str, whole: str) -> pl.Expr:
    """Return a percentage; null if the whole is zero."""
    return pl.when(pl.col(whole) > 0).then(100 * pl.col(part) / pl.col(whole))


def _note(least_coverage_percent: float) -> pl.Expr:
    unknown = pl.col("delivered_kw").is_null()
    notes = [
        pl.when("has_opted_out").then(pl.lit("opted out before the start")),
        pl.when("is_silent").then(pl.lit("no samples during the event")),
        pl.when(unknown & ~pl.col("is_silent") & pl.col("note").is_null()).then(
            pl.lit("no samples to make a baseline of")
        ),
        pl.col("note"),
        pl.when(~unknown).then(_coverage_note(least_coverage_percent)),
    ]
    return _joined(notes)


def _portfolio_note(least_coverage_percent: float) -> pl.Expr:
    """Return the numbers of VENs that are not measured, or not by the baseline itself."""
    unknown = pl.col("vens") - pl.col("known")
    notes = [
        pl.when(pl.col("baseline") == LAST_SAMPLES).then(pl.lit(FALL_BACK)),
        pl.when(pl.col("stand_ins") > 0).then(
            pl.format("for {} of {} VENs the hour before the event stands in", "stand_ins", "vens")
        ),
        pl.when(unknown > 0).then(pl.format("{} of {} VENs cannot be measured", unknown, "vens")),
        pl.when(pl.col("known") > 0).then(_coverage_note(least_coverage_percent)),
    ]
    return _joined(notes)


def _portfolio_adjustment() -> list[pl.Expr]:
    """Return the adjustment that all VENs have, or `mixed` with the number of each."""
    adjusted = pl.sum_horizontal(_KINDS[:2])
    kinds = [
        pl.when((pl.col(kind) > 0) & (pl.col(kind) == pl.col("known"))).then(pl.lit(kind)) for kind in _KINDS
    ]
    counts = [
        pl.when(pl.col(kind) > 0).then(pl.format("{} for {} VENs", pl.lit(kind), kind)) for kind in _KINDS
    ]
    mixed = pl.when(adjusted > 0).then(pl.lit("mixed"))
    return [
        pl.coalesce(*kinds, mixed).alias("adjustment"),
        pl.when(pl.col("known") > 0)
        .then(pl.concat_str(counts, separator=", ", ignore_nulls=True))
        .alias("adjustment_reason"),
    ]


def _joined(notes: Iterable[pl.Expr]) -> pl.Expr:
    joined = pl.concat_str(notes, separator="; ", ignore_nulls=True)
    return pl.when(joined != "").then(joined)


def _coverage_note(least_percent: float) -> pl.Expr:
    covered = pl.col("coverage_percent")
    text = pl.format("only {} % of the event's time is covered", covered.round(0).cast(pl.Int64))
    return pl.when(covered < least_percent - 1e-9).then(text)
