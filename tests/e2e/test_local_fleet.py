"""The simulated fleet on a real broker: it reports, obeys, reconnects, and signs off."""

import json
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from local.broker import EmbeddedBroker
from local.environment import REPOSITORY
from local.fleet.backfill import backfill_length
from local.ports import HOST, free_ports

pytestmark = [pytest.mark.xdist_group("local"), pytest.mark.thorough]

Heard = tuple[str, bytes]


class Gateway:
    """What a gateway hears of the fleet."""

    def __init__(self, mqtt_port: int) -> None:
        self.heard: queue.Queue[Heard] = queue.Queue()
        subscribed = queue.Queue[bool]()
        self.client = Client(CallbackAPIVersion.VERSION2, client_id="gateway")
        self.client.on_message = self._hear
        self.client.on_connect = lambda client, *_: client.subscribe(
            [("oadr/#", 1), ("volttron/#", 1), ("ven/#", 1)]
        )
        self.client.on_subscribe = lambda *_: subscribed.put(item=True)
        self.client.reconnect_delay_set(1, 1)
        self.client.connect(HOST, mqtt_port)
        self.client.loop_start()
        subscribed.get(timeout=10)

    def wait_for(self, wanted: Callable[[Heard], bool], within_s: float = 30) -> Heard:
        deadline = time.monotonic() + within_s
        while not wanted(heard := self.heard.get(timeout=max(0.01, deadline - time.monotonic()))):
            pass
        return heard

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def _hear(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        self.heard.put((message.topic, bytes(message.payload)))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    mqtt, mqtt5 = free_ports(2)
    with EmbeddedBroker(tmp_path, mqtt_port=mqtt, mqtt5_port=mqtt5) as broker:
        yield broker


@pytest.fixture
def gateway(broker: EmbeddedBroker) -> Iterator[Gateway]:
    gateway = Gateway(int(broker.mqtt_url.rpartition(":")[2]))
    yield gateway
    gateway.close()


@pytest.fixture
def live(broker: EmbeddedBroker, gateway: Gateway) -> Iterator[subprocess.Popen[bytes]]:
    with _fleet(broker, "--vens", "5", "--interval", "0.5") as process:
        gateway.wait_for(lambda heard: heard[0] == "ven/status/ven-0005")
        yield process
        process.kill()


def _fleet(broker: EmbeddedBroker, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "local.fleet", "--mqtt-url", broker.mqtt_url, *words], cwd=REPOSITORY
    )


def _body(heard: Heard) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(heard[1])
    return body


def test_a_backfill_ends_when_all_is_acknowledged(broker: EmbeddedBroker, gateway: Gateway) -> None:
    with _fleet(broker, "--vens", "20", "--interval", "5", "--backfill", "2", "--once") as process:
        assert process.wait(60) == 0
    expected = backfill_length(20, 2, 5)
    for _ in range(int(expected * 0.95)):
        gateway.heard.get(timeout=5)


def test_a_fleet_reports_and_says_goodbye(live: subprocess.Popen[bytes], gateway: Gateway) -> None:
    for topic in ("oadr/meter/", "ven/loads/"):
        gateway.wait_for(lambda heard, topic=topic: heard[0].startswith(topic))  # type: ignore[misc]
    live.send_signal(signal.SIGTERM)
    assert live.wait(10) == 0
    heard = gateway.wait_for(lambda heard: heard[0] == "ven/status/ven-0005")
    assert _body(heard)["status"] == "offline"


def test_a_ven_obeys_and_acknowledges(live: subprocess.Popen[bytes], gateway: Gateway) -> None:
    data = {"event_id": "evt-told", "start_ts": time.time(), "duration_s": 600, "requestedReductionKw": 0.5}
    command = {"op": "event", "correlationId": "c-1", "venId": "ven-0002", "data": data}
    gateway.client.publish("ven/cmd/ven-0002", json.dumps(command), qos=1)
    heard = gateway.wait_for(lambda heard: heard[0] == "ven/ack/ven-0002")
    assert _body(heard) | {"ok": True, "correlationId": "c-1"} == _body(heard)  # it is one of the older ones
    gateway.wait_for(lambda heard: b'"evt-told"' in heard[1] and b"equestedReductionKw" in heard[1])
    assert live.poll() is None


def test_a_ven_reports_more_often_at_once_when_told(broker: EmbeddedBroker, gateway: Gateway) -> None:
    with _fleet(broker, "--vens", "5", "--interval", "3600") as process:
        gateway.wait_for(lambda heard: heard[0] == "ven/status/ven-0005")
        data = {"report_interval_seconds": 0.5}
        command = {"op": "setConfig", "correlationId": "c-1", "venId": "ven-0003", "data": data}
        gateway.client.publish("ven/cmd/ven-0003", json.dumps(command), qos=1)
        for _ in range(3):
            gateway.wait_for(lambda heard: heard[0] == "oadr/meter/ven-0003")
        process.kill()


def test_a_fleet_writes_down_the_truth(broker: EmbeddedBroker, gateway: Gateway, tmp_path: Path) -> None:
    truth = tmp_path / "truth.jsonl"
    with _fleet(broker, "--vens", "5", "--interval", "0.5", "--truth", str(truth)) as process:
        for _ in range(3):
            gateway.wait_for(lambda heard: heard[0] == "oadr/meter/ven-0003")
        process.kill()
    lines = [json.loads(line) for line in truth.read_text().splitlines()]
    assert {line["venId"] for line in lines} == {f"ven-000{number}" for number in range(1, 6)}
    assert all(line["counterfactualKw"] == line["actualKw"] for line in lines)


def test_a_fleet_comes_back_with_its_broker(
    live: subprocess.Popen[bytes], broker: EmbeddedBroker, gateway: Gateway
) -> None:
    broker.kill()
    broker.start()
    while not gateway.heard.empty():
        gateway.heard.get()
    gateway.wait_for(lambda heard: heard[0].startswith("oadr/meter/"))
    assert live.poll() is None
