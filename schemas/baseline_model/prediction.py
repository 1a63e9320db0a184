"""Baselines: what a VEN would have used had there been no event. Powers in kW, usage as reported.

A baseline is a power for each five-minute slot of an event, made of the means that `ven_history` keeps for
such slots. A slot without samples, and one in which the VEN took part in another event, counts for nothing.
A slot that a window cuts counts by the part within. All VENs are computed at once, in arrays whose axes are
VENs, days (the event's first) and slots; NaN stands for no value.

Whose rules the baselines are stands in `schemas.demand_response.baselines`. Common terms: NAESB, business
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
"""So many days without events are predicted from the others, to see how good a baseline is."""

DAYS_FIRST = TARGETS + 1
"""So many of the latest similar days are looked at first: enough where none lacks samples or has an event."""

BY_RULE = "the baseline's rule"
STANDS_IN = "the hour before the event stands in"
FALL_BACK = "the hour before the event, which is no more than a fall-back"
NO_TEMPERATURE = f"too few temperatures of the event's day: {STANDS_IN}"
NOT_ADJUSTED = "not adjusted: too little to compare with"
LAST_SAMPLES, SAME_DAY = "last-samples", "same-day-3+2"


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
        rule = rule_of(baseline, self.days)
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


def _made(baseline: Baseline, facts: Facts, last: Array) -> Made:
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
    return Made(
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
    """The same with NaN for the days that were not predicted."""
    missing = np.full((kw.shape[0], days - kw.shape[1], kw.shape[2]), np.nan)
    return np.concatenate([kw, missing], axis=1)


def _flat(facts: Facts, part: str, enough: float) -> Array:
    """One power for the whole event: the mean over a part, where enough of its slots have samples."""
    days = facts.days
    window, hours = facts.seen[:, : facts.targets, days.positions(part)], days.parts[part].hours
    count = (~np.isnan(window)).sum(axis=2)
    mean_kw = np.where(count >= max(enough, 1), mean_over(window, hours), np.nan)
    return np.repeat(mean_kw[:, :, None], len(days.parts[EVENT].slots), axis=2)


def _around(facts: Facts) -> Array:
    return _flat(facts, AROUND, ENOUGH * len(facts.days.parts[AROUND].slots))
