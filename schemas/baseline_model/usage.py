"""Usage of VENs in slots as arrays: from frames, without other events, arranged by day."""

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import polars as pl
from msgspec import Struct
from numpy.typing import NDArray

from schemas.baseline_model.days import EVENT, NO_SLOT, Days
from schemas.baseline_model.temperatures import Temperatures
from schemas.tables.history import SLOT_S
from schemas.times.slots import WIDEST_S

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Counts = NDArray[np.int64]
WIDEST_US = WIDEST_S * 1_000_000
ENOUGH = 0.8
"""Fraction of a window's slots that must have samples for a day, or an adjustment, to count."""


class Usage(Struct, frozen=True):
    """Mean power of VENs in slots: `kw` has a row for each VEN, a column for each of `slots`, ascending."""

    ven_ids: list[str]
    slots: NDArray[np.int64]
    kw: Array


def usage_of(history: pl.DataFrame) -> Usage:
    """Convert the frame `ven_id`, `slot`, `used_kw` to an array; missing slots are NaN."""
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


class Facts(Struct, frozen=True, dict=True):
    """The inputs of all baselines.

    `day_usage`: usage by VEN, day and slot; `event`: the same in the event's slots. `other_events`: other
    events of the VENs. `targets`: how many days are predicted, the event's first. `temperatures`: by VEN and
    day.
    """

    ven_ids: list[str]
    day_usage: Array
    event: Array
    other_events: pl.DataFrame
    days: Days
    cap: float
    targets: int
    temperatures: Temperatures | None = None

    @cached_property
    def of_days(self) -> tuple[Mask, Array]:
        """Return by VEN and earlier day whether its hours have enough samples, and their mean power."""
        event, hours = self.event[:, 1:], self.days.parts[EVENT].hours
        present = ~np.isnan(event)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean_kw = np.nan_to_num(event) @ hours / (present @ hours)
        return present.sum(axis=2) >= ENOUGH * len(hours), np.nan_to_num(mean_kw)


def whole_slots(other_events: pl.DataFrame, slow: Sequence[str]) -> pl.DataFrame:
    """Widen events (`ven_id`, `start`, `end`) of VENs with wide slots to the borders of half-hours.

    The mean of a wide slot that an event cuts is not the usage without events.
    """
    is_slow = pl.col("ven_id").is_in(list(slow))
    half_hour = f"{WIDEST_S}s"
    first = pl.col("start").dt.truncate(half_hour)
    last = -(-pl.col("end").dt.epoch("us") // WIDEST_US) * WIDEST_US
    return other_events.with_columns(
        start=pl.when(is_slow).then(first).otherwise("start"),
        end=pl.when(is_slow).then(last.cast(pl.Datetime("us", "UTC"))).otherwise("end"),
    )


def without_events(usage: Usage, other_events: pl.DataFrame) -> Usage:
    """Return usage without the slots within other events of a VEN: `ven_id`, `start`, `end`."""
    us = SLOT_S * 1_000_000
    if other_events.is_empty():
        return usage
    rows = other_events.select(
        "ven_id",
        first=pl.col("start").dt.epoch("us") // us,
        last=-(-pl.col("end").dt.epoch("us") // us),
    ).join(pl.DataFrame({"ven_id": usage.ven_ids, "row": range(len(usage.ven_ids))}, ROW_OF_VEN), on="ven_id")
    kw = usage.kw.copy()
    for (first, last), group in rows.group_by("first", "last"):
        left, right = np.searchsorted(usage.slots, [first, last])
        kw[group.get_column("row").to_numpy(), left:right] = np.nan
    return Usage(usage.ven_ids, usage.slots, kw)


ROW_OF_VEN = {"ven_id": pl.String, "row": pl.Int64}


def on_days(usage: Usage, days: Days) -> Array:
    """Return usage by VEN, day, and slot of the event's day; the mean if a local time occurs twice."""
    kw = np.concatenate([usage.kw, np.full((len(usage.ven_ids), 1), np.nan)], axis=1)
    first = kw[:, _columns(usage.slots, days.first)]
    twice = days.first != days.second
    if twice.any():
        second = kw[:, _columns(usage.slots, days.second[twice])]
        before = first[:, twice]
        both = np.where(np.isnan(before), second, np.where(np.isnan(second), before, (before + second) / 2))
        first[:, twice] = both
    return first


def _columns(slots: NDArray[np.int64], needed: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return the columns of slots; the one past the last for missing slots."""
    if not len(slots):
        return np.zeros(needed.shape, dtype=np.intp)
    column = np.searchsorted(slots, needed)
    is_there = (needed != NO_SLOT) & (slots[np.minimum(column, len(slots) - 1)] == needed)
    return np.where(is_there, column, len(slots))


def chunks(ven_ids: Sequence[str], most: int) -> Iterator[Sequence[str]]:
    """Yield VENs in chunks."""
    return (ven_ids[start : start + most] for start in range(0, len(ven_ids), most))
