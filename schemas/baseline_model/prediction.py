"""Baselines: what a VEN would have used had there been no event. Powers in kW, usage as reported.

A baseline is a power for each five-minute slot of an event, computed from the means in `ven_history`. Slots
without samples, and those in which the VEN took part in another event, are left out. A slot that a window
cuts counts by the part within. All VENs are computed at once, in arrays with the axes VEN, day (the event's
first) and slot; NaN means no value.

The sources of the baselines are in `schemas.demand_response.baselines`. Common terms: NAESB, business
practice standards for measurement and verification of wholesale demand response.
"""

from collections.abc import Sequence
from functools import cached_property

import msgspec
import numpy as np
import polars as pl
from msgspec import Struct
from numpy.typing import NDArray

from schemas.baseline_model.adjusting import KINDS, NONE, REASONS, TOO_LITTLE, adjusted, mean_over
from schemas.baseline_model.choosing import (
    chosen_days,
    eligible_days,
    predicted_days,
    rule_of,
    temperature_distances,
    temperatures_of,
)
from schemas.baseline_model.days import (
    AROUND,
    BEFORE,
    EVENT,
    Calendar,
    Days,
    Occasion,
    candidate_days,
    days_for,
    windows,
)
from schemas.baseline_model.temperatures import Temperatures, everywhere
from schemas.baseline_model.usage import (
    ENOUGH,
    Array,
    Counts,
    Facts,
    Mask,
    Usage,
    on_days,
    usage_of,
    without_events,
)
from schemas.demand_response.baselines import (
    BY_TEMPERATURE,
    GENERIC,
    METHODS,
    Adjustment,
    Baseline,
    BaselineName,
)
from schemas.tables.history import SLOT_S

TARGETS = 10
"""Days without events that are predicted from the others, to estimate the error of a baseline."""

DAYS_FIRST = TARGETS + 1
"""Similar days that are tried first: enough if none lacks samples or has an event."""

BY_RULE = "the baseline's rule"
STANDS_IN = "the hour before the event stands in"
FALL_BACK = "the hour before the event, which is no more than a fall-back"
NO_TEMPERATURE = f"too few temperatures of the event's day: {STANDS_IN}"
NOT_ADJUSTED = "not adjusted: too little to compare with"
LAST_SAMPLES, SAME_DAY = "last-samples", "same-day-3+2"


class ComputedBaseline(Struct):
    """One baseline: `kw` by VEN, day and slot of the event; and, for the event's day, how it was computed.

    `days`: similar days that are eligible. `adjustment`: a code, whose kind and reason `KINDS` and `REASONS`
    have; `adjustment_kw`: what it adds, the mean over the event. `is_complete`: no earlier day is needed.
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
    """Baselines of the event by VEN, and their predictions of days without events."""

    ven_ids: list[str]
    days: Days
    used: Array
    """Usage by VEN, day and slot of the event; without the event's own day."""
    baselines: dict[BaselineName, ComputedBaseline]
    stand_in: Array
    """The hour before the event, by VEN and slot."""

    @property
    def event(self) -> pl.DataFrame:
        """Return the baselines of the event: `ven_id`, `baseline`, `slot`, `baseline_kw`."""
        parts = [self._event(name) for name in self.baselines]
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
        """Return a baseline by VEN and slot of the event; the hour before it for VENs without an own one."""
        return np.where(self.has_own(name)[:, None], self.baselines[name].kw[:, 0], self.stand_in)

    def has_own(self, name: BaselineName) -> Mask:
        return np.asarray(~np.isnan(self.baselines[name].kw[:, 0]).all(axis=1))

    @property
    def method(self) -> pl.DataFrame:
        """Return by `ven_id`, `baseline`: `days_used`, three columns of the adjustment, and `note`."""
        return pl.concat([self._method(name) for name in self.baselines])

    def _method(self, name: BaselineName) -> pl.DataFrame:
        computed, own = self.baselines[name], self.has_own(name)
        has_values = ~np.isnan(self.event_kw(name)).all(axis=1)
        code = np.where(own, computed.adjustment, NONE)
        by_rule = computed.baseline.adjustment.kind in {"multiplicative", "additive"}
        reasons = [BY_RULE if by_rule and KINDS[n] != "none" else reason for n, reason in enumerate(REASONS)]
        return (
            pl.DataFrame(
                {
                    "ven_id": pl.Series(self.ven_ids, dtype=pl.String),
                    "baseline": pl.Series([name] * len(self.ven_ids), dtype=pl.String),
                    "days_used": pl.Series(np.where(own, computed.days_used, 0), dtype=pl.Int32),
                    "adjustment": pl.Series(KINDS).gather(code),
                    "adjustment_kw": pl.Series(np.where(own, computed.adjustment_kw, 0.0), dtype=pl.Float64),
                    "adjustment_reason": pl.Series(reasons).gather(code),
                    "days": pl.Series(computed.days, dtype=pl.Int64),
                    "is_own": own,
                    "is_too_little": own & (code == TOO_LITTLE),
                    "lacks_temperature": computed.lacks_temperature,
                }
            )
            .filter(pl.Series(has_values))
            .with_columns(note=_note(computed.baseline, self._fewest(computed.baseline)))
            .drop("days", "is_own", "is_too_little", "lacks_temperature")
        )

    def _fewest(self, baseline: Baseline) -> int:
        rule = rule_of(baseline, self.days)
        return 0 if rule is None else rule.fewest

    @property
    def is_complete(self) -> Mask:
        """Return the VENs for which no earlier day could change the result."""
        return np.asarray(np.stack([each.is_complete for each in self.baselines.values()]).all(axis=0))

    @cached_property
    def hourly(self) -> dict[BaselineName, tuple[Array, Array]]:
        """Return usage and predictions, by VEN, day without an event, and hour of the event.

        Hourly, as PJM tests its baselines: five minutes of one home are too noisy.
        """
        return {name: self._hourly(name) for name in self.baselines}

    def _hourly(self, name: BaselineName) -> tuple[Array, Array]:
        computed, part = self.baselines[name], self.days.parts[EVENT]
        predicted, used = computed.kw[:, 1:], self.used[:, 1:]
        hour = (part.slots - part.slots[0]) * SLOT_S // 3600
        starts = np.flatnonzero(np.diff(hour, prepend=-1))
        both = ~np.isnan(predicted) & ~np.isnan(used) & computed.targets[:, :, None]
        weight = np.where(both, part.hours, 0.0)
        total = _summed(weight, starts)
        with np.errstate(invalid="ignore", divide="ignore"):
            return (
                _summed(np.where(both, used, 0.0) * weight, starts) / total,
                _summed(np.where(both, predicted, 0.0) * weight, starts) / total,
            )

    @property
    def errors(self) -> pl.DataFrame:
        """Return usage and predictions by hour of days without an event.

        Columns: `ven_id`, `baseline`, `target` (days before the event), `hour` (of the event, from 0),
            `used_kw`, `predicted_kw`.
        """
        return pl.concat([self._errors(name) for name in self.baselines])

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


def predict(  # noqa: PLR0913 - what a notebook has to say of an event
    history: pl.DataFrame,
    other_events: pl.DataFrame,
    occasion: Occasion,
    calendar: Calendar,
    cap: float,
    *,
    only: BaselineName | None = None,
    names: Sequence[BaselineName] = GENERIC,
    temperatures: pl.DataFrame | None = None,
) -> Prediction:
    """Predict each baseline, with the mean of the last samples for VENs with too little data.

    Args:
        history: mean power of VENs in slots: `ven_id`, `slot`, `used_kw` (never null).
        other_events: events in which a VEN took part, not this one: `ven_id`, `start`, `end`. Their local
            days are no baseline days.
        occasion: the event.
        calendar: days and holidays.
        cap: limit of an adjustment, as a fraction, if the baseline itself has no cap.
        only: one baseline, of the event alone; by default several, and of days without an event as well.
        names: of the baselines.
        temperatures: `ts`, `temperature_c`, of all VENs.
    """
    days, usage = days_of(occasion, calendar, [only] if only else names), usage_of(history)
    maxima = None if temperatures is None else everywhere(usage.ven_ids, temperatures, days)
    return predict_from(usage, other_events, days, cap, names=names, only=only, temperatures=maxima)


def days_of(
    occasion: Occasion,
    calendar: Calendar,
    names: Sequence[BaselineName],
    most: int | None = None,
) -> Days:
    """Return the days that baselines compare; only the latest `most` before the event, if given."""
    baselines = [METHODS[name] for name in names]
    look_back = max([calendar.look_back_days, *(each.look_back_days or 0 for each in baselines)])
    backs = candidate_days(occasion, calendar, look_back)[:most]
    adjustments = {each.adjustment for each in baselines} | {Adjustment()}
    parts = windows(occasion, adjustments)
    if SAME_DAY not in names:
        del parts[AROUND]
    return days_for(occasion, calendar, backs, parts)


def predict_from(  # noqa: PLR0913 - what is measured, and how
    usage: Usage,
    other_events: pl.DataFrame,
    days: Days,
    cap: float,
    *,
    names: Sequence[BaselineName] = GENERIC,
    only: BaselineName | None = None,
    temperatures: Temperatures | None = None,
) -> Prediction:
    """Like `predict`, from usage as an array, and for the given days.

    Args:
        usage: mean power in slots.
        other_events: other events of the VENs.
        days: compared days.
        cap: limit of an adjustment.
        names: of the baselines.
        only: one of them, of the event alone.
        temperatures: of the days, by VEN; None if no baseline needs them, or there are none.
    """
    day_usage = on_days(without_events(usage, other_events), days)
    facts = Facts(
        usage.ven_ids,
        day_usage,
        day_usage[:, :, days.positions(EVENT)],
        other_events,
        days,
        cap,
        1 if only else len(days.backs),
        temperatures,
    )
    last = _flat(facts, BEFORE, 1)
    chosen = [only] if only else [*names]
    computed = {name: _compute(METHODS[name], facts, last) for name in chosen}
    return Prediction(usage.ven_ids, days, facts.event, computed, last[:, 0])


def _compute(baseline: Baseline, facts: Facts, last: Array) -> ComputedBaseline:
    rule = rule_of(baseline, facts.days)
    eligible, mean_kw = eligible_days(baseline, rule, facts)
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
        few = msgspec.structs.replace(facts, targets=predicted_days(is_target, facts.targets))
        distance = temperature_distances(few) if baseline.name in BY_TEMPERATURE else None
        chosen = chosen_days(eligible, mean_kw, rule, few.targets, distance)
        used = chosen.sum(axis=2)
        kw, codes, shift = adjusted(baseline.adjustment, chosen, few)
        kw = _padded(kw, facts.targets)
    return ComputedBaseline(
        baseline,
        kw,
        count,
        used[:, 0],
        codes[:, 0],
        shift[:, 0],
        count >= enough,
        is_target[:, : facts.targets - 1],
        np.isnan(temperatures_of(facts)[:, 0]) & (baseline.name in BY_TEMPERATURE),
    )


def _padded(kw: Array, days: int) -> Array:
    """Pad with NaN for the days that were not predicted."""
    missing = np.full((kw.shape[0], days - kw.shape[1], kw.shape[2]), np.nan)
    return np.concatenate([kw, missing], axis=1)


def _flat(facts: Facts, part: str, enough: float) -> Array:
    """Return one power for the whole event: the mean over a part, if enough of its slots have samples."""
    days = facts.days
    window, hours = facts.day_usage[:, : facts.targets, days.positions(part)], days.parts[part].hours
    count = (~np.isnan(window)).sum(axis=2)
    mean_kw = np.where(count >= max(enough, 1), mean_over(window, hours), np.nan)
    return np.repeat(mean_kw[:, :, None], len(days.parts[EVENT].slots), axis=2)


def _around(facts: Facts) -> Array:
    return _flat(facts, AROUND, ENOUGH * len(facts.days.parts[AROUND].slots))
