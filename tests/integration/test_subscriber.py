"""The subscriber against real brokers, and against one that a test scripts."""

import gc
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
import pytest
import structlog
import trustme
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from ingest.decoding.messages import Received
from ingest.mqtt import connection as connections
from ingest.mqtt import packets
from ingest.mqtt.link import Link
from ingest.mqtt.packets import Kind, MqttVersion
from ingest.receiving import broker as brokers
from ingest.receiving import probe as probes
from ingest.receiving import subscriber as subscribers
from ingest.receiving.subscriber import Subscriber
from ingest.settings import IngestSettings
from local.broker import EmbeddedBroker
from local.ports import free_ports
from tests.faults.mosquitto import Mosquitto
from tests.integration.published import until
from tests.integration.scripted_broker import PATIENCE_S, Peer, ScriptedBroker, framed

NOW = datetime(2024, 7, 10, tzinfo=UTC)
MB = 1024 * 1024
PLENTY = 10_000
PLENTY_BYTES = 1 << 40
PROTOCOLS = {MqttVersion.V3_1_1: "3.1.1", MqttVersion.V5: "5"}
REAL_MESSAGES = 2000


class Receiver:
    """A subscriber, and its log."""

    def __init__(self, mqtt_url: str, version: MqttVersion, events: list[Any], **settings: Any) -> None:
        options = {"DATABASE_URL": "postgresql://nobody/nothing", "MQTT_TOPICS": "a,b,c,t/#", **settings}
        self.events = events
        self.changes: list[str | None] = []
        self.sessions_lost = 0
        self.ready = threading.Event()
        self.subscriber = Subscriber(
            IngestSettings(MQTT_URL=mqtt_url, MQTT_PROTOCOL=PROTOCOLS[version], **options),
            lambda: NOW,
            self._change,
            self._lose_session,
        )

    def _change(self, trouble: str | None) -> None:
        self.changes.append(trouble)
        if trouble is None:
            self.ready.set()

    def _lose_session(self) -> None:
        self.sessions_lost += 1

    def take(self, count: int) -> list[Received]:
        """As many messages as that, whatever pieces they come in."""
        taken: list[Received] = []

        def enough() -> bool:
            taken.extend(self.subscriber.take(count - len(taken), PLENTY_BYTES, 0.5))
            return len(taken) >= count

        until(enough, PATIENCE_S)
        return taken

    def said(self, event: str) -> list[str]:
        """The reasons that events of this name gave."""
        return [str(each.get("reason")) for each in self.events if each["event"] == event]

    def until_said(self, event: str, times: int = 1) -> str:
        until(lambda: len(self.said(event)) >= times, PATIENCE_S)
        return self.said(event)[-1]

    def __enter__(self) -> Self:
        self.subscriber.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.subscriber.stop()


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscribers, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(subscribers, "LONGEST_PAUSE_S", 0.05)


@pytest.fixture(params=list(MqttVersion), ids=str)
def version(request: pytest.FixtureRequest) -> MqttVersion:
    return MqttVersion(request.param)


@pytest.fixture
def broker(version: MqttVersion) -> Iterator[ScriptedBroker]:
    with ScriptedBroker(version) as broker:
        yield broker


@pytest.fixture
def make_receiver(broker: ScriptedBroker) -> Iterator[Callable[..., Receiver]]:
    """A receiver that is stopped in the end."""
    made: list[Receiver] = []
    with structlog.testing.capture_logs() as events:

        def make(**settings: Any) -> Receiver:
            made.append(Receiver(broker.mqtt_url, broker.version, events, **settings).__enter__())
            return made[-1]

        yield make
        for receiver in made:
            receiver.subscriber._stopping.set()
        broker.__exit__()
        for receiver in made:
            receiver.subscriber.stop()


@pytest.fixture
def receiver(make_receiver: Callable[..., Receiver]) -> Receiver:
    return make_receiver()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def payloads(messages: list[Received]) -> list[bytes]:
    return [message.payload for message in messages]


def test_a_refused_login_is_told_loudly_and_tried_again(broker: ScriptedBroker, receiver: Receiver) -> None:
    for _ in range(3):
        with broker.accept() as peer:
            peer.expect(Kind.CONNECT)
            peer.say(peer.welcome(code=5 if broker.version is MqttVersion.V3_1_1 else 0x87))
            peer.expect_close()
    receiver.until_said("broker_refused", 3)
    assert set(receiver.said("broker_refused")) == {"not authorized"}
    assert {e["log_level"] for e in receiver.events if e["event"] == "broker_refused"} == {"error"}
    broker.let_in().close()


def test_silence_after_connect(
    broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch, make_receiver: Callable[..., Receiver]
) -> None:
    monkeypatch.setattr(connections, "CONNECT_TIMEOUT_S", 0.1)
    receiver = make_receiver()
    with broker.accept() as peer:
        peer.expect(Kind.CONNECT)
        peer.expect_close()
    assert receiver.until_said("broker_disconnected") == "the broker does not answer CONNECT"


@pytest.mark.thorough
def test_silence_later(
    broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch, make_receiver: Callable[..., Receiver]
) -> None:
    monkeypatch.setattr(brokers, "KEEPALIVE_S", 1)
    receiver = make_receiver()
    with broker.let_in() as peer:
        peer.expect(Kind.PINGREQ, Kind.PINGREQ)
        peer.expect_close()
    assert "silent" in receiver.until_said("broker_disconnected")


def test_a_departure_with_a_reason(broker: ScriptedBroker, receiver: Receiver) -> None:
    with broker.let_in() as peer:
        peer.say(b"\xe0\1\x8b")
        peer.expect_close()
    assert "server shutting down" in receiver.until_said("broker_disconnected")


@pytest.mark.parametrize(
    "garbage", [b"HTTP/1.1 400 Bad Request" + b"\r" * 80, b"\x30\xff\xff\xff\xff", b"\x32\2\0\5", b"\x90\0"]
)
def test_garbage_costs_a_connection(garbage: bytes, broker: ScriptedBroker, receiver: Receiver) -> None:
    with broker.let_in() as peer:
        peer.say(garbage)
        peer.expect_close()
    receiver.until_said("broker_disconnected")
    with broker.let_in() as peer:
        peer.say(peer.message(1, b"well"))
        assert payloads(receiver.take(1)) == [b"well"]


def test_garbage_for_an_answer_to_connect(broker: ScriptedBroker, receiver: Receiver) -> None:
    with broker.accept() as peer:
        peer.say(b"SSH-2.0-OpenSSH_9.2\r\n" + b"x" * 100)
        peer.expect_close()
    assert "a packet other than CONNACK in answer to CONNECT" in receiver.until_said("broker_disconnected")


def test_a_connection_that_ends_within_a_packet(broker: ScriptedBroker, receiver: Receiver) -> None:
    with broker.let_in() as peer:
        peer.say(peer.message(1, b"whole"), peer.message(2, b"x" * 1000)[:500])
        assert payloads(receiver.take(1)) == [b"whole"]
    receiver.until_said("broker_disconnected")
    with broker.let_in(has_session=True) as peer:
        peer.say(peer.message(2, b"again"))
        assert payloads(receiver.take(1)) == [b"again"]


def test_a_refused_subscription(broker: ScriptedBroker, receiver: Receiver) -> None:
    with broker.accept() as peer:
        peer.expect(Kind.CONNECT)
        peer.say(peer.welcome())
        peer.expect(Kind.SUBSCRIBE)
        peer.say(peer.granted(1, 0x80, 1, 1))
        receiver.until_said("subscription_refused")
    assert None not in receiver.changes
    [event] = [each for each in receiver.events if each["event"] == "subscription_refused"]
    assert event["topics"] == ["b"]


def test_an_answer_to_another_subscription(broker: ScriptedBroker, receiver: Receiver) -> None:
    """It once ended the thread, and with it the process."""
    with broker.accept() as peer:
        peer.expect(Kind.CONNECT)
        peer.say(peer.welcome())
        peer.expect(Kind.SUBSCRIBE)
        peer.say(peer.granted(1, 1))
        peer.expect_close()
    assert "2 answers to 4 subscriptions" in receiver.until_said("broker_disconnected")
    broker.let_in().close()


def test_messages_before_any_answer_to_subscribe(broker: ScriptedBroker, receiver: Receiver) -> None:
    with broker.accept() as peer:
        peer.expect(Kind.CONNECT)
        peer.say(peer.welcome(has_session=True), peer.messages([1, 2]), peer.message(3)[:4])
        peer.expect(Kind.SUBSCRIBE)
        peer.say(peer.message(3)[4:], peer.message(4), peer.granted())
        taken = receiver.take(4)
        receiver.subscriber.acknowledge(taken)
        assert peer.acknowledged(4) == [1, 2, 3, 4]


def test_acknowledgements_come_in_order_and_none_for_qos_0(
    broker: ScriptedBroker, receiver: Receiver
) -> None:
    ids = [5, 0, 3, 0, 65_535, 1]
    with broker.let_in() as peer:
        peer.say(peer.messages(ids))
        receiver.subscriber.acknowledge(receiver.take(len(ids)))
        assert peer.acknowledged(4) == [5, 3, 65_535, 1]
        receiver.subscriber.acknowledge([])
        receiver.subscriber._stopping.set()
        receiver.subscriber._wake()
        peer.expect(Kind.DISCONNECT)


def test_an_acknowledgement_does_not_outlive_its_connection(
    broker: ScriptedBroker, receiver: Receiver
) -> None:
    with broker.let_in() as peer:
        peer.say(peer.messages([1, 2]))
        before = receiver.take(2)
    with broker.let_in(has_session=True) as peer:
        peer.say(peer.messages([1, 7]))
        after = receiver.take(2)
        receiver.subscriber.acknowledge([*before, after[1]])
        receiver.subscriber.acknowledge(after[:1])
        assert peer.acknowledged(2) == [1, 7], "in the order of arrival, and none of the first connection"


def wait_for(receiver: Receiver, held: int) -> None:
    until(lambda: receiver.subscriber._inbox._held == held)


def test_a_session_that_goes_on_brings_again_what_waits(broker: ScriptedBroker, receiver: Receiver) -> None:
    with broker.let_in() as peer:
        peer.say(peer.message(1, b"one"), peer.message(0, b"only once"), peer.message(2, b"two"))
        wait_for(receiver, 3)
    with broker.let_in(has_session=True) as peer:
        peer.say(peer.message(1, b"one"), peer.message(2, b"two"))
        assert payloads(receiver.take(3)) == [b"only once", b"one", b"two"]


def test_what_waits_outlives_the_session_that_it_came_by(broker: ScriptedBroker, receiver: Receiver) -> None:
    """A broker that lost its sessions, then dropped the connection once more, cost what waited."""
    with broker.let_in() as peer:
        peer.say(peer.message(1, b"of the lost session"))
        wait_for(receiver, 1)
    with broker.let_in() as peer:
        peer.say(peer.message(1, b"of the next"))
        wait_for(receiver, 2)
    with broker.let_in(has_session=True) as peer:
        peer.say(peer.message(1, b"of the next"))
        assert payloads(receiver.take(2)) == [b"of the lost session", b"of the next"]


def fill(peer: Peer, receiver: Receiver, room: int) -> None:
    peer.say(peer.messages(range(1, room + 1)))
    wait_for(receiver, room)


def test_without_room_the_network_waits_and_the_connection_lives(
    broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch, make_receiver: Callable[..., Receiver]
) -> None:
    """There is room for twice the receive maximum, and again with each acknowledgement."""
    monkeypatch.setattr(brokers, "KEEPALIVE_S", 1)
    receiver = make_receiver(MQTT_RECEIVE_MAXIMUM=10)
    with broker.let_in() as peer:
        fill(peer, receiver, 20)
        big = peer.message(21, bytes(20 * MB))
        sending = threading.Thread(target=peer.say, args=[big])
        sending.start()
        peer.expect(Kind.PINGREQ, Kind.PINGREQ)
        assert sending.is_alive(), "somebody has read 20 MB"
        assert receiver.subscriber._inbox._held == 20
        receiver.subscriber.acknowledge(receiver.take(20))
        assert len(receiver.take(1)[0].payload) == 20 * MB
        sending.join(PATIENCE_S)


def test_without_room_the_end_of_a_connection_is_noticed(
    broker: ScriptedBroker, make_receiver: Callable[..., Receiver]
) -> None:
    receiver = make_receiver(MQTT_RECEIVE_MAXIMUM=10)
    with broker.let_in() as peer:
        fill(peer, receiver, 20)
    receiver.until_said("broker_disconnected")
    with broker.let_in() as peer:
        assert len(receiver.take(20)) == 20


@pytest.mark.thorough
def test_a_stop_sends_what_is_acknowledged_before_it_leaves(
    broker: ScriptedBroker, receiver: Receiver
) -> None:
    with broker.let_in() as peer:
        peer.say(peer.messages(range(1, 1001)))
        taken = receiver.take(1000)
        receiver.subscriber.acknowledge(taken)
        receiver.subscriber.stop()
        assert peer.acknowledged(1000) == list(range(1, 1001))
        peer.expect(Kind.DISCONNECT)
        peer.expect_close()


def test_links_may_be_rung_by_anyone_while_they_close_and_leave_no_descriptors() -> None:
    with ScriptedBroker(MqttVersion.V5) as broker:
        address = "localhost", urlsplit(broker.mqtt_url).port or 0
        current, ending = [Link(*address, None)], threading.Event()
        broker.accept().close()
        failures: list[BaseException] = []

        def ring() -> None:
            try:
                while not ending.is_set():
                    current[0].send(b"x")
                    current[0].wake()
            except BaseException as failure:  # noqa: BLE001 - the test's own thread raises it
                failures.append(failure)

        ringers = [threading.Thread(target=ring) for _ in range(2)]
        for each in ringers:
            each.start()
        before = descriptors()
        gc.disable()
        for _ in range(200):
            current[0].__exit__(None, None, None)
            current[0] = Link(*address, None)
            broker.accept().close()
        after = descriptors()
        gc.enable()
        ending.set()
        for each in ringers:
            each.join(PATIENCE_S)
        current[0].__exit__(None, None, None)
    assert failures == []
    assert after <= before


def test_reconnects_leave_no_descriptors(broker: ScriptedBroker, receiver: Receiver) -> None:
    with broker.let_in():
        before = descriptors()
    for _ in range(20):
        broker.let_in().close()
    with broker.let_in():
        assert descriptors() <= before
    receiver.until_said("broker_disconnected", 22)


# What a broker can do


def until_in_trouble(receiver: Receiver, words: str) -> str:
    """The reason that `/health` gives."""
    until(lambda: any(words in str(each) for each in receiver.changes), PATIENCE_S)
    return next(str(each) for each in receiver.changes if words in str(each))


def take_probe(peer: Peer) -> tuple[str, bytes]:
    """Topic and payload of the probe that a worker sends itself."""
    topic, payload, packet_id = packets.read_publish(peer.expect(Kind.PUBLISH)[0], peer.version)
    assert packet_id == 0
    return topic, payload


SHARED = {"MQTT_SHARE_GROUP": "group", "MQTT_CLIENT_ID": "work/er+1"}


@pytest.fixture
def subscribed_shared(broker: ScriptedBroker) -> Callable[[], Peer]:
    """A broker that confirms the subscriptions of a share group, and that of the probe."""

    def let_in() -> Peer:
        peer = broker.accept()
        peer.expect(Kind.CONNECT)
        peer.say(peer.welcome())
        [subscription] = peer.expect(Kind.SUBSCRIBE)
        assert b"$share/work%2Fer%2B1/gridgate/probe/work%2Fer%2B1" in subscription.body
        peer.say(peer.granted(1, 1, 1, 1, 1))
        return peer

    return let_in


def test_a_share_group_is_ready_when_its_probe_comes_back(
    subscribed_shared: Callable[[], Peer], make_receiver: Callable[..., Receiver]
) -> None:
    receiver = make_receiver(**SHARED)
    with subscribed_shared() as peer:
        topic, payload = take_probe(peer)
        peer.say(peer.message(0, b"of another run", topic.encode()))
        peer.say(peer.message(9, b"of another run, with QoS 1", topic.encode()))
        assert peer.acknowledged(1) == [9]
        assert None not in receiver.changes
        peer.say(peer.message(0, payload, topic.encode()))
        assert receiver.ready.wait(PATIENCE_S)
        peer.say(peer.message(1, b"well"))
        assert payloads(receiver.take(1)) == [b"well"], "the probe is no message"


def test_a_share_group_that_is_taken_for_an_ordinary_filter_is_noticed(
    subscribed_shared: Callable[[], Peer],
    make_receiver: Callable[..., Receiver],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """RabbitMQ 3.10 and NATS confirm `$share/...` and bring nothing: ingest was ready, and lost it all."""
    monkeypatch.setattr(probes, "WITHIN_S", 0.2)
    receiver = make_receiver(**SHARED)
    with subscribed_shared() as peer:
        probe = take_probe(peer)
        assert take_probe(peer) == probe, "sent again"
        reason = until_in_trouble(receiver, "shared subscription")
        assert "MQTT_SHARE_GROUP" in reason
        assert None not in receiver.changes
        [event, *_] = [each for each in receiver.events if each["event"] == "shared_subscription_unproven"]
        assert event["log_level"] == "error"
        peer.say(peer.message(0, probe[1], probe[0].encode()))
        assert receiver.ready.wait(PATIENCE_S), "the ACL was mended meanwhile"


def test_a_backlog_before_the_probe_is_no_trouble_while_it_arrives(
    subscribed_shared: Callable[[], Peer],
    make_receiver: Callable[..., Receiver],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(probes, "WITHIN_S", 0.3)
    receiver = make_receiver(**SHARED)
    with subscribed_shared() as peer:
        take_probe(peer)
        for number in range(1, 10):
            peer.say(peer.message(number))
            receiver.take(1)
            threading.Event().wait(0.1)
        assert receiver.changes == [None]
        take_probe(peer)
        until_in_trouble(receiver, "shared subscription")


@pytest.mark.parametrize(
    ("properties", "event", "fix"),
    [
        pytest.param(b"\x2a\0", "broker_unsuitable", "MQTT_SHARE_GROUP", marks=pytest.mark.thorough),
        (b"\x28\0", "broker_unsuitable", "MQTT_TOPICS"),
        (b"\x11\0\0\0\x3c", "session_expiry_shortened", "MQTT_SESSION_EXPIRY_S"),
    ],
)
def test_what_a_broker_says_that_it_cannot_do(properties: bytes, event: str, fix: str) -> None:
    with ScriptedBroker(MqttVersion.V5) as broker, structlog.testing.capture_logs() as events:
        receiver = Receiver(broker.mqtt_url, MqttVersion.V5, events, **SHARED)
        with receiver, broker.accept() as peer:
            peer.expect(Kind.CONNECT)
            peer.say(framed(0x20, b"\0\0" + bytes([len(properties)]) + properties))
            until(lambda: any(each["event"] == event for each in events), PATIENCE_S)
    [reported, *_] = [each for each in events if each["event"] == event]
    assert fix in reported["fix"]
    if event == "broker_unsuitable":
        until_in_trouble(receiver, fix)


def test_a_subscription_without_acknowledgements(broker: ScriptedBroker, receiver: Receiver) -> None:
    with broker.accept() as peer:
        peer.expect(Kind.CONNECT)
        peer.say(peer.welcome())
        peer.expect(Kind.SUBSCRIBE)
        peer.say(peer.granted(1, 0, 1, 1))
        assert "grants only QoS 0 for b" in until_in_trouble(receiver, "QoS 0")
    assert None not in receiver.changes


OLDER = "this broker supports 3.1.1 only: set MQTT_PROTOCOL=3.1.1"


def test_a_broker_that_refuses_mqtt_5() -> None:
    """Some answer as they would have before MQTT 5, which once was `reason code 1`."""
    with ScriptedBroker(MqttVersion.V3_1_1) as broker, structlog.testing.capture_logs() as events:
        receiver = Receiver(broker.mqtt_url, MqttVersion.V5, events)
        with receiver:
            for code in (1, 0x84):
                with broker.accept() as peer:
                    peer.expect(Kind.CONNECT)
                    peer.say(b"\x20\2\0\1" if code == 1 else b"\x20\3\0\x84\0")
                    peer.expect_close()
            receiver.until_said("broker_refused", 2)
    assert [each["fix"] for each in events if each["event"] == "broker_refused"] == [OLDER] * 2


@pytest.mark.parametrize("code", [0, 5])
def test_a_broker_that_hangs_up_at_mqtt_5_is_asked_in_3_1_1(code: int) -> None:
    with ScriptedBroker(MqttVersion.V3_1_1) as broker, structlog.testing.capture_logs() as events:
        receiver = Receiver(broker.mqtt_url, MqttVersion.V5, events, MQTT_CLIENT_ID="me")
        with receiver:
            with broker.accept() as peer:
                peer.expect(Kind.CONNECT)
            with broker.accept() as peer:
                [login] = peer.expect(Kind.CONNECT)
                assert login.body[6:8] == b"\x04\x02", "3.1.1, and no session that stays"
                peer.say(peer.welcome(code=code))
                peer.expect_close()
            until_in_trouble(receiver, OLDER)


def test_a_broker_that_hangs_up_at_anything_may_be_restarting() -> None:
    with ScriptedBroker(MqttVersion.V5) as broker, structlog.testing.capture_logs() as events:
        receiver = Receiver(broker.mqtt_url, MqttVersion.V5, events)
        with receiver:
            for _ in range(2):
                broker.accept().close()
            receiver.until_said("broker_disconnected")
            broker.let_in().close()
    assert OLDER not in str(receiver.changes)


def test_a_session_that_the_broker_has_lost_is_counted(broker: ScriptedBroker, receiver: Receiver) -> None:
    for has_session in (False, True, True, False, False):
        broker.let_in(has_session=has_session).close()
        receiver.until_said("broker_disconnected")
    until(lambda: receiver.sessions_lost == 2, PATIENCE_S)
    lost = [each for each in receiver.events if each["event"] == "session_lost"]
    assert [each["log_level"] for each in lost] == ["error"] * 2
    assert len([each for each in receiver.events if each["event"] == "session_new"]) == 1


def test_hosts_are_tried_in_turn(version: MqttVersion) -> None:
    [nowhere] = free_ports(1)
    with ScriptedBroker(version) as first, ScriptedBroker(version) as second:
        hosts = [f"127.0.0.1:{nowhere}", f"localhost:{first.port}", f"localhost:{second.port}"]
        with structlog.testing.capture_logs() as events:
            receiver = Receiver("mqtt://" + ",".join(hosts), version, events)
            with receiver:
                first.let_in().close()
                second.let_in().close()
                with first.let_in(has_session=True) as peer:
                    peer.say(peer.message(1, b"well"))
                    assert payloads(receiver.take(1)) == [b"well"]
    refused = [each["host"] for each in events if "refused" in str(each.get("reason"))]
    assert refused == [f"127.0.0.1:{nowhere}"] * 2


# TLS


@pytest.fixture
def tls(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    """A broker's certificate, and the file of the authority that signed it."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context, tmp_path / "ca.pem"


@pytest.mark.parametrize("tls_version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_big_transfers_both_ways_over_tls(
    tls_version: ssl.TLSVersion, tls: tuple[ssl.SSLContext, Path]
) -> None:
    context, authority = tls
    context.maximum_version = tls_version
    with ScriptedBroker(MqttVersion.V5, context) as broker, structlog.testing.capture_logs() as events:
        receiver = Receiver(broker.mqtt_url, MqttVersion.V5, events, MQTT_CA_FILE=str(authority))
        with receiver, broker.let_in() as peer:
            peer.say(peer.message(1, bytes(20 * MB)), peer.messages(range(2, 1001)))
            taken = receiver.take(1000)
            assert len(taken[0].payload) == 20 * MB
            # Nobody reads these for a while: sending has to wait and to go on.
            _, link = receiver.subscriber._link
            assert link is not None
            for _ in range(200):
                link.send(packets.acknowledgements(range(1, 1001)))
            peer.say(peer.message(1001, b"still heard"))
            assert payloads(receiver.take(1)) == [b"still heard"]
            assert peer.acknowledged(200_000) == list(range(1, 1001)) * 200


def test_a_certificate_that_nobody_vouches_for(tls: tuple[ssl.SSLContext, Path]) -> None:
    context, _ = tls
    with ScriptedBroker(MqttVersion.V5, context) as broker, structlog.testing.capture_logs() as events:
        receiver = Receiver(broker.mqtt_url, MqttVersion.V5, events)
        with receiver:
            with pytest.raises(ssl.SSLError):
                broker.accept()
            assert "certificate verify failed" in receiver.until_said("broker_disconnected")


# Real brokers


def embedded(directory: Path) -> EmbeddedBroker:
    mqtt_port, mqtt5_port = free_ports(2)
    return EmbeddedBroker(directory, mqtt_port=mqtt_port, mqtt5_port=mqtt5_port)


@pytest.fixture(scope="module", params=[embedded, Mosquitto], ids=["rumqttd", "mosquitto"])
def real(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmbeddedBroker | Mosquitto]:
    service: EmbeddedBroker | Mosquitto = request.param(tmp_path_factory.mktemp("broker"))
    service.start()
    yield service
    service.stop()


def url_of(service: EmbeddedBroker | Mosquitto, version: MqttVersion) -> str:
    return service.mqtt5_url if version is MqttVersion.V5 else service.mqtt_url


def publish(mqtt_url: str, version: MqttVersion, contents: list[bytes]) -> None:
    url = urlsplit(mqtt_url)
    protocol = MQTTProtocolVersion.MQTTv5 if version is MqttVersion.V5 else MQTTProtocolVersion.MQTTv311
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=protocol)
    client.max_inflight_messages_set(100)
    client.connect(url.hostname or "", url.port or 0)
    client.loop_start()
    sent = [client.publish("t/real", each, qos=1) for each in contents]
    for each in sent:
        each.wait_for_publish(PATIENCE_S)
    client.disconnect()
    client.loop_stop()


def test_a_real_broker_brings_each_message_once_and_the_unacknowledged_again(
    real: EmbeddedBroker | Mosquitto, version: MqttVersion
) -> None:
    url = url_of(real, version)
    settings = {"MQTT_TOPICS": "t/real", "MQTT_CLIENT_ID": f"tests-{version}"}
    contents = [b"%d" % number for number in range(REAL_MESSAGES)]
    with structlog.testing.capture_logs() as events:
        with Receiver(url, version, events, **settings) as first:
            assert first.ready.wait(PATIENCE_S)
            publisher = threading.Thread(target=publish, args=[url, version, contents])
            publisher.start()
            got: list[Received] = []
            while len(got) < REAL_MESSAGES:
                got += (taken := first.take(1))
                first.subscriber.acknowledge(taken)
            publisher.join(PATIENCE_S)
            assert payloads(got) == contents
        with Receiver(url, version, events, **settings) as second:
            assert second.ready.wait(PATIENCE_S)
            publish(url, version, [b"unsettled", b"", b"after"])
            assert payloads(second.take(3)) == [b"unsettled", b"", b"after"]
        with Receiver(url, version, events, **settings) as third:
            again = third.take(3)
            assert payloads(again) == [b"unsettled", b"", b"after"]
            third.subscriber.acknowledge(again)
        with Receiver(url, version, events, **settings) as fourth:
            assert fourth.ready.wait(PATIENCE_S)
            publish(url, version, [b"last"])
            assert payloads(fourth.take(1)) == [b"last"]


def test_a_share_group_at_a_real_broker(real: EmbeddedBroker | Mosquitto, version: MqttVersion) -> None:
    """Two workers are ready, and each message goes to one of them."""
    url, count = url_of(real, version), 200
    settings = {"MQTT_TOPICS": "t/real", "MQTT_SHARE_GROUP": f"group-{version}"}
    with (
        structlog.testing.capture_logs() as events,
        Receiver(url, version, events, MQTT_CLIENT_ID=f"one-{version}", **settings) as one,
        Receiver(url, version, events, MQTT_CLIENT_ID=f"two-{version}", **settings) as two,
    ):
        assert one.ready.wait(PATIENCE_S)
        assert two.ready.wait(PATIENCE_S)
        publish(url, version, [b"%d" % number for number in range(count)])
        got: list[Received] = []

        def are_all() -> bool:
            for receiver in (one, two):
                messages = receiver.subscriber.take(count, PLENTY_BYTES, 0.1)
                receiver.subscriber.acknowledge(messages)
                got.extend(messages)
            return len(got) >= count

        until(are_all, PATIENCE_S)
    assert sorted(payloads(got)) == sorted(b"%d" % number for number in range(count))
    assert one.changes[0] is None
    assert two.changes[0] is None
