"""Telemetry of a small fleet: the same messages in each run, except for their day."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

VENS = 200
LOADS = 8
STEP_KW = 1 / 64
SPAN_S = 3600


@dataclass(frozen=True)
class Telemetry:
    """One message, and its contribution to the sums."""

    topic: str
    payload: bytes
    ven_id: str
    used_kw: float
    loads: dict[str, float]


def telemetry(count: int) -> Iterator[Telemetry]:
    """`count` messages with keys of their own: VEN by VEN, second by second, from an hour ago."""
    start = int(time.time()) - SPAN_S
    for number in range(count):
        yield _message(number, start + number // VENS)


def unreadable(number: int) -> bytes:
    """A unique payload that is refused."""
    return b'{"venId": "ven-%d", "timestamp": ' % number


def _message(number: int, ts: int) -> Telemetry:
    ven_id = f"ven-{number % VENS}"
    used_kw = (number * 7919 % 4096 - 1024) * STEP_KW
    loads = {f"load-{i}": ((number * 13 + i * 97) % 2048 - 512) * STEP_KW for i in range(LOADS)}
    payload = {
        "schemaVersion": "1.0",
        "venId": ven_id,
        "timestamp": ts,
        "usedPowerKw": used_kw,
        "shedPowerKw": number % 64 * STEP_KW,
        "panel": {"ratingA": 63, "voltageV": 229.5, "circuits": [f"c{i:02}" for i in range(40)]},
        "loads": [
            {"id": load_id, "type": "hvac", "currentPowerKw": load_kw, "capacityKw": 3.5, "enabled": True}
            for load_id, load_kw in loads.items()
        ],
    }
    topic = "volttron/metering" if number % 3 == 0 else f"oadr/meter/{ven_id}"
    return Telemetry(topic, msgspec.json.encode(payload), ven_id, used_kw, loads)
