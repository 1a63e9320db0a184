"""Presence: who has fallen silent, and who has come back. Judged by time of receipt."""

from datetime import datetime, timedelta

import polars as pl
from msgspec import Struct

ONLINE, OFFLINE = "online", "offline"
ONE_TICK = timedelta(microseconds=1)


class Patience(Struct, frozen=True):
    """How long a VEN may be silent: some of its own report intervals, but never less than a minimum."""

    intervals: float
    at_least: timedelta


def fallen_silent(
    vens: pl.DataFrame, reports: pl.DataFrame, patience: Patience, now: datetime
) -> pl.DataFrame:
    """VENs that have been silent for too long, as transitions to `offline`.

    Args:
        vens: VENs that are not offline: `ven_id`, `heard_at`, `status_ts` (null without a status).
        reports: the last few reports of these VENs: `ven_id`, `ts`; their median distance is the VEN's
            report interval. With fewer than two, the minimum alone counts.
        patience: how long is too long.
        now: the time of this look.

    Returns:
        `ven_id`, `ts` (after every status that the VEN has), `status`, `silent_s`, `heard_at`.
    """
    interval = (
        reports.sort("ts").group_by("ven_id").agg(pl.col("ts").diff().median().alias("interval")).drop_nulls()
    )
    allowed = pl.max_horizontal(pl.col("interval") * patience.intervals, pl.lit(patience.at_least))
    silent = pl.lit(now) - pl.col("heard_at")
    return (
        vens.join(interval, on="ven_id", how="left")
        .filter(silent > allowed)
        .select(
            "ven_id",
            _after_last_status(pl.lit(now)).alias("ts"),
            pl.lit(OFFLINE).alias("status"),
            silent.dt.total_seconds(fractional=True).alias("silent_s"),
            "heard_at",
        )
    )


def come_back(vens: pl.DataFrame) -> pl.DataFrame:
    """Offline VENs that were heard after they went offline, as transitions to `online`.

    Args:
        vens: VENs that are offline: `ven_id`, `heard_at`, `status_ts`.

    Returns:
        As `fallen_silent`; `silent_s` is null.
    """
    return vens.filter(pl.col("heard_at") > pl.col("status_ts")).select(
        "ven_id",
        _after_last_status(pl.col("heard_at")).alias("ts"),
        pl.lit(ONLINE).alias("status"),
        pl.lit(None, pl.Float64).alias("silent_s"),
        "heard_at",
    )


def _after_last_status(instant: pl.Expr) -> pl.Expr:
    """A VEN whose clock is ahead has statuses in our future; the newest must win all the same."""
    return pl.max_horizontal(instant, pl.col("status_ts") + ONE_TICK).cast(pl.Datetime("us", "UTC"))
