"""The reports of one VEN: at which device times, with which messages, arriving when."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from local.fleet.chance import draw
from local.fleet.events import Event
from local.fleet.household import Household
from local.fleet.messages import Dialect, Message, description, dialect_of, telemetry
from local.fleet.mishaps import break_message, delays_s, is_broken

_DESCRIBE_EVERY = 6


@dataclass(frozen=True)
class Arrival:
    """A message, and when the broker gets it, Unix seconds."""

    at: float
    message: Message


class Reporter:
    """One VEN that reports every `interval_s`. Its phase within the interval is its own, and never moves."""

    def __init__(self, home: Household, interval_s: float) -> None:
        self.home = home
        self._interval_s = interval_s
        phase_s = draw(home.seed, home.ven_id, "phase") * interval_s
        # whole seconds where the interval has them: most devices count in seconds
        self._phase_s = math.floor(phase_s) if interval_s == int(interval_s) else round(phase_s, 3)

    @cached_property
    def dialect(self) -> Dialect:
        return dialect_of(self.home)

    def next_after(self, ts: float) -> float:
        """The first device time after `ts`."""
        return self._time(math.floor((ts - self._phase_s) / self._interval_s) + 1, ts)

    def arrivals(
        self, ts: float, commanded: Sequence[Event] = (), *, describe: bool = False
    ) -> Iterator[Arrival]:
        """What the report of `ts` sends, as it arrives; `describe` describes the loads out of turn."""
        reading = self.home.read(ts, commanded)
        report = telemetry(self.home, self.dialect, reading)
        if is_broken(self.home, ts):
            report = break_message(self.home, ts, report)
        delays = delays_s(self.home, ts, self._interval_s)
        if self.dialect.is_brief and (describe or self._is_turn_to_describe(ts)):
            yield Arrival(ts + delays[0], description(self.home, self.dialect, reading))
        for delay_s in delays:
            yield Arrival(ts + delay_s, report)

    def _time(self, number: int, after: float) -> float:
        ts = round(number * self._interval_s + self._phase_s, 3)
        return ts if ts > after else round((number + 1) * self._interval_s + self._phase_s, 3)

    def _is_turn_to_describe(self, ts: float) -> bool:
        return (round((ts - self._phase_s) / self._interval_s) + self.home.index) % _DESCRIBE_EVERY == 0


def fleet(seed: int, vens: int, interval_s: float) -> list[Reporter]:
    """The first `vens` VENs of a seed."""
    return [Reporter(Household(seed, index), interval_s) for index in range(1, vens + 1)]
