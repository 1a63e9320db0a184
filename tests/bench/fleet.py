"""Reports of a fleet: eight loads, so nine rows each."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from ingest.decoding.messages import Received

NOW = datetime(2024, 7, 10, 18, tzinfo=UTC)
NOON = datetime(2024, 7, 10, 12, tzinfo=UTC)
MAX_AHEAD = timedelta(minutes=5)
LOADS = ("hvac1", "ev1", "pv1", "battery1", "pool1", "heater1", "dryer1", "oven1")
ROWS_EACH = 1 + len(LOADS)
INTERVAL = timedelta(seconds=10)


def reports(vens: int, rounds: int, first: datetime = NOON) -> Iterator[Received]:
    """Round by round, as they arrive."""
    for number in range(rounds):
        at = first + number * INTERVAL
        for ven in range(vens):
            yield Received(f"oadr/meter/ven-{ven}", _payload(ven, at), NOW)


def _payload(ven: int, at: datetime) -> bytes:
    loads = [
        {"id": load_id, "type": load_id[:-1], "currentPowerKw": ven % 7 + 0.125 * n, "capacityKw": 3.5}
        for n, load_id in enumerate(LOADS)
    ]
    body = {"schemaVersion": "1.0", "venId": f"ven-{ven}", "timestamp": at.timestamp(), "usedPowerKw": 4.1}
    return json.dumps(body | {"shedPowerKw": 0.6, "voltage_v": 239.6, "loads": loads}).encode()
