"""Commands leave the outbox once, with several dispatchers and after kills; each reaches a final status."""

import gc
import json
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
import psycopg
import pytest
import structlog
import trustme
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from sqlalchemy import Engine

from ingest import side_thread
from ingest.commands import dispatcher as dispatchers
from ingest.commands import publisher as publishers
from ingest.commands.dispatcher import Dispatcher
from ingest.commands.outbox import LEASE, Outbox
from ingest.commands.states import MOST_INTERRUPTIONS
from ingest.metrics import IngestMetrics
from ingest.mqtt.packets import Kind, MqttVersion
from ingest.settings import IngestSettings
from local.broker import EmbeddedBroker
from local.ports import free_ports
from schemas.db.connections import connect
from tests.faults.mosquitto import Mosquitto
from tests.integration.mortal import Fuse, mortal_connection
from tests.integration.outboxes import HOUR, of, put, statuses
from tests.integration.published import NOW, until, value
from tests.integration.scripted_broker import Peer, ScriptedBroker, framed

PROTOCOLS = {MqttVersion.V3_1_1: "3.1.1", MqttVersion.V5: "5"}
PATIENCE_S = 20.0


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def move(self, by: timedelta) -> None:
        self.now += by


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_thread, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(side_thread, "LONGEST_PAUSE_S", 0.05)
    monkeypatch.setattr(dispatchers, "POLL_S", 0.05)


class Vens:
    """All VENs: the commands that they received, by correlation id."""

    def __init__(self, mqtt_url: str) -> None:
        url = urlsplit(mqtt_url)
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv311)
        self._client.on_message = lambda _c, _u, message: self.heard.append(
            (message.topic, json.loads(message.payload))
        )
        self._subscribed = threading.Event()
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.connect(url.hostname or "", url.port or 0)
        self._client.subscribe("ven/cmd/+", qos=1)
        self._client.loop_start()
        assert self._subscribed.wait(PATIENCE_S)

    @property
    def received(self) -> Counter[str]:
        return Counter(envelope["correlationId"] for _, envelope in self.heard)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def embedded(directory: Any) -> EmbeddedBroker:
    mqtt_port, mqtt5_port = free_ports(2)
    return EmbeddedBroker(directory, mqtt_port=mqtt_port, mqtt5_port=mqtt5_port)


@pytest.fixture(scope="module", params=[embedded, Mosquitto], ids=["rumqttd", "mosquitto"])
def real(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmbeddedBroker | Mosquitto]:
    with request.param(tmp_path_factory.mktemp("broker")) as service:
        yield service


@pytest.fixture(params=list(MqttVersion), ids=str)
def version(request: pytest.FixtureRequest) -> MqttVersion:
    return MqttVersion(request.param)


def borne_by(service: EmbeddedBroker | Mosquitto) -> dict[str, str]:
    """A message with properties kills rumqttd's listener for 3.1.1, if a client there is to get it."""
    return {"MQTT_MESSAGE_EXPIRY": "off"} if isinstance(service, EmbeddedBroker) else {}


Make = Callable[..., Dispatcher]


@pytest.fixture
def make(database_url: str, clock: Clock) -> Iterator[Make]:
    """A dispatcher; those that were started are stopped in the end."""
    with ExitStack() as stack:

        def make(
            mqtt_url: str, version: MqttVersion = MqttVersion.V5, *, fuse: Fuse | None = None, **settings: Any
        ) -> Dispatcher:
            name = f"tests-{time.monotonic_ns()}"
            options = {"DATABASE_URL": database_url, "MQTT_CLIENT_ID": name, **settings}

            def open_outbox() -> Outbox:
                if fuse is None:
                    return Outbox(connect(database_url, "commands"), name)
                return Outbox(mortal_connection(database_url, fuse), name)

            made = Dispatcher(
                IngestSettings(MQTT_URL=mqtt_url, MQTT_PROTOCOL=PROTOCOLS[version], **options),
                open_outbox,
                clock,
                IngestMetrics(clock),
            )
            made.start()
            stack.callback(made.stop)
            return made

        yield make


def all_are(connection: psycopg.Connection, status: str, count: int) -> Callable[[], bool]:
    return lambda: statuses(connection) == {status: count}


# Real brokers


def url_of(service: EmbeddedBroker | Mosquitto, version: MqttVersion) -> str:
    return service.mqtt5_url if version is MqttVersion.V5 else service.mqtt_url


def test_a_command_reaches_its_ven(
    real: EmbeddedBroker | Mosquitto,
    version: MqttVersion,
    make: Make,
    engine: Engine,
    connection: psycopg.Connection,
) -> None:
    with Vens(real.mqtt_url) as vens:
        make(url_of(real, version), version, **borne_by(real))
        [command_id] = put(engine, "house-ü", now=NOW, op="shedLoad", loadId="l", reduceKw=0.5, durationS=60)
        connection.execute("NOTIFY gridgate_commands")
        until(all_are(connection, "sent", 1))
        until(lambda: len(vens.heard) == 1)
    assert vens.heard == [
        (
            "ven/cmd/house-ü",
            {
                "op": "shedLoad",
                "correlationId": command_id,
                "venId": "house-ü",
                "issued_ts": NOW.timestamp(),
                "expires_ts": (NOW + HOUR).timestamp(),
                "data": {"loadId": "l", "reduceKw": 0.5, "durationS": 60},
            },
        )
    ]
    found = of(connection, command_id, "attempts", "sent_at", "next_attempt_at", "leased_by", "leased_until")
    assert found == (1, NOW, NOW + timedelta(seconds=5), None, None)


@pytest.mark.thorough
def test_two_dispatchers_share_many_commands_and_send_each_once(
    real: EmbeddedBroker | Mosquitto, make: Make, engine: Engine, connection: psycopg.Connection
) -> None:
    ids = put(engine, *(f"ven-{number}" for number in range(5_000)), now=NOW)
    with Vens(real.mqtt_url) as vens:
        for _ in range(2):
            make(real.mqtt5_url, **borne_by(real))
        until(all_are(connection, "sent", 5_000), 60)
        until(lambda: len(vens.received) == 5_000, 60)
        assert vens.received == Counter(ids)
    assert value(connection, "SELECT max(attempts) FROM commands") == 1


def hear(connection: psycopg.Connection, ven_id: str, at: datetime, status: str = "online") -> None:
    """What the jobs write when a report of a VEN arrives."""
    connection.execute(
        "INSERT INTO ven_snapshots (ven_id, received_at, status) VALUES (%s, %s, %s)"
        " ON CONFLICT (ven_id) DO UPDATE SET received_at = excluded.received_at, status = excluded.status",
        [ven_id, at, status],
    )


def test_an_unanswered_command_is_sent_again_to_a_ven_that_is_heard_and_expires(
    real: EmbeddedBroker | Mosquitto, make: Make, engine: Engine, connection: psycopg.Connection, clock: Clock
) -> None:
    """By the same id; its duration is what is left of it, and it is never longer."""
    [command_id] = put(engine, "a", now=NOW, op="shedLoad", loadId="l", reduceKw=1, durationS=3600)
    lasts_s: list[int] = []
    with Vens(real.mqtt_url) as vens:
        make(real.mqtt5_url, **borne_by(real))
        for attempt, wait_s in enumerate((5, 10, 20), 1):
            until(lambda n=attempt: vens.received == {command_id: n})  # type: ignore[misc]
            until(lambda n=attempt: of(connection, command_id, "attempts") == (n,))  # type: ignore[misc]
            lasts_s.append(3600 - int((clock.now - NOW).total_seconds()))
            hear(connection, "a", clock.now + timedelta(seconds=wait_s))
            clock.move(timedelta(seconds=wait_s))
            until(lambda: of(connection, command_id, "queued_since") == (None,))
            clock.move(timedelta(seconds=5))
        until(lambda: of(connection, command_id, "attempts") == (4,))
        clock.move(HOUR)
        until(all_are(connection, "expired", 1))
        assert vens.received == {command_id: 4}
    assert [envelope["data"]["durationS"] for _, envelope in vens.heard[:3]] == lasts_s
    assert {envelope["expires_ts"] for _, envelope in vens.heard} == {(NOW + HOUR).timestamp()}
    status, error, sent_at = of(connection, command_id, "status", "error", "sent_at")
    assert (status, sent_at) == ("expired", NOW)
    assert "no acknowledgement after" in error


# A VEN that is away


class AwayVen:
    """A VEN with a session that stays at the broker, and what it receives when it is back."""

    def __init__(self, port: int, version: MqttVersion, ven_id: str) -> None:
        self.received: list[dict[str, Any]] = []
        self._port = port
        self._version = version
        self._topic = f"ven/cmd/{ven_id}"
        self._name = f"{ven_id}-{version}"

    @contextmanager
    def connected(self) -> Iterator[None]:
        v5 = self._version is MqttVersion.V5
        protocol = MQTTProtocolVersion.MQTTv5 if v5 else MQTTProtocolVersion.MQTTv311
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, self._name, protocol=protocol, clean_session=None if v5 else False
        )
        subscribed = threading.Event()
        client.on_message = lambda _c, _u, message: self.received.append(json.loads(message.payload))
        client.on_subscribe = lambda *_: subscribed.set()
        if v5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho has no type here
            properties.SessionExpiryInterval = 600
            client.connect("127.0.0.1", self._port, clean_start=False, properties=properties)
        else:
            client.connect("127.0.0.1", self._port)
        client.subscribe(self._topic, qos=1)
        client.loop_start()
        assert subscribed.wait(PATIENCE_S)
        yield
        client.disconnect()
        client.loop_stop()


@pytest.fixture(scope="module")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path_factory.mktemp("broker")) as service:
        yield service


AWAY_S = 4.0


@pytest.mark.thorough
@pytest.mark.parametrize("version_of_ven", list(MqttVersion), ids=str)
def test_a_ven_that_was_away_gets_nothing_that_has_expired(
    version_of_ven: MqttVersion,
    mosquitto: Mosquitto,
    make: Make,
    engine: Engine,
    connection: psycopg.Connection,
    clock: Clock,
) -> None:
    """After 22 s it got a shed that had expired 12 s before, twice, and another with its full 60 s."""
    ven = AwayVen(mosquitto.port, version_of_ven, "away")
    with ven.connected():
        pass
    start = time.monotonic()
    make(mosquitto.mqtt_url)
    put(engine, "away", now=NOW, worth=timedelta(seconds=2), op="shedLoad", loadId="a", durationS=2)
    [lasting] = put(engine, "away", now=NOW, op="shedLoad", loadId="b", durationS=3600)
    while (passed_s := time.monotonic() - start) < AWAY_S:
        clock.now = NOW + timedelta(seconds=passed_s)
        until(lambda: statuses(connection).get("pending") is None)
    assert statuses(connection) == {"sent": 1, "expired": 1}
    with ven.connected():
        until(lambda: len(ven.received) == 1)
        hear(connection, "away", clock.now + timedelta(seconds=5))
        clock.move(timedelta(seconds=5))
        until(lambda: of(connection, lasting, "queued_since") == (None,))
        assert [each["correlationId"] for each in ven.received] == [lasting], "and once"
        clock.move(timedelta(seconds=5))
        until(lambda: len(ven.received) == 2)
    first, second = ven.received
    assert first["expires_ts"] == second["expires_ts"] == (NOW + HOUR).timestamp()
    for each in ven.received:
        left_s = each["expires_ts"] - each["issued_ts"]
        assert left_s <= each["data"]["durationS"] < left_s + 1


LOOKED_AT = "SELECT count(*) FROM commands WHERE next_attempt_at <= %s AND status = 'pending'"


def test_over_3_1_1_a_ven_that_is_offline_is_sent_nothing_until_it_is_back(
    mosquitto: Mosquitto, make: Make, engine: Engine, connection: psycopg.Connection, clock: Clock
) -> None:
    """There a broker keeps everything for ever: so what could get too old is not sent at all."""
    ven = AwayVen(mosquitto.port, MqttVersion.V3_1_1, "gone")
    with ven.connected():
        pass
    hear(connection, "gone", NOW, "offline")
    make(mosquitto.mqtt_url, MqttVersion.V3_1_1)
    put(engine, "gone", now=NOW, worth=timedelta(seconds=10), op="shedLoad", loadId="a", durationS=10)
    [lasting] = put(engine, "gone", now=NOW, op="shedLoad", loadId="b", durationS=3600)
    for _ in range(11):
        clock.move(timedelta(seconds=2))
        until(lambda: connection.execute(LOOKED_AT, [clock.now]).fetchone() == (0,))
    assert statuses(connection) == {"pending": 1, "expired": 1}
    with ven.connected():
        hear(connection, "gone", clock.now)
        clock.move(timedelta(seconds=60))
        until(lambda: len(ven.received) == 1)
    assert ven.received[0]["correlationId"] == lasting
    assert ven.received[0]["data"]["durationS"] == 3600 - 82


def test_the_expiry_reaches_the_ven_and_is_what_is_left(
    mosquitto: Mosquitto, make: Make, engine: Engine, clock: Clock
) -> None:
    expiries: list[int] = []
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.on_message = lambda _c, _u, message: expiries.append(
        vars(message.properties)["MessageExpiryInterval"]
    )
    subscribed = threading.Event()
    client.on_subscribe = lambda *_: subscribed.set()
    client.connect("127.0.0.1", mosquitto.port)
    client.subscribe("ven/cmd/expiring", qos=1)
    client.loop_start()
    assert subscribed.wait(PATIENCE_S)
    clock.move(timedelta(seconds=100))
    put(engine, "expiring", now=NOW)
    make(mosquitto.mqtt_url)
    until(lambda: expiries != [])
    client.disconnect()
    client.loop_stop()
    assert expiries == [3500]


# Deaths


@pytest.mark.thorough
def test_a_dispatcher_killed_at_each_statement_loses_nothing_and_doubles_only_what_it_could_not_know(
    real: EmbeddedBroker | Mosquitto,
    make: Make,
    engine: Engine,
    connection: psycopg.Connection,
    clock: Clock,
    database_url: str,
) -> None:
    """What became of a command is settled over the death of the connection; what was not published, is after
    the lease.
    """
    with Vens(real.mqtt_url) as vens:
        for statement in range(1, 16):
            fuse = Fuse(database_url)
            fuse.left = statement
            ids = put(engine, *(f"ven-{number}" for number in range(20)), now=clock.now)
            made = make(real.mqtt5_url, fuse=fuse, **borne_by(real))
            moved = False
            deadline = time.monotonic() + PATIENCE_S
            while value(connection, "SELECT count(*) FROM commands WHERE status = 'pending'"):
                assert time.monotonic() < deadline
                if fuse.left <= 0 and not moved and time.monotonic() > deadline - PATIENCE_S + 1:
                    clock.move(LEASE)
                    moved = True
            until(lambda ids=ids: all(vens.received[each] for each in ids))  # type: ignore[misc]
            made.stop()
            assert max(vens.received[each] for each in ids) == 1, f"killed at statement {statement}"
            connection.execute("DELETE FROM commands")


# A broker that does what a test says


@pytest.fixture
def broker(version: MqttVersion) -> Iterator[ScriptedBroker]:
    with ScriptedBroker(version) as broker:
        yield broker


def let_in(broker: ScriptedBroker, receive_maximum: int | None = None) -> Peer:
    peer = broker.accept()
    peer.expect(Kind.CONNECT)
    if receive_maximum is None or broker.version is MqttVersion.V3_1_1:
        peer.say(peer.welcome())
    else:
        peer.say(framed(0x20, b"\0\0\x03\x21" + receive_maximum.to_bytes(2)))
    return peer


def packet_id(body: bytes) -> bytes:
    return body[2 + int.from_bytes(body[:2]) :][:2]


def confirm(peer: Peer, body: bytes, code: int = 0) -> None:
    peer.say(framed(0x40, packet_id(body) + (bytes([code]) if code else b"")))


def test_a_broker_that_refuses_for_good(
    make: Make, engine: Engine, connection: psycopg.Connection, clock: Clock
) -> None:
    ids = put(engine, "a", "b", now=NOW)
    with ScriptedBroker(MqttVersion.V5) as broker:
        make(broker.mqtt_url)
        with let_in(broker) as peer:
            one, other = peer.expect(Kind.PUBLISH, Kind.PUBLISH)
            confirm(peer, other.body, 0x97)
            confirm(peer, one.body, 0x87)
            until(lambda: statuses(connection) == {"failed": 1, "pending": 1})
            clock.move(timedelta(seconds=5))
            [again] = peer.expect(Kind.PUBLISH)
            confirm(peer, again.body, 0x10)
            until(lambda: statuses(connection) == {"failed": 1, "sent": 1})
    found = sorted(of(connection, each, "status", "attempts", "error") for each in ids)
    assert [row[:2] for row in found] == [("failed", 1), ("sent", 2)]
    assert "ACL" in found[0][2]
    assert found[1][2] is None


def test_no_more_is_under_way_than_the_broker_takes(
    make: Make, engine: Engine, connection: psycopg.Connection
) -> None:
    put(engine, *(f"ven-{number}" for number in range(10)), now=NOW)
    with ScriptedBroker(MqttVersion.V5) as broker:
        make(broker.mqtt_url)
        with let_in(broker, receive_maximum=3) as peer:
            waiting = peer.expect(*[Kind.PUBLISH] * 3)
            for _ in range(7):
                confirm(peer, waiting.pop(0).body)
                waiting += peer.expect(Kind.PUBLISH)
            for each in waiting:
                confirm(peer, each.body)
            until(all_are(connection, "sent", 10))


def test_a_connection_that_breaks_with_commands_under_way(
    broker: ScriptedBroker, make: Make, engine: Engine, connection: psycopg.Connection
) -> None:
    """None of several is blamed: they are sent again at once, and none has had an attempt."""
    ids = put(engine, "a", "b", "c", now=NOW)
    make(broker.mqtt_url, broker.version)
    with let_in(broker) as peer:
        first, *_ = peer.expect(*[Kind.PUBLISH] * 3)
        confirm(peer, first.body)
    with let_in(broker) as peer:
        until(lambda: statuses(connection) == {"sent": 1, "pending": 2})
        attempts = [of(connection, each, "attempts", "interruptions") for each in ids]
        assert sorted(attempts) == [(0, 0), (0, 0), (1, 0)]
        for _ in range(2):
            [message] = peer.expect(Kind.PUBLISH)
            confirm(peer, message.body)
        until(all_are(connection, "sent", 3))


def hanging_up_at(ven_id: str, broker: ScriptedBroker, ending: threading.Event) -> list[str]:
    """A broker that confirms commands to all VENs but one; at that one it hangs up."""
    delivered: list[str] = []
    while not ending.is_set():
        with suppress(EOFError, ConnectionError, TimeoutError, AssertionError), let_in(broker) as peer:
            while True:
                [message] = peer.expect(Kind.PUBLISH)
                topic = message.body[2 : 2 + int.from_bytes(message.body[:2])].decode()
                if topic == f"ven/cmd/{ven_id}":
                    break
                delivered.append(topic.removeprefix("ven/cmd/"))
                confirm(peer, message.body)
    return delivered


@pytest.mark.thorough
def test_a_command_that_the_broker_hangs_up_at_costs_itself_alone(
    broker: ScriptedBroker, make: Make, engine: Engine, connection: psycopg.Connection, clock: Clock
) -> None:
    put(engine, *(f"ven-{number}" for number in range(40)), "poison", now=NOW)
    put(engine, *(f"ven-{number}" for number in range(40, 80)), now=NOW)
    ending = threading.Event()
    broker.patience_s = 1.0
    with ThreadPoolExecutor(1) as pool:
        playing = pool.submit(hanging_up_at, "poison", broker, ending)
        make(broker.mqtt_url, broker.version)
        until(lambda: statuses(connection) == {"sent": 80, "pending": 1}, 30)
        rest = "SELECT max(attempts) FROM commands WHERE ven_id <> 'poison'"
        assert value(connection, rest) == 1
        failed = "SELECT status = 'failed' FROM commands WHERE ven_id = 'poison'"
        tried = "SELECT attempts FROM commands WHERE ven_id = 'poison'"
        for attempt in range(1, MOST_INTERRUPTIONS + 1):
            until(lambda n=attempt: value(connection, tried) == n)  # type: ignore[misc]
            clock.move(timedelta(seconds=5 * 2**attempt))
        until(lambda: value(connection, failed))
        ending.set()
        delivered = Counter(playing.result())
    assert set(delivered) == {f"ven-{number}" for number in range(80)}
    assert max(delivered.values()) <= 2, "again at most once, those that were on their way with it"
    reason = "SELECT error FROM commands WHERE ven_id = 'poison'"
    assert value(connection, reason) == "the broker closes the connection at this command"


IDS_THAT_MOSQUITTO_HANGS_UP_AT = ["bell\x07", "c1\x85", "\ufdd0", "\U0001fffe"]


@pytest.mark.thorough
def test_real_brokers_and_ids_that_no_broker_need_take(
    real: EmbeddedBroker | Mosquitto,
    version: MqttVersion,
    make: Make,
    engine: Engine,
    connection: psycopg.Connection,
    clock: Clock,
) -> None:
    """A broker hung up at one of them, and none of the commands in the same write was ever sent."""
    ids = put(engine, *(f"ven-{number}" for number in range(500)), now=NOW)
    put(engine, *IDS_THAT_MOSQUITTO_HANGS_UP_AT, now=NOW)
    ids += put(engine, *(f"ven-{number}" for number in range(500, 1000)), now=NOW)
    others = "SELECT count(*) FROM commands WHERE ven_id LIKE 'ven-%' AND status = 'sent' AND attempts = 1"
    with Vens(real.mqtt_url) as vens:
        make(url_of(real, version), version, **borne_by(real))
        until(lambda: value(connection, others) == 1000, 60)
        until(lambda: all(vens.received[each] for each in ids))
    hangs_up = isinstance(real, Mosquitto)
    odd = "SELECT min(attempts) FROM commands WHERE ven_id NOT LIKE 'ven-%'"
    for attempt in range(1, 1 + MOST_INTERRUPTIONS * hangs_up):
        until(lambda n=attempt: value(connection, odd) >= n)  # type: ignore[misc]
        clock.move(timedelta(seconds=5 * 2**attempt))
    until(lambda: "pending" not in statuses(connection))
    assert statuses(connection) == ({"sent": 1000, "failed": 4} if hangs_up else {"sent": 1004})
    assert max(vens.received.values()) <= 2, "again at most once, those that were on their way with one"


@pytest.mark.parametrize(
    "garbage", [b"\x40\x01\x00", b"\xf0\x00", b"\x30\xff\xff\xff\xff\xff", b"HTTP/1.1 400 " + b"\r" * 80]
)
def test_a_broker_that_talks_nonsense_costs_a_connection(
    garbage: bytes, make: Make, engine: Engine, connection: psycopg.Connection, clock: Clock
) -> None:
    put(engine, "a", now=NOW)
    with ScriptedBroker(MqttVersion.V5) as broker, structlog.testing.capture_logs() as events:
        make(broker.mqtt_url)
        with let_in(broker) as peer:
            peer.expect(Kind.PUBLISH)
            peer.say(garbage)
            peer.expect_close()
        clock.move(timedelta(seconds=5))
        with let_in(broker) as peer:
            [again] = peer.expect(Kind.PUBLISH)
            confirm(peer, again.body)
            until(all_are(connection, "sent", 1))
    assert any(each["event"] == "broker_disconnected" and each["log_level"] == "error" for each in events)


def test_time_goes_by_without_a_broker(
    make: Make, engine: Engine, connection: psycopg.Connection, clock: Clock
) -> None:
    [port] = free_ports(1)
    [command_id] = put(engine, "a", now=NOW)
    make(f"mqtt://127.0.0.1:{port}")
    clock.move(HOUR)
    until(all_are(connection, "expired", 1))
    assert of(connection, command_id, "error", "attempts") == ("the broker could not be reached in time", 0)


def test_hosts_are_tried_in_turn(
    version: MqttVersion, make: Make, engine: Engine, connection: psycopg.Connection
) -> None:
    [nowhere] = free_ports(1)
    put(engine, "a", now=NOW)
    with ScriptedBroker(version) as first, ScriptedBroker(version) as second:
        make(f"mqtt://localhost:{nowhere},localhost:{first.port},localhost:{second.port}", version)
        with let_in(first) as peer:
            peer.expect(Kind.PUBLISH)
        with let_in(second) as peer:
            until(lambda: value(connection, "SELECT attempts FROM commands") == 1)
            connection.execute("UPDATE commands SET next_attempt_at = created_at")
            [message] = peer.expect(Kind.PUBLISH)
            confirm(peer, message.body)
            until(all_are(connection, "sent", 1))


def test_a_command_that_is_larger_than_the_broker_takes_costs_itself_alone(
    make: Make, engine: Engine, connection: psycopg.Connection
) -> None:
    put(engine, "small", now=NOW)
    put(engine, "large", now=NOW, note="x" * 1000)
    with ScriptedBroker(MqttVersion.V5) as broker:
        make(broker.mqtt_url)
        with broker.accept() as peer:
            peer.expect(Kind.CONNECT)
            peer.say(framed(0x20, b"\0\0\x05\x27\0\0\x04\0"))
            [message] = peer.expect(Kind.PUBLISH)
            confirm(peer, message.body)
            until(lambda: statuses(connection) == {"sent": 1, "failed": 1})
    assert "maximum packet size" in value(connection, "SELECT error FROM commands WHERE ven_id = 'large'")


def test_a_broker_that_confirms_nothing_does_not_get_everything_again_and_again(
    make: Make, engine: Engine, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may deliver all the same: each command has had an attempt, and waits."""
    monkeypatch.setattr(publishers, "CONFIRMED_WITHIN_S", 0.3)
    put(engine, "a", "b", "c", now=NOW)
    with ScriptedBroker(MqttVersion.V5) as broker:
        make(broker.mqtt_url)
        with let_in(broker) as peer:
            peer.expect(*[Kind.PUBLISH] * 3)
            until(lambda: value(connection, "SELECT min(attempts) FROM commands") == 1)
        with let_in(broker):
            assert value(connection, "SELECT max(interruptions) FROM commands") == 0
            assert value(connection, "SELECT max(attempts) FROM commands") == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [(b"\x20\3\0\x87\0", "not authorized"), (b"\x20\5\0\0\2\x24\0", "QoS 1")],
)
def test_a_login_that_is_refused(answer: bytes, words: str, make: Make) -> None:
    with ScriptedBroker(MqttVersion.V5) as broker, structlog.testing.capture_logs() as events:
        make(broker.mqtt_url)
        for _ in range(2):
            with broker.accept() as peer:
                peer.expect(Kind.CONNECT)
                peer.say(answer)
                peer.expect_close()
        until(lambda: any(each["event"] == "broker_refused" for each in events))
    assert words in next(each["reason"] for each in events if each["event"] == "broker_refused")


def test_reconnects_leave_no_descriptors(make: Make) -> None:
    """Paho's client holds sockets and refers to itself by its callbacks."""
    with ScriptedBroker(MqttVersion.V5) as broker:
        make(broker.mqtt_url)
        gc.disable()
        for _ in range(3):
            let_in(broker).close()
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(20):
            let_in(broker).close()
        after = len(list(Path("/proc/self/fd").iterdir()))
        gc.enable()
        let_in(broker).close()
    assert after <= before + 4


def test_it_logs_in_as_ingest_does_by_its_own_name_and_over_tls(
    make: Make, engine: Engine, connection: psycopg.Connection, tmp_path: Path
) -> None:
    put(engine, "a", now=NOW)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with ScriptedBroker(MqttVersion.V5, context) as broker:
        url = broker.mqtt_url.replace("://", "://grid:p%40ss@")
        make(url, MQTT_CA_FILE=str(tmp_path / "ca.pem"), MQTT_CLIENT_ID="worker-3")
        with broker.accept() as peer:
            [login] = peer.expect(Kind.CONNECT)
            for told in (b"worker-3-commands", b"grid", b"p@ss"):
                assert told in login.body
            peer.say(peer.welcome())
            [message] = peer.expect(Kind.PUBLISH)
            confirm(peer, message.body)
            until(all_are(connection, "sent", 1))


def test_a_bug_is_told_loudly_and_does_not_end_the_thread(
    engine: Engine, connection: psycopg.Connection, database_url: str, clock: Clock
) -> None:
    put(engine, "a", now=NOW)
    metrics, bugs = IngestMetrics(clock), [RuntimeError("a bug"), RuntimeError("a bug")]

    def open_outbox() -> Outbox:
        if bugs:
            raise bugs.pop()
        return Outbox(connect(database_url, "commands"), "tests")

    with ScriptedBroker(MqttVersion.V5) as broker, structlog.testing.capture_logs() as events:
        settings = IngestSettings(MQTT_URL=broker.mqtt_url, DATABASE_URL=database_url)
        made = Dispatcher(settings, open_outbox, clock, metrics)
        made.start()
        with let_in(broker) as peer:
            [message] = peer.expect(Kind.PUBLISH)
            confirm(peer, message.body)
            until(all_are(connection, "sent", 1))
            assert metrics.registry.get_sample_value("gridgate_ingest_dispatching") == 1
        made.stop()
    assert [each["log_level"] for each in events if each["event"] == "dispatcher_failed"] == ["error"] * 2
    counted = metrics.registry.get_sample_value
    assert (counted("gridgate_ingest_dispatch_failures_total") or 0) >= 2
    assert counted("gridgate_ingest_commands_total", {"status": "sent"}) == 1
    assert counted("gridgate_ingest_dispatching") == 0


def test_an_answer_that_is_faster_than_the_books(
    make: Make, engine: Engine, connection: psycopg.Connection
) -> None:
    """The VEN answers before the attempt is written down: its word stands, and the attempt is counted."""
    [command_id] = put(engine, "a", now=NOW)
    with ScriptedBroker(MqttVersion.V5) as broker:
        make(broker.mqtt_url)
        with let_in(broker) as peer:
            [message] = peer.expect(Kind.PUBLISH)
            connection.execute("UPDATE commands SET status = 'acknowledged', acknowledged_at = now()")
            confirm(peer, message.body)
            until(lambda: of(connection, command_id, "attempts") == (1,))
    assert of(connection, command_id, "status", "sent_at", "leased_by") == ("acknowledged", NOW, None)


def test_two_outboxes_never_have_the_same_command_in_hand(engine: Engine, database_url: str) -> None:
    ids = put(engine, *(f"ven-{number}" for number in range(3_000)), now=NOW)
    taken: dict[str, list[str]] = {"one": [], "two": []}

    def take(name: str) -> None:
        with Outbox(connect(database_url, "commands"), name) as outbox:
            while block := outbox.take(NOW):
                taken[name] += (command.command_id for command in block)

    threads = [threading.Thread(target=take, args=[name]) for name in taken]
    for each in threads:
        each.start()
    for each in threads:
        each.join(PATIENCE_S)
    assert sorted(taken["one"] + taken["two"]) == sorted(ids)
    with Outbox(connect(database_url, "commands"), "three") as outbox:
        assert outbox.take(NOW + LEASE - timedelta(microseconds=1)) == []
        assert len(outbox.take(NOW + LEASE)) == 1_000


def test_who_has_lost_a_command_says_nothing_of_it(
    engine: Engine, database_url: str, connection: psycopg.Connection
) -> None:
    [command_id] = put(engine, "a", now=NOW)
    with (
        Outbox(connect(database_url, "commands"), "slow") as slow,
        Outbox(connect(database_url, "commands"), "quick") as quick,
    ):
        lost, kept = slow.take(NOW), quick.take(NOW + LEASE)
        slow.settle(lost)
        assert of(connection, command_id, "leased_by") == ("quick",)
        quick.settle(kept)
        assert of(connection, command_id, "leased_by") == (None,)


def test_the_time_of_the_tests_is_not_ours() -> None:
    """Were it, leases and waits would pass by themselves."""
    assert datetime.now(UTC) - NOW > timedelta(days=1)
