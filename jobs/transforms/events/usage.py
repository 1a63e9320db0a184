"""What VENs used in the slots of an event, the hours of them that count, and what was requested. Pure.

Powers in kW, energies in kWh. Time that a VEN spent in another event counts there.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from schemas.baseline_model.days import part_within, seconds
from schemas.baseline_model.usage import Array, Usage
from schemas.tables.history import SLOT_S
from schemas.times.time_ranges import TimeRange, widened


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
