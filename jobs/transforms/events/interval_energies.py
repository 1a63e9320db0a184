"""What VENs used in parts of an event, and would have used without it, by the slots of a settlement. Pure.

A slot that the border of a part cuts counts in each part by its time there. So the energies of parts that
follow one another through the event add up to those of the settlement.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from msgspec import Struct
from numpy.typing import NDArray

from jobs.transforms.events.usage import counted_parts
from schemas.baseline_model.days import part_within, seconds
from schemas.tables.history import SLOT_S
from schemas.times.time_ranges import TimeRange

Array = NDArray[np.float64]


class Energies(Struct, frozen=True):
    """Energies by VEN and part, or by part: kWh of the time that has both, and that time in hours."""

    baseline_kwh: Array
    used_kwh: Array
    covered_h: Array

    def of_rows(self, rows: NDArray[np.int64]) -> "Energies":
        return Energies(self.baseline_kwh[rows], self.used_kwh[rows], self.covered_h[rows])

    def total(self) -> "Energies":
        """All rows as one."""
        of_all = (each.sum(axis=0) for each in (self.baseline_kwh, self.used_kwh, self.covered_h))
        return Energies(*of_all)

    def merged(self, starts: Sequence[int]) -> "Energies":
        """Of longer parts, each of which begins with one of these."""
        each = (self.baseline_kwh, self.used_kwh, self.covered_h)
        return Energies(*(np.add.reduceat(values, list(starts), axis=-1) for values in each))


def add_up(every: Sequence[Energies]) -> Energies:
    """The energies of several rows, as one."""
    names = ("baseline_kwh", "used_kwh", "covered_h")
    return Energies(*(np.sum([getattr(each, name) for each in every], axis=0) for name in names))


def mean_cover(total: Energies, vens: int) -> Energies:
    """Of the sum of some VENs: the time is their mean."""
    return Energies(total.baseline_kwh, total.used_kwh, total.covered_h / max(vens, 1))


def energies(
    used: Array, baseline: Array, away: pl.DataFrame, ven_ids: Sequence[str], cells: Sequence[TimeRange]
) -> Energies:
    """The energies of each part of an event.

    Args:
        used: mean power of VENs in the slots that the event reaches into, kW; NaN for unknown.
        baseline: the same of the baseline.
        away: when VENs do not count, not overlapping for one VEN: `ven_id`, `start`, `end`.
        ven_ids: of the rows.
        cells: parts that follow one another from the event's start to its end.
    """
    slots, starts, ends, first = _pieces(cells)
    column = slots - slots[0]
    pairs = baseline[:, column], used[:, column]
    both = ~np.isnan(pairs[0]) & ~np.isnan(pairs[1])
    hours = np.where(both, counted_parts(ven_ids, away, starts, ends), 0.0)
    kwh = (np.where(both, kw, 0.0) * hours for kw in pairs)
    return Energies(*(np.add.reduceat(values, first, axis=1) for values in (*kwh, hours)))


def _pieces(cells: Sequence[TimeRange]) -> tuple[NDArray[np.int64], Array, Array, list[int]]:
    """Slots cut by the parts: their numbers, starts and ends in seconds; and the first piece of each part."""
    slots = [part_within([cell]).slots for cell in cells]
    first = np.cumsum([0, *(len(each) for each in slots[:-1])]).tolist()
    starts = [np.maximum(each * SLOT_S, seconds(cell.start)) for each, cell in zip(slots, cells, strict=True)]
    ends = [
        np.minimum((each + 1) * SLOT_S, seconds(cell.end)) for each, cell in zip(slots, cells, strict=True)
    ]
    return np.concatenate(slots), np.concatenate(starts), np.concatenate(ends), first
