"""How events go while they run: the reduction now, the energy so far, who has answered, how fast.

A baseline is computed once for each VEN and kept in memory: it looks at the hours before the VEN knew of
the event. So that is begun as soon as VENs have been told, with some of them in each cycle, and mostly done
when the event starts; who must be measured by the hour before it waits until then. Of an event that starts at
once the reduction is that of the VENs whose baseline is there, which are more with each cycle. Slots that
ended a while ago are read once. All of this is a first word; the last is the settlement's.
"""

from datetime import datetime, timedelta
from typing import Any, Self

import polars as pl
from msgspec import Struct
from sqlalchemy import Connection

from jobs.measuring import (
    MeasuredEvent,
    Rules,
    UsageFrame,
    participants,
    predicted,
    read_samples,
    read_usage,
    sampled_cuts,
)
from jobs.queries import settlement as settlement_queries
from jobs.ranges import Range, widened
from jobs.rows import fetch
from jobs.transforms.baselines import FALL_BACK, STANDS_IN
from jobs.transforms.performance import usage
from schemas import channels, locks
from schemas.tables.history import SLOT_S

SETTLES_AFTER = timedelta(minutes=10)
"""A slot that ended so long ago is not read again."""


MOST_VENS = 2_000
"""So many baselines are made in a cycle, so that each soon says something."""


class Standing(Struct):
    """What is known of an event."""

    people: pl.DataFrame
    judged: pl.DataFrame
    """`ven_id` of those whose baseline has been made, `is_own` where nothing stands in for it."""
    baselines: pl.DataFrame
    """`ven_id`, `slot`, `baseline_kw`."""
    history: pl.DataFrame
    """Slots that have been read for the last time: `ven_id`, `slot`, `used_kw`."""
    history_until: datetime
    samples: pl.DataFrame | None = None
    """Raw samples of the slot that the start cuts, once they have been read for the last time."""

    @classmethod
    def of(cls, event: MeasuredEvent) -> Self:
        people, judged, baselines, slots = (
            pl.DataFrame(schema=schema) for schema in ({"ven_id": pl.String}, _JUDGED, _BASELINE, _SLOTS)
        )
        return cls(people, judged, baselines, slots, event.window.start)


class Progress:
    """Follows the events that run, and gets ready for those that are about to."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._standings: dict[str, Standing] = {}

    def follow_events(self, connection: Connection, now: datetime) -> int:
        """Write down how each running event goes; answers their number."""
        if not connection.execute(locks.try_exclusive(locks.PROGRESS)).scalar_one():
            return 0
        running, coming = (
            [MeasuredEvent.of(row) for row in connection.execute(query).all()]
            for query in (settlement_queries.running_events(now), settlement_queries.coming_events(now))
        )
        known, self._standings = self._standings, {}
        for event in (*running, *coming):
            standing = known.get(event.event_id) or Standing.of(event)
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
        people = everybody.filter(~pl.col("has_opted_out"), pl.col("left_at").is_null())
        if people.join(standing.people, on="ven_id", how="anti").height:
            standing.history, standing.history_until = standing.history.clear(), event.window.start
            standing.samples = None
        standing.people = people
        if has_begun:
            _forget_stand_ins(standing)
        joining = people.join(standing.judged, on="ven_id", how="anti").head(MOST_VENS)
        if joining.is_empty():
            return
        ven_ids, primary = joining.get_column("ven_id").to_list(), self._rules.primary
        _, said = predicted(connection, event, ven_ids, self._rules, only=primary)
        new = said.event.select(list(_BASELINE))
        standing.baselines = pl.concat([standing.baselines, new])
        is_own = ~pl.col("note").fill_null("").str.contains_any([STANDS_IN, FALL_BACK])
        own = said.method.filter(is_own).select("ven_id", is_own=pl.lit(value=True))
        judged = joining.select("ven_id").join(own, on="ven_id", how="left")
        has_it = pl.col("is_own").fill_null(value=False) | pl.lit(has_begun)
        standing.judged = pl.concat([standing.judged, judged.with_columns(is_own=has_it)])

    def _progress(self, connection: Connection, event: MeasuredEvent, now: datetime) -> dict[str, object]:
        standing = self._standings[event.event_id]
        reduction_kw = _reduction_kw(connection, event, standing, now)
        answered = connection.execute(settlement_queries.responses(event.event_id)).one()
        efficiency = None if reduction_kw is None else 100 * reduction_kw / event.requested_kw
        return {
            "event_id": event.event_id,
            "current_reduction_kw": reduction_kw,
            "delivered_kwh": _delivered_kwh(connection, event, standing, now),
            "vens_responding": answered.vens,
            "avg_response_ms": None if answered.mean_ms is None else float(answered.mean_ms),
            "efficiency_percent": efficiency,
            "refreshed_at": now,
        }


_JUDGED: dict[str, Any] = {"ven_id": pl.String, "is_own": pl.Boolean}
_BASELINE: dict[str, Any] = {
    "ven_id": pl.String,
    "slot": pl.Datetime("us", "UTC"),
    "baseline_kw": pl.Float64,
}
_SLOTS: dict[str, Any] = {"ven_id": pl.String, "slot": pl.Datetime("us", "UTC"), "used_kw": pl.Float64}


def _forget_stand_ins(standing: Standing) -> None:
    """Before the start they were made of an hour that was not over."""
    own = standing.judged.filter("is_own")
    if own.height < standing.judged.height:
        standing.judged = own
        standing.baselines = standing.baselines.join(own, on="ven_id", how="semi")


def _reduction_kw(
    connection: Connection, event: MeasuredEvent, standing: Standing, now: datetime
) -> float | None:
    """Baseline less usage, over those who have said anything since the start; None if none of them has."""
    slot = widened(Range(now, now), SLOT_S).start
    query = settlement_queries.latest_usage(event.event_id, event.window.start)
    both = (
        fetch(connection, query, UsageFrame)
        .join(standing.people, on="ven_id", how="semi")
        .join(standing.baselines.filter(slot=slot), on="ven_id")
    )
    saved_kw = both.get_column("baseline_kw") - both.get_column("used_kw")
    return float(saved_kw.sum()) if both.height or standing.people.is_empty() else None


def _delivered_kwh(
    connection: Connection, event: MeasuredEvent, standing: Standing, now: datetime
) -> float | None:
    """The energy so far; of the slot that is not over, as much as has passed."""
    window = Range(event.window.start, min(now, event.window.end))
    ven_ids = standing.people.get_column("ven_id").to_list()
    recent = read_usage(connection, ven_ids, Range(standing.history_until, window.end))
    history = pl.concat([standing.history, recent])
    sampled = [cut for cut in sampled_cuts(connection, window) if cut.start == window.start]
    samples = standing.samples
    if samples is None:
        samples = read_samples(connection, ven_ids, sampled)
    used = usage(history, samples, window, sampled)
    _remember(standing, history, samples, now)
    both = used.join(standing.baselines, on=["ven_id", "slot"])
    saved_kwh = (pl.col("baseline_kw") - pl.col("used_kw")) * pl.col("hours")
    is_known = both.height or standing.people.is_empty()
    return float(both.select(saved_kwh.sum()).item()) if is_known else None


def _remember(standing: Standing, history: pl.DataFrame, samples: pl.DataFrame, now: datetime) -> None:
    old = now - SETTLES_AFTER
    until = max(standing.history_until, widened(Range(old, old), SLOT_S).start)
    standing.history = history.filter(pl.col("slot") < until)
    if until > standing.history_until:
        standing.samples = samples
    standing.history_until = until
