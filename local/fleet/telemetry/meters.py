"""Meters that send the mean of an interval, as utilities' meters do: 5, 15 or 30 minutes."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean

from local.fleet.homes.control_state import INITIAL_STATE, ControlState
from local.fleet.homes.events import ShedEvent
from local.fleet.homes.household import Household
from local.fleet.telemetry.messages import Message

STEP_S = 100
"""A mean is that of readings so far apart; it divides a slot."""


@dataclass(frozen=True)
class IntervalMeter:
    """The meter of a home that takes part in at most one event; it can compute what the home delivered."""

    ven_id: str
    home: Household
    width_s: int
    event: ShedEvent | None = None

    def mean_kw(self, start: float) -> float:
        """What the home used in the interval from `start` on, Unix seconds."""
        return fmean(self.home.read(ts, self._state).used_kw for ts in self._moments(start, self.width_s))

    def report(self, start: float) -> Message:
        """The report of the interval from `start` on, with that time, which lies in the interval."""
        body = {"venId": self.ven_id, "timestamp": start, "usedPowerKw": round(self.mean_kw(start), 3)}
        return Message("volttron/metering", json.dumps(body).encode())

    def delivered_kwh(self) -> float:
        """Energy without the event less energy used, kWh, which only a simulation can compute."""
        if self.event is None:
            return 0.0
        length_s = self.event.end - self.event.begin
        readings = [self.home.read(ts, self._state) for ts in self._moments(self.event.begin, length_s)]
        return fmean(each.natural_kw - each.used_kw for each in readings) * length_s / 3_600

    @property
    def _state(self) -> ControlState:
        return INITIAL_STATE if self.event is None else ControlState(events=(self.event,))

    def _moments(self, start: float, length_s: float) -> Iterator[float]:
        return (start + STEP_S / 2 + number * STEP_S for number in range(round(length_s / STEP_S)))
