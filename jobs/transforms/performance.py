"""What an event delivered: baseline minus usage. Powers in kW, energies in kWh, shares in percent.

A power is averaged over time and added up over VENs, never added up over time. Delivered is positive where
less was used than the baseline says, negative where more. What has no samples, or no baseline, delivers
neither energy nor power: `delivered_kw` is the mean over the time that is covered, and `coverage_percent`
says how much that is.
"""

from collections.abc import Iterator

import polars as pl

from jobs.ranges import Range, widened
from jobs.transforms.baselines import FALL_BACK, LAST_SAMPLES, Prediction, slots_of
from schemas.baselines import BASELINES
from schemas.tables.history import SLOT_S

FIGURES = (
    "requested_kw",
    "baseline_kw",
    "actual_kw",
    "delivered_kw",
    "delivered_kwh",
    "performance_percent",
    "coverage_percent",
    "rrmse_percent",
    "days_used",
)

ROUNDING = 0.0005
"""Figures that differ by no more look the same in an answer."""

_CASE = ["ven_id", "baseline"]
_NAMES = pl.DataFrame({"baseline": list(BASELINES)})


def cuts(window: Range) -> list[Range]:
    """The parts of a window that lie in slots which reach beyond it."""
    first = widened(Range(window.start, window.start), SLOT_S)
    last = widened(Range(window.end, window.end), SLOT_S)
    return list(_cuts(window, first, last))


def _cuts(window: Range, first: Range, last: Range) -> Iterator[Range]:
    if first == last and first.start != first.end:
        yield window
        return
    if first.start != window.start:
        yield Range(window.start, first.end)
    if last.start != window.end:
        yield Range(last.start, window.end)


def usage(history: pl.DataFrame, samples: pl.DataFrame, window: Range, sampled: list[Range]) -> pl.DataFrame:
    """What VENs used while an event ran, slot by slot.

    A slot that the event's start or end cuts holds samples that are not the event's, so the mean of the
    raw samples within is taken instead, as long as there are raw rows; else the mean of the whole slot. In
    both cases it weighs as much as the part that is cut out.

    Args:
        history: mean power in slots: `ven_id`, `slot`, `used_kw`.
        samples: raw samples of the parts in `sampled`: `ven_id`, `ts`, `used_kw` (null where not said).
        window: the event's.
        sampled: those of its `cuts` of which there are raw rows.

    Returns:
        `ven_id`, `slot`, `hours`, `used_kw`.
    """
    slots = slots_of(window)
    us = SLOT_S * 1_000_000
    slot = (pl.col("ts").dt.epoch("us") // us * us).cast(pl.Datetime("us", "UTC")).alias("slot")
    inside = [pl.col("ts").is_between(part.start, part.end, closed="left") for part in sampled]
    cut = (
        samples.filter(pl.any_horizontal(pl.lit(value=False), *inside))
        .group_by("ven_id", slot)
        .agg(pl.col("used_kw").mean())
        .drop_nulls("used_kw")
    )
    starts = [widened(part, SLOT_S).start for part in sampled]
    whole = history.filter(~pl.col("slot").is_in(pl.Series(starts, dtype=history.schema["slot"]).implode()))
    columns = ["ven_id", "slot", "used_kw"]
    return pl.concat([whole.select(columns), cut.select(columns)]).join(slots, on="slot")


def while_taking_part(used: pl.DataFrame, participants: pl.DataFrame) -> pl.DataFrame:
    """Usage without the slots that ended after a VEN had left for another event, where they count.

    Args:
        used: as `usage` gives it.
        participants: `ven_id`, `left_at` (null for who stayed to the end).
    """
    left = participants.select("ven_id", "left_at").drop_nulls()
    is_gone = (pl.col("slot") + pl.duration(seconds=SLOT_S) > pl.col("left_at")).fill_null(value=False)
    return used.join(left, on="ven_id", how="left").filter(~is_gone).drop("left_at")


def settle_vens(
    used: pl.DataFrame, prediction: Prediction, participants: pl.DataFrame, window: Range
) -> pl.DataFrame:
    """Each participant's performance, by each baseline.

    Args:
        used: as `usage` gives it.
        prediction: what the baselines say.
        participants: `ven_id`, `requested_kw`, `has_opted_out`.
        window: the event's.

    Returns:
        `ven_id`, `baseline`, the `FIGURES`, `note`, `has_opted_out`. Without a baseline, or without samples,
        nothing is known to be delivered: null.
    """
    measured = _measured(used, prediction.event)
    slot_count = slots_of(window).height
    covered = used.group_by("ven_id").agg((100 * pl.len() / slot_count).alias("coverage_percent"))
    return (
        participants.join(_NAMES, how="cross")
        .join(measured, on=_CASE, how="left")
        .join(covered, on="ven_id", how="left")
        .join(rrmse(prediction.errors, _CASE), on=_CASE, how="left")
        .join(prediction.method, on=_CASE, how="left")
        .with_columns(
            _percent("delivered_kw", "requested_kw").alias("performance_percent"),
            pl.col("coverage_percent").fill_null(0.0),
            pl.col("days_used").fill_null(0),
            _note().alias("note"),
        )
        .select(*_CASE, *FIGURES, "note", "has_opted_out")
        .sort(_CASE)
    )


def settle_portfolio(vens: pl.DataFrame, errors: pl.DataFrame, requested_kw: float) -> pl.DataFrame:
    """The performance of all who took part, by each baseline.

    Args:
        vens: as `settle_vens` gives it, of every participant.
        errors: `baseline`, `target`, `hour`, and the sums over VENs of `used_kw` and `predicted_kw`: errors
            of VENs make up for one another, so the portfolio's are smaller.
        requested_kw: what was asked for; it may be more than what could be shared out.

    Returns:
        `baseline`, the `FIGURES`, `note`. Who opted out before the start is left out; `days_used` is the
        least of those to whom the baseline itself applies. Where nobody is left, nothing was delivered: zero.
    """
    counted = vens.filter(~pl.col("has_opted_out"))
    known = pl.col("delivered_kw").is_not_null()
    powers = ("baseline_kw", "actual_kw", "delivered_kw", "delivered_kwh")
    sums = [pl.when(known.any()).then(pl.col(name).filter(known).sum()).alias(name) for name in powers]
    nobody = pl.lit(counted.is_empty())
    return (
        _NAMES.join(
            counted.group_by("baseline").agg(
                *sums,
                pl.col("coverage_percent").mean(),
                pl.col("days_used").filter(pl.col("days_used") > 0).min(),
                _portfolio_note().alias("note"),
            ),
            on="baseline",
            how="left",
        )
        .join(rrmse(errors, ["baseline"]), on="baseline", how="left")
        .with_columns(
            pl.lit(requested_kw).alias("requested_kw"),
            pl.when(nobody).then(0.0).otherwise(pl.col("delivered_kw", "delivered_kwh")).name.keep(),
            pl.when(nobody).then(pl.lit("nobody took part")).otherwise("note").alias("note"),
        )
        .with_columns(
            _percent("delivered_kw", "requested_kw").alias("performance_percent"),
            pl.col("coverage_percent").fill_null(0.0),
            pl.col("days_used").fill_null(0),
        )
        .select("baseline", *FIGURES, "note")
        .sort("baseline")
    )


def rrmse(errors: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """The relative root mean square error: that of the hours, in percent of their mean usage.

    Null where that mean is not positive. PJM takes a baseline with 20 % or less as good.

    Args:
        errors: `keys`, `used_kw`, `predicted_kw`.
        keys: what is judged.
    """
    miss = (pl.col("used_kw") - pl.col("predicted_kw")).pow(2).mean().sqrt()
    mean = pl.col("used_kw").mean()
    return errors.group_by(keys).agg(pl.when(mean > 0).then(100 * miss / mean).alias("rrmse_percent"))


def portfolio_errors(errors: pl.DataFrame) -> pl.DataFrame:
    """Sums over VENs, which may be added up further: `baseline`, `target`, `hour`, both powers."""
    keys = ["baseline", "target", "hour"]
    return errors.group_by(keys).agg(pl.col("used_kw", "predicted_kw").sum()).sort(keys)


def differ(first: pl.DataFrame, second: pl.DataFrame, keys: list[str]) -> bool:
    """Whether two settlements say different things, beyond rounding."""
    both = first.join(second, on=keys, how="full", suffix="_other")
    changed = [
        pl.col(name).is_null().ne(pl.col(f"{name}_other").is_null())
        | ((pl.col(name) - pl.col(f"{name}_other")).abs() > ROUNDING).fill_null(value=False)
        for name in FIGURES
    ]
    unmatched = [pl.col(key).is_null() | pl.col(f"{key}_other").is_null() for key in keys]
    return not both.filter(pl.any_horizontal(*changed, *unmatched)).is_empty()


def _measured(used: pl.DataFrame, baselines: pl.DataFrame) -> pl.DataFrame:
    hours, saved_kw = pl.col("hours"), pl.col("baseline_kw") - pl.col("used_kw")
    both = baselines.join(used, on=["ven_id", "slot"])
    return both.group_by(_CASE).agg(
        ((pl.col("baseline_kw") * hours).sum() / hours.sum()).alias("baseline_kw"),
        ((pl.col("used_kw") * hours).sum() / hours.sum()).alias("actual_kw"),
        ((saved_kw * hours).sum() / hours.sum()).alias("delivered_kw"),
        (saved_kw * hours).sum().alias("delivered_kwh"),
    )


def _percent(part: str, whole: str) -> pl.Expr:
    """Of nothing there is no percentage."""
    return pl.when(pl.col(whole) > 0).then(100 * pl.col(part) / pl.col(whole))


def _note() -> pl.Expr:
    unknown = pl.col("delivered_kw").is_null()
    silent = pl.col("coverage_percent").is_null()
    told = [
        pl.when("has_opted_out").then(pl.lit("opted out before the start")),
        pl.when(silent).then(pl.lit("no samples during the event")),
        pl.when(unknown & ~silent & pl.col("note").is_null()).then(
            pl.lit("no samples to make a baseline of")
        ),
        pl.col("note"),
    ]
    joined = pl.concat_str(told, separator="; ", ignore_nulls=True)
    return pl.when(joined != "").then(joined)


def _portfolio_note() -> pl.Expr:
    """How many of the VENs are not measured, or not by the baseline itself."""
    unknown = pl.col("delivered_kw").is_null().sum()
    stand_in = (
        pl.col("delivered_kw").is_not_null() & pl.col("note").str.contains("stands in", literal=True)
    ).sum()
    of = pl.len()
    told = [
        pl.when(pl.col("baseline").first() == LAST_SAMPLES).then(pl.lit(FALL_BACK)),
        pl.when(stand_in > 0).then(
            pl.format("for {} of {} VENs the hour before the event stands in", stand_in, of)
        ),
        pl.when(unknown > 0).then(pl.format("{} of {} VENs cannot be measured", unknown, of)),
    ]
    joined = pl.concat_str(told, separator="; ", ignore_nulls=True)
    return pl.when(joined != "").then(joined)
