"""How events go while they run: the reduction now, the energy so far, who has answered, how fast.

A baseline is computed once for each VEN, when the event starts or the VEN joins, and kept in memory: it
looks at the hours before the event. Slots that ended a while ago are read once. Both are a first word; the
last is the settlement's.
"""

from datetime import datetime, timedelta
from typing import Any

import polars as pl
from msgspec import Struct
from sqlalchemy import Connection

from jobs import settlement_queries
from jobs.measuring import (
    VENS_AT_ONCE,
    MeasuredEvent,
    Rules,
    UsageFrame,
    participants,
    predicted,
    read_samples,
    read_usage,
    sampled_cuts,
)
from jobs.ranges import Range, widened
from jobs.rows import fetch
from jobs.transforms.performance import usage
from schemas.tables.history import SLOT_S

SETTLES_AFTER = timedelta(minutes=10)
"""A slot that ended so long ago is not read again."""


class Standing(Struct):
    """What is known of a running event."""

    people: pl.DataFrame
    baselines: pl.DataFrame
    """`ven_id`, `slot`, `baseline_kw`."""
    history: pl.DataFrame
    """Slots that have been read for the last time: `ven_id`, `slot`, `used_kw`."""
    history_until: datetime


class Progress:
    """Follows the events that run."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._standings: dict[str, Standing] = {}

    def follow_events(self, connection: Connection, now: datetime) -> int:
        """Write down how each running event goes; answers their number."""
        if not connection.execute(settlement_queries.try_lock("progress")).scalar_one():
            return 0
        rows = connection.execute(settlement_queries.running_events(now)).all()
        running = [MeasuredEvent.of(row) for row in rows]
        known = self._standings
        self._standings = {
            event.event_id: self._joined(connection, event, known.get(event.event_id)) for event in running
        }
        for event in running:
            connection.execute(settlement_queries.put_progress(self._progress(connection, event, now)))
            connection.execute(settlement_queries.tell(event.event_id))
        return len(running)

    def _joined(self, connection: Connection, event: MeasuredEvent, known: Standing | None) -> Standing:
        """The standing of an event with everybody who takes part by now."""
        everybody = participants(connection, event)
        people = everybody.filter(~pl.col("has_opted_out"), pl.col("left_at").is_null())
        if known is None:
            nobody = pl.DataFrame(schema={"ven_id": pl.String})
            empty = pl.DataFrame(schema=_BASELINE)
            known = Standing(nobody, empty, pl.DataFrame(schema=_SLOTS), event.window.start)
        joining = people.join(known.people, on="ven_id", how="anti").get_column("ven_id").to_list()
        baselines = [known.baselines]
        for start in range(0, len(joining), VENS_AT_ONCE):
            some = joining[start : start + VENS_AT_ONCE]
            _, said = predicted(connection, event, some, self._rules, with_errors=False)
            primary = said.event.filter(baseline=self._rules.primary)
            baselines.append(primary.select(list(_BASELINE)))
        is_same = not joining
        return Standing(
            people,
            pl.concat(baselines),
            known.history if is_same else known.history.clear(),
            known.history_until if is_same else event.window.start,
        )

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


_BASELINE: dict[str, Any] = {
    "ven_id": pl.String,
    "slot": pl.Datetime("us", "UTC"),
    "baseline_kw": pl.Float64,
}
_SLOTS: dict[str, Any] = {"ven_id": pl.String, "slot": pl.Datetime("us", "UTC"), "used_kw": pl.Float64}


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
    used = usage(history, read_samples(connection, ven_ids, sampled), window, sampled)
    _remember(standing, history, now)
    both = used.join(standing.baselines, on=["ven_id", "slot"])
    saved_kwh = (pl.col("baseline_kw") - pl.col("used_kw")) * pl.col("hours")
    is_known = both.height or standing.people.is_empty()
    return float(both.select(saved_kwh.sum()).item()) if is_known else None


def _remember(standing: Standing, history: pl.DataFrame, now: datetime) -> None:
    old = now - SETTLES_AFTER
    until = max(standing.history_until, widened(Range(old, old), SLOT_S).start)
    standing.history = history.filter(pl.col("slot") < until)
    standing.history_until = until
