"""The days and hours that baselines compare. Pure.

Days and hours are local: 17:05 is the same slot on each day, even if clocks change in between. If a time
occurs twice on a day, usage is the mean of both; if it is skipped, there is none.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from msgspec import Struct
from numpy.typing import NDArray

from schemas.demand_response.baselines import Adjustment
from schemas.tables.history import SLOT_S
from schemas.times.instants import EPOCH
from schemas.times.time_ranges import TimeRange as Range
from schemas.times.time_ranges import widened

SLOT = timedelta(seconds=SLOT_S)
HOUR = timedelta(hours=1)
WEEKDAY, SATURDAY, SUNDAY, HOLIDAY = range(4)
EVENT, AROUND, BEFORE = "event", "around", "before"

Slots = NDArray[np.int64]
"""Slot numbers, counted since the Unix epoch."""
Hours = NDArray[np.float64]
Ambiguous = Literal["earliest", "latest"]
"""Which of two instants a local time means when clocks are set back."""

NO_SLOT = -1


class Occasion(Struct, frozen=True):
    """An event's window, and when its VENs could know of it."""

    start: datetime
    end: datetime
    notified_at: datetime

    @property
    def window(self) -> Range:
        return Range(self.start, self.end)


class Calendar(Struct, frozen=True):
    """The VENs' calendar: the time zone of days, and the holidays."""

    time_zone: str = "UTC"
    holidays: frozenset[date] = frozenset()
    look_back_days: int = 45

    def day_of(self, instant: datetime) -> date:
        return instant.astimezone(ZoneInfo(self.time_zone)).date()

    def kind_of(self, day: date) -> int:
        if day in self.holidays:
            return HOLIDAY
        return max(WEEKDAY, day.weekday() - 4)

    def is_weekend(self, day: date) -> bool:
        """Return whether a day is a weekend day or a holiday."""
        return self.kind_of(day) != WEEKDAY


class Part(Struct, frozen=True):
    """Slots of the event's day in which a baseline is compared, and the hours of each that count."""

    slots: Slots
    hours: Hours


class Days(Struct, frozen=True):
    """The slots of other days that are compared with the slots of the event's day.

    `backs`: offsets of days before the event; the event's day, 0, comes first. `kinds`: of each, by
    `Calendar.kind_of`. `slots`: of the event's day, ascending. `first`, `second`: for each day and slot the
    slots at the same local time; they are equal unless the time occurs twice, and `NO_SLOT` if it is skipped.
    `parts`: by name.
    """

    occasion: Occasion
    calendar: Calendar
    backs: list[int]
    kinds: NDArray[np.int64]
    slots: Slots
    first: Slots
    second: Slots
    parts: dict[str, Part]

    def positions(self, part: str) -> NDArray[np.intp]:
        return np.searchsorted(self.slots, self.parts[part].slots)

    def needed(self) -> list[Range]:
        """Return the ranges of history that these days need."""
        numbers = np.union1d(self.first, self.second)
        return list(_ranges_of(numbers[numbers != NO_SLOT]))


def windows(
    occasion: Occasion, adjustments: Iterable[Adjustment] = (Adjustment(),)
) -> dict[str, list[Range]]:
    """Return the windows of each part of the method, on the day of the event.

    An adjustment's window ends before the event (CAISO leaves out the last hour), and before the VENs could
    know of it: else they could raise their own baseline.
    """
    last = widened(Range(occasion.start, occasion.start), SLOT_S).start
    return {
        EVENT: [occasion.window],
        AROUND: [
            Range(occasion.start - 4 * HOUR, occasion.start - HOUR),
            Range(occasion.end + HOUR, occasion.end + 3 * HOUR),
        ],
        BEFORE: [Range(last - HOUR, last)],
    } | {part_of(each): _adjustment_windows(occasion, each) for each in adjustments}


def part_of(adjustment: Adjustment) -> str:
    """Return the name of an adjustment's part."""
    hours = (adjustment.from_h, adjustment.to_h, adjustment.after_from_h, adjustment.after_to_h)
    return f"adjustment {hours}"


def _adjustment_windows(occasion: Occasion, adjustment: Adjustment) -> list[Range]:
    length = (adjustment.from_h - adjustment.to_h) * HOUR
    end = min(occasion.start - adjustment.to_h * HOUR, occasion.notified_at)
    after = [occasion.end + hours * HOUR for hours in (adjustment.after_from_h, adjustment.after_to_h)]
    return [Range(end - length, end), *([Range(*after)] if after[0] < after[1] else [])]


def slots_of(window: Range) -> pl.DataFrame:
    """Return the slots that overlap a window: `slot` (start), `hours` (within the window)."""
    part = part_within([window])
    slot = pl.Series("slot", part.slots * (SLOT_S * 1_000_000)).cast(pl.Datetime("us", "UTC"))
    return pl.DataFrame({"slot": slot, "hours": part.hours})


def part_within(ranges: Sequence[Range]) -> Part:
    """Return the slots that overlap ranges."""
    parts = [_slots_within(window) for window in ranges]
    return Part(np.concatenate([slots for slots, _ in parts]), np.concatenate([hours for _, hours in parts]))


def _slots_within(window: Range) -> tuple[Slots, Hours]:
    start, end = seconds(window.start), seconds(window.end)
    slots = np.arange(np.floor(start / SLOT_S), np.ceil(end / SLOT_S), dtype=np.int64)
    return slots, overlap_h(slots, start, end)


def overlap_h(slots: Slots, start: float, end: float) -> Hours:
    """Return the overlap of each slot with a range, in hours; `start` and `end` in Unix seconds."""
    inside = np.minimum((slots + 1) * SLOT_S, end) - np.maximum(slots * SLOT_S, start)
    hours: Hours = np.clip(inside, 0, None) / 3600
    return hours


def seconds(instant: datetime) -> float:
    return (instant - EPOCH).total_seconds()


def similar_days(occasion: Occasion, calendar: Calendar) -> list[int]:
    """Return days of the same kind as the event's, as offsets before it, latest first.

    Weekdays for a weekday; Saturdays and Sundays for either, and for a holiday; never holidays.
    """
    day = calendar.day_of(occasion.start)
    return [
        back
        for back in candidate_days(occasion, calendar, calendar.look_back_days)
        if day - timedelta(days=back) not in calendar.holidays
    ]


def candidate_days(occasion: Occasion, calendar: Calendar, look_back_days: int) -> list[int]:
    """Return weekdays for a weekday; Saturdays, Sundays and holidays for each of these."""
    day, last_day = calendar.day_of(occasion.start), calendar.day_of(occasion.end - timedelta.resolution)
    is_weekend, own = calendar.is_weekend(day), (last_day - day).days
    backs = range(own + 1, look_back_days + 1)
    return [back for back in backs if calendar.is_weekend(day - timedelta(days=back)) == is_weekend]


def days_for(
    occasion: Occasion, calendar: Calendar, backs: Sequence[int], parts: dict[str, list[Range]]
) -> Days:
    """Return the slots that are compared on the event's day and on days before it."""
    within = {name: part_within(ranges) for name, ranges in parts.items()}
    slots = np.unique(np.concatenate([part.slots for part in within.values()]))
    day, every = calendar.day_of(occasion.start), [0, *backs]
    kinds = np.array([calendar.kind_of(day - timedelta(days=back)) for back in every])
    first = _at_same_time(slots, every, calendar, "earliest")
    second = _at_same_time(slots, every, calendar, "latest")
    first[0] = second[0] = slots
    return Days(occasion, calendar, every, kinds, slots, first, second, within)


def _at_same_time(slots: Slots, backs: Sequence[int], calendar: Calendar, ambiguous: Ambiguous) -> Slots:
    """Return the slots that begin at the same local time on other days: a row for each day."""
    days = pl.DataFrame({"back": backs}, schema={"back": pl.Int64})
    starts = pl.DataFrame({"slot": slots * (SLOT_S * 1_000_000)}).cast({"slot": pl.Datetime("us", "UTC")})
    local = pl.col("slot").dt.convert_time_zone(calendar.time_zone).dt.replace_time_zone(None)
    then = (local - pl.duration(days="back")).dt.replace_time_zone(
        calendar.time_zone, ambiguous=ambiguous, non_existent="null"
    )
    number = then.dt.epoch("us") // (SLOT_S * 1_000_000)
    numbers = days.join(starts, how="cross", maintain_order="left_right").select(number.fill_null(NO_SLOT))
    return numbers.to_series().to_numpy().reshape(len(backs), len(slots)).copy()


def _ranges_of(slots: Slots) -> Iterator[Range]:
    """Return ranges that contain exactly the given slots, ascending."""
    for run in np.split(slots, np.flatnonzero(np.diff(slots) != 1) + 1):
        if len(run):
            yield Range(EPOCH + int(run[0]) * SLOT, EPOCH + (int(run[-1]) + 1) * SLOT)
