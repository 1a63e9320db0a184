"""Learns the slot widths of VENs from the spacing of their reports. Pure.

A day's width is the narrowest that is not less than the median distance of its reports, with a tolerance of a
tenth. A width is learned once two days in a row have it; days with too few reports are ignored.
"""

import polars as pl

from schemas.tables.history import SLOT_S
from schemas.tables.registry import SLOT_WIDTHS_S

FEWEST_DISTANCES = 12
"""Fewest intervals between reports for a day to count."""

FEWEST_DAYS = 2
SLACK = 0.9


def learned_widths(reports: pl.DataFrame, present: pl.DataFrame, last_day: pl.Expr) -> pl.DataFrame:
    """Return the learned widths of VENs that differ from the recorded ones, and since when.

    A wider one begins where the reports became sparse, a narrower one with the first whole day that has it:
    the time between keeps the wider slots, which lose no energy.

    Args:
        reports: with usage, of whole UTC days: `ven_id`, `ts`.
        present: `ven_id`, `width_s`; without a row five minutes.
        last_day: the last whole day: only VENs that reported on it get a width.

    Returns:
        `ven_id`, `since` (on the border of a half-hour), `width_s`.
    """
    spaced = reports.sort("ven_id", "ts").with_columns(
        day=pl.col("ts").dt.truncate("1d"),
        distance_s=pl.col("ts").diff().over("ven_id").dt.total_milliseconds() / 1000,
    )
    days = daily_widths(spaced)
    newest = days.filter(pl.col("day") == last_day).select("ven_id", new_s="width_s").drop_nulls()
    runs = _runs(days.join(newest, on="ven_id")).join(present, on="ven_id", how="left")
    runs = runs.with_columns(pl.col("width_s").fill_null(SLOT_S))
    changed = runs.filter(pl.col("days") >= FEWEST_DAYS, pl.col("new_s") != pl.col("width_s"))
    since = (
        pl.when(pl.col("new_s") > pl.col("width_s"))
        .then("sparse_since")
        .otherwise(pl.col("first_day").dt.offset_by("1d"))
    )
    return (
        changed.join(_sparse_since(spaced, changed), on="ven_id")
        .select("ven_id", since=since.dt.truncate("30m"), width_s=pl.col("new_s").cast(pl.Int32))
        .sort("ven_id")
    )


def daily_widths(spaced: pl.DataFrame) -> pl.DataFrame:
    """Return `ven_id`, `day`, `width_s`: null where reports are further apart than any width."""
    distance = pl.col("distance_s").drop_nulls()
    days = spaced.group_by("ven_id", "day").agg(typical_s=distance.median(), distances=distance.len())
    fitting = (
        pl.when(pl.col("typical_s") * SLACK <= width_s).then(pl.lit(width_s)) for width_s in SLOT_WIDTHS_S
    )
    return days.filter(pl.col("distances") >= FEWEST_DISTANCES).select(
        "ven_id", "day", width_s=pl.coalesce(*fitting)
    )


def _runs(days: pl.DataFrame) -> pl.DataFrame:
    """Return the run of days, up to the last, with the same width: `ven_id`, `new_s`, `first_day`, `days`."""
    is_other = pl.col("width_s").ne_missing(pl.col("new_s"))
    last_other = pl.col("day").filter(is_other).max().over("ven_id")
    in_run = days.with_columns(last_other=last_other).filter(
        pl.col("last_other").is_null() | (pl.col("day") > pl.col("last_other"))
    )
    return in_run.group_by("ven_id", "new_s").agg(first_day=pl.col("day").min(), days=pl.len())


def _sparse_since(spaced: pl.DataFrame, runs: pl.DataFrame) -> pl.DataFrame:
    """Return the last closely spaced report before a run; else the run's first report, or the VEN's."""
    each = spaced.join(runs.select("ven_id", "new_s", "first_day"), on="ven_id")
    came_fast = (pl.col("ts") < pl.col("first_day")) & (pl.col("distance_s") <= pl.col("new_s") / 2)
    return each.group_by("ven_id").agg(
        sparse_since=pl.coalesce(pl.col("ts").filter(came_fast).max(), pl.col("ts").min())
    )
