"""Buckets of a calendar: local days, weeks, months and years of a time zone. Pure.

A day begins at the first instant of its date: at 01:00 where clocks skip midnight. Weeks begin on Monday;
multiples count from 1970-01-01, those of weeks from the first Monday after it.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from msgspec import Struct

from schemas.tables.history import SLOT_S
from schemas.times.instants import from_microseconds, microseconds
from schemas.times.local_days import midnight_us

Unit = Literal["d", "w", "mo", "y"]
FIRST_DAY = date(1970, 1, 1)
FIRST_MONDAY = date(1970, 1, 5)
MONTHS = 12
FIRST_US = microseconds(datetime.min.replace(tzinfo=UTC))
LAST_US = microseconds(datetime.max.replace(tzinfo=UTC))
LAST_YEAR_OF_RULES = 2040
"""Year up to which changes of zones are checked; by then each zone has repeated its rules for years."""

COARSEST_S = 3_600
FINEST_S = 1


class LocalBuckets(Struct, frozen=True):
    """Buckets of a number of units in a time zone, by its IANA name."""

    count: int
    unit: Unit
    zone: str

    def bucket_us(self, at_us: int) -> tuple[int, int]:
        """Return start and end of the bucket that contains an instant, microseconds since the Unix epoch."""
        number = self._number(from_microseconds(at_us).astimezone(ZoneInfo(self.zone)).date())
        # Where clocks go back over midnight, a date occurs twice.
        while self._start_us(number) > at_us:
            number -= 1
        while (end_us := self._start_us(number + 1)) <= at_us:
            number += 1
        return self._start_us(number), end_us

    def _number(self, day: date) -> int:
        match self.unit:
            case "d":
                units = (day - FIRST_DAY).days
            case "w":
                units = (day - FIRST_MONDAY).days // 7
            case "mo":
                units = (day.year - FIRST_DAY.year) * MONTHS + day.month - 1
            case _:
                units = day.year - FIRST_DAY.year
        return units // self.count

    def _start_us(self, number: int) -> int:
        try:
            return midnight_us(self._first_day(number * self.count), self.zone)
        except (OverflowError, ValueError):  # beyond the years 1 and 9999
            return LAST_US if number > 0 else FIRST_US

    def _first_day(self, units: int) -> date:
        match self.unit:
            case "d":
                return FIRST_DAY + timedelta(days=units)
            case "w":
                return FIRST_MONDAY + timedelta(weeks=units)
            case "mo":
                return date(FIRST_DAY.year + units // MONTHS, units % MONTHS + 1, 1)
        return date(FIRST_DAY.year + units, 1, 1)


@lru_cache(maxsize=64)
def step_s(zone: str) -> int:
    """Return the widest step, s, up to an hour, on whose multiples since the Unix epoch local days begin."""
    days = (date(LAST_YEAR_OF_RULES, 1, 1) - FIRST_DAY).days
    step = COARSEST_S
    for number in range(1, days):
        step = math.gcd(step, midnight_us.__wrapped__(FIRST_DAY + timedelta(days=number), zone) // 1_000_000)
        if step == FINEST_S:
            break
    return step


def base_granularity_s(zone: str, *, by_slots: bool) -> int:
    """Return the width of fixed buckets from which all calendar buckets of a zone can be summed, s.

    Energies come in slots of five minutes: one that spans a border counts where it begins.
    """
    step = step_s(zone)
    return step if not by_slots or step % SLOT_S == 0 else SLOT_S


class Columns(NamedTuple):
    """Columns of a history: the starts of buckets, and sums of numbers in each."""

    buckets: Sequence[datetime]
    values: Sequence[Sequence[float]]


def gathered(blocks: Iterable[Columns], calendar: LocalBuckets) -> Iterator[Columns]:
    """Sum blocks of columns with fixed buckets to one block with a calendar's buckets."""
    starts, sums = list[datetime](), list[list[float]]()
    end_us = -1
    for block in blocks:
        for bucket, *values in zip(block.buckets, *block.values, strict=True):
            at_us = microseconds(bucket)
            if at_us >= end_us:
                start_us, end_us = calendar.bucket_us(at_us)
                starts.append(from_microseconds(start_us))
                sums.append([0.0] * len(values))
            sums[-1] = [total + value for total, value in zip(sums[-1], values, strict=True)]
    if starts:
        yield Columns(starts, list(zip(*sums, strict=True)))
