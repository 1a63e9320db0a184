"""How events go while they run: the reduction now, the energy so far, who has answered, how fast.

A baseline is computed once for each VEN and kept in memory: it looks at the hours before the VEN knew of
the event. So that is begun as soon as VENs have been notified, with some of them in each cycle, and mostly
done when the event starts; who must be measured by the hour before it waits until then. Of an event that
starts at once the reduction is that of the VENs whose baseline is there; the other baselines follow one
part after the other, without a pause. Slots that ended a while ago are read once. All of this is a first
word; the last is the settlement's.
"""

from datetime import datetime, timedelta
from typing import Self

import numpy as np
import polars as pl
from msgspec import Struct
from sqlalchemy import Connection

from jobs.events.measuring import Rules, predicted
from jobs.events.presence import intervals_of
from jobs.events.records import (
    MeasuredEvent,
    ParticipantFrame,
    TakenFrame,
    UsageFrame,
    participants,
    read_samples,
    read_window,
    sampled_cuts,
    slow_vens,
)
from jobs.queries.events import settlement as settlement_queries
from jobs.summaries.rows import fetch, write
from jobs.transforms.events.presence import OFFLINE, PresenceTime, fallen_silent
from jobs.transforms.events.usage import counted_hours, elsewhere, event_usage
from schemas.baseline_model.days import part_within
from schemas.baseline_model.prediction import FALL_BACK, STANDS_IN
from schemas.baseline_model.usage import Array, Usage
from schemas.db import channels, locks
from schemas.db.frame_models import DataType
from schemas.demand_response import participation_times
from schemas.tables.events import event_reductions
from schemas.tables.history import SLOT_S
from schemas.times.slots import WIDEST_S
from schemas.times.time_ranges import TimeRange, widened

PRESENCE_TIME = PresenceTime(3, timedelta(seconds=60))
"""How long a VEN may be silent where no setting gives a time."""

SETTLES_AFTER = timedelta(minutes=10)
"""A slot that ended so long ago is not read again."""


MOST_VENS = 2_000
"""So many baselines are computed at once, so that first figures are soon there."""

CATCH_UP = timedelta(seconds=5)
"""So long a cycle goes on making the baselines that are missing; then its lease is renewed."""


class Standing(Struct):
    """The progress of an event."""

    window: TimeRange
    people: pl.DataFrame
    """Whose energy counts, also of those who have left while it ran: `left_at`."""
    asked: pl.DataFrame
    """`ven_id` of `people`, and of those who opted out or left before the start."""
    judged: pl.DataFrame
    """`ven_id` of those whose baseline has been made, `is_own` where nothing stands in for it."""
    baselines: pl.DataFrame
    """`ven_id`, `slot`, `baseline_kw`."""
    history: Usage | None
    """Slots that have been read for the last time, up to `history_until`; of `people`."""
    history_until: datetime
    samples: pl.DataFrame | None = None
    """Raw samples of the slot that the start cuts, once they have been read for the last time."""
    missing: int = 0
    """How many of `people` have no baseline yet."""

    @classmethod
    def of(cls, event: MeasuredEvent) -> Self:
        ids = {"ven_id": pl.String}
        people, asked, judged, baselines = (
            pl.DataFrame(schema=schema) for schema in (ParticipantFrame.types(), ids, _JUDGED, _BASELINE)
        )
        return cls(event.window, people, asked, judged, baselines, None, event.window.start)


class Progress:
    """Follows the events that run, and gets ready for those that are about to."""

    def __init__(
        self, rules: Rules, presence_time: PresenceTime = PRESENCE_TIME, most_vens: int = MOST_VENS
    ) -> None:
        self._rules = rules
        self._presence_time = presence_time
        self._most_vens = most_vens
        self._standings: dict[str, Standing] = {}
        self._followed_at: datetime | None = None

    def follow_events(self, connection: Connection, now: datetime) -> int:
        """Write down how each running event goes; returns how many."""
        self._followed_at = now
        return self._follow(connection, now)

    def make_missing_baselines(self, connection: Connection, now: datetime) -> int:
        """Make the next baselines, and write down what comes of them; returns how many VENs had none."""
        missing = sum(standing.missing for standing in self._standings.values())
        if not missing or self._followed_at is None or now > self._followed_at + CATCH_UP:
            return 0
        self._follow(connection, now)
        return missing

    def _follow(self, connection: Connection, now: datetime) -> int:
        if not connection.execute(locks.try_exclusive(locks.PROGRESS)).scalar_one():
            return 0
        running, coming = (
            [MeasuredEvent.of(row) for row in query.all(connection)]
            for query in (settlement_queries.running_events(now), settlement_queries.coming_events(now))
        )
        known, self._standings = self._standings, {}
        for event in (*running, *coming):
            standing = known.get(event.event_id)
            if standing is None or standing.window != event.window:  # people have moved its end
                standing = Standing.of(event)
            self._standings[event.event_id] = standing
            self._judge(connection, event, standing, has_begun=event in running)
        for event in running:
            connection.execute(settlement_queries.put_progress(self._progress(connection, event, now)))
            connection.execute(channels.notify(channels.EVENTS, event.event_id))
        return len(running)

    def _judge(
        self, connection: Connection, event: MeasuredEvent, standing: Standing, *, has_begun: bool
    ) -> None:
        """Take in everybody who takes part by now, and make the baselines of some who have none."""
        everybody = participants(connection, event)
        had_part = pl.col("left_at").is_null() | (pl.col("left_at") > event.window.start)
        people = everybody.filter(~pl.col("has_opted_out"), had_part)
        if people.get_column("ven_id").to_list() != standing.people.get_column("ven_id").to_list():
            standing.history, standing.history_until = None, event.window.start
            standing.samples = None
        standing.people, standing.asked = people, everybody.select("ven_id")
        if has_begun:
            _forget_stand_ins(standing)
        unjudged = people.join(standing.judged, on="ven_id", how="anti")
        joining = unjudged.head(self._most_vens)
        standing.missing = unjudged.height - joining.height
        if joining.is_empty():
            return
        ven_ids, primary = joining.get_column("ven_id").to_list(), self._rules.primary
        made = list(predicted(connection, event, ven_ids, self._rules, primary))
        new = pl.concat([each.event.select(list(_BASELINE)) for each in made])
        standing.baselines = pl.concat([standing.baselines, new]).unique(["ven_id", "slot"], keep="last")
        is_own = ~pl.col("note").fill_null("").str.contains_any([STANDS_IN, FALL_BACK])
        methods = pl.concat([each.method for each in made]).unique("ven_id", keep="last")
        own = methods.filter(is_own).select("ven_id", is_own=pl.lit(value=True))
        judged = joining.select("ven_id").join(own, on="ven_id", how="left")
        has_it = pl.col("is_own").fill_null(value=False) | pl.lit(has_begun)
        standing.judged = pl.concat([standing.judged, judged.with_columns(is_own=has_it)])

    def _progress(self, connection: Connection, event: MeasuredEvent, now: datetime) -> dict[str, object]:
        standing = self._standings[event.event_id]
        reporting = _reporting(connection, event, standing, self._presence_time, now)
        delivered = _delivered(connection, event, standing, now)
        reductions = _reductions(event, standing, reporting, now).join(delivered, on="ven_id", how="left")
        write(connection, reductions, event_reductions, settlement_queries.merge_reductions)
        is_known = bool(reporting.height) or standing.people.is_empty()
        reduction_kw = float(reductions.get_column("reduction_kw").sum()) if is_known else None
        answered = settlement_queries.responses(event.event_id).one(connection)
        is_unknown = reduction_kw is None or not event.requested_kw
        efficiency = None if is_unknown else 100 * (reduction_kw or 0.0) / event.requested_kw
        return {
            "event_id": event.event_id,
            "current_reduction_kw": reduction_kw,
            "delivered_kwh": _total_kwh(delivered),
            "vens_responding": answered.vens,
            "vens_reporting": reporting.filter(~pl.col("is_silent")).height,
            "avg_response_ms": None if answered.mean_ms is None else float(answered.mean_ms),
            "efficiency_percent": efficiency,
            "refreshed_at": now,
        }


_JUDGED: dict[str, DataType] = {"ven_id": pl.String, "is_own": pl.Boolean}
_BASELINE: dict[str, DataType] = {
    "ven_id": pl.String,
    "slot": pl.Datetime("us", "UTC"),
    "baseline_kw": pl.Float64,
}


def _forget_stand_ins(standing: Standing) -> None:
    """Before the start they were made of an hour that was not over."""
    own = standing.judged.filter("is_own")
    if own.height < standing.judged.height:
        standing.judged = own
        standing.baselines = standing.baselines.join(own, on="ven_id", how="semi")


def _reporting(
    connection: Connection,
    event: MeasuredEvent,
    standing: Standing,
    presence_time: PresenceTime,
    now: datetime,
) -> pl.DataFrame:
    """Usage of participants with a baseline that have reported since the start; and the silent ones.

    `ven_id`, `used_kw`, `is_silent`: offline, or not heard within the VEN's presence time.
    """
    query = settlement_queries.latest_usage(event.event_id, event.window.start)
    present = standing.people.filter(pl.col("left_at").is_null())
    latest = fetch(connection, query, UsageFrame).join(present, on="ven_id", how="semi")
    latest = latest.join(standing.baselines, on="ven_id", how="semi")
    # By reports alone: a status says nothing of usage.
    no_status = pl.lit(None, pl.Datetime("us", "UTC"))
    late = latest.filter(pl.col("heard_at") < now - presence_time.at_least).with_columns(
        status_ts=no_status, status_received_at=no_status
    )
    silent = fallen_silent(late, intervals_of(connection, late, now), presence_time, now)
    is_silent = pl.col("ven_id").is_in(silent.get_column("ven_id").implode()) | pl.col("status").eq_missing(
        OFFLINE
    )
    return latest.select("ven_id", "used_kw", is_silent=is_silent)


def _reductions(
    event: MeasuredEvent, standing: Standing, reporting: pl.DataFrame, now: datetime
) -> pl.DataFrame:
    """The delivery of each participant, kW: baseline less usage, or the opposite where more is
    asked for; 0.0 of one that is silent or has left.

    `event_id`, `ven_id`, `reduction_kw`.
    """
    slot = widened(TimeRange(now, now), SLOT_S).start
    last = widened(event.window, SLOT_S).end - timedelta(seconds=SLOT_S)
    heard = reporting.filter(~pl.col("is_silent"))
    both = heard.join(standing.baselines.filter(slot=min(slot, last)), on="ven_id")
    saved = both.select("ven_id", reduction_kw=event.sign * (pl.col("baseline_kw") - pl.col("used_kw")))
    everybody = standing.asked.join(saved, on="ven_id", how="left").sort("ven_id")
    return everybody.select(
        pl.lit(event.event_id).alias("event_id"), "ven_id", pl.col("reduction_kw").fill_null(0.0)
    )


def _delivered(
    connection: Connection, event: MeasuredEvent, standing: Standing, now: datetime
) -> pl.DataFrame:
    """The energy that each VEN has delivered so far; of the slot that is not over, as much as has passed.

    As in the settlement, a VEN that has left counts until then, and its time in another event counts there.

    `ven_id`, `delivered_kwh`, which is null where nothing is known.
    """
    window = TimeRange(event.window.start, min(now, event.window.end))
    ven_ids = standing.people.get_column("ven_id").to_list()
    recent = read_window(connection, ven_ids, TimeRange(standing.history_until, window.end))
    usage = recent if standing.history is None else _joined(standing.history, recent)
    sampled = [cut for cut in sampled_cuts(connection, window) if cut.start == window.start]
    samples = standing.samples
    if samples is None:
        samples = read_samples(connection, ven_ids, sampled)
    slow = slow_vens(connection, ven_ids, window)
    used = event_usage(usage, samples, window, sampled, slow)
    _remember(standing, usage, samples, now, WIDEST_S if slow else SLOT_S)
    baseline = _baseline_of(standing, ven_ids, window)
    hours = _counted_hours(connection, event, standing.people, window)
    saved_kwh = np.where(hours > 0, event.sign * (baseline - used) * hours, np.nan)
    is_known = ~np.isnan(saved_kwh).all(axis=1)
    by_ven = np.where(is_known, np.nansum(saved_kwh, axis=1), np.nan)
    columns = {"ven_id": pl.Series(ven_ids, dtype=pl.String), "delivered_kwh": by_ven}
    return pl.DataFrame(columns).with_columns(pl.col("delivered_kwh").cast(pl.Float64).fill_nan(None))


def _counted_hours(
    connection: Connection, event: MeasuredEvent, people: pl.DataFrame, window: TimeRange
) -> Array:
    ven_ids = people.get_column("ven_id").to_list()
    others = fetch(connection, participation_times.taken(ven_ids, event.event_id, window), TakenFrame)
    return counted_hours(ven_ids, elsewhere(people, others, window), window)


def _total_kwh(delivered: pl.DataFrame) -> float | None:
    """Of all VENs; None where no VEN has a figure."""
    known = delivered.get_column("delivered_kwh").drop_nulls()
    return float(known.sum()) if known.len() or delivered.is_empty() else None


def _baseline_of(standing: Standing, ven_ids: list[str], window: TimeRange) -> Array:
    """By VEN and slot of a window; NaN where there is none."""
    slots = part_within([window]).slots
    number = pl.col("slot").dt.epoch("us") // (SLOT_S * 1_000_000)
    rows = pl.DataFrame({"ven_id": ven_ids}, {"ven_id": pl.String}).with_row_index("row")
    found = standing.baselines.join(rows, on="ven_id").select("row", number.alias("number"), "baseline_kw")
    found = found.filter(pl.col("number").is_between(int(slots[0]), int(slots[-1])))
    baseline = np.full((len(ven_ids), len(slots)), np.nan)
    column = found.get_column("number").to_numpy() - slots[0]
    baseline[found.get_column("row").to_numpy(), column] = found.get_column("baseline_kw").to_numpy()
    return baseline


def _joined(before: Usage, after: Usage) -> Usage:
    slots = np.concatenate([before.slots, after.slots])
    return Usage(before.ven_ids, slots, np.concatenate([before.kw, after.kw], axis=1))


def _remember(standing: Standing, usage: Usage, samples: pl.DataFrame, now: datetime, widest_s: int) -> None:
    old = now - SETTLES_AFTER
    until = max(standing.history_until, widened(TimeRange(old, old), widest_s).start)
    until_slot = int(until.timestamp()) // SLOT_S
    is_old = usage.slots < until_slot
    standing.history = Usage(usage.ven_ids, usage.slots[is_old], usage.kw[:, is_old])
    if until > standing.history_until:
        standing.samples = samples
    standing.history_until = until
