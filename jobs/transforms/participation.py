"""Tracks participation in an event: VENs acknowledge, reject, begin, leave, return, or are offline."""

from datetime import datetime, timedelta

import polars as pl

from jobs.transforms.lifecycle import LAST_CHANGE

SILENCE_MEANS_NO = timedelta(minutes=1)
"""Time for a VEN that was notified again to respond to the event, before it counts as opted out."""

_WORD = ("status", "requested_reduction_kw", "command_id")
_TIMES = ("acknowledged_at", "opted_out_at", "started_at", "named_at", "asked_again_at", "released_at")
_UTC = pl.Datetime("us", "UTC")


def followed(parts: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Return the participations that have changed.

    Args:
        parts: participations that are not over, or opted out, with their current facts: `command_status` and
            `answered_at` of the command that notified the VEN; `reported_at`, `reported_event_id`,
            `shed_power_kw` of its newest report; `is_away` (it is unreachable or not requested any more),
            `is_unwanted` (the latter), `has_opt_out` (people have opted it out for now); `event_status`,
            `start_time`, `end_time` of the event.
        now: the time of this look.

    Returns:
        The same columns of those that have changed. A VEN has started with the first report that names the
        event, or that shows shed power, while the event runs. It opts out by rejecting the command. When a
        report names the event no longer after one has, it may have rebooted: `asked_again_at` is set, and it
        is to be notified again; only if it neither names the event nor answers in `SILENCE_MEANS_NO` has it
        opted out. One that has opted out and names the event again, or acknowledges it, is back in. One that
        is away keeps its place, without a share, until it comes back. One that is unwanted, or that people
        have opted out, is to be released: `released_at`.
    """
    at = pl.lit(now).cast(_UTC)
    words = _updated(parts, at)
    return words.join(parts, on=["ven_id", "event_id", *_WORD, *_TIMES], how="anti", nulls_equal=True).select(
        parts.columns
    )


def _updated(parts: pl.DataFrame, at: pl.Expr) -> pl.DataFrame:
    """Return all participations in their current state."""
    with_facts = parts.with_columns(**_facts(at)).with_columns(is_out=_is_out())
    after = with_facts.with_columns(**_times(at))
    gone, returns = pl.col("is_away") & ~pl.col("is_out"), pl.col("returns")
    return after.with_columns(
        status=_status(gone),
        requested_reduction_kw=pl.when(~gone).then("requested_reduction_kw").otherwise(0.0),
        # A VEN that returns after a rejection has not answered its current request yet.
        command_id=pl.when(~gone & ~(returns & pl.col("is_rejected"))).then("command_id"),
        command_status=pl.when(~(returns & pl.col("is_rejected"))).then("command_status"),
        asked_again_at=pl.when(~gone).then("asked_again_at"),
    )


def _is_out() -> pl.Expr:
    """Return whether a VEN is opted out: it opts out now, or has done so and does not return."""
    was_out = pl.col("status") == "opted_out"
    opts_out = pl.col("has_opt_out") | pl.col("is_refused") | pl.col("is_silent_for_good")
    return (opts_out & ~was_out) | (was_out & ~pl.col("returns"))


def _times(at: pl.Expr) -> dict[str, pl.Expr]:
    """Return when each fact of `_facts` first became true; null where it does not apply any more."""
    is_out, names_it = pl.col("is_out"), pl.col("names_it")
    answered_at = pl.min_horizontal(pl.when("is_refused").then("answered_at"), at)
    begins = pl.col("begins") & ~is_out
    is_answered = pl.col("has_answered_again") | (pl.col("returns") & ~names_it)
    named_at = pl.when(~is_answered).then("named_at")
    is_accepted, asks = pl.col("is_accepted") & ~is_out, pl.col("is_silent") & pl.col("may_be_asked")
    asked_again_at = pl.coalesce("asked_again_at", pl.when(asks).then(at))
    names_it_now = pl.coalesce(named_at, "reported_at")
    return {
        "acknowledged_at": pl.coalesce("acknowledged_at", pl.when(is_accepted).then("answered_at")),
        "started_at": pl.coalesce("started_at", pl.when(begins).then(pl.min_horizontal("reported_at", at))),
        "named_at": pl.when(begins & names_it).then(names_it_now).otherwise(named_at),
        "opted_out_at": pl.when(is_out).then(pl.coalesce("opted_out_at", answered_at, at)),
        "asked_again_at": pl.when(~is_out & ~is_answered & ~names_it).then(asked_again_at),
        "released_at": pl.coalesce("released_at", pl.when("is_to_go").then(at)),
    }


def _status(gone: pl.Expr) -> pl.Expr:
    return (
        pl.when("is_out")
        .then(pl.lit("opted_out"))
        .when(gone | (pl.col("status") == "planned"))
        .then(pl.lit("planned"))
        .when(pl.col("started_at").is_not_null())
        .then(pl.lit("started"))
        .when(pl.col("acknowledged_at").is_not_null())
        .then(pl.lit("acknowledged"))
        .when("returns")
        .then(pl.lit("notified"))
        .otherwise("status")
    )


def _facts(at: pl.Expr) -> dict[str, pl.Expr]:
    """Return the facts of each participation, from the VEN's acknowledgement and its newest report."""
    is_out = pl.col("status") == "opted_out"
    takes_part = ~is_out & (pl.col("status") != "planned")
    is_active = pl.col("event_status") == "active"
    names_it = pl.col("reported_event_id").eq_missing(pl.col("event_id"))
    in_time = _or_false(pl.col("reported_at").is_between("start_time", "end_time", closed="left"))
    sheds = _or_false(pl.col("shed_power_kw") > 0) & pl.col("reported_event_id").is_null()
    is_silent = (
        is_active & takes_part & in_time & _or_false(pl.col("reported_at") > pl.col("named_at")) & ~names_it
    )
    is_accepted = pl.col("command_status").eq_missing("acknowledged")
    is_rejected = pl.col("command_status").eq_missing("rejected")
    is_sent = pl.col("command_status").is_in(["sent", "expired", "failed"]).fill_null(value=False)
    has_waited = _or_false(pl.col("asked_again_at") <= at - SILENCE_MEANS_NO)
    names_it_after_refusal = _or_false(pl.col("reported_at") > pl.col("answered_at"))
    names_it_since = names_it & in_time & _or_false(pl.col("reported_at") > pl.col("opted_out_at"))
    accepts_since = is_accepted & _or_false(pl.col("answered_at") > pl.col("opted_out_at"))
    can_return = is_out & is_active & pl.col("released_at").is_null() & ~pl.col("has_opt_out")
    returns = can_return & ~pl.col("is_away") & (names_it_since | accepts_since)
    margin = pl.min_horizontal(pl.lit(LAST_CHANGE), (pl.col("end_time") - pl.col("start_time")) / 10)
    is_to_go = (pl.col("is_unwanted") | pl.col("has_opt_out")) & ~is_out
    return {
        "names_it": names_it,
        "begins": is_active & (takes_part | returns) & (names_it | (in_time & sheds)),
        "is_silent": is_silent,
        "is_silent_for_good": is_silent & has_waited & is_sent,
        "is_accepted": is_accepted,
        "has_answered_again": is_accepted & _or_false(pl.col("answered_at") > pl.col("asked_again_at")),
        "is_rejected": is_rejected,
        "is_refused": ~is_out & is_rejected & ~(is_active & names_it & in_time & names_it_after_refusal),
        "returns": returns,
        "may_be_asked": at < pl.col("end_time") - margin,
        "is_to_go": is_to_go & pl.col("notified_at").is_not_null(),
    }


def _or_false(condition: pl.Expr) -> pl.Expr:
    return condition.fill_null(value=False)
