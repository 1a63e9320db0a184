"""The reports of one VEN: at which device times, with which messages, arriving when."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from local.fleet.chance import draw
from local.fleet.conduct import Conduct, paced
from local.fleet.events import Event, daily_events
from local.fleet.household import Household, Reading
from local.fleet.messages import Arrival, Dialect, description, dialect_of, telemetry
from local.fleet.mishaps import break_message, delays_s, is_broken
from local.fleet.orders import NO_ORDERS, Orders
from local.fleet.weather import HeatWave

_DESCRIBE_EVERY = 6
_USUAL = Conduct()


@dataclass(frozen=True)
class Habits:
    """What all VENs of a fleet share: seconds between reports, how they take commands, whether they follow
    the daily events that nobody ordered, whether their homes are steady, and a heat wave over them.
    """

    interval_s: float = 5.0
    conduct: Conduct = _USUAL
    has_daily_events: bool = False
    is_steady: bool = False
    heat_wave: HeatWave | None = None


class Reporter:
    """One VEN that reports. Its phase within the interval is its own, and never moves."""

    def __init__(self, home: Household, habits: Habits) -> None:
        self.home = home
        self._habits = habits
        self._phase = draw(home.seed, home.ven_id, "phase")

    @cached_property
    def dialect(self) -> Dialect:
        return dialect_of(self.home)

    def interval_s(self, orders: Orders = NO_ORDERS) -> float:
        """Seconds between reports: what it was told, or what is usual."""
        return orders.report_interval_s or self._habits.interval_s

    def next_after(self, ts: float, orders: Orders = NO_ORDERS) -> float:
        """The first device time after `ts`."""
        interval_s = self.interval_s(orders)
        number = math.floor((ts - self._phase_s(interval_s)) / interval_s) + 1
        following = self._time(number, interval_s)
        return following if following > ts else self._time(number + 1, interval_s)

    def read(self, ts: float, orders: Orders = NO_ORDERS) -> Reading:
        """What it measures at `ts`, under the events that it was told of and those of every day."""
        return self.home.read(ts, orders.also(self._daily(ts)) if self._habits.has_daily_events else orders)

    def arrivals(
        self, reading: Reading, orders: Orders = NO_ORDERS, *, describe: bool = False
    ) -> Iterator[Arrival]:
        """What the report of a reading sends, as it arrives; `describe` describes the loads out of turn."""
        ts = reading.ts
        report = telemetry(self.home, self.dialect, reading)
        if is_broken(self.home, ts):
            report = break_message(self.home, ts, report)
        delays = delays_s(self.home, ts, self.interval_s(orders))
        if self.dialect.is_brief and (describe or self._is_turn_to_describe(ts, self.interval_s(orders))):
            yield Arrival(ts + delays[0], description(self.home, self.dialect, reading))
        for delay_s in delays:
            yield Arrival(ts + delay_s, report)

    def _daily(self, ts: float) -> tuple[Event, ...]:
        conduct = self._habits.conduct
        happening = (event for event in daily_events(ts) if not conduct.opts_out(self.home, event.event_id))
        return tuple(paced(self.home, event) for event in happening)

    def _phase_s(self, interval_s: float) -> float:
        """Whole seconds where the interval has them: most devices count in seconds."""
        phase_s = self._phase * interval_s
        return math.floor(phase_s) if interval_s == int(interval_s) else round(phase_s, 3)

    def _time(self, number: int, interval_s: float) -> float:
        return round(number * interval_s + self._phase_s(interval_s), 3)

    def _is_turn_to_describe(self, ts: float, interval_s: float) -> bool:
        number = round((ts - self._phase_s(interval_s)) / interval_s)
        return (number + self.home.index) % _DESCRIBE_EVERY == 0


def fleet(seed: int, vens: int, habits: Habits) -> list[Reporter]:
    """The first `vens` VENs of a seed."""
    homes = (Household(seed, index, habits.is_steady, habits.heat_wave) for index in range(1, vens + 1))
    return [Reporter(home, habits) for home in homes]
