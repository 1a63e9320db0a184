"""Measuring an event with what the database holds: the same for one that runs and one that is over."""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Self

import pandera.polars as pa
import polars as pl
from msgspec import Struct
from sqlalchemy import Connection, Row

from jobs.calendars import calendar_for
from jobs.queries import retention as retention_queries
from jobs.queries import settlement as settlement_queries
from jobs.queries import summary as summary_queries
from jobs.ranges import Range, widened, without
from jobs.rows import fetch
from jobs.transforms.baselines import (
    ADJUSTMENT,
    DAYS_FOR_ALL,
    DAYS_FOR_ONE,
    EVENT,
    PARTS,
    Calendar,
    Occasion,
    Prediction,
    days_found,
    needed,
    needed_on,
    predict,
    similar_days,
)
from jobs.transforms.performance import (
    cuts,
    portfolio_errors,
    settle_portfolio,
    settle_vens,
    usage,
    while_taking_part,
)
from schemas.baselines import BaselineName
from schemas.tables.history import RAW_S, SLOT_S
from schemas.tables.metadata import Frame, Utc

VENS_AT_ONCE = 1_000
"""Their slots are a million rows."""


class ParticipantFrame(Frame):
    """Who was asked for how much; `left_at`: when another event took it over, null for who stayed."""

    ven_id: str
    requested_kw: float
    has_opted_out: bool
    left_at: Utc = pa.Field(nullable=True)


class TakenFrame(Frame):
    """Events in which a VEN took part."""

    ven_id: str
    start: Utc
    end: Utc


class SlotMeanFrame(Frame):
    """The mean power of a VEN in a slot."""

    ven_id: str
    slot: Utc
    used_kw: float


class SampleFrame(Frame):
    """Raw samples, to cut slots by."""

    ven_id: str
    ts: Utc
    used_kw: float = pa.Field(nullable=True)


class UsageFrame(Frame):
    """What a VEN uses now."""

    ven_id: str
    used_kw: float


class Rules(Struct, frozen=True):
    """By what events are measured, and when."""

    time_zone: str
    holidays: str
    look_back_days: int
    cap: float
    primary: BaselineName
    grace: timedelta
    revise_for: timedelta

    def calendar(self, around: datetime) -> Calendar:
        return calendar_for(self.time_zone, self.holidays, self.look_back_days, around)


class MeasuredEvent(Struct, frozen=True):
    """An event from its start to its end, or to when it was stopped."""

    event_id: str
    window: Range
    notified_at: datetime
    requested_kw: float

    @classmethod
    def of(cls, row: Row[Any]) -> Self:
        window = Range(row.start_time, row.end_time)
        return cls(row.event_id, window, row.notify_at, row.requested_reduction_kw)

    @property
    def occasion(self) -> Occasion:
        return Occasion(self.window.start, self.window.end, self.notified_at)


class Measurement(Struct, frozen=True):
    """What an event delivered, by each baseline: rows of VENs, and of the portfolio."""

    vens: pl.DataFrame
    portfolio: pl.DataFrame


def measure(connection: Connection, event: MeasuredEvent, rules: Rules) -> Measurement:
    """Measure an event that is over, some VENs at a time."""
    people = participants(connection, event)
    parts = [_measured(connection, event, some, rules) for some in _some_at_a_time(people)]
    vens = pl.concat([vens for vens, _ in parts])
    errors = pl.concat([errors for _, errors in parts])
    summed = errors.group_by("baseline", "target", "hour").agg(pl.col("used_kw", "predicted_kw").sum())
    return Measurement(vens, settle_portfolio(vens, summed, event.requested_kw))


def _measured(
    connection: Connection, event: MeasuredEvent, people: pl.DataFrame, rules: Rules
) -> tuple[pl.DataFrame, pl.DataFrame]:
    ven_ids = people.get_column("ven_id").to_list()
    sampled = sampled_cuts(connection, event.window)
    raw = read_samples(connection, ven_ids, sampled)
    history, prediction = predicted(connection, event, ven_ids, rules)
    used = usage(history, raw, event.window, sampled)
    vens = settle_vens(while_taking_part(used, people), prediction, people, event.window)
    counted = people.filter(~pl.col("has_opted_out"))
    return vens, portfolio_errors(prediction.errors.join(counted, on="ven_id", how="semi"))


def participants(connection: Connection, event: MeasuredEvent) -> pl.DataFrame:
    return fetch(connection, settlement_queries.participants(event.event_id), ParticipantFrame)


def predicted(
    connection: Connection,
    event: MeasuredEvent,
    ven_ids: Sequence[str],
    rules: Rules,
    *,
    only: BaselineName | None = None,
) -> tuple[pl.DataFrame, Prediction]:
    """The history that matters to an event, and what the baselines make of it."""
    calendar = rules.calendar(event.window.start)
    ranges = needed(event.occasion, calendar)
    within = Range(ranges[0].start, ranges[-1].end)
    taken = fetch(connection, settlement_queries.taken(ven_ids, event.event_id, within), TakenFrame)
    reading = Reading(event.occasion, calendar, [EVENT, ADJUSTMENT] if only else PARTS)
    days = DAYS_FOR_ONE if only else DAYS_FOR_ALL
    history = _history(connection, reading, ven_ids, taken, days)
    return history, predict(history, taken, event.occasion, calendar, rules.cap, only=only)


class Reading(Struct, frozen=True):
    """What of earlier days is read for an event."""

    occasion: Occasion
    calendar: Calendar
    parts: Collection[str]


def _history(
    connection: Connection, reading: Reading, ven_ids: Sequence[str], taken: pl.DataFrame, enough: int
) -> pl.DataFrame:
    """The day of the event, then similar days, latest first, until each VEN has enough that are eligible.

    Nearly all have with the first few; nothing that is older would count.
    """
    occasion, calendar = reading.occasion, reading.calendar
    ranges = needed_on(occasion, calendar, [0], PARTS)
    history = _slots(connection, ven_ids, ranges)
    missing = list(ven_ids)
    for days in _batched(similar_days(occasion, calendar), enough):
        if not missing:
            break
        more = without(needed_on(occasion, calendar, days, reading.parts), ranges)
        ranges += more
        history = pl.concat([history, _slots(connection, missing, more)])
        theirs = history.filter(pl.col("ven_id").is_in(missing))
        found = days_found(theirs, taken, occasion, calendar).filter(pl.col("days") >= enough)
        missing = sorted(set(missing).difference(found.get_column("ven_id")))
    return history


def _batched(days: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (days[start : start + size] for start in range(0, len(days), size))


def _slots(connection: Connection, ven_ids: Sequence[str], ranges: list[Range]) -> pl.DataFrame:
    return fetch(connection, settlement_queries.slot_means(ven_ids, ranges), SlotMeanFrame)


def read_usage(connection: Connection, ven_ids: Sequence[str], window: Range) -> pl.DataFrame:
    """The means of the slots of a window."""
    slots = settlement_queries.slot_means(ven_ids, [widened(window, SLOT_S)])
    return fetch(connection, slots, SlotMeanFrame)


def read_samples(connection: Connection, ven_ids: Sequence[str], within: list[Range]) -> pl.DataFrame:
    if not within:
        return pl.DataFrame(schema=SampleFrame.types())
    connection.execute(summary_queries.HOLD_RAW)
    return fetch(connection, settlement_queries.samples(ven_ids, within), SampleFrame)


def sampled_cuts(connection: Connection, window: Range) -> list[Range]:
    """The parts that the window cuts out of slots, as far as raw rows are kept."""
    since = connection.execute(retention_queries.horizon(RAW_S)).scalar_one_or_none()
    return [cut for cut in cuts(window) if since is None or cut.start >= since]


def _some_at_a_time(people: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """At least once: an event in which nobody took part is settled as well."""
    yield from people.iter_slices(VENS_AT_ONCE) if people.height else [people]
