"""The cost of receiving a message: our receiver and paho's, with the same broker and messages."""

import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from ingest.receiving.subscriber import Subscriber
from ingest.settings import IngestSettings
from tests.conftest import REPOSITORY
from tests.faults.mosquitto import Mosquitto

pytestmark = pytest.mark.bench
MESSAGES = 40_000
VENS = 1_000
MOST_OF_PAHO = 0.5
"""Our cost as a part of paho's: above it, reconsider decision 0010."""


def cpu_us() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return (usage.ru_utime + usage.ru_stime) * 1e6


def received_by_us(broker: Mosquitto, publish: Callable[[], None]) -> float:
    ready = threading.Event()
    subscriber = Subscriber(
        IngestSettings(
            MQTT_URL=broker.mqtt_url,
            MQTT_CLIENT_ID="ours",
            MQTT_SESSION_EXPIRY_S=0,  # else this session would queue paho's messages
            MQTT_TOPICS="oadr/meter/+",
            DATABASE_URL="postgresql://nobody/nothing",
        ),
        lambda: datetime.now(UTC),
        lambda trouble: None if trouble else ready.set(),
    )
    subscriber.start()
    assert ready.wait(10)
    publish()
    before, count = cpu_us(), 0
    while count < MESSAGES:
        messages = subscriber.take(4_000, 1 << 30, 1.0)
        subscriber.acknowledge(messages)
        count += len(messages)
    cost = cpu_us() - before
    subscriber.stop()
    return cost / MESSAGES


def received_by_paho(broker: Mosquitto, publish: Callable[[], None]) -> float:
    """With MQTT 5, the same receive maximum, and acknowledgements by hand, as ingest needs them."""
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2, "pahos", protocol=MQTTProtocolVersion.MQTTv5, manual_ack=True
    )
    ready, done, remaining = threading.Event(), threading.Event(), [MESSAGES]

    def receive(client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        client.ack(message.mid, message.qos)
        remaining[0] -= 1
        if not remaining[0]:
            done.set()

    client.on_message = receive
    client.on_subscribe = lambda *_: ready.set()
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho has no type here
    properties.ReceiveMaximum = 4_000
    client.connect("127.0.0.1", broker.port, clean_start=True, properties=properties)
    client.subscribe("oadr/meter/+", qos=1)
    client.loop_start()
    assert ready.wait(10)
    publish()
    before = cpu_us()
    assert done.wait(120)
    cost = cpu_us() - before
    client.disconnect()
    client.loop_stop()
    return cost / MESSAGES


@contextmanager
def sender(port: int) -> Iterator[Callable[[], None]]:
    """A process with encoded messages, which sends them when the yielded function is called."""
    arguments = [str(each) for each in (port, VENS, MESSAGES // VENS, 1_720_612_800)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.sender", *arguments],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process as sending:
        assert sending.stdin
        assert sending.stdout
        stdin = sending.stdin
        assert sending.stdout.readline() == "ready\n"

        def go() -> None:
            stdin.write("\n")
            stdin.flush()

        yield go
        assert sending.stdout.readline() == "sent\n"
        go()


def test_receiving_costs_a_fraction_of_what_it_costs_with_paho(tmp_path: Path) -> None:
    """CPU of the receiving process alone; the best of three runs each, alternating."""
    costs_us: dict[str, list[float]] = {"ours": [], "paho": []}
    with Mosquitto(tmp_path) as broker:
        for _ in range(3):
            for name, receive in (("ours", received_by_us), ("paho", received_by_paho)):
                with sender(broker.port) as publish:
                    costs_us[name].append(receive(broker, publish))
    for name, costs in costs_us.items():
        print(f"{name}: {', '.join(f'{each:.1f}' for each in costs)} us of CPU a message")
    ratio = min(costs_us["ours"]) / min(costs_us["paho"])
    print(f"ours / paho: {ratio:.2f}, at most {MOST_OF_PAHO}")
    assert ratio <= MOST_OF_PAHO
