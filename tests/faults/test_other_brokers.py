"""Brokers other than mosquitto: supported features work, missing ones are reported."""

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as mqtt
import pytest
import structlog
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from sqlalchemy import Engine

from ingest.commands.dispatcher import Dispatcher
from ingest.commands.outbox import Outbox
from ingest.decoding.messages import Received
from ingest.metrics import IngestMetrics
from ingest.mqtt.packets import MqttVersion
from ingest.receiving import probe as probes
from ingest.receiving.subscriber import OLDER_ADVICE, Subscriber
from ingest.settings import IngestSettings
from schemas.db.connections import connect
from tests.faults.other_brokers import Ejabberd, Nats, OtherBroker, RabbitMq, RabbitMqCluster
from tests.faults.program import Ingest
from tests.faults.sender import Sender
from tests.faults.tally import Tally
from tests.integration.outboxes import put, statuses
from tests.integration.published import NOW, until

pytestmark = pytest.mark.brokers
PATIENCE_S = 30.0
MESSAGES = 1_000
PROTOCOLS = {MqttVersion.V3_1_1: "3.1.1", MqttVersion.V5: "5"}
BROKERS: list[tuple[type[OtherBroker], MqttVersion]] = [
    (RabbitMq, MqttVersion.V3_1_1),
    (Nats, MqttVersion.V3_1_1),
    (Ejabberd, MqttVersion.V3_1_1),
    (Ejabberd, MqttVersion.V5),
]
IN_MEMORY = (Ejabberd,)
"""These lose the queue of a disconnected worker at a restart."""


@pytest.fixture(scope="module", params=BROKERS, ids=lambda each: f"{each[0].name}-{each[1].name}")
def broker_and_version(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[OtherBroker, MqttVersion]]:
    kind, version = request.param
    service: OtherBroker = kind(tmp_path_factory.mktemp("broker"))
    with service:
        yield service, version


@pytest.fixture
def broker(broker_and_version: tuple[OtherBroker, MqttVersion]) -> OtherBroker:
    return broker_and_version[0]


@pytest.fixture
def version(broker_and_version: tuple[OtherBroker, MqttVersion]) -> MqttVersion:
    return broker_and_version[1]


class Worker:
    """A subscriber, and its reasons for not being ready."""

    def __init__(self, broker: OtherBroker | RabbitMqCluster, version: MqttVersion, **settings: str) -> None:
        self.troubles: list[str] = []
        self.ready = threading.Event()
        options: dict[str, Any] = {
            "DATABASE_URL": "postgresql://nobody/nothing",
            "MQTT_TOPICS": "oadr/meter/+",
            **settings,
        }
        self.subscriber = Subscriber(
            IngestSettings(MQTT_URL=broker.mqtt_url, MQTT_PROTOCOL=PROTOCOLS[version], **options),
            lambda: NOW,
            self._change,
        )

    def _change(self, trouble: str | None) -> None:
        if trouble is None:
            self.ready.set()
        else:
            self.troubles.append(trouble)

    def take(self, count: int) -> list[Received]:
        messages: list[Received] = []

        def are_enough() -> bool:
            messages.extend(self.subscriber.take(count - len(messages), 1 << 30, 0.5))
            return len(messages) >= count

        until(are_enough, PATIENCE_S)
        return messages

    def __enter__(self) -> Self:
        self.subscriber.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.subscriber.stop()


def client_of(broker: OtherBroker, version: MqttVersion, name: str) -> mqtt.Client:
    url = urlsplit(broker.mqtt_url)
    protocol = MQTTProtocolVersion.MQTTv5 if version is MqttVersion.V5 else MQTTProtocolVersion.MQTTv311
    client = mqtt.Client(CallbackAPIVersion.VERSION2, name, protocol=protocol)
    client.username_pw_set(unquote(url.username or ""), url.password)
    client.connect(url.hostname or "", url.port or 0)
    client.loop_start()
    return client


def publish(broker: OtherBroker, version: MqttVersion, contents: list[bytes]) -> None:
    client = client_of(broker, version, f"sender-{version}")
    for each in [client.publish("oadr/meter/ven-1", content, qos=1) for content in contents]:
        each.wait_for_publish(PATIENCE_S)
    client.disconnect()
    client.loop_stop()


def payloads(messages: list[Received]) -> list[bytes]:
    return [message.payload for message in messages]


def test_a_plain_subscription_brings_everything_and_the_unacknowledged_again(
    broker: OtherBroker, version: MqttVersion
) -> None:
    contents = [b"%d" % number for number in range(MESSAGES)]
    settings = {"MQTT_CLIENT_ID": f"plain-{version}"}
    with Worker(broker, version, **settings) as first:
        assert first.ready.wait(PATIENCE_S), first.troubles
        publish(broker, version, contents)
        got = acknowledge(first, MESSAGES // 2)
        assert got == contents[: len(got)], "in their order"
    publish(broker, version, [b"while away"])
    with Worker(broker, version, **settings) as second:
        assert set(acknowledge(second, MESSAGES + 1 - len(got))) == {*contents[len(got) :], b"while away"}


def acknowledge(worker: Worker, count: int) -> list[bytes]:
    """Take and acknowledge at least `count` messages, in portions as the broker sends them."""
    got: list[bytes] = []
    while len(got) < count:
        messages = worker.take(1)
        worker.subscriber.acknowledge(messages)
        got += payloads(messages)
    return got


def test_commands_reach_a_ven(
    broker: OtherBroker, version: MqttVersion, engine: Engine, database_url: str
) -> None:
    received: list[Any] = []
    ven = client_of(broker, version, "ven-9")
    subscribed = threading.Event()
    ven.on_subscribe = lambda *_: subscribed.set()
    ven.on_message = lambda _c, _u, message: received.append(json.loads(message.payload))
    ven.subscribe("ven/cmd/ven-9", qos=1)
    assert subscribed.wait(PATIENCE_S)
    [command_id] = put(engine, "ven-9", now=NOW)
    settings = IngestSettings(
        MQTT_URL=broker.mqtt_url, MQTT_PROTOCOL=PROTOCOLS[version], DATABASE_URL=database_url
    )
    dispatcher = Dispatcher(
        settings,
        lambda: Outbox(connect(database_url, "commands"), "tests"),
        lambda: NOW,
        IngestMetrics(lambda: NOW),
    )
    dispatcher.start()
    with connect(database_url, "tests") as connection:
        until(lambda: statuses(connection) == {"sent": 1} and len(received) == 1, PATIENCE_S)
    dispatcher.stop()
    ven.disconnect()
    ven.loop_stop()
    assert received[0]["correlationId"] == command_id


def test_a_share_group_is_never_ready_where_there_are_none(
    broker: OtherBroker, version: MqttVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RabbitMQ 3.10 and NATS took `$share/...` for an ordinary filter, and lost every message."""
    monkeypatch.setattr(probes, "WITHIN_S", 1.0)
    with (
        structlog.testing.capture_logs() as events,
        Worker(broker, version, MQTT_SHARE_GROUP="gridgate", MQTT_CLIENT_ID=f"shared-{version}") as worker,
    ):
        until(lambda: any("MQTT_SHARE_GROUP" in each for each in worker.troubles), PATIENCE_S)
        publish(broker, version, [b"lost"])
        assert not worker.ready.wait(2.0)
    logged = {each["event"] for each in events if each["log_level"] != "info"}
    assert logged & {"shared_subscription_unproven", "broker_unsuitable", "broker_disconnected"}


def test_a_broker_of_3_1_1_only_is_named(broker: OtherBroker) -> None:
    """RabbitMQ 3.10 disconnects at MQTT 5, NATS answers in MQTT 3.1.1."""
    with Worker(broker, MqttVersion.V5) as worker:
        if (type(broker), MqttVersion.V5) in BROKERS:
            assert worker.ready.wait(PATIENCE_S), worker.troubles
        else:
            until(lambda: any(OLDER_ADVICE in each for each in worker.troubles), PATIENCE_S)


def test_a_restart_keeps_the_session_and_its_queue_or_loses_it_loudly(
    broker: OtherBroker, version: MqttVersion
) -> None:
    waiting = [b"before", b"the", b"restart"]
    with (
        structlog.testing.capture_logs() as events,
        Worker(broker, version, MQTT_CLIENT_ID=f"restarted-{version}") as worker,
    ):
        assert worker.ready.wait(PATIENCE_S), worker.troubles
        publish(broker, version, waiting)
        messages = worker.take(1)  # and not acknowledged
        worker.ready.clear()
        broker.stop()
        broker.start()
        assert worker.ready.wait(PATIENCE_S), worker.troubles
        if isinstance(broker, IN_MEMORY):
            assert "session_lost" in {each["event"] for each in events}
            return
        messages += worker.take(len(waiting))
    assert set(payloads(messages)) == set(waiting)
    assert "session_lost" not in {each["event"] for each in events}


def test_a_node_of_a_cluster_is_killed_while_messages_come(tmp_path: Path, database_url: str) -> None:
    """RabbitMQ, three nodes, mirrored queues: ingest goes on at the next, nothing is lost or doubled."""
    with RabbitMqCluster(tmp_path) as cluster:
        worker = Ingest(tmp_path, database_url, cluster.mqtt_url, "clustered", MQTT_PROTOCOL="3.1.1")
        with worker, closing(Tally(database_url)) as tally:
            at_second = MQTTProtocolVersion.MQTTv311
            sender = Sender(cluster.nodes[1].mqtt_url, 4 * MESSAGES, per_s=MESSAGES / 3, protocol=at_second)
            sender.start()
            until(lambda: tally.stored() >= MESSAGES, 2 * PATIENCE_S)
            cluster.nodes[0].kill()
            sender.finish(4 * PATIENCE_S)
            until(lambda: tally.stored() >= sender.sums.messages, 4 * PATIENCE_S)
            assert worker.has_logged("subscribed") >= 2, "it has gone to another node"
            assert not worker.has_logged("session_lost")
            assert not list(sender.sums.differences(tally.sums()))
            assert not list(tally.disagreements())
