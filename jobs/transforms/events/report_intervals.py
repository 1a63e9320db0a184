"""The intervals of OpenADR reports of a settlement, and which of them a report has. Pure.

Intervals of a layout follow one another from the start of the measured time to its end, so that their
energies add up to the settlement's. Time of the event that is in no interval of it is an interval as well,
with an id of its own.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import count, pairwise, takewhile
from typing import Literal

from msgspec import Struct, structs

from schemas.openadr import EventRequest, ReportDescriptor
from schemas.openadr_times import timed_intervals
from schemas.times.instants import EPOCH
from schemas.times.slots import SLOT
from schemas.times.time_ranges import TimeRange

Layout = Literal["INTERVALS", "SUB_INTERVALS", "OPEN_INTERVALS"]
"""Of `reportIntervals`: the event's; these cut into slots; slots, whatever the event's are."""

LAST = ALL = FOR_EVER = -1
"""Defaults of `startInterval`; of `numIntervals` and `frequency`; and `repeat` without end."""

AD_HOC = 0
"""As `frequency`: at any time, so once."""


class ReportInterval(Struct, frozen=True):
    """An interval of a report, with the number and the id of the event's interval that it lies in.

    Time that is in no interval of the event counts with the interval before it.
    """

    number: int
    id: int
    time: TimeRange


class ReportPlan(Struct, frozen=True):
    """Which intervals each of the reports has that a report descriptor requests.

    Intervals are counted from 0. Report n ends with interval `start + n * frequency`; where fewer than
    `number` intervals end there, or where the report looks forward, it begins with that interval.
    """

    layout: Layout = "INTERVALS"
    start: int = LAST
    number: int = ALL
    is_historical: bool = True
    frequency: int = ALL
    repeat: int = 1

    @classmethod
    def of(cls, descriptor: ReportDescriptor) -> "ReportPlan":
        return cls(
            descriptor.report_intervals or "INTERVALS",
            _or_default(descriptor.start_interval, LAST),
            _or_default(descriptor.num_intervals, ALL),
            descriptor.historical is not False,
            _or_default(descriptor.frequency, ALL),
            _or_default(descriptor.repeat, 1),
        )

    def selections(self, intervals: int) -> list[range]:
        """The intervals of each report, of so many; no report where the first would begin after them."""
        number = self.number if 0 < self.number < intervals else intervals
        step = number if self.frequency < AD_HOC else self.frequency
        first = self.start if self.start >= 0 else intervals - 1 if self.is_historical else 0
        reports = 1 if step == AD_HOC else intervals if self.repeat < 0 else max(self.repeat, 1)
        starts = (first + step * report for report in range(min(reports, intervals)))
        return [self._selection(at, number, intervals) for at in starts if at < intervals]

    def _selection(self, at: int, number: int, intervals: int) -> range:
        is_whole = self.number <= 0 and self.start >= 0
        if self.is_historical and at - number + 1 >= 0 and not is_whole:
            return range(at - number + 1, at + 1)
        return range(at, min(at + number, intervals))


def _or_default(number: int | None, default: int) -> int:
    return default if number is None else number


def intervals_of(
    layout: Layout, event: EventRequest, made_at: datetime, window: TimeRange
) -> list[ReportInterval]:
    """The intervals of a layout.

    Args:
        layout: which.
        event: as its client sent it.
        made_at: what a start at once means.
        window: the time that was measured.
    """
    if layout == "OPEN_INTERVALS":
        return [ReportInterval(number, number, part) for number, part in enumerate(_slots(window))]
    intervals = list(_without_gaps(_passes(event, made_at), window))
    if layout == "INTERVALS":
        return intervals
    return [structs.replace(each, time=part) for each in intervals for part in _slots(each.time)]


def cells_of(layouts: Sequence[Sequence[ReportInterval]]) -> list[TimeRange]:
    """The parts into which the intervals of all layouts cut the time."""
    cuts = sorted({at for layout in layouts for each in layout for at in (each.time.start, each.time.end)})
    return [TimeRange(start, end) for start, end in pairwise(cuts)]


def _slots(time: TimeRange) -> Iterator[TimeRange]:
    start = time.start
    while start < time.end:
        end = min(_slot_end(start), time.end)
        yield TimeRange(start, end)
        start = end


def _slot_end(at: datetime) -> datetime:
    return EPOCH + ((at - EPOCH) // SLOT + 1) * SLOT


def _passes(event: EventRequest, made_at: datetime) -> Iterator[tuple[int, TimeRange]]:
    """Ids and times of the event's intervals, in order of time; repeated where it has its own duration."""
    once = [
        (each.interval.id, TimeRange(each.start, each.end))
        for each in timed_intervals(event.interval_period, event.intervals or (), made_at)
        if each.end is not None and each.end > each.start
    ]
    once.sort(key=lambda each: each[1].start)
    if not once:
        return
    length = max(time.end for _, time in once) - once[0][1].start
    for number in count() if event.duration is not None else range(1):
        by = number * length
        yield from ((id_, TimeRange(time.start + by, time.end + by)) for id_, time in once)


def _without_gaps(passes: Iterator[tuple[int, TimeRange]], window: TimeRange) -> Iterator[ReportInterval]:
    """Intervals that follow one another through the window; gaps have the first id that no interval has."""
    begun = list(takewhile(lambda each: each[1].start < window.end, passes))
    gap_id = max((id_ for id_, _ in begun), default=-1) + 1
    at = window.start
    for number, (id_, time) in enumerate(begun):
        start, end = max(time.start, at), min(time.end, window.end)
        if end <= start:
            continue
        if start > at:
            yield ReportInterval(max(number - 1, 0), gap_id, TimeRange(at, start))
        yield ReportInterval(number, id_, TimeRange(start, end))
        at = end
    if at < window.end:
        yield ReportInterval(max(len(begun) - 1, 0), gap_id, TimeRange(at, window.end))
