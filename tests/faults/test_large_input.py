"""Messages far larger or deeper than telemetry, or malformed, among good ones."""

import json
import time
from collections.abc import Iterator

import paho.mqtt.publish as mqtt_publish
import pytest

from local.ports import HOST
from tests.faults.mosquitto import Mosquitto
from tests.faults.sender import Sender
from tests.faults.site import SETTLED_WITHIN_S, Site

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("faults-ingest")]

GOOD = 2_000
MEGABYTE = 1_000_000
DEEP = 10_000
LONG_ID = "i" * 10_000
LONG_LOAD = {"id": LONG_ID, "currentPowerKw": 1.0}
MANY_LOADS = 100_000
STEP_KW = 1 / 64
TOO_LARGE = 20
PEAK_LIMIT_MB = 600.0
"""At most 128 MiB wait, and two batches are under way with their rows: 480 MB. Here come 380 MB at once."""

TOPIC = "volttron/metering"


def telemetry(ven_id: str, **more: object) -> bytes:
    return json.dumps({"venId": ven_id, "timestamp": int(time.time()), "usedPowerKw": 1.0, **more}).encode()


def large(sender: Sender) -> Iterator[bytes]:
    """Messages that are accepted, and added to the sender's sums."""
    sender.sums.add("ven-large", 1.0, {})
    yield telemetry("ven-large", note="x" * (10 * MEGABYTE))
    loads = {f"load-{number}": number % 512 * STEP_KW for number in range(MANY_LOADS)}
    sender.sums.add("ven-many", 1.0, loads)
    yield telemetry("ven-many", loads=[{"id": key, "currentPowerKw": kw} for key, kw in loads.items()])
    sender.sums.add("ven-long", 1.0, {})
    yield telemetry("ven-long", loads=[LONG_LOAD])
    sender.sums.add("ven-nul", 1.0, {})
    yield telemetry("ven-nul", note="a\0b")


def bad() -> Iterator[tuple[str, bytes]]:
    """Messages that are refused, with the reason."""
    yield "bad_load", json.dumps(LONG_LOAD).encode()  # of a message whose rest is stored
    for number in range(TOO_LARGE):
        yield "too_large", telemetry(f"ven-{number}", note="x" * (17 * MEGABYTE))
    yield "too_deep", telemetry("ven-7").replace(b"1.0}", b'1.0, "deep": ' + b"[" * DEEP + b"]" * DEEP + b"}")
    yield "too_deep", b'{"deep": ' * DEEP
    yield "wrong_type", b"[" * DEEP + b"]" * DEEP
    yield "wrong_type", telemetry(LONG_ID)
    yield "bad_id", telemetry("ven\0-7")
    yield "not_json", b'{"venId": "ven\0-7", "timestamp": 1}'
    yield "not_json", b"\0" * 1_000


def test_large_and_strange_messages_amid_good_ones(site: Site, broker: Mosquitto) -> None:
    """No message stops ingest: each is stored or, with its reason, refused.

    They arrive while the database is away: those beyond ingest's limit wait at the broker.
    """
    site.peak_limit_mb = PEAK_LIMIT_MB
    site.ingest(INGEST_MAX_PAYLOAD_BYTES=str(16 * MEGABYTE), INGEST_MAX_LOADS_OF_VEN=str(MANY_LOADS))
    sender = site.sender(GOOD, limit=GOOD // 2)
    refused = list(bad())
    strange = [*large(sender), *(payload for reason, payload in refused if reason != "bad_load")]
    site.until_stored(GOOD // 2)
    site.postgres.stop()
    for payload in strange:
        mqtt_publish.single(TOPIC, payload, qos=1, hostname=HOST, port=broker.port)
    sender.limit = GOOD
    sender.finish(SETTLED_WITHIN_S)
    site.postgres.start()
    site.settle(sender, "large and strange messages", refused)
