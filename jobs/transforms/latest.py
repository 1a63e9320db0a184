"""The latest of everything, by device time: never the last to arrive."""

from datetime import timedelta

import polars as pl

from schemas.tables.snapshots import LOAD_FIELDS

REPORT_FIELDS = ("shed_power_kw", "requested_reduction_kw", "event_id", "battery_soc")
"""What is as the newest report says, also where it says nothing."""

REPLAY_LAG = timedelta(minutes=5)
"""A report that took longer than this is a replay: it does not tell that its VEN is there now."""


def latest_vens(telemetry: pl.DataFrame, statuses: pl.DataFrame) -> pl.DataFrame:
    """The newest report, the newest usage and the newest status of each VEN in some new rows.

    Args:
        telemetry: new rows of `ven_telemetry`; `used_power_kw` may be null, and then an older report that
            had it supplies it.
        statuses: new rows of `ven_statuses`.

    Returns:
        Rows of `ven_snapshots`, null where the new rows say nothing.
    """
    reports = (
        telemetry.sort("ts")
        .group_by("ven_id")
        .agg(pl.col("ts", *REPORT_FIELDS).last(), *_last_heard(), *_last_said("used_power_kw", "ts"))
        .rename({"used_power_kw_ts": "used_power_ts"})
    )
    transitions = (
        statuses.sort("ts")
        .group_by("ven_id")
        .agg(pl.col("status").last(), pl.col("ts").last().alias("status_ts"))
    )
    return reports.join(transitions, on="ven_id", how="full", coalesce=True).sort("ven_id")


def latest_loads(samples: pl.DataFrame, descriptions: pl.DataFrame) -> pl.DataFrame:
    """Each field of each load as the newest message that gave it says, with that message's stamp.

    Args:
        samples: new rows of `ven_load_samples`.
        descriptions: new rows of `ven_load_descriptions`.

    Returns:
        Rows of `load_snapshots`; a field that no new row gave is null, and so is its stamp.
    """
    entries = pl.concat([_stamped(samples, rank=1), _stamped(descriptions, rank=0)])
    fields = [part for field in LOAD_FIELDS for part in _last_said(field, "stamp")]
    return (
        entries.sort("stamp")
        .group_by("ven_id", "load_id")
        .agg(pl.col("ts").last(), *fields)
        .sort("ven_id", "load_id")
    )


def _last_heard() -> tuple[pl.Expr, pl.Expr]:
    """When something last came; and when something last came that was not long on its way."""
    received_at = pl.col("received_at")
    is_live = received_at - pl.col("ts") < REPLAY_LAG
    return received_at.max(), received_at.filter(is_live).max().alias("heard_at")


def _stamped(entries: pl.DataFrame, rank: int) -> pl.DataFrame:
    """At the same device time the higher rank counts as the newer."""
    return entries.with_columns((pl.col("ts").dt.epoch("us") * 2 + rank).alias("stamp"))


def _last_said(field: str, order: str) -> tuple[pl.Expr, pl.Expr]:
    said = pl.col(field).is_not_null()
    return (
        pl.col(field).filter(said).last(),
        pl.col(order).filter(said).last().alias(f"{field}_{order}"),
    )
