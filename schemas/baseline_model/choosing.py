"""Chooses the similar days of a baseline.

Arrays have the axes VEN and day (latest first, the event's own left out), or VEN, target and day.
"""

from datetime import timedelta

import numpy as np
import polars as pl

from schemas.baseline_model.days import (
    EVENT,
    HOLIDAY,
    SATURDAY,
    SUNDAY,
    WEEKDAY,
    Calendar,
    Days,
    part_of,
    windows,
)
from schemas.baseline_model.temperatures import Temperatures
from schemas.baseline_model.usage import ROW_OF_VEN, Array, Facts, Mask
from schemas.demand_response.baselines import BY_TEMPERATURE, Adjustment, Baseline, DayRule


def predicted_days(is_target: Mask, most: int) -> int:
    """Return how many days are predicted, the event's first: up to the last that any VEN needs."""
    needed = np.flatnonzero(is_target.any(axis=0))
    return min(most, int(needed[-1]) + 2 if len(needed) else 1)


def rule_of(baseline: Baseline, days: Days) -> DayRule | None:
    return baseline.weekday if days.kinds[0] == WEEKDAY else baseline.weekend


def eligible_days(baseline: Baseline, rule: DayRule | None, facts: Facts) -> tuple[Mask, Array]:
    """Return days with enough samples in the event's hours and no other event, and their mean power."""
    enough, mean_kw = facts.of_days
    busy = _busy(facts, baseline.adjustment)
    eligible = enough & ~busy & _is_candidate(baseline, facts.days)
    if baseline.name in BY_TEMPERATURE:
        eligible &= ~np.isnan(temperatures_of(facts)[:, 1:])
    if rule and baseline.low_usage_share:
        eligible &= ~_is_low(eligible, mean_kw, rule, baseline.low_usage_share)
    return eligible, mean_kw


def temperatures_of(facts: Facts) -> Temperatures:
    nothing = np.full((len(facts.ven_ids), len(facts.days.backs)), np.nan)
    return nothing if facts.temperatures is None else facts.temperatures


def temperature_distances(facts: Facts) -> Array:
    """Return the distances of the days' temperatures from those of targets: by VEN, target and day."""
    degrees = temperatures_of(facts)
    return np.abs(degrees[:, : facts.targets, None] - degrees[:, None, 1:])


def _is_candidate(baseline: Baseline, days: Days) -> Mask:
    kinds, backs = days.kinds[1:], np.array(days.backs[1:])
    accepted = {WEEKDAY} if days.kinds[0] == WEEKDAY else {SATURDAY, SUNDAY, HOLIDAY}
    if baseline.like_days and days.kinds[0] != WEEKDAY:
        accepted = {SATURDAY} if days.kinds[0] == SATURDAY else {SUNDAY, HOLIDAY}
    if not baseline.holidays_count:
        accepted -= {HOLIDAY}
    within = backs <= (baseline.look_back_days or days.calendar.look_back_days)
    candidates: Mask = np.isin(kinds, list(accepted)) & within
    return candidates


def _is_low(eligible: Mask, mean_kw: Array, rule: DayRule, share: float) -> Mask:
    """Return days below a fraction of the mean of the last ones, if that is positive."""
    recent = eligible & (np.cumsum(eligible, axis=1) <= rule.last)
    with np.errstate(invalid="ignore", divide="ignore"):
        level = np.where(recent, np.nan_to_num(mean_kw), 0.0).sum(axis=1) / recent.sum(axis=1)
    low: Mask = (mean_kw < share * level[:, None]) & (level[:, None] > 0)
    return low


def chosen_days(
    eligible: Mask, mean_kw: Array, rule: DayRule, targets: int, distance: Array | None = None
) -> Mask:
    """Return for the event and for each target the last other eligible days, and of these those with most
    usage.

    Args:
        eligible: by VEN and day, latest first.
        mean_kw: the usage of each in the event's hours.
        rule: the numbers of days.
        targets: 1 for the event alone; plus one for each other predicted day.
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


def _busy(facts: Facts, adjustment: Adjustment) -> Mask:
    """Return days on which the VEN took part in another event, by VEN and day before the event."""
    days, ven_ids = facts.days, facts.ven_ids
    busy = np.zeros((len(ven_ids), len(days.backs) - 1), dtype=bool)
    if facts.other_events.is_empty():
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
    rows = facts.other_events.select(
        "ven_id",
        # Days before the event that overlap the other event's days.
        least=(pl.lit(first) - local[1]).dt.total_days(),
        most=(pl.lit(last) - local[0]).dt.total_days(),
    ).join(pl.DataFrame({"ven_id": ven_ids, "row": range(len(ven_ids))}, ROW_OF_VEN), on="ven_id")
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
