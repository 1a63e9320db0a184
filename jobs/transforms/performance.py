"""Computes what an event delivered: baseline minus usage, or the reverse if it requested more load.

Powers in kW, energies in kWh, shares in percent. A power is an energy over the hours of the event, for a VEN
and for the portfolio, so that powers add up over VENs and kW times hours is kWh. Delivered is positive where
a VEN did what was requested, negative where it did the opposite. Time without samples, or without a baseline,
delivers nothing; `coverage_percent` is the part of the event's time that has both. Time that a VEN spent in
another event counts there.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jobs.transforms.intervals import ENDS, day_errors, error_interval
from schemas.baseline_model.days import part_within, seconds
from schemas.baseline_model.prediction import FALL_BACK, LAST_SAMPLES, STANDS_IN, Prediction
from schemas.baseline_model.usage import Usage
from schemas.demand_response.baselines import BaselineName
from schemas.tables.history import SLOT_S
from schemas.times.time_ranges import TimeRange, widened

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
Array = NDArray[np.float64]


def cuts(window: TimeRange) -> list[TimeRange]:
    """Return the parts of a window in slots that reach beyond it."""
    first = widened(TimeRange(window.start, window.start), SLOT_S)
    last = widened(TimeRange(window.end, window.end), SLOT_S)
    return list(_cuts(window, first, last))


def _cuts(window: TimeRange, first: TimeRange, last: TimeRange) -> Iterator[TimeRange]:
    if first == last and first.start != first.end:
        yield window
        return
    if first.start != window.start:
        yield TimeRange(window.start, first.end)
    if last.start != window.end:
        yield TimeRange(last.start, window.end)


def event_usage(
    usage: Usage, samples: pl.DataFrame, window: TimeRange, sampled: list[TimeRange], slow: Sequence[str] = ()
) -> Array:
    """Return the usage of VENs during an event, by VEN and slot; NaN without samples.

    A slot that the event's start or end cuts holds samples that are not the event's, so the mean of the
    raw samples within is taken instead, as long as there are raw rows; else the mean of the whole slot. Of
    VENs with wide slots always the mean counts: they have no shorter values.

    Args:
        usage: mean power in slots.
        samples: raw samples of the parts in `sampled`: `ven_id`, `ts`, `used_kw` (null if not reported).
        window: the event's.
        sampled: those of its `cuts` of which there are raw rows.
        slow: VENs with wide slots.
    """
    slots = part_within([window]).slots
    wide = np.concatenate([usage.kw, np.full((len(usage.ven_ids), 1), np.nan)], axis=1)
    column = np.searchsorted(usage.slots, slots)
    is_there = np.isin(slots, usage.slots)
    used = wide[:, np.where(is_there, column, len(usage.slots))]
    rows = pl.DataFrame({"ven_id": usage.ven_ids}, {"ven_id": pl.String}).with_row_index("row")
    rows = rows.filter(~pl.col("ven_id").is_in(list(slow)))
    for cut in sampled:
        inside = pl.col("ts").is_between(cut.start, cut.end, closed="left")
        means = samples.filter(inside).group_by("ven_id").agg(pl.col("used_kw").mean()).drop_nulls("used_kw")
        means_by_row = rows.join(means, on="ven_id")
        slot = np.searchsorted(slots, int(seconds(cut.start) // SLOT_S))
        used[rows.get_column("row").to_numpy(), slot] = np.nan
        used[means_by_row.get_column("row").to_numpy(), slot] = means_by_row.get_column("used_kw").to_numpy()
    return used


def counted_hours(ven_ids: list[str], away: pl.DataFrame, window: TimeRange) -> Array:
    """Return the hours of each slot that count for each VEN: within the event, and not in another one.

    Args:
        ven_ids: of the rows.
        away: when VENs do not count, not overlapping for one VEN: `ven_id`, `start`, `end`.
        window: the event's.
    """
    slots = part_within([window]).slots
    starts = np.maximum(slots * float(SLOT_S), seconds(window.start))
    ends = np.minimum((slots + 1) * float(SLOT_S), seconds(window.end))
    return counted_parts(ven_ids, away, starts, ends)


def counted_parts(ven_ids: Sequence[str], away: pl.DataFrame, starts: Array, ends: Array) -> Array:
    """How much of each part of an event counts for each VEN, in hours.

    Args:
        ven_ids: of the rows.
        away: when VENs do not count, not overlapping for one VEN: `ven_id`, `start`, `end`.
        starts: of the parts, in seconds since the epoch.
        ends: of the parts.
    """
    hours = np.tile((ends - starts) / 3600, (len(ven_ids), 1))
    rows = pl.DataFrame({"ven_id": ven_ids}, {"ven_id": pl.String}).with_row_index("row")
    gone = away.join(rows, on="ven_id").with_columns(pl.col("start", "end").dt.epoch("us") / 1_000_000)
    start, end = (gone.get_column(name).to_numpy()[:, None] for name in ("start", "end"))
    absent_s = np.clip(np.minimum(ends, end) - np.maximum(starts, start), 0.0, None)
    np.subtract.at(hours, gone.get_column("row").to_numpy(), absent_s / 3600)
    return np.clip(hours, 0.0, None)


def elsewhere(participants: pl.DataFrame, others: pl.DataFrame, window: TimeRange) -> pl.DataFrame:
    """Return when VENs do not count in an event: after they left it, and while a later notification has them
    in another.


    Where two events have a VEN at the same time, that time counts in the one of its latest notification.

    Args:
        participants: `ven_id`, `told_at` (null: before the others), `left_at` (null if it stayed).
        others: other events in which VENs took part: `ven_id`, `start`, `end`, `told_at`, `left_at`.
        window: the event's.

    Returns:
        `ven_id`, `start`, `end`, not overlapping for one VEN.
    """
    end = pl.lit(window.end).cast(pl.Datetime("us", "UTC"))
    left = participants.drop_nulls("left_at").select("ven_id", start="left_at", end=end)
    until = pl.min_horizontal("end", "left_at")
    both = others.select("ven_id", "start", end=until, other_at=pl.coalesce("told_at", "start")).join(
        participants.select("ven_id", own_at="told_at"), on="ven_id"
    )
    is_later = (pl.col("other_at") > pl.col("own_at")).fill_null(value=True)
    later = both.filter(is_later).select("ven_id", start=pl.max_horizontal("start", "other_at"), end="end")
    sooner = both.filter(~is_later).select("ven_id", "start", end=pl.min_horizontal("end", "own_at"))
    every = (
        pl.concat([left, later, sooner])
        .with_columns(pl.col("start", "end").clip(window.start, window.end))
        .filter(pl.col("start") < pl.col("end"))
    )
    reached = pl.col("end").cum_max().shift().over("ven_id")
    return (
        every.sort("ven_id", "start", "end")
        .with_columns(start=pl.max_horizontal("start", reached))
        .filter(pl.col("start") < pl.col("end"))
    )


def requested_energy(participants: pl.DataFrame, shares: pl.DataFrame, window: TimeRange) -> pl.DataFrame:
    """Return the energy requested of each VEN: the integral over all its shares.

    Args:
        participants: `ven_id`, `requested_kw` (the last share), `told_at`, `opted_out_at`, `left_at`, and
            perhaps `begins_at`: before it the request to a VEN is zero, since its start was delayed.
        shares: revisions of the shares: `ven_id`, `at`, `requested_kw`. A VEN without any had its last share
            from its notification until it opted out.
        window: the event's.

    Returns:
        `participants` with `requested_kwh`.
    """
    has_none = participants.join(shares, on="ven_id", how="anti")
    first = has_none.select(
        "ven_id", pl.coalesce("told_at", pl.lit(window.start)).alias("at"), "requested_kw"
    )
    out = has_none.drop_nulls("opted_out_at").select("ven_id", at="opted_out_at", requested_kw=pl.lit(0.0))
    every = pl.concat([shares.select(first.columns), first, out]).sort("ven_id", "at", maintain_order=True)
    until = pl.col("at").shift(-1).over("ven_id").fill_null(window.end)
    begins = [name for name in ("begins_at",) if name in participants.columns]
    start = pl.max_horizontal("at", pl.lit(window.start), *begins)
    end = pl.min_horizontal("until", "left_at", pl.lit(window.end))
    hours = ((end - start).dt.total_microseconds() / 3.6e9).clip(lower_bound=0)
    energy = (
        every.with_columns(until.alias("until"))
        .join(participants.select("ven_id", "left_at", *begins), on="ven_id")
        .group_by("ven_id")
        .agg(requested_kwh=(pl.col("requested_kw") * hours).sum())
    )
    return participants.join(energy, on="ven_id", how="left").with_columns(
        pl.col("requested_kwh").fill_null(0.0)
    )


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
