"""Measuring a running or ended event from the database."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import numpy as np
import polars as pl
from msgspec import Struct
from numpy.typing import NDArray
from sqlalchemy import Connection

from jobs.events.records import (
    VENS_AT_ONCE,
    DatabaseRecords,
    MeasuredEvent,
    Records,
    read_usage,
)
from jobs.transforms.events.event_terms import start_delay
from jobs.transforms.events.interval_energies import Energies, energies
from jobs.transforms.events.intervals import portfolio_misses, with_portfolio_interval
from jobs.transforms.events.performance import (
    covered_shares,
    directed,
    portfolio_errors,
    portfolio_sums,
    settle_portfolio,
    settle_vens,
)
from jobs.transforms.events.usage import counted_hours, elsewhere, event_usage, requested_energy
from schemas.baseline_model.calendars import calendar_for
from schemas.baseline_model.days import Calendar, Days
from schemas.baseline_model.prediction import DAYS_FIRST, Prediction, days_of, predict_from
from schemas.baseline_model.temperatures import Temperatures, daily_maxima, temperature_range
from schemas.baseline_model.usage import Usage, chunks, whole_slots
from schemas.demand_response.baselines import BY_TEMPERATURE, BaselineName
from schemas.times.time_ranges import TimeRange


class Rules(Struct, frozen=True):
    """By what events are measured, and when."""

    time_zone: str
    holidays: str
    look_back_days: int
    cap: float
    primary: BaselineName
    grace: timedelta
    revise_for: timedelta
    computed: tuple[BaselineName, ...]
    least_coverage_percent: float

    def calendar(self, around: datetime) -> Calendar:
        return calendar_for(self.time_zone, self.holidays, self.look_back_days, around)


class Measurement(Struct, frozen=True):
    """What some of the participants of an event delivered, and what they add to the portfolio.

    `energies`: by the primary baseline, of `ven_ids`, in the parts of the event that are asked for.
    """

    vens: pl.DataFrame
    sums: pl.DataFrame
    errors: pl.DataFrame
    misses: pl.DataFrame
    ven_ids: list[str] = []
    energies: Energies | None = None


class Inputs(Struct, frozen=True):
    """What is measured in the same way for all participants of an event."""

    event: MeasuredEvent
    rules: Rules
    days: Days
    sampled: list[TimeRange]
    names: tuple[BaselineName, ...]
    cells: Sequence[TimeRange] = ()


def measured(records: Records, event: MeasuredEvent, rules: Rules) -> tuple[pl.DataFrame, pl.DataFrame]:
    """An event that is over: rows of all VENs, and of the portfolio."""
    parts = list(measurements(records, event, rules))
    return pl.concat([part.vens for part in parts]).sort("ven_id", "baseline"), portfolio(event, rules, parts)


def portfolio(event: MeasuredEvent, rules: Rules, parts: Sequence[Measurement]) -> pl.DataFrame:
    """What all participants delivered; of the parts their own rows are not needed."""
    errors = pl.concat([part.errors for part in parts])
    summed = errors.group_by("baseline", "target", "hour").agg(pl.col("used_kw", "predicted_kw").sum())
    sums = [part.sums for part in parts]
    figures = settle_portfolio(
        sums,
        summed,
        event.requested_kw,
        event.window,
        rules.computed,
        rules.least_coverage_percent,
    )
    return with_portfolio_interval(figures, sums, pl.concat([part.misses for part in parts]))


def measurements(
    records: Records, event: MeasuredEvent, rules: Rules, cells: Sequence[TimeRange] = ()
) -> Iterator[Measurement]:
    """Measure an event that is over, some VENs at a time.

    The latest similar days are read first. For VENs for whom these do not do all of them are read; for all,
    where days are matched by temperature.

    Args:
        records: of the event and its VENs.
        event: which.
        rules: by which it is measured.
        cells: parts of the event, one after the other, whose energies are wanted.
    """
    people = requested(records, event)
    inputs = _inputs(records, event, rules, rules.computed, _days_first(rules.computed), cells)
    missing: list[str] = []
    for some, usage in records.usages(people, inputs.days.needed()):
        part, late = _measured(records, inputs, some, usage)
        missing += late
        yield part
    if not missing:
        return
    inputs = _inputs(records, event, rules, rules.computed, None, cells)
    late_people = people.filter(pl.col("ven_id").is_in(missing))
    for some, usage in records.usages(late_people, inputs.days.needed()):
        yield _measured(records, inputs, some, usage)[0]


def _days_first(names: Sequence[BaselineName]) -> int | None:
    return None if BY_TEMPERATURE & set(names) else DAYS_FIRST


def requested(records: Records, event: MeasuredEvent) -> pl.DataFrame:
    """The participants, and the requests to each over time."""
    people = records.participants(event)
    if event.randomize_start_s:
        people = people.with_columns(begins_at=_begins_at(event, people.get_column("ven_id")))
    return requested_energy(people, records.shares(event), event.window)


def _begins_at(event: MeasuredEvent, ven_ids: pl.Series) -> pl.Series:
    """When the event began for each VEN, whose starts are spread."""
    start, longest_s = event.window.start, event.randomize_start_s
    delays = (start_delay(event.event_id, ven_id, longest_s) for ven_id in ven_ids)
    return pl.Series([start + delay for delay in delays], dtype=pl.Datetime("us", "UTC"))


def _inputs(
    records: Records,
    event: MeasuredEvent,
    rules: Rules,
    names: tuple[BaselineName, ...],
    most: int | None,
    cells: Sequence[TimeRange] = (),
) -> Inputs:
    days = days_of(event.occasion, rules.calendar(event.window.start), names, most)
    return Inputs(event, rules, days, records.sampled_cuts(event.window), names, cells)


def _measured(
    records: Records, inputs: Inputs, people: pl.DataFrame, usage: Usage
) -> tuple[Measurement, list[str]]:
    """What some VENs delivered; and those for whom the days do not do, who are left out of it."""
    event, rules = inputs.event, inputs.rules
    ven_ids = people.get_column("ven_id").to_list()
    taken, slow = _taken(records, inputs, ven_ids), _slow(records, inputs, ven_ids)
    prediction = predict_from(
        usage,
        whole_slots(taken, slow),
        inputs.days,
        rules.cap,
        names=inputs.names,
        temperatures=_temperatures(records, inputs, ven_ids),
    )
    late = [] if _has_all(inputs) else _of(ven_ids, ~prediction.is_complete)
    people = people.filter(~pl.col("ven_id").is_in(late))
    samples = records.samples(ven_ids, inputs.sampled)
    used = event_usage(usage, samples, event.window, inputs.sampled, slow)
    away = elsewhere(people, taken, event.window)
    hours = counted_hours(ven_ids, away, event.window)
    vens = settle_vens(used, hours, prediction, people, event.window, rules.least_coverage_percent)
    vens = directed(vens, event.direction)
    counts = people.filter(~pl.col("has_opted_out")).get_column("ven_id")
    is_counted = pl.Series(ven_ids, dtype=pl.String).is_in(counts.implode()).to_numpy()
    errors = portfolio_errors(prediction, is_counted)
    misses = portfolio_misses(prediction, covered_shares(vens, ven_ids, inputs.names), event.sign)
    parts = None
    if inputs.cells:
        parts = energies(used, prediction.event_kw(rules.primary), away, ven_ids, inputs.cells)
    return Measurement(vens, portfolio_sums(vens), errors, misses, ven_ids, parts), late


def _has_all(inputs: Inputs) -> bool:
    every = days_of(inputs.event.occasion, inputs.days.calendar, inputs.names)
    return len(inputs.days.backs) == len(every.backs)


def _of(ven_ids: Sequence[str], mask: NDArray[np.bool_]) -> list[str]:
    return [ven_ids[int(row)] for row in np.flatnonzero(mask)]


def _taken(records: Records, inputs: Inputs, ven_ids: Sequence[str]) -> pl.DataFrame:
    ranges = inputs.days.needed()
    within = TimeRange(ranges[0].start, max(ranges[-1].end, inputs.event.window.end))
    return records.taken(ven_ids, inputs.event.event_id, within)


def _slow(records: Records, inputs: Inputs, ven_ids: Sequence[str]) -> list[str]:
    return records.slow_vens(ven_ids, TimeRange(inputs.days.needed()[0].start, inputs.event.window.end))


def _temperatures(records: Records, inputs: Inputs, ven_ids: Sequence[str]) -> Temperatures | None:
    """The temperatures of the days where each VEN is; null where no baseline needs them."""
    if not BY_TEMPERATURE & set(inputs.names):
        return None
    regions = records.regions(ven_ids)
    names = regions.get_column("region").unique().sort().to_list()
    return daily_maxima(
        ven_ids, regions, records.temperatures(names, temperature_range(inputs.days)), inputs.days
    )


def predicted(
    connection: Connection, event: MeasuredEvent, ven_ids: Sequence[str], rules: Rules, name: BaselineName
) -> Iterator[Prediction]:
    """One baseline of some VENs, of the event alone."""
    records, late = DatabaseRecords(connection), list(ven_ids)
    for most in dict.fromkeys((_days_first([name]), None)):
        inputs = _inputs(records, event, rules, (name,), most)
        asked, late = late, []
        for some in chunks(asked, VENS_AT_ONCE):
            usage = read_usage(connection, some, inputs.days.needed())
            taken = whole_slots(_taken(records, inputs, some), _slow(records, inputs, some))
            degrees = _temperatures(records, inputs, some)
            prediction = predict_from(usage, taken, inputs.days, rules.cap, only=name, temperatures=degrees)
            if most and not _has_all(inputs):
                late += _of(some, ~prediction.is_complete)
            yield prediction
