"""What VENs make of an event: they acknowledge, refuse, begin, leave, or cannot be reached."""

from datetime import datetime

import polars as pl

_WORD = ("status", "requested_reduction_kw", "command_id")
_TIMES = ("acknowledged_at", "opted_out_at", "started_at", "named_at")


def followed(parts: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """The participations that have moved on.

    Args:
        parts: participations that are not over, with what is known now: `command_status`, `answered_at` of
            the command that told the VEN; `reported_at`, `reported_event_id`, `shed_power_kw` of its newest
            report; `is_away` (offline, or retired); `event_status`, `start_time`, `end_time` of the event.
        now: the time of this look.

    Returns:
        The same columns of those that have changed. A VEN opts out by rejecting the command, or when a
        report names the event no longer after one has. It has started with the first report that names the
        event, or that shows shed power, while the event runs. One that is away keeps its place, without a
        share, until it comes back.
    """
    is_told = pl.col("status") != "planned"
    is_active = pl.col("event_status") == "active"
    names_it = pl.col("reported_event_id").eq_missing(pl.col("event_id"))
    in_time = pl.col("reported_at").is_between("start_time", "end_time", closed="left").fill_null(value=False)
    sheds = (pl.col("shed_power_kw") > 0).fill_null(value=False) & pl.col("reported_event_id").is_null()
    has_left = (pl.col("reported_at") > pl.col("named_at")).fill_null(value=False) & ~names_it
    is_out = (pl.col("command_status").eq_missing("rejected")) | (is_active & is_told & in_time & has_left)
    begins = is_active & is_told & (names_it | (in_time & sheds))
    report_at = pl.min_horizontal("reported_at", pl.lit(now).cast(pl.Datetime("us", "UTC")))
    is_accepted = pl.col("command_status").eq_missing("acknowledged")
    after = parts.with_columns(
        acknowledged_at=pl.coalesce("acknowledged_at", pl.when(is_accepted).then("answered_at")),
        started_at=pl.coalesce("started_at", pl.when(begins & ~is_out).then(report_at)),
        named_at=pl.coalesce("named_at", pl.when(begins & names_it).then("reported_at")),
        opted_out_at=pl.when(is_out).then(pl.lit(now)).cast(pl.Datetime("us", "UTC")),
    )
    gone = pl.col("is_away") & ~pl.col("opted_out_at").is_not_null()
    after = after.with_columns(
        status=pl.when(pl.col("opted_out_at").is_not_null())
        .then(pl.lit("opted_out"))
        .when(gone | ~is_told)
        .then(pl.lit("planned"))
        .when(pl.col("started_at").is_not_null())
        .then(pl.lit("started"))
        .when(pl.col("acknowledged_at").is_not_null())
        .then(pl.lit("acknowledged"))
        .otherwise("status"),
        requested_reduction_kw=pl.when(~gone).then("requested_reduction_kw").otherwise(0.0),
        command_id=pl.when(~gone).then("command_id"),
    )
    return after.join(parts, on=["ven_id", "event_id", *_WORD, *_TIMES], how="anti", nulls_equal=True).select(
        parts.columns
    )
