"""The response of a home to an event: how much it sheds during it, and the rebound afterwards."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from local.fleet.homes.weather import DAY_S

_EVENING = (17 * 3_600, 18 * 3_600 + 1_800)
_EVERY_S = 7_200
_SHORT_S = 600
_REBOUND = (60.0, 3_600.0)
_REBOUND_PER_EVENT = 1.5


@dataclass(frozen=True)
class ShedEvent:
    """A reduction from `begin` to `end`, Unix seconds, half-open.

    `event_id` is missing where a command has none. Without a `requested_kw`, each home owes its share. With a
    `load_id` only that load sheds. A home begins after `lag_s`, and ramps down within `ramp_s`.
    `is_more`: use more instead of shedding. `steps`: kW from a time on, in order, instead of
    `requested_kw`. Limits are of the panel, kW.
    """

    event_id: str | None
    begin: float
    end: float
    requested_kw: float | None = None
    load_id: str | None = None
    lag_s: float = 0.0
    ramp_s: float = 0.0
    is_more: bool = False
    steps: tuple[tuple[float, float], ...] = ()
    import_limit_kw: float | None = None
    export_limit_kw: float | None = None

    def wanted_kw(self, ts: float) -> float | None:
        """The request at `ts`, or, before the start, the first one."""
        begun = [kw for at, kw in self.steps if at <= max(ts, self.begin)]
        return begun[-1] if begun else self.requested_kw

    def runs_at(self, ts: float) -> bool:
        return self.begin <= ts < self.end

    def depth(self, ts: float) -> float:
        """The fraction of the requested reduction that is shed at `ts`, 0 to 1."""
        if not self.runs_at(ts):
            return 0.0
        since_s = ts - self.begin - self.lag_s
        return min(1.0, max(0.0, since_s / self.ramp_s)) if self.ramp_s else float(since_s >= 0)

    @property
    def rebound_s(self) -> float:
        """Duration of the rebound: somewhat longer than the event."""
        shortest, longest = _REBOUND
        return min(longest, max(shortest, _REBOUND_PER_EVENT * (self.end - self.begin)))

    def rebounds_at(self, ts: float) -> bool:
        return self.begin < self.end <= ts < self.end + self.rebound_s

    def rebound_kw(self, ts: float, energy_kwh: float) -> float:
        """The rebound power: highest after the event, falling linearly to 0; its integral is `energy_kwh`."""
        if not self.rebounds_at(ts):
            return 0.0
        fading = 1 - (ts - self.end) / self.rebound_s
        return 2 * fading * energy_kwh * 3_600 / self.rebound_s


def daily_events(ts: float) -> Iterator[ShedEvent]:
    """The daily events that affect power at `ts`: 17:00 to 18:30 UTC, and ten minutes of every second hour.

    No gateway created them: the contract allows VENs to name events that the gateway does not know.
    """
    evening, short = _evening(math.floor(ts / DAY_S)), _short(math.floor(ts / _EVERY_S))
    for event in (evening,) if evening.runs_at(short.begin) else (evening, short):
        if event.runs_at(ts) or event.rebounds_at(ts):
            yield event


@lru_cache(maxsize=64)
def _evening(day: int) -> ShedEvent:
    midnight = day * DAY_S
    return ShedEvent(
        f"evt-{_stamp(midnight, '%Y-%m-%d')}-evening", midnight + _EVENING[0], midnight + _EVENING[1]
    )


@lru_cache(maxsize=64)
def _short(number: int) -> ShedEvent:
    begin = number * _EVERY_S
    return ShedEvent(f"evt-{_stamp(begin, '%Y-%m-%dT%H%M')}", begin, begin + _SHORT_S)


def _stamp(ts: float, form: str) -> str:
    return datetime.fromtimestamp(ts, UTC).strftime(form)
