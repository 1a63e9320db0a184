"""Presence: decides which VENs are online, by when their reports are received.

A report is *live* if its device time differs from its receipt by at most the VEN's presence time: a multiple
of the VEN's report interval, but never less than a minimum. Reports of a VEN whose clock is wrong by more are
live once three in a row agree on the offset of that clock; a replay does not, as it arrives faster than it
was measured.
"""

from datetime import datetime, timedelta
from typing import Final

import polars as pl
from msgspec import Struct

ONLINE, OFFLINE, MAINTENANCE = "online", "offline", "maintenance"
ONE_TICK = timedelta(microseconds=1)
PROMPT_WITHIN: Final = timedelta(seconds=10)
"""A report received within this is live, whatever its VEN's presence time: the snapshot lane relies on it."""

REPORTS_EACH = 5
"""Reports of a VEN from which its report interval and the offset of its clock are computed."""

AGREEING_REPORTS = 3
MOST_OFFSET_SPREAD = 0.25
"""Largest difference of agreeing offsets, as a fraction of the device time that the reports span.

A replay at four times the speed of measuring differs by 0.75 of it, a burst by all of it.
"""

_UTC = pl.Datetime("us", "UTC")


class PresenceTime(Struct, frozen=True):
    """The presence time of a VEN: a multiple of its report interval, but never less than a minimum."""

    intervals: float
    at_least: timedelta

    def allowed(self, interval: pl.Expr) -> pl.Expr:
        """Return the presence time from the report interval; the minimum where that is null."""
        return pl.max_horizontal(interval * self.intervals, pl.lit(self.at_least))


def skewed(reports: pl.DataFrame) -> pl.DataFrame:
    """Return the last few reports of each VEN that were not received promptly, or are dated in the future.

    Args:
        reports: new telemetry: `ven_id`, `ts`, `received_at`.

    Returns:
        Rows of `skewed_reports`, not judged yet.
    """
    return (
        reports.filter(~is_prompt())
        .sort("received_at", "ts")
        .group_by("ven_id")
        .tail(REPORTS_EACH)
        .select("ven_id", "ts", "received_at", pl.lit(None, _UTC).alias("judged_at"))
    )


def is_prompt() -> pl.Expr:
    """Return whether a report was received when it was measured, but for delays of a network."""
    return (pl.col("received_at") - pl.col("ts")).abs() <= PROMPT_WITHIN


def intervals(reports: pl.DataFrame, skewed_reports: pl.DataFrame) -> pl.DataFrame:
    """Return the report interval of each VEN.

    Args:
        reports: the last few reports by device time: `ven_id`, `ts`, `received_at`. The median distance of
            those received promptly is the interval.
        skewed_reports: the last few by receipt of those that were not: they count where there are no two of
            the former. Replays may be among them, with gaps of any length before and after: so of three at
            least, the shortest distance.

    Returns:
        `ven_id`, `interval`; no row for a VEN whose interval is unknown.
    """
    distance = pl.col("ts").diff()
    of_prompt = _by_ven(reports.filter(is_prompt()), distance.median())
    is_enough = pl.len() >= AGREEING_REPORTS
    of_skewed = _by_ven(skewed_reports, pl.when(is_enough).then(distance.min()))
    return pl.concat([of_prompt, of_skewed.join(of_prompt, on="ven_id", how="anti")])


def skewed_presence(
    skewed_reports: pl.DataFrame, report_intervals: pl.DataFrame, presence_time: PresenceTime
) -> pl.DataFrame:
    """Return when VENs were last heard live by reports that were not received promptly.

    Args:
        skewed_reports: the last few of each VEN: `ven_id`, `ts`, `received_at`.
        report_intervals: as `intervals` returns them.
        presence_time: how the presence time of a VEN is computed.

    Returns:
        `ven_id`, `heard_at`, `clock_offset_s` (receipt less device time; null where it is within the presence
        time). No row for a VEN without live reports.
    """
    offset = pl.col("received_at") - pl.col("ts")
    is_near = offset.abs() <= presence_time.allowed(pl.col("interval"))
    return (
        skewed_reports.join(report_intervals, on="ven_id", how="left")
        .sort("ven_id", "received_at", "ts")
        .with_columns(is_near.alias("is_near"), _agrees(offset, presence_time).over("ven_id").alias("agrees"))
        .filter(pl.col("is_near") | pl.col("agrees"))
        .with_columns(
            pl.when(~pl.col("is_near")).then(offset.dt.total_seconds(fractional=True)).alias("by_s")
        )
        .group_by("ven_id", maintain_order=True)
        .agg(pl.col("received_at").last().alias("heard_at"), pl.col("by_s").last().alias("clock_offset_s"))
    )


def fallen_silent(
    vens: pl.DataFrame, report_intervals: pl.DataFrame, presence_time: PresenceTime, now: datetime
) -> pl.DataFrame:
    """Return VENs that have been silent for longer than their presence time, as transitions to `offline`.

    A VEN was last heard by its last live report, or its last status, whichever is later; a status dated
    before its receipt is a replay, and counts as of its date.

    Args:
        vens: `ven_id`, `status`, `status_ts`, `status_received_at`, `heard_at` (null: never).
        report_intervals: as `intervals` returns them.
        presence_time: how the presence time of a VEN is computed.
        now: the time of the check.

    Returns:
        `ven_id`, `ts` (after every status that the VEN has), `status`, `reason`, `silent_s`, `heard_at`,
        `clock_offset_s` (null).
    """
    status_at = pl.min_horizontal("status_ts", "status_received_at")
    silent = pl.lit(now) - pl.max_horizontal("heard_at", status_at)
    is_watched = pl.col("status").is_in((OFFLINE, MAINTENANCE)).fill_null(value=False).not_()
    return (
        vens.filter(is_watched)
        .join(report_intervals, on="ven_id", how="left")
        .filter(silent > presence_time.allowed(pl.col("interval")))
        .select(
            "ven_id",
            _after_last_status(pl.lit(now)).alias("ts"),
            pl.lit(OFFLINE).alias("status"),
            _either(pl.col("heard_at").is_null(), "never heard", "silent").alias("reason"),
            silent.dt.total_seconds(fractional=True).alias("silent_s"),
            "heard_at",
            pl.lit(None, pl.Float64).alias("clock_offset_s"),
        )
    )


def come_online(
    vens: pl.DataFrame,
    heard: pl.DataFrame,
    report_intervals: pl.DataFrame,
    presence_time: PresenceTime,
    now: datetime,
) -> pl.DataFrame:
    """Return VENs heard live after their last status, unless it was `online`, as transitions to `online`.

    A VEN that has been silent for too long since is left out; `maintenance` ends only by a status message.

    Args:
        vens: as `fallen_silent`.
        heard: as `skewed_presence` returns it, for the offset of wrong clocks.
        report_intervals: as `intervals` returns them.
        presence_time: how the presence time of a VEN is computed.
        now: the time of the check.

    Returns:
        As `fallen_silent`; `silent_s` is null.
    """
    is_settled = pl.col("status").is_in((ONLINE, MAINTENANCE)).fill_null(value=False)
    is_later = (pl.col("heard_at") > pl.coalesce("status_received_at", "status_ts")).fill_null(value=True)
    is_present = pl.lit(now) - pl.col("heard_at") <= presence_time.allowed(pl.col("interval"))
    was_offline = pl.col("status").eq_missing(OFFLINE)
    return (
        vens.join(report_intervals, on="ven_id", how="left")
        .join(heard.select("ven_id", "clock_offset_s"), on="ven_id", how="left")
        .filter(~is_settled & is_later & is_present)
        .select(
            "ven_id",
            _after_last_status(pl.col("heard_at")).alias("ts"),
            pl.lit(ONLINE).alias("status"),
            _either(was_offline, "heard again", "heard").alias("reason"),
            pl.lit(None, pl.Float64).alias("silent_s"),
            "heard_at",
            "clock_offset_s",
        )
    )


def _by_ven(reports: pl.DataFrame, interval: pl.Expr) -> pl.DataFrame:
    ordered = reports.sort("ven_id", "ts").group_by("ven_id", maintain_order=True)
    return ordered.agg(interval.alias("interval")).drop_nulls()


def _agrees(offset: pl.Expr, presence_time: PresenceTime) -> pl.Expr:
    """Return whether each report and the two before it, in order of receipt, agree on the offset."""
    earlier = range(AGREEING_REPORTS)
    offsets = [offset.shift(number) for number in earlier]
    spread = pl.max_horizontal(offsets) - pl.min_horizontal(offsets)
    spanned = pl.col("ts") - pl.col("ts").shift(AGREEING_REPORTS - 1)
    is_in_order = pl.all_horizontal(
        pl.col("ts").shift(number) > pl.col("ts").shift(number + 1) for number in earlier[:-1]
    )
    is_close = (spread <= spanned * MOST_OFFSET_SPREAD) & (spread <= pl.lit(presence_time.at_least))
    return (is_in_order & is_close).fill_null(value=False)


def _after_last_status(instant: pl.Expr) -> pl.Expr:
    """Return a time after the last status, which may be in the future if the VEN's clock is ahead."""
    return pl.max_horizontal(instant, pl.col("status_ts") + ONE_TICK).cast(_UTC)


def _either(condition: pl.Expr, yes: str, no: str) -> pl.Expr:
    return pl.when(condition).then(pl.lit(yes)).otherwise(pl.lit(no))
