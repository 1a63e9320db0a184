"""Baselines: what a VEN would have used had there been no event. Powers in kW, usage as reported.

A baseline is a power for each five-minute slot of an event, made of the means that `ven_history` keeps for
such slots. A slot without samples, and one in which the VEN took part in another event, counts for nothing.
A slot that a window cuts counts by the part within. All VENs are computed at once, in arrays whose axes are
VENs, days (the event's first) and slots; NaN stands for no value.

Whose rules the baselines are stands in `schemas.demand_response.baselines`. Common terms: NAESB, business
practice standards for measurement and verification of wholesale demand response.
"""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import cached_property

import msgspec
import numpy as np
import polars as pl
from msgspec import Struct
from numpy.typing import NDArray

from schemas.baseline_model.days import (
    AROUND,
    BEFORE,
    EVENT,
    HOLIDAY,
    NO_SLOT,
    SATURDAY,
    SUNDAY,
    WEEKDAY,
    Calendar,
    Days,
    Occasion,
    candidate_days,
    days_for,
    part_of,
    windows,
)
from schemas.baseline_model.temperatures import Temperatures, everywhere
from schemas.demand_response.baselines import (
    BY_TEMPERATURE,
    GENERIC,
    METHODS,
    Adjustment,
    Baseline,
    BaselineName,
    DayRule,
)
from schemas.tables.history import SLOT_S
from schemas.times.slots import WIDEST_S

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Counts = NDArray[np.int64]

WIDEST_US = WIDEST_S * 1_000_000
ENOUGH = 0.8
"""This share of a window's slots must have samples for a day, or an adjustment, to count."""

TARGETS = 10
"""So many days without events are predicted from the others, to see how good a baseline is."""

DAYS_FIRST = TARGETS + 1
"""So many of the latest similar days are looked at first: enough where none lacks samples or has an event."""

SIMILAR_LOAD = 0.5
"""A ratio means something where the window's load is at least this share of the event's."""

NONE, TOO_LITTLE, OTHER_SIGN, MULTIPLICATIVE, ADDITIVE = range(5)
REASONS = (
    "this baseline has no adjustment",
    "too little to compare with in the hours before the event",
    "the VEN feeds in during the event and draws before it, or the reverse",
    "the baseline is positive, before the event and during it",
    "the baseline is negative, or small before the event",
)
BY_RULE = "the baseline's rule"
KINDS = ("none", "none", "none", "multiplicative", "additive")

STANDS_IN = "the hour before the event stands in"
FALL_BACK = "the hour before the event, which is no more than a fall-back"
NO_TEMPERATURE = f"too few temperatures of the event's day: {STANDS_IN}"
NOT_ADJUSTED = "not adjusted: too little to compare with"
LAST_SAMPLES, SAME_DAY = "last-samples", "same-day-3+2"


class Usage(Struct, frozen=True):
    """Mean power of VENs in slots: `kw` has a row for each VEN, a column for each of `slots`, ascending."""

    ven_ids: list[str]
    slots: NDArray[np.int64]
    kw: Array


class Made(Struct):
    """One baseline: `kw` by VEN, day and slot of the event; and of the event's day what it is made of.

    `days`: similar days that are eligible. `adjustment`: a code, whose kind and reason `KINDS` and `REASONS`
    have; `adjustment_kw`: what it adds, the mean over the event. `is_complete`: no day further back counts.
    `lacks_temperature`: the baseline matches days by temperature, and the event's day has none.
    """

    baseline: Baseline
    kw: Array
    days: Counts
    days_used: Counts
    adjustment: Counts
    adjustment_kw: Array
    is_complete: Mask
    targets: Mask
    lacks_temperature: Mask


class Prediction(Struct, frozen=True, dict=True):
    """Some baselines of the event, VEN by VEN, and how well they predict days without events."""

    ven_ids: list[str]
    days: Days
    used: Array
    """By VEN, day and slot of the event; without the event's own day."""
    made: dict[BaselineName, Made]
    stand_in: Array
    """By VEN and slot of the event: the hour before it."""

    @property
    def event(self) -> pl.DataFrame:
        """The baselines of the event: `ven_id`, `baseline`, `slot`, `baseline_kw`."""
        parts = [self._event(name) for name in self.made]
        return pl.concat(parts).drop_nulls("baseline_kw")

    def _event(self, name: BaselineName) -> pl.DataFrame:
        kw = self.event_kw(name)
        slots = pl.Series("slot", self.days.parts[EVENT].slots * (SLOT_S * 1_000_000))
        count = kw.shape[1]
        return pl.DataFrame(
            {
                "ven_id": pl.Series(self.ven_ids, dtype=pl.String).repeat_by(count).explode(),
                "slot": pl.concat([slots] * len(self.ven_ids)) if self.ven_ids else slots.clear(),
                "baseline_kw": pl.Series(kw.ravel(), nan_to_null=True),
            }
        ).select(
            "ven_id",
            pl.lit(name).alias("baseline"),
            pl.col("slot").cast(pl.Datetime("us", "UTC")),
            "baseline_kw",
        )

    def event_kw(self, name: BaselineName) -> Array:
        """By VEN and slot of the event; the hour before it for VENs that have no baseline of their own."""
        return np.where(self.has_own(name)[:, None], self.made[name].kw[:, 0], self.stand_in)

    def has_own(self, name: BaselineName) -> Mask:
        return np.asarray(~np.isnan(self.made[name].kw[:, 0]).all(axis=1))

    @property
    def method(self) -> pl.DataFrame:
        """`ven_id`, `baseline`, `days_used`, `adjustment`, `adjustment_kw`, `adjustment_reason`, `note`."""
        return pl.concat([self._method(name) for name in self.made])

    def _method(self, name: BaselineName) -> pl.DataFrame:
        made, own = self.made[name], self.has_own(name)
        known = ~np.isnan(self.event_kw(name)).all(axis=1)
        code = np.where(own, made.adjustment, NONE)
        by_rule = made.baseline.adjustment.kind in {"multiplicative", "additive"}
        reasons = [BY_RULE if by_rule and KINDS[n] != "none" else reason for n, reason in enumerate(REASONS)]
        return (
            pl.DataFrame(
                {
                    "ven_id": pl.Series(self.ven_ids, dtype=pl.String),
                    "baseline": pl.Series([name] * len(self.ven_ids), dtype=pl.String),
                    "days_used": pl.Series(np.where(own, made.days_used, 0), dtype=pl.Int32),
                    "adjustment": pl.Series(KINDS).gather(code),
                    "adjustment_kw": pl.Series(np.where(own, made.adjustment_kw, 0.0), dtype=pl.Float64),
                    "adjustment_reason": pl.Series(reasons).gather(code),
                    "days": pl.Series(made.days, dtype=pl.Int64),
                    "is_own": own,
                    "is_too_little": own & (code == TOO_LITTLE),
                    "lacks_temperature": made.lacks_temperature,
                }
            )
            .filter(pl.Series(known))
            .with_columns(note=_note(made.baseline, self._fewest(made.baseline)))
            .drop("days", "is_own", "is_too_little", "lacks_temperature")
        )

    def _fewest(self, baseline: Baseline) -> int:
        rule = _rule(baseline, self.days)
        return 0 if rule is None else rule.fewest

    @property
    def is_complete(self) -> Mask:
        """VENs for whom no day further back could change anything."""
        return np.asarray(np.stack([made.is_complete for made in self.made.values()]).all(axis=0))

    @cached_property
    def hourly(self) -> dict[BaselineName, tuple[Array, Array]]:
        """What was used and what each baseline predicts, by VEN, day without an event, and hour of the event.

        By the hour, as PJM tests its baselines: five minutes of one home are too noisy.
        """
        return {name: self._hourly(name) for name in self.made}

    def _hourly(self, name: BaselineName) -> tuple[Array, Array]:
        made, part = self.made[name], self.days.parts[EVENT]
        predicted, used = made.kw[:, 1:], self.used[:, 1:]
        hour = (part.slots - part.slots[0]) * SLOT_S // 3600
        starts = np.flatnonzero(np.diff(hour, prepend=-1))
        both = ~np.isnan(predicted) & ~np.isnan(used) & made.targets[:, :, None]
        weight = np.where(both, part.hours, 0.0)
        total = _summed(weight, starts)
        with np.errstate(invalid="ignore", divide="ignore"):
            return (
                _summed(np.where(both, used, 0.0) * weight, starts) / total,
                _summed(np.where(both, predicted, 0.0) * weight, starts) / total,
            )

    @property
    def errors(self) -> pl.DataFrame:
        """A baseline of each hour of days without an event, beside the usage.

        `ven_id`, `baseline`, `target` (days before the event), `hour` (of the event's, from 0), `used_kw`,
        `predicted_kw`.
        """
        return pl.concat([self._errors(name) for name in self.made])

    def _errors(self, name: BaselineName) -> pl.DataFrame:
        used, predicted = self.hourly[name]
        ven, day, hour = np.nonzero(~np.isnan(used))
        return pl.DataFrame(
            {
                "ven_id": pl.Series(self.ven_ids, dtype=pl.String).gather(ven),
                "baseline": pl.Series([name], dtype=pl.String).new_from_index(0, len(ven)),
                "target": np.array(self.days.backs[1:], dtype=np.int64)[day],
                "hour": hour.astype(np.int64),
                "used_kw": used[ven, day, hour],
                "predicted_kw": predicted[ven, day, hour],
            }
        )


def _note(baseline: Baseline, fewest: int) -> pl.Expr:
    if baseline.name == LAST_SAMPLES:
        return pl.lit(FALL_BACK)
    if baseline.weekday is None:
        missing = pl.lit(f"too few samples in the hours around the event: {STANDS_IN}")
    else:
        similar = "similar days with temperatures" if baseline.name in BY_TEMPERATURE else "similar days"
        few = pl.format("{} {}, fewer than {}: {}", "days", *map(pl.lit, (similar, fewest, STANDS_IN)))
        missing = pl.when("lacks_temperature").then(pl.lit(NO_TEMPERATURE)).otherwise(few)
    return pl.when(~pl.col("is_own")).then(missing).when("is_too_little").then(pl.lit(NOT_ADJUSTED))


def _summed(values: Array, starts: NDArray[np.intp]) -> Array:
    if values.size == 0:
        return np.zeros((*values.shape[:2], len(starts)))
    return np.add.reduceat(values, starts, axis=2)


# From frames


def predict(  # noqa: PLR0913 - what a notebook has to say of an event
    history: pl.DataFrame,
    taken: pl.DataFrame,
    occasion: Occasion,
    calendar: Calendar,
    cap: float,
    *,
    only: BaselineName | None = None,
    names: Sequence[BaselineName] = GENERIC,
    temperatures: pl.DataFrame | None = None,
) -> Prediction:
    """Each baseline, with the mean of the last samples where it has too little data.

    Args:
        history: mean power of VENs in slots: `ven_id`, `slot`, `used_kw` (never null).
        taken: events in which a VEN took part, not this one: `ven_id`, `start`, `end`. Their local days are
            no baseline days.
        occasion: the event.
        calendar: days and holidays.
        cap: how far an adjustment may go, as a share, where the baseline itself has no cap.
        only: one baseline, of the event alone; without, several, and of days without an event as well.
        names: which.
        temperatures: `ts`, `temperature_c`, of all VENs.
    """
    days, usage = days_of(occasion, calendar, [only] if only else names), usage_of(history)
    maxima = None if temperatures is None else everywhere(usage.ven_ids, temperatures, days)
    return predict_from(usage, taken, days, cap, names=names, only=only, temperatures=maxima)


def usage_of(history: pl.DataFrame) -> Usage:
    """The frame `ven_id`, `slot`, `used_kw` as an array; slots that it lacks are NaN."""
    number = (pl.col("slot").dt.epoch("us") // (SLOT_S * 1_000_000)).alias("number")
    rows = history.select("ven_id", number, "used_kw")
    ven_ids = rows.get_column("ven_id").unique().sort()
    slots = rows.get_column("number").unique().sort().to_numpy()
    kw = np.full((len(ven_ids), len(slots)), np.nan)
    if len(ven_ids):
        row = ven_ids.search_sorted(rows.get_column("ven_id")).to_numpy()
        column = np.searchsorted(slots, rows.get_column("number").to_numpy())
        kw[row, column] = rows.get_column("used_kw").to_numpy()
    return Usage(ven_ids.to_list(), slots, kw)


def days_of(
    occasion: Occasion,
    calendar: Calendar,
    names: Sequence[BaselineName],
    most: int | None = None,
) -> Days:
    """The days that some baselines look at; only the latest `most` before the event, if that is given."""
    baselines = [METHODS[name] for name in names]
    look_back = max([calendar.look_back_days, *(each.look_back_days or 0 for each in baselines)])
    backs = candidate_days(occasion, calendar, look_back)[:most]
    adjustments = {each.adjustment for each in baselines} | {Adjustment()}
    parts = windows(occasion, adjustments)
    if SAME_DAY not in names:
        del parts[AROUND]
    return days_for(occasion, calendar, backs, parts)


# In arrays


def predict_from(  # noqa: PLR0913 - what is measured, and how
    usage: Usage,
    taken: pl.DataFrame,
    days: Days,
    cap: float,
    *,
    names: Sequence[BaselineName] = GENERIC,
    only: BaselineName | None = None,
    temperatures: Temperatures | None = None,
) -> Prediction:
    """As `predict`, from usage that is an array already, and of the days given.

    Args:
        usage: mean power in slots.
        taken: other events of the VENs.
        days: which are compared.
        cap: how far an adjustment may go.
        names: which baselines.
        only: one of them, of the event alone.
        temperatures: of the days, by VEN; null where no baseline needs them, or there are none.
    """
    seen = on_days(without_events(usage, taken), days)
    facts = Facts(
        usage.ven_ids,
        seen,
        seen[:, :, days.positions(EVENT)],
        taken,
        days,
        cap,
        1 if only else len(days.backs),
        temperatures,
    )
    last = _flat(facts, BEFORE, 1)
    chosen = [only] if only else [*names]
    made = {name: _made(METHODS[name], facts, last) for name in chosen}
    return Prediction(usage.ven_ids, days, facts.event, made, last[:, 0])


class Facts(Struct, frozen=True, dict=True):
    """What all baselines are made of.

    `seen`: usage by VEN, day and slot; `event`: the same in the event's slots. `taken`: other events of the
    VENs. `targets`: how many days are predicted, the event's first. `temperatures`: by VEN and day.
    """

    ven_ids: list[str]
    seen: Array
    event: Array
    taken: pl.DataFrame
    days: Days
    cap: float
    targets: int
    temperatures: Temperatures | None = None

    @cached_property
    def of_days(self) -> tuple[Mask, Array]:
        """By VEN and day before the event: whether its hours have enough samples, and their mean power."""
        event, hours = self.event[:, 1:], self.days.parts[EVENT].hours
        present = ~np.isnan(event)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean_kw = np.nan_to_num(event) @ hours / (present @ hours)
        return present.sum(axis=2) >= ENOUGH * len(hours), np.nan_to_num(mean_kw)


def whole_slots(taken: pl.DataFrame, slow: Sequence[str]) -> pl.DataFrame:
    """Events (`ven_id`, `start`, `end`), of VENs with wide slots to the borders of half-hours.

    The mean of a wide slot that such an event cuts is not what the VEN uses without events.
    """
    is_slow = pl.col("ven_id").is_in(list(slow))
    half_hour = f"{WIDEST_S}s"
    first = pl.col("start").dt.truncate(half_hour)
    last = -(-pl.col("end").dt.epoch("us") // WIDEST_US) * WIDEST_US
    return taken.with_columns(
        start=pl.when(is_slow).then(first).otherwise("start"),
        end=pl.when(is_slow).then(last.cast(pl.Datetime("us", "UTC"))).otherwise("end"),
    )


def without_events(usage: Usage, taken: pl.DataFrame) -> Usage:
    """Usage without the slots in which a VEN took part in another event: `ven_id`, `start`, `end`."""
    us = SLOT_S * 1_000_000
    if taken.is_empty():
        return usage
    rows = taken.select(
        "ven_id",
        first=pl.col("start").dt.epoch("us") // us,
        last=-(-pl.col("end").dt.epoch("us") // us),
    ).join(pl.DataFrame({"ven_id": usage.ven_ids, "row": range(len(usage.ven_ids))}, _ROWS), on="ven_id")
    kw = usage.kw.copy()
    for (first, last), group in rows.group_by("first", "last"):
        left, right = np.searchsorted(usage.slots, [first, last])
        kw[group.get_column("row").to_numpy(), left:right] = np.nan
    return Usage(usage.ven_ids, usage.slots, kw)


_ROWS = {"ven_id": pl.String, "row": pl.Int64}


def on_days(usage: Usage, days: Days) -> Array:
    """Usage by VEN, day, and slot of the event's day; the mean where the clock shows a time twice."""
    kw = np.concatenate([usage.kw, np.full((len(usage.ven_ids), 1), np.nan)], axis=1)
    first = kw[:, _columns(usage.slots, days.first)]
    twice = days.first != days.second
    if twice.any():
        second = kw[:, _columns(usage.slots, days.second[twice])]
        before = first[:, twice]
        both = np.where(np.isnan(before), second, np.where(np.isnan(second), before, (before + second) / 2))
        first[:, twice] = both
    return first


def _columns(slots: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.intp]:
    """The columns of some slots; the one past the last for those that there are not."""
    if not len(slots):
        return np.zeros(wanted.shape, dtype=np.intp)
    column = np.searchsorted(slots, wanted)
    is_there = (wanted != NO_SLOT) & (slots[np.minimum(column, len(slots) - 1)] == wanted)
    return np.where(is_there, column, len(slots))


def _made(baseline: Baseline, facts: Facts, last: Array) -> Made:
    rule = _rule(baseline, facts.days)
    eligible, mean_kw = _eligible(baseline, rule, facts)
    count = eligible.sum(axis=1)
    is_target = eligible & (np.cumsum(eligible, axis=1) <= TARGETS)
    enough = TARGETS + 1 if rule is None else max(TARGETS, rule.last) + 1
    if facts.targets == 1:
        enough = 0 if rule is None else rule.last
    shape = (len(facts.ven_ids), facts.targets)
    if rule is None:
        kw = last if baseline.name == LAST_SAMPLES else _around(facts)
        used, codes, shift = np.zeros(shape, dtype=np.int64), np.full(shape, NONE), np.zeros(shape)
    else:
        few = msgspec.structs.replace(facts, targets=_predicted_days(is_target, facts.targets))
        distance = _distances(few) if baseline.name in BY_TEMPERATURE else None
        chosen = chosen_days(eligible, mean_kw, rule, few.targets, distance)
        used = chosen.sum(axis=2)
        kw, codes, shift = _adjusted(baseline.adjustment, chosen, few)
        kw = _padded(kw, facts.targets)
    return Made(
        baseline,
        kw,
        count,
        used[:, 0],
        codes[:, 0],
        shift[:, 0],
        count >= enough,
        is_target[:, : facts.targets - 1],
        np.isnan(_temperatures(facts)[:, 0]) & (baseline.name in BY_TEMPERATURE),
    )


def _predicted_days(is_target: Mask, most: int) -> int:
    """How many days are to be predicted, the event's first: none behind the last that anybody needs."""
    needed = np.flatnonzero(is_target.any(axis=0))
    return min(most, int(needed[-1]) + 2 if len(needed) else 1)


def _padded(kw: Array, days: int) -> Array:
    """The same with NaN for the days that were not predicted."""
    missing = np.full((kw.shape[0], days - kw.shape[1], kw.shape[2]), np.nan)
    return np.concatenate([kw, missing], axis=1)


def _rule(baseline: Baseline, days: Days) -> DayRule | None:
    return baseline.weekday if days.kinds[0] == WEEKDAY else baseline.weekend


def _eligible(baseline: Baseline, rule: DayRule | None, facts: Facts) -> tuple[Mask, Array]:
    """Days with enough samples in the event's hours and without another event; and their mean power."""
    enough, mean_kw = facts.of_days
    busy = _busy(facts, baseline.adjustment)
    eligible = enough & ~busy & _is_candidate(baseline, facts.days)
    if baseline.name in BY_TEMPERATURE:
        eligible &= ~np.isnan(_temperatures(facts)[:, 1:])
    if rule and baseline.low_usage_share:
        eligible &= ~_is_low(eligible, mean_kw, rule, baseline.low_usage_share)
    return eligible, mean_kw


def _temperatures(facts: Facts) -> Temperatures:
    nothing = np.full((len(facts.ven_ids), len(facts.days.backs)), np.nan)
    return nothing if facts.temperatures is None else facts.temperatures


def _distances(facts: Facts) -> Array:
    """How far the temperature of each day is from that of each target: by VEN, target and day."""
    degrees = _temperatures(facts)
    return np.abs(degrees[:, : facts.targets, None] - degrees[:, None, 1:])


def _is_candidate(baseline: Baseline, days: Days) -> Mask:
    kinds, backs = days.kinds[1:], np.array(days.backs[1:])
    wanted = {WEEKDAY} if days.kinds[0] == WEEKDAY else {SATURDAY, SUNDAY, HOLIDAY}
    if baseline.like_days and days.kinds[0] != WEEKDAY:
        wanted = {SATURDAY} if days.kinds[0] == SATURDAY else {SUNDAY, HOLIDAY}
    if not baseline.holidays_count:
        wanted -= {HOLIDAY}
    within = backs <= (baseline.look_back_days or days.calendar.look_back_days)
    candidates: Mask = np.isin(kinds, list(wanted)) & within
    return candidates


def _is_low(eligible: Mask, mean_kw: Array, rule: DayRule, share: float) -> Mask:
    """Days with less than a share of the mean of the last ones, where that is positive."""
    recent = eligible & (np.cumsum(eligible, axis=1) <= rule.last)
    with np.errstate(invalid="ignore", divide="ignore"):
        level = np.where(recent, np.nan_to_num(mean_kw), 0.0).sum(axis=1) / recent.sum(axis=1)
    low: Mask = (mean_kw < share * level[:, None]) & (level[:, None] > 0)
    return low


def chosen_days(
    eligible: Mask, mean_kw: Array, rule: DayRule, targets: int, distance: Array | None = None
) -> Mask:
    """For the event and for each day the last eligible days but itself, and of these those with most usage.

    Args:
        eligible: by VEN and day, latest first.
        mean_kw: the usage of each in the event's hours.
        rule: how many days.
        targets: 1 for the event alone; one more for each day that is predicted as well.
        distance: by VEN, target and day: instead of those with most usage, those with the least distance;
            a day whose distance is NaN does not count.

    Returns:
        By VEN, target and day. Of days with the same usage, or distance, the later one is chosen.
    """
    days = eligible.shape[1]
    itself = np.eye(targets, days, k=-1, dtype=bool)
    others = eligible[:, None, :] & ~itself
    if distance is not None:
        others &= ~np.isnan(distance)
    recent = others & (np.cumsum(others, axis=2) <= rule.last)
    recent &= recent.sum(axis=2, keepdims=True) >= rule.fewest
    if rule.highest >= rule.last:
        return recent
    first = -mean_kw[:, None, :] if distance is None else distance
    order = np.argsort(np.where(recent, first, np.inf), axis=2, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.broadcast_to(np.arange(days), order.shape), axis=2)
    return recent & (ranks < rule.highest)


def _mean_of_days(chosen: Mask, seen: Array) -> Array:
    """The mean of the chosen days in each slot, of those that have samples there: by VEN, target and slot."""
    present = ~np.isnan(seen[:, 1:])
    weights = chosen.astype(np.float64)
    count = weights @ present.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 0, weights @ np.nan_to_num(seen[:, 1:]) / count, np.nan)


def _adjusted(adjustment: Adjustment, chosen: Mask, facts: Facts) -> tuple[Array, Counts, Array]:
    """A baseline adjusted to the day, the code of the adjustment, and what it adds on average."""
    days, before = facts.days, _mean_of_days(chosen, facts.event)
    if adjustment.kind == "none":
        return before, np.full(before.shape[:2], NONE), np.zeros(before.shape[:2])
    part = days.parts[part_of(adjustment)]
    window = facts.seen[:, :, days.positions(part_of(adjustment))]
    expected, used = _compared(_mean_of_days(chosen, window), window[:, : facts.targets], part.hours)
    hours = days.parts[EVENT].hours
    load, least = _mean_over(before, hours), np.nanmin(_or_nan(before), axis=2, initial=np.inf)
    codes = _suited(adjustment, expected, load, least)
    limit = (facts.cap if adjustment.cap is None else adjustment.cap) if adjustment.is_capped else np.inf
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        factor = np.clip(used / expected, 1 - limit, 1 + limit)
        reach = (
            limit * _mean_over(np.abs(before), hours) if np.isfinite(limit) else np.full(load.shape, np.inf)
        )
        added = np.clip(used - expected, -reach, reach)
    factor = np.where(codes == MULTIPLICATIVE, factor, 1.0)
    added = np.where(codes == ADDITIVE, added, 0.0)
    after = before * factor[:, :, None] + added[:, :, None]
    return after, codes, np.nan_to_num(_mean_over(after, hours) - load)


def _or_nan(values: Array) -> Array:
    """The same, with a value in what is NaN throughout: its least value is of no concern."""
    return np.where(np.isnan(values).all(axis=2, keepdims=True), 0.0, values)


def _compared(expected: Array, used: Array, hours: Array) -> tuple[Array, Array]:
    """Means over the slots that have both; NaN where these are too few."""
    both = ~np.isnan(expected) & ~np.isnan(used)
    weight = both @ hours
    enough = both.sum(axis=2) >= ENOUGH * len(hours)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = [np.where(both, values, 0.0) @ hours / weight for values in (expected, used)]
    return np.where(enough, means[0], np.nan), np.where(enough, means[1], np.nan)


def _mean_over(values: Array, hours: Array) -> Array:
    present = ~np.isnan(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nan_to_num(values) @ hours / (present @ hours)


def _suited(adjustment: Adjustment, expected: Array, load: Array, least: Array) -> Counts:
    """Which adjustment suits a baseline.

    A ratio turns the wrong way where the baseline is negative, and is noise where it is near zero: so it
    multiplies only a baseline that is positive throughout, and is not small in the window beside the event.
    Usage that has another sign in the window than in the event is no measure for the event.
    """
    unknown = np.isnan(expected)
    with np.errstate(invalid="ignore"):
        if adjustment.kind == "multiplicative":
            return np.where(unknown | (expected <= 0), TOO_LITTLE, MULTIPLICATIVE)
        if adjustment.kind == "additive":
            return np.where(unknown, TOO_LITTLE, ADDITIVE)
        is_ratio = (least >= 0) & (expected > 0) & (expected >= SIMILAR_LOAD * load)
        is_other = np.sign(expected) * np.sign(load) < 0
    return np.select([unknown, is_ratio, is_other], [TOO_LITTLE, MULTIPLICATIVE, OTHER_SIGN], ADDITIVE)


def _flat(facts: Facts, part: str, enough: float) -> Array:
    """One power for the whole event: the mean over a part, where enough of its slots have samples."""
    days = facts.days
    window, hours = facts.seen[:, : facts.targets, days.positions(part)], days.parts[part].hours
    count = (~np.isnan(window)).sum(axis=2)
    mean_kw = np.where(count >= max(enough, 1), _mean_over(window, hours), np.nan)
    return np.repeat(mean_kw[:, :, None], len(days.parts[EVENT].slots), axis=2)


def _around(facts: Facts) -> Array:
    return _flat(facts, AROUND, ENOUGH * len(facts.days.parts[AROUND].slots))


def _busy(facts: Facts, adjustment: Adjustment) -> Mask:
    """Days on which the VEN took part in another event, by VEN and day before the event."""
    days, ven_ids = facts.days, facts.ven_ids
    busy = np.zeros((len(ven_ids), len(days.backs) - 1), dtype=bool)
    if facts.taken.is_empty():
        return busy
    calendar, occasion = days.calendar, days.occasion
    ranges = windows(occasion, [adjustment])
    ends = [
        instant
        for part in (EVENT, part_of(adjustment))
        for window in ranges[part]
        for instant in (window.start, window.end - timedelta.resolution)
    ]
    first, last = min(map(calendar.day_of, ends)), max(map(calendar.day_of, ends))
    local = [_date(at, calendar) for at in (pl.col("start"), pl.col("end") - timedelta.resolution)]
    rows = facts.taken.select(
        "ven_id",
        # Days before the event on which the days looked at meet the days of the other event.
        least=(pl.lit(first) - local[1]).dt.total_days(),
        most=(pl.lit(last) - local[0]).dt.total_days(),
    ).join(pl.DataFrame({"ven_id": ven_ids, "row": range(len(ven_ids))}, _ROWS), on="ven_id")
    backs = np.array(days.backs[1:])
    for (least, most), group in rows.group_by("least", "most"):
        rows_of, columns = (
            group.get_column("row").to_numpy(),
            np.flatnonzero((backs >= least) & (backs <= most)),
        )
        busy[np.ix_(rows_of, columns)] = True
    return busy


def _date(instant: pl.Expr, calendar: Calendar) -> pl.Expr:
    return instant.dt.convert_time_zone(calendar.time_zone).dt.date()


def chunks(ven_ids: Sequence[str], most: int) -> Iterator[Sequence[str]]:
    """Some VENs at a time."""
    return (ven_ids[start : start + most] for start in range(0, len(ven_ids), most))
