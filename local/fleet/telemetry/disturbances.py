"""Simulated faults of transport: reports that arrive late, twice, or malformed."""

from collections.abc import Callable

from local.fleet.homes.household import Household
from local.fleet.homes.randomness import between, draw
from local.fleet.telemetry.messages import Message

LATE, DOUBLED, BROKEN = 0.003, 0.003, 0.001
"""Shares of the reports."""


def delays_s(home: Household, ts: float, interval_s: float) -> list[float]:
    """Delays of each arrival of the report of `ts`, seconds: once, late, or twice."""
    number = draw(home.seed, home.ven_id, "mishap", ts)
    latency_s = between(0.02, 0.3, home.seed, home.ven_id, "latency", ts)
    if number < LATE:
        return [latency_s + interval_s * between(3, 12, home.seed, home.ven_id, "held", ts)]
    if number < LATE + DOUBLED:
        return [latency_s, latency_s + between(0.1, 2, home.seed, home.ven_id, "again", ts)]
    return [latency_s]


def is_broken(home: Household, ts: float) -> bool:
    return draw(home.seed, home.ven_id, "broken", ts) < BROKEN


def break_message(home: Household, ts: float, message: Message) -> Message:
    """The same message, malformed in one of several ways."""
    way = _WAYS[int(draw(home.seed, home.ven_id, "way", ts) * len(_WAYS))]
    return Message(message.topic, way(message.payload))


def _cut(payload: bytes) -> bytes:
    return payload[: len(payload) * 2 // 3]


def _not_a_number(payload: bytes) -> bytes:
    return _replace_power(payload, b"NaN")


def _words(payload: bytes) -> bytes:
    return _replace_power(payload, b'"n/a"')


def _replace_power(payload: bytes, value: bytes) -> bytes:
    """Another value for the panel's power, which is the first key of these names."""
    for key in (b'"usedPowerKw":', b'"power_kw":'):
        before, matched_key, after = payload.partition(key)
        if matched_key:
            return before + key + value + after[after.index(b",") :]
    return payload


_WAYS: tuple[Callable[[bytes], bytes], ...] = (_cut, _not_a_number, _words)
