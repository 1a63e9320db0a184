"""Adjusts the mean of the chosen days to the hours before the event. Powers in kW."""

import numpy as np

from schemas.baseline_model.days import EVENT, part_of
from schemas.baseline_model.usage import ENOUGH, Array, Counts, Facts, Mask
from schemas.demand_response.baselines import Adjustment

SIMILAR_LOAD = 0.5
"""A ratio is meaningful if the window's load is at least this fraction of the event's."""

NONE, TOO_LITTLE, OTHER_SIGN, MULTIPLICATIVE, ADDITIVE = range(5)
REASONS = (
    "this baseline has no adjustment",
    "too little to compare with in the hours before the event",
    "the VEN feeds in during the event and draws before it, or the reverse",
    "the baseline is positive, before the event and during it",
    "the baseline is negative, or small before the event",
)

KINDS = ("none", "none", "none", "multiplicative", "additive")


def _mean_of_days(chosen: Mask, day_usage: Array) -> Array:
    """Return the mean of the chosen days with samples in each slot: by VEN, target and slot."""
    present = ~np.isnan(day_usage[:, 1:])
    weights = chosen.astype(np.float64)
    count = weights @ present.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 0, weights @ np.nan_to_num(day_usage[:, 1:]) / count, np.nan)


def adjusted(adjustment: Adjustment, chosen: Mask, facts: Facts) -> tuple[Array, Counts, Array]:
    """Return a baseline adjusted to the day, the code of the adjustment, and its mean effect."""
    days, before = facts.days, _mean_of_days(chosen, facts.event)
    if adjustment.kind == "none":
        return before, np.full(before.shape[:2], NONE), np.zeros(before.shape[:2])
    part = days.parts[part_of(adjustment)]
    window = facts.day_usage[:, :, days.positions(part_of(adjustment))]
    expected, used = _compared(_mean_of_days(chosen, window), window[:, : facts.targets], part.hours)
    hours = days.parts[EVENT].hours
    load, least = mean_over(before, hours), np.nanmin(_or_nan(before), axis=2, initial=np.inf)
    codes = _suited(adjustment, expected, load, least)
    limit = (facts.cap if adjustment.cap is None else adjustment.cap) if adjustment.is_capped else np.inf
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        factor = np.clip(used / expected, 1 - limit, 1 + limit)
        reach = (
            limit * mean_over(np.abs(before), hours) if np.isfinite(limit) else np.full(load.shape, np.inf)
        )
        added = np.clip(used - expected, -reach, reach)
    factor = np.where(codes == MULTIPLICATIVE, factor, 1.0)
    added = np.where(codes == ADDITIVE, added, 0.0)
    after = before * factor[:, :, None] + added[:, :, None]
    return after, codes, np.nan_to_num(mean_over(after, hours) - load)


def _or_nan(values: Array) -> Array:
    """Replace rows that are all NaN, for which NumPy would warn; their result is not used."""
    return np.where(np.isnan(values).all(axis=2, keepdims=True), 0.0, values)


def _compared(expected: Array, used: Array, hours: Array) -> tuple[Array, Array]:
    """Return means over the slots that have both; NaN if these are too few."""
    both = ~np.isnan(expected) & ~np.isnan(used)
    weight = both @ hours
    enough = both.sum(axis=2) >= ENOUGH * len(hours)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = [np.where(both, values, 0.0) @ hours / weight for values in (expected, used)]
    return np.where(enough, means[0], np.nan), np.where(enough, means[1], np.nan)


def mean_over(values: Array, hours: Array) -> Array:
    present = ~np.isnan(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nan_to_num(values) @ hours / (present @ hours)


def _suited(adjustment: Adjustment, expected: Array, load: Array, least: Array) -> Counts:
    """Choose the adjustment of a baseline.

    A ratio has the wrong effect on a negative baseline, and is noise near zero: so it multiplies only a
    baseline that is positive throughout, and not small in the window compared with the event. Usage with a
    different sign in the window than in the event is not comparable.
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
