"""Forecasts usage and shed capability by load type and half hour, as quantiles of similar days. Pure.

A similar day is a weekday for a weekday; a Saturday, a Sunday or a holiday for each of these. Half hours are
compared at the same local time: a day on which a time occurs twice has the mean of both; one that skips it
has none.

A day is shifted by the fraction `FOLLOWED` of its type's change of level since then. A level is the mean of
earlier similar days at the same time, recent ones weighted more (`HALF_LIFE_DAYS`). It leaves out as many
days as the forecast cannot know, so that days differ from their level as the future will.

Powers are kW, signs as reported: usage is negative while loads feed in, and P10 is then the most that they
feed in. Shed capability is never below 0. A half hour in which too few loads reported is a gap: it is left
out, neither 0 nor interpolated.
"""

from collections.abc import Iterable
from datetime import date, datetime, timedelta

import polars as pl

from schemas.baseline_model.days import Calendar
from schemas.tables.forecasts import FEWEST_DAYS, HALF_HOUR, TOTAL

HORIZON = timedelta(hours=48)
LOOK_BACK_DAYS = 42
ENOUGH = 0.5
"""Fraction of the most loads that reported in any half hour so far, from which a half hour counts."""

HALF_LIFE_DAYS = 5.0
FOLLOWED = 0.7
QUANTILES = {"p10": 0.1, "p50": 0.5, "p90": 0.9}
QUANTITIES = ("used", "shed")

_SERIES = ["load_type", "quantity"]
_ALIKE = [*_SERIES, "is_weekend", "at"]


def forecast(
    history: pl.DataFrame, present: pl.DataFrame, origin: datetime, calendar: Calendar
) -> pl.DataFrame:
    """Forecast each load type, and all loads together.

    Args:
        history: of half hours before `origin`, a row for each type, as `LoadTypeHalfHourFrame` has them.
        present: the current loads, to which the forecast applies: `load_type`, `used_loads`, `shed_loads`.
        origin: start of the first half hour that is forecast.
        calendar: local days, and which of them are holidays.

    Returns:
        For each type, `TOTAL` and half hour: `load_type`, `half_hour`, `origin`; `used_days` and `shed_days`,
        how many similar days there are; `used_p10_kw`, ..., `shed_p90_kw`, null with too few of them.
    """
    targets = _on_local_days(_half_hours(origin), calendar).with_columns(
        lag=pl.when(pl.col("half_hour") < origin + timedelta(days=1)).then(1).otherwise(2)
    )
    days = _by_local_day(_with_total(_of_present_loads(history, present)), calendar)
    quantiles = pl.concat(
        _quantiles(_moved(days, targets.filter(pl.col("lag") == lag), lag)) for lag in (1, 2)
    )
    every = pl.concat([present.select("load_type"), pl.DataFrame({"load_type": [TOTAL]})])
    grid = every.join(targets.select("half_hour"), how="cross").with_columns(
        origin=pl.lit(origin).cast(pl.Datetime("us", "UTC"))
    )
    for quantity in QUANTITIES:
        grid = grid.join(_named(quantiles, quantity), on=["load_type", "half_hour"], how="left")
    return grid.with_columns(pl.col("^.*_days$").fill_null(0).cast(pl.Int32)).sort("load_type", "half_hour")


def _half_hours(origin: datetime) -> pl.DataFrame:
    last = origin + HORIZON - HALF_HOUR
    return pl.DataFrame(
        {"half_hour": pl.datetime_range(origin, last, HALF_HOUR, time_zone="UTC", eager=True)}
    )


def _of_present_loads(history: pl.DataFrame, present: pl.DataFrame) -> pl.DataFrame:
    """Return `load_type`, `quantity`, `half_hour`, `kw`: the mean of reporting loads, times current loads."""
    parts, now = (
        pl.concat(
            frame.select(
                *keys,
                pl.lit(quantity).alias("quantity"),
                pl.col(f"^{quantity}_(kw|loads)$").name.map(lambda name: name.split("_")[1]),
            )
            for quantity in QUANTITIES
        )
        for frame, keys in ((history, ["load_type", "half_hour"]), (present, ["load_type"]))
    )
    reported = parts.filter(pl.col("loads") > 0).sort("half_hour")
    most = pl.col("loads").cum_max().over(_SERIES)
    scaled = reported.filter(pl.col("loads") >= ENOUGH * most).join(now, on=_SERIES, suffix="_now")
    return scaled.filter(pl.col("loads_now") > 0).select(
        *_SERIES, "half_hour", kw=pl.col("kw") / pl.col("loads") * pl.col("loads_now")
    )


def _with_total(values: pl.DataFrame) -> pl.DataFrame:
    """Add the sums of half hours in which all types have values, new types excepted.

    A type is new if it has values for fewer than half as many half hours as the type with most.
    """
    counts = values.group_by(*_SERIES).agg(half_hours=pl.len())
    old = counts.filter(pl.col("half_hours") >= ENOUGH * pl.col("half_hours").max().over("quantity"))
    types = old.group_by("quantity").agg(types=pl.len())
    sums = values.join(old, on=_SERIES, how="semi").group_by("quantity", "half_hour")
    whole = sums.agg(pl.col("kw").sum(), known=pl.len()).join(types, on="quantity")
    total = whole.filter(pl.col("known") == pl.col("types")).with_columns(load_type=pl.lit(TOTAL))
    return pl.concat([values, total.select(values.columns)])


def _on_local_days(half_hours: pl.DataFrame, calendar: Calendar) -> pl.DataFrame:
    """Add `day`, `at` and `is_weekend` of the calendar."""
    local = pl.col("half_hour").dt.convert_time_zone(calendar.time_zone)
    dated = half_hours.with_columns(day=local.dt.date(), at=local.dt.time())
    return dated.join(_kinds(dated.get_column("day").unique(), calendar), on="day")


def _kinds(days: Iterable[date], calendar: Calendar) -> pl.DataFrame:
    kinds = [(day, calendar.is_weekend(day)) for day in days]
    return pl.DataFrame(kinds, schema={"day": pl.Date, "is_weekend": pl.Boolean}, orient="row")


def _by_local_day(values: pl.DataFrame, calendar: Calendar) -> pl.DataFrame:
    return _on_local_days(values, calendar).group_by(*_ALIKE, "day").agg(pl.col("kw").mean())


def _moved(days: pl.DataFrame, targets: pl.DataFrame, lag: int) -> pl.DataFrame:
    """Return for each coming half hour its similar days, shifted to the current level: `kw`.

    Never across 0 if all days are on one side of it: there is no solar power at night.
    """
    series = days.select(_SERIES).unique()
    ahead = series.join(targets.select("half_hour", "day", "at", "is_weekend"), how="cross")
    levels = _levels(pl.concat([frame.select(*_ALIKE, "day") for frame in (days, ahead)]).unique(), days, lag)
    keys = [*_ALIKE, "day"]
    then = days.join(levels, on=keys, how="left")
    now = ahead.join(levels, on=keys, how="left").join(then, on=_ALIKE, suffix="_then")
    back = (pl.col("day") - pl.col("day_then")).dt.total_days()
    change = (FOLLOWED * (pl.col("level") - pl.col("level_then"))).fill_null(0.0)
    return now.filter(back.is_between(1, LOOK_BACK_DAYS)).select(
        *_SERIES, "half_hour", kw=_on_its_side(pl.col("kw") + change, over=[*_SERIES, "half_hour"])
    )


def _on_its_side(moved: pl.Expr, over: list[str]) -> pl.Expr:
    is_positive = (pl.col("kw").min() >= 0).over(over)
    is_negative = (pl.col("kw").max() <= 0).over(over)
    lower = pl.when(is_positive).then(0.0)
    upper = pl.when(is_negative).then(0.0)
    return pl.min_horizontal(pl.max_horizontal(moved, lower), upper)


def _levels(grid: pl.DataFrame, days: pl.DataFrame, lag: int) -> pl.DataFrame:
    """Return the level of each day and time, from similar days at least `lag` days before, if any."""
    pairs = grid.join(days, on=_ALIKE, suffix="_before")
    back = (pl.col("day") - pl.col("day_before")).dt.total_days()
    weighed = pairs.filter(back.is_between(lag, LOOK_BACK_DAYS)).with_columns(
        weight=pl.lit(0.5).pow(back / HALF_LIFE_DAYS)
    )
    level = (pl.col("kw") * pl.col("weight")).sum() / pl.col("weight").sum()
    return weighed.group_by(*_ALIKE, "day").agg(level=level)


def _quantiles(values: pl.DataFrame) -> pl.DataFrame:
    """Return `p10_kw`, `p50_kw`, `p90_kw` and `days` of each half hour; quantiles are null with too few days.

    By Hazen's rule, the n values are the quantiles (i - 1/2) / n.
    """
    sorted_days = values.group_by(*_SERIES, "half_hour").agg(pl.col("kw").sort(), days=pl.len())
    columns = (
        pl.when(pl.col("days") >= FEWEST_DAYS).then(_between(share)).alias(f"{name}_kw")
        for name, share in QUANTILES.items()
    )
    return sorted_days.select(*_SERIES, "half_hour", "days", *columns)


def _between(share: float) -> pl.Expr:
    last = pl.col("days").cast(pl.Int64) - 1
    place = (share * pl.col("days") - 0.5).clip(0, last)
    below = place.floor().cast(pl.Int64)
    lower, upper = (pl.col("kw").list.get(pl.min_horizontal(below + step, last)) for step in (0, 1))
    return lower + (upper - lower) * (place - below)


def _named(quantiles: pl.DataFrame, quantity: str) -> pl.DataFrame:
    of_quantity = quantiles.filter(pl.col("quantity") == quantity).drop("quantity")
    return of_quantity.rename(
        {name: f"{quantity}_{name}" for name in of_quantity.columns if name not in {"load_type", "half_hour"}}
    )
