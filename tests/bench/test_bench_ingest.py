"""Ingest against the limit: COPY of ready-made rows into the same tables."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import psycopg
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from ingest.batch import Batch
from ingest.messages import Received
from ingest.queries import ENSURE_PARTITIONS, SAMPLES, TELEMETRY
from ingest.store import Store
from local.broker import EmbeddedBroker
from local.ports import HOST, free_ports
from schemas.database import connect
from tests.bench.conftest import MakeDatabase
from tests.bench.fleet import MAX_AHEAD, ROWS_EACH, reports
from tests.conftest import REPOSITORY
from tests.integration.published import until, value

pytestmark = pytest.mark.bench

BATCH = 2_000
MESSAGES = 20_000
MQTT_MESSAGES = 20_000


def in_batches(messages: list[Received]) -> Iterator[list[Received]]:
    for position in range(0, len(messages), BATCH):
        yield messages[position : position + BATCH]


def store_all(store: Store, messages: list[Received]) -> float:
    start = time.perf_counter()
    for batch in in_batches(messages):
        store.write(Batch.of(batch, MAX_AHEAD))
    return time.perf_counter() - start


def copy_all(connection: psycopg.Connection, ready: list[tuple[str, str]]) -> float:
    """One transaction a batch, two COPYs in it: what nobody can do without."""
    start = time.perf_counter()
    for telemetry, samples in ready:
        with connection.transaction():
            for keyed, text in ((TELEMETRY, telemetry), (SAMPLES, samples)):
                with connection.cursor().copy(keyed.copy()) as copy:
                    copy.write(text)
    return time.perf_counter() - start


def make_ready(messages: list[Received]) -> list[tuple[str, str]]:
    ready = []
    for number, batch in enumerate(in_batches(messages)):
        kept = sorted(Batch.of(batch, MAX_AHEAD).reports.items())
        telemetry = "".join(f"{report.row}\t{number}\n" for _, report in kept)
        samples = "".join(f"{row}\t{number}\n" for _, report in kept for row in report.samples.values())
        ready.append((telemetry, samples))
    return ready


def test_batches_against_copy(make_database: MakeDatabase) -> None:
    messages = list(reports(vens=2_000, rounds=MESSAGES // 2_000))
    ready = make_ready(messages)
    with connect(make_database(), "bench") as ours, connect(make_database(), "bench") as twin:
        for connection in (ours, twin):
            connection.execute(ENSURE_PARTITIONS, [[messages[0].received_at.date()]])
        store = Store(ours, "bench")
        copy_s = copy_all(twin, ready)
        store_s = store_all(store, messages)
        again_s = store_all(store, messages)
        for connection in (ours, twin):
            assert value(connection, "SELECT count(*) FROM ven_telemetry") == MESSAGES
            assert value(connection, "SELECT count(*) FROM ven_load_samples") == MESSAGES * (ROWS_EACH - 1)
    print(
        f"\ningest, in memory: {MESSAGES / store_s:,.0f} messages/s"
        f" ({MESSAGES * ROWS_EACH / store_s:,.0f} rows/s);"
        f" bare COPY {MESSAGES / copy_s:,.0f} messages/s; ratio {copy_s / store_s:.2f};"
        f" all duplicates {MESSAGES / again_s:,.0f} messages/s, ratio {copy_s / again_s:.2f}"
    )


def test_from_the_broker_to_the_commit(make_database: MakeDatabase, tmp_path: Path) -> None:
    database_url = make_database()
    messages = list(reports(vens=2_000, rounds=MQTT_MESSAGES // 2_000))
    mqtt_port, mqtt5_port = free_ports(2)
    with (
        EmbeddedBroker(tmp_path / "broker", mqtt_port=mqtt_port, mqtt5_port=mqtt5_port) as broker,
        ingest(broker.mqtt5_url, database_url, tmp_path / "ready"),
        connect(database_url, "bench") as connection,
    ):
        start = time.perf_counter()
        publish(mqtt_port, messages)
        published_s = time.perf_counter() - start
        stored = "SELECT count(*) FROM ven_telemetry"
        until(lambda: value(connection, stored) == MQTT_MESSAGES, within_s=120)
        stored_s = time.perf_counter() - start
        batches = value(connection, "SELECT count(*) FROM ingest_batches")
    print(
        f"\ningest, end to end: {MQTT_MESSAGES / stored_s:,.0f} messages/s to the last commit,"
        f" in {batches} batches; published at {MQTT_MESSAGES / published_s:,.0f} messages/s;"
        f" ratio {published_s / stored_s:.2f}"
    )


class ingest:  # noqa: N801 - used as a function
    """`python -m ingest`, from its subscription on."""

    def __init__(self, mqtt_url: str, database_url: str, ready: Path) -> None:
        self._ready = ready
        self._environment = {
            "MQTT_URL": mqtt_url,
            "DATABASE_URL": database_url,
            "INGEST_READY_FILE": str(ready),
        }

    def __enter__(self) -> None:
        # Our clock is two years ahead of the messages': nothing is refused for being ahead.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ingest"], cwd=REPOSITORY, env={**os.environ, **self._environment}
        )
        until(self._ready.exists, within_s=30)

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        assert self._process.wait(30) == 0


def publish(port: int, messages: list[Received]) -> None:
    """All messages at QoS 1; returns when the broker has acknowledged the last."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="bench", protocol=mqtt.MQTTv311)
    client.max_inflight_messages_set(400)
    left, done = [len(messages)], threading.Event()

    def on_publish(*_: object) -> None:
        left[0] -= 1
        if not left[0]:
            done.set()

    client.on_publish = on_publish
    client.connect(HOST, port)
    client.loop_start()
    for message in messages:
        client.publish(message.topic, message.payload, qos=1)
    assert done.wait(120)
    client.disconnect()
    client.loop_stop()
