"""Demand response: when the fleet is asked to shed without anybody asking, and what it owes."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from local.fleet.weather import DAY_S

_EVENING = (17 * 3_600, 18 * 3_600 + 1_800)
_EVERY_S = 7_200
_SHORT_S = 600
REBOUND_S = 1_800
"""How long loads draw more, after an event, than they would have."""


@dataclass(frozen=True)
class Event:
    """Begin and end in Unix seconds, half-open. Without a reduction of its own, each VEN owes its share."""

    event_id: str
    begin: float
    end: float
    requested_kw: float | None = None

    def runs_at(self, ts: float) -> bool:
        return self.begin <= ts < self.end


def scheduled_event(ts: float) -> Event | None:
    """The event that runs at `ts` every day: 17:00 to 18:30 UTC, and ten minutes of every second hour."""
    candidates = (_evening(math.floor(ts / DAY_S)), _short(math.floor(ts / _EVERY_S)))
    return next((event for event in candidates if event.runs_at(ts)), None)


@lru_cache(maxsize=64)
def _evening(day: int) -> Event:
    midnight = day * DAY_S
    return Event(
        f"evt-{_stamp(midnight, '%Y-%m-%d')}-evening", midnight + _EVENING[0], midnight + _EVENING[1]
    )


@lru_cache(maxsize=64)
def _short(number: int) -> Event:
    begin = number * _EVERY_S
    return Event(f"evt-{_stamp(begin, '%Y-%m-%dT%H%M')}", begin, begin + _SHORT_S)


def last_ended(ts: float) -> Event | None:
    """The scheduled event whose rebound is felt at `ts`; None while another one runs."""
    midnight = math.floor(ts / DAY_S) * DAY_S
    ends = (midnight + _EVENING[1], math.floor(ts / _EVERY_S) * _EVERY_S + _SHORT_S)
    latest = max((end for end in ends if ts - REBOUND_S < end <= ts), default=None)
    return None if latest is None or scheduled_event(ts) else scheduled_event(latest - 1)


def rebound(ended: Event, ts: float) -> float:
    """How far loads make up for an event that has ended: 1 right after it, fading to 0."""
    return max(0.0, 1 - (ts - ended.end) / REBOUND_S)


def _stamp(ts: float, form: str) -> str:
    return datetime.fromtimestamp(ts, UTC).strftime(form)
