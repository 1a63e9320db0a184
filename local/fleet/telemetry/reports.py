"""The reports of one VEN: their device times, messages, and arrivals."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from local.fleet.homes.behaviour import ResponseBehaviour, paced
from local.fleet.homes.control_state import INITIAL_STATE, ControlState
from local.fleet.homes.events import ShedEvent, daily_events
from local.fleet.homes.household import Household, HouseholdReading
from local.fleet.homes.randomness import draw
from local.fleet.homes.weather import HeatWave
from local.fleet.telemetry.disturbances import break_message, delays_s, is_broken
from local.fleet.telemetry.messages import Arrival, Dialect, description, dialect_of, telemetry

_DESCRIBE_EVERY = 6
_DEFAULT_BEHAVIOUR = ResponseBehaviour()


@dataclass(frozen=True)
class FleetSettings:
    """What all VENs of a fleet share: seconds between reports, how they respond to commands, whether they
    shed in daily events that no gateway sent, whether every day is the same, and a heat wave.
    """

    interval_s: float = 5.0
    behaviour: ResponseBehaviour = _DEFAULT_BEHAVIOUR
    has_daily_events: bool = False
    is_steady: bool = False
    heat_wave: HeatWave | None = None


class Reporter:
    """Makes the reports of one VEN. Its phase within the interval is constant."""

    def __init__(self, home: Household, settings: FleetSettings) -> None:
        self.home = home
        self._settings = settings
        self._phase = draw(home.seed, home.ven_id, "phase")

    @cached_property
    def dialect(self) -> Dialect:
        return dialect_of(self.home)

    def interval_s(self, state: ControlState = INITIAL_STATE) -> float:
        """Seconds between reports: as commanded, else as the fleet's settings say."""
        return state.report_interval_s or self._settings.interval_s

    def next_after(self, ts: float, state: ControlState = INITIAL_STATE) -> float:
        """The first device time after `ts`."""
        interval_s = self.interval_s(state)
        number = math.floor((ts - self._phase_s(interval_s)) / interval_s) + 1
        following = self._time(number, interval_s)
        return following if following > ts else self._time(number + 1, interval_s)

    def read(self, ts: float, state: ControlState = INITIAL_STATE) -> HouseholdReading:
        """The reading at `ts`, with the events that it takes part in and the daily ones."""
        return self.home.read(ts, state.also(self._daily(ts)) if self._settings.has_daily_events else state)

    def arrivals(
        self, reading: HouseholdReading, state: ControlState = INITIAL_STATE, *, describe: bool = False
    ) -> Iterator[Arrival]:
        """The messages of a reading, with their arrivals; `describe` adds a description out of turn."""
        ts = reading.ts
        report = telemetry(self.home, self.dialect, reading)
        if is_broken(self.home, ts):
            report = break_message(self.home, ts, report)
        delays = delays_s(self.home, ts, self.interval_s(state))
        is_turn = self.dialect.is_brief and self._is_turn_to_describe(ts, self.interval_s(state))
        if describe or is_turn:
            yield Arrival(ts + delays[0], description(self.home, self.dialect, reading))
        for delay_s in delays:
            yield Arrival(ts + delay_s, report)

    def _daily(self, ts: float) -> tuple[ShedEvent, ...]:
        behaviour = self._settings.behaviour
        events = (event for event in daily_events(ts) if not behaviour.opts_out(self.home, event.event_id))
        return tuple(paced(self.home, event) for event in events)

    def _phase_s(self, interval_s: float) -> float:
        """Whole seconds where the interval has them: most devices count in seconds."""
        phase_s = self._phase * interval_s
        return math.floor(phase_s) if interval_s == int(interval_s) else round(phase_s, 3)

    def _time(self, number: int, interval_s: float) -> float:
        return round(number * interval_s + self._phase_s(interval_s), 3)

    def _is_turn_to_describe(self, ts: float, interval_s: float) -> bool:
        number = round((ts - self._phase_s(interval_s)) / interval_s)
        return (number + self.home.index) % _DESCRIBE_EVERY == 0


def fleet(seed: int, vens: int, settings: FleetSettings) -> list[Reporter]:
    """The first `vens` VENs of a seed."""
    homes = (Household(seed, index, settings.is_steady, settings.heat_wave) for index in range(1, vens + 1))
    return [Reporter(home, settings) for home in homes]
