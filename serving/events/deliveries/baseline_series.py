"""Baselines as series: the predicted usage of a VEN, or of an event's participants, by slot."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

import numpy as np
import polars as pl
from msgspec import Struct, convert
from numpy.typing import NDArray
from sqlalchemy import (
    CollectionAggregate,
    Connection,
    Engine,
    Select,
    Text,
    any_,
    case,
    func,
    literal,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY

from schemas.api.performance import BaselineChosen, BaselinePoint, BaselineSeries
from schemas.baseline_model.calendars import calendar_for
from schemas.baseline_model.days import EVENT, Days, Occasion
from schemas.baseline_model.prediction import Prediction, days_of, predict_from
from schemas.baseline_model.temperatures import Temperatures, daily_maxima, temperature_range
from schemas.baseline_model.usage import Usage, chunks, whole_slots
from schemas.demand_response import temperatures
from schemas.demand_response.baselines import BASELINES, BY_TEMPERATURE, BaselineName
from schemas.demand_response.participation_times import OPTED_OUT_BEFORE, ended_at, taken
from schemas.tables.events import event_participations, events
from schemas.tables.history import SLOT_S, ven_history
from schemas.tables.registry import vens
from schemas.times.instants import EPOCH
from schemas.times.rounding import rounded
from schemas.times.slots import WIDEST_S, slot_means, spans
from schemas.times.time_ranges import TimeRange, widened
from serving.db.reading import snapshot
from serving.errors import InvalidRequestError, NotFoundError, no_ven
from serving.events.rules import EventRules

VENS_AT_ONCE = 200
"""VENs computed at once: their slots of all similar days are at most half a million numbers."""

Array = NDArray[np.float64]
_UTC = pl.Datetime("us", "UTC")
_REGIONS = pl.Schema({"ven_id": pl.String(), "region": pl.String()})
_DEGREES = pl.Schema({"region": pl.String(), "ts": _UTC, "temperature_c": pl.Float64()})
_TAKEN = pl.Schema({"ven_id": pl.String(), "start": _UTC, "end": _UTC})


class AppliedMethod(Struct, frozen=True):
    """The days from which a baseline was computed, and its adjustment to the day."""

    days_used: int = 0
    adjustment: str | None = None
    adjustment_kw: float | None = None
    adjustment_reason: str | None = None
    note: str | None = None


class Summed(Struct):
    """Sums over VENs by slot, the numbers of VENs with values, and the method of the last VEN."""

    baseline_kw: Array
    baseline_vens: Array
    used_kw: Array
    used_vens: Array
    method: AppliedMethod
    vens: int = 0


class BaselineSeriesReader:
    """Computes baselines from five-minute means, by the rules by which events are settled."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime], rules: EventRules) -> None:
        self._engine = engine
        self._clock = clock
        self._rules = rules

    def of_event(self, event_id: str, ven_id: str | None, name: BaselineName | None) -> BaselineSeries:
        """Return the baseline of one VEN in an event, or of all participants together.

        Raises:
            NotFoundError: there is no such event, or no such VEN.
        """
        with snapshot(self._engine) as connection:
            event = connection.execute(_event(event_id)).first()
            if event is None:
                raise NotFoundError(f"There is no event {event_id!r}.")
            if ven_id is not None and connection.execute(_ven(ven_id)).first() is None:
                raise NotFoundError(no_ven(ven_id))
            participants = connection.execute(_participants(event_id)).scalars().all()
            ven_ids = list(participants) if ven_id is None else [ven_id]
            occasion = Occasion(*event)
            return self._series(connection, ven_ids, occasion, name, event_id, ven_id)

    def of_ven(
        self, ven_id: str, start: datetime, end: datetime, name: BaselineName | None
    ) -> BaselineSeries:
        """Return the baseline of a VEN in a range, also in the future: as for an event notified now.

        Raises:
            InvalidRequestError: the range is empty, or too long.
            NotFoundError: there is no such VEN.
        """
        if not start < end <= start + self._rules.longest:
            seconds = self._rules.longest.total_seconds()
            raise InvalidRequestError(f"end must be after start, by {seconds:g} s at most")
        with snapshot(self._engine) as connection:
            if connection.execute(_ven(ven_id).where(vens.c.retired_at.is_(None))).first() is None:
                raise NotFoundError(no_ven(ven_id))
            occasion = Occasion(start, end, min(start, self._clock()))
            return self._series(connection, [ven_id], occasion, name, "", ven_id)

    def _series(
        self,
        connection: Connection,
        ven_ids: Sequence[str],
        occasion: Occasion,
        name: BaselineName | None,
        event_id: str,
        ven_id: str | None,
    ) -> BaselineSeries:
        baseline = name or self._rules.baseline
        parts = self._predicted(connection, ven_ids, occasion, baseline, event_id)
        summed = _sum(parts, occasion)
        method = summed.method if ven_id is not None else AppliedMethod()
        return BaselineSeries(
            event_id=event_id,
            ven_id=ven_id or "",
            baseline=BaselineChosen(baseline, BASELINES[baseline]),
            start=occasion.start,
            end=occasion.end,
            vens=summed.vens,
            days_used=method.days_used,
            adjustment=method.adjustment,
            adjustment_kw=rounded(method.adjustment_kw),
            adjustment_reason=method.adjustment_reason,
            note=method.note,
            points=list(_points(summed, occasion)),
        )

    def _predicted(
        self,
        connection: Connection,
        ven_ids: Sequence[str],
        occasion: Occasion,
        name: BaselineName,
        event_id: str,
    ) -> Iterator[tuple[Prediction, Array]]:
        """Yield predictions and usage in the event's slots, for some VENs at a time."""
        rules = self._rules
        calendar = calendar_for(rules.time_zone, rules.holidays, rules.look_back_days, occasion.start)
        days = days_of(occasion, calendar, [name])
        ranges = days.needed()
        within = TimeRange(ranges[0].start, max(ranges[-1].end, occasion.end))
        for some in chunks(ven_ids, VENS_AT_ONCE):
            usage = _usage(connection, some, ranges)
            rows = connection.execute(taken(some, event_id, within)).all()
            slow = connection.execute(_slow_vens(some, within)).scalars().all()
            others = whole_slots(pl.DataFrame([row[:3] for row in rows], schema=_TAKEN, orient="row"), slow)
            used = usage.kw[:, np.searchsorted(usage.slots, days.parts[EVENT].slots)]
            degrees = _temperatures(connection, some, days) if name in BY_TEMPERATURE else None
            cap = rules.cap_percent / 100
            yield predict_from(usage, others, days, cap, only=name, temperatures=degrees), used


def _sum(parts: Iterator[tuple[Prediction, Array]], occasion: Occasion) -> Summed:
    count = len(_slots([TimeRange(occasion.start, occasion.end)]))
    summed = Summed(np.zeros(count), np.zeros(count), np.zeros(count), np.zeros(count), AppliedMethod())
    for prediction, used in parts:
        [name] = prediction.baselines
        kw = prediction.event_kw(name)
        summed.baseline_kw += np.nansum(kw, axis=0)
        summed.baseline_vens += (~np.isnan(kw)).sum(axis=0)
        summed.used_kw += np.nansum(used, axis=0)
        summed.used_vens += (~np.isnan(used)).sum(axis=0)
        summed.vens += len(prediction.ven_ids)
        summed.method = convert(next(prediction.method.iter_rows(named=True), {}), AppliedMethod)
    return summed


def _points(summed: Summed, occasion: Occasion) -> Iterator[BaselinePoint]:
    slots = _slots([TimeRange(occasion.start, occasion.end)])
    for place, slot in enumerate(slots):
        is_known, was_used = summed.baseline_vens[place] > 0, summed.used_vens[place] > 0
        yield BaselinePoint(
            EPOCH + timedelta(seconds=int(slot) * SLOT_S),
            rounded(float(summed.baseline_kw[place])) if is_known else None,
            rounded(float(summed.used_kw[place])) if was_used else None,
        )


def _usage(connection: Connection, ven_ids: Sequence[str], within: Sequence[TimeRange]) -> Usage:
    """Return the means of the slots of ranges; NaN where a VEN has no sample."""
    slots = _slots(within)
    kw = np.full((len(ven_ids), len(slots)), np.nan)
    place = {ven_id: row for row, ven_id in enumerate(ven_ids)}
    column = {int(slot): number for number, slot in enumerate(slots)}
    means = connection.execution_options(yield_per=10_000).execute(_slot_means(ven_ids, within))
    for ven_id, slot, used_kw in means:
        if (number := column.get(int(slot))) is not None:
            kw[place[ven_id], number] = used_kw
    return Usage(list(ven_ids), slots, kw)


def _temperatures(connection: Connection, ven_ids: Sequence[str], days: Days) -> Temperatures:
    rows = connection.execute(temperatures.regions_of(ven_ids)).all()
    regions = pl.DataFrame([tuple(row) for row in rows], _REGIONS, orient="row")
    names = regions.get_column("region").unique().to_list()
    readings = connection.execute(temperatures.temperatures(names, temperature_range(days))).all()
    degrees = pl.DataFrame([tuple(row) for row in readings], _DEGREES, orient="row")
    return daily_maxima(ven_ids, regions, degrees, days)


def _slots(within: Sequence[TimeRange]) -> NDArray[np.int64]:
    numbers = [
        np.arange(part.start.timestamp() // SLOT_S, -(-part.end.timestamp() // SLOT_S), dtype=np.int64)
        for part in within
    ]
    return np.unique(np.concatenate(numbers))


def _slot_means(ven_ids: Sequence[str], within: Sequence[TimeRange]) -> Select[str, Decimal, float]:
    """Select means by the width of each VEN's slots; wide slots are read whole, even beyond the ranges."""
    history, ids = ven_history.c, _any_of(ven_ids)
    inside = [
        (history.bucket >= part.start) & (history.bucket < part.end)
        for part in (widened(each, WIDEST_S) for each in within)
    ]
    states = select(
        history.ven_id,
        history.bucket,
        history.used_power_kw_sum.label("used_sum"),
        history.used_samples,
        history.shed_power_kw_sum.label("shed_sum"),
        history.shed_samples,
    ).where(history.ven_id == ids, history.resolution_s == SLOT_S, or_(*inside))
    means = slot_means(states.subquery("states"), ["ven_id"], ids).c
    number = func.div(func.extract("epoch", means.slot), SLOT_S).label("number")
    return select(means.ven_id, number, means.used_kw).where(means.used_kw.is_not(None))


def _slow_vens(ven_ids: Sequence[str], within: TimeRange) -> Select[str]:
    """Select the given VENs that have wide slots at any time in a range."""
    span = spans(_any_of(ven_ids)).c
    return select(span.ven_id).where(span.since < within.end, span.until > within.start).distinct()


def _any_of(ven_ids: Sequence[str]) -> CollectionAggregate[bool]:
    return any_(literal(list(ven_ids), ARRAY(Text)))


def _event(event_id: str) -> Select[datetime, datetime, datetime]:
    """Select an event's window; if it was cancelled before its start, the planned one."""
    row = events.c
    end_time = case((ended_at > row.start_time, ended_at), else_=row.end_time).label("end_time")
    return select(row.start_time, end_time, row.notify_at).where(events.c.event_id == event_id)


def _ven(ven_id: str) -> Select[str]:
    return select(vens.c.ven_id).where(vens.c.ven_id == ven_id)


def _participants(event_id: str) -> Select[str]:
    part = event_participations.c
    return (
        select(part.ven_id)
        .join(events, events.c.event_id == part.event_id)
        .where(part.event_id == event_id, ~OPTED_OUT_BEFORE)
        .order_by(part.ven_id)
    )
