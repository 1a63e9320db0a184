"""Bytes of MQTT 3.1.1 and 5, against the standard's text and against paho."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import paho.mqtt.client as mqtt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from ingest.mqtt import packets
from ingest.mqtt.packets import Connect, MqttVersion, Packet, ProtocolError, Stream, SubscribeRequest

VERSIONS = list(MqttVersion)
both = pytest.mark.parametrize("version", VERSIONS)


def variable(number: int) -> bytes:
    """A variable byte integer, by the pseudo code of 1.5.5."""
    encoded = bytearray()
    while True:
        digit, number = number % 128, number // 128
        encoded.append(digit | 128 if number else digit)
        if not number:
            return bytes(encoded)


def string(text: str) -> bytes:
    """A UTF-8 encoded string (1.5.4)."""
    return len(text.encode()).to_bytes(2, "big") + text.encode()


PROPERTIES_OF_PUBLISH = st.lists(
    st.one_of(
        st.tuples(st.just(0x01), st.binary(min_size=1, max_size=1)),
        st.tuples(st.just(0x02), st.binary(min_size=4, max_size=4)),
        st.tuples(st.sampled_from([0x03, 0x08]), st.text(max_size=40).map(string)),
        st.tuples(st.just(0x09), st.binary(max_size=300).map(lambda data: len(data).to_bytes(2) + data)),
        st.tuples(st.just(0x0B), st.integers(1, 268_435_455).map(variable)),
        st.tuples(st.just(0x26), st.text(max_size=40).map(lambda text: string(text) + string(text))),
    ).map(lambda pair: bytes([pair[0]]) + pair[1]),
    max_size=12,
).map(b"".join)


def packet(head: int, body: bytes) -> bytes:
    return bytes([head]) + variable(len(body)) + body


def publish(  # noqa: PLR0913 - as many fields as the packet has
    version: MqttVersion,
    topic: str,
    payload: bytes,
    *,
    qos: int = 1,
    packet_id: int = 1,
    flags: int = 0,
    properties: bytes = b"",
) -> bytes:
    """A PUBLISH (3.3); `flags` are DUP and RETAIN."""
    identifier = packet_id.to_bytes(2, "big") if qos else b""
    described = variable(len(properties)) + properties if version is MqttVersion.V5 else b""
    return packet(0x30 | flags | qos << 1, string(topic) + identifier + described + payload)


def only(data: bytes) -> Packet:
    [found] = Stream().feed(data)
    return found


@given(st.data())
def test_packets_cut_anywhere_are_the_same_packets(data: st.DataObject) -> None:
    sizes = st.one_of(st.integers(0, 4), st.integers(120, 135), st.integers(16_380, 16_390))
    sent = [
        Packet(head, bytes(size))
        for head, size in data.draw(st.lists(st.tuples(st.integers(0, 255), sizes), max_size=8))
    ]
    stream = b"".join(packet(each.head, each.body) for each in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    cutter, found = Stream(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += cutter.feed(stream[start:end])
    assert found == sent


def test_packets_that_come_byte_by_byte() -> None:
    sent = [Packet(0x30, b"a" * 200), Packet(0xD0, b""), Packet(0x40, b"\0\1")]
    stream = Stream()
    data = b"".join(packet(each.head, each.body) for each in sent)
    assert [each for byte in data for each in stream.feed(bytes([byte]))] == sent


def test_a_length_of_five_bytes_is_none() -> None:
    with pytest.raises(ProtocolError):
        Stream().feed(b"\x30\x80\x80\x80\x80")


@given(
    version=st.sampled_from(VERSIONS),
    topic=st.one_of(st.text(max_size=50), st.integers(1, 65_535).map(lambda size: "t" * size)),
    payload=st.binary(max_size=300),
    qos=st.integers(0, 2),
    packet_id=st.integers(1, 65_535),
    flags=st.sampled_from([0, 1, 8, 9]),
    properties=PROPERTIES_OF_PUBLISH,
)
@example(MqttVersion.V5, "t" * 65_535, bytes(300_000), 1, 65_535, 9, b"")
@example(MqttVersion.V3_1_1, "oadr/meter/a", bytes(300_000), 0, 1, 0, b"")
@example(MqttVersion.V5, "é", b"", 2, 256, 0, b"\x26" + b"\0\1a\0\1b" * 1)
@example(MqttVersion.V5, "t", b"p", 1, 1, 0, b"\x09" + (20_000).to_bytes(2, "big") + bytes(20_000))
def test_a_message_is_read_as_it_was_written(  # noqa: PLR0913, PLR0917
    version: MqttVersion,
    topic: str,
    payload: bytes,
    qos: int,
    packet_id: int,
    flags: int,
    properties: bytes,
) -> None:
    sent = publish(version, topic, payload, qos=qos, packet_id=packet_id, flags=flags, properties=properties)
    expected = topic, payload, packet_id if qos else 0
    assert packets.read_publish(only(sent), version) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0",
        b"\0\5abc",
        b"\0\1a",
        b"\0\1a\0",
        b"\0\1a\0\0\0payload",
        b"\0\1a\0\1\x05\x01",
        b"\0\1a\0\1\x80",
        b"\0\1\xff\0\1\0",
    ],
)
def test_a_message_that_is_none(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        packets.read_publish(Packet(0x32, body), MqttVersion.V5)


def test_there_is_no_qos_3() -> None:
    with pytest.raises(ProtocolError):
        packets.read_publish(Packet(0x36, b"\0\1a\0\1payload"), MqttVersion.V3_1_1)


READERS: list[Callable[[Packet], Any]] = [
    *(
        lambda each, read=read, version=version: read(each, version)
        for read in (packets.read_publish, packets.read_connack, packets.read_suback)
        for version in VERSIONS
    ),
    packets.read_disconnect,
]


@given(st.binary(max_size=60), st.integers(0, 255))
@example(b"\0\0\x0a\x13\0", 0x20)
@example(b"\x8e\x05\x1f", 0xE0)
@example(b"\0\0\x03\x1f\0\x09hello", 0x20)
def test_arbitrary_bytes_are_read_or_no_mqtt(body: bytes, head: int) -> None:
    """Properties with a length beyond their packet once caused an IndexError."""
    for read in READERS:
        with suppress(ProtocolError):
            read(Packet(head, body))
        with suppress(ProtocolError):
            read(Packet(0x20, b"\0\0" + variable(len(body)) + body))


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_arbitrary_streams_are_cut_or_no_mqtt(chunks: list[bytes]) -> None:
    stream, fed = Stream(), 0
    with suppress(ProtocolError):
        for chunk in chunks:
            fed += len(chunk)
            stream.feed(chunk)
            assert len(stream._rest) <= fed


def test_a_login_answered() -> None:
    properties = b"\x13\0\x0a" + b"\x1f" + string("wait") + b"\x26" + string("a") + string("b")
    data = b"\1\0" + variable(len(properties)) + properties
    assert packets.read_connack(Packet(0x20, data), MqttVersion.V5) == packets.Accepted(None, True, 10)  # noqa: FBT003
    refused = packets.read_connack(Packet(0x20, b"\0\x87" + data[2:]), MqttVersion.V5)
    assert refused.refusal == "not authorized: wait"
    assert packets.read_connack(Packet(0x20, b"\0\5"), MqttVersion.V3_1_1).refusal == "not authorized"
    assert packets.read_connack(Packet(0x20, b"\0\x77"), MqttVersion.V3_1_1).refusal == "reason code 119"


def accepted(properties: bytes, version: MqttVersion = MqttVersion.V5, code: int = 0) -> packets.Accepted:
    body = bytes([0, code]) + (variable(len(properties)) + properties if version is MqttVersion.V5 else b"")
    return packets.read_connack(Packet(0x20, body), version)


def test_what_a_broker_says_that_it_can_do() -> None:
    unlimited = packets.Accepted(None, has_session=False)
    assert accepted(b"") == accepted(b"", MqttVersion.V3_1_1) == unlimited
    assert (unlimited.limits, unlimited.has_shared, unlimited.has_wildcards) == ({}, True, True)
    limited = accepted(b"\x11\0\0\0\x3c\x21\0\x0a\x27\0\1\0\0\x28\0\x2a\0")
    assert limited.limits == {"session_expiry_s": 60, "receive_maximum": 10, "maximum_packet_bytes": 65_536}
    assert (limited.has_shared, limited.has_wildcards) == (False, False)
    assert (accepted(b"\x2a\1").has_shared, accepted(b"\x28\1").has_wildcards) == (True, True)


@pytest.mark.parametrize(("body", "is_older"), [(b"\0\1", True), (b"\0\5", False), (b"\0\x84\0", True)])
def test_a_broker_of_before_mqtt_5(body: bytes, *, is_older: bool) -> None:
    """It answers as MQTT 3.1.1 has it, without properties."""
    answer = packets.read_connack(Packet(0x20, body), MqttVersion.V5)
    assert answer.refusal
    assert answer.is_older is is_older


@both
def test_a_probe_is_what_paho_sends(version: MqttVersion) -> None:
    paho = Captured(version)
    properties = Properties(PacketTypes.PUBLISH) if version is MqttVersion.V5 else None  # type: ignore[no-untyped-call]
    message = mqtt.MQTTMessageInfo(1)
    paho.client._send_publish(1, b"gridgate/probe/a", b"xyz", 0, info=message, properties=properties)
    assert packets.probe(version, "gridgate/probe/a", b"xyz") == paho.read()


@pytest.mark.parametrize(
    ("version", "is_clean", "expiry_s", "is_durable"),
    [
        (MqttVersion.V5, False, 1, True),
        (MqttVersion.V5, False, 0, False),
        (MqttVersion.V5, True, 1, False),
        (MqttVersion.V3_1_1, False, 0, True),
        (MqttVersion.V3_1_1, True, 0, False),
    ],
)
def test_a_session_that_outlives_its_connection(
    version: MqttVersion, expiry_s: int, *, is_clean: bool, is_durable: bool
) -> None:
    assert Connect(version, "a", 30, is_clean=is_clean, session_expiry_s=expiry_s).is_durable is is_durable


def test_a_subscription_answered() -> None:
    assert packets.read_suback(Packet(0x90, b"\0\1\1\x80"), MqttVersion.V3_1_1) == (1, [1, 128])
    answer = b"\0\1" + b"\x07\x1f" + string("nono") + b"\1\x87"
    assert packets.read_suback(Packet(0x90, answer), MqttVersion.V5) == (1, [1, 0x87])


def test_a_departure() -> None:
    assert packets.read_disconnect(Packet(0xE0, b"")) == "normal disconnection"
    said = b"\x8b\x08\x1f" + string("night")
    assert packets.read_disconnect(Packet(0xE0, said)) == "server shutting down: night"


class Captured:
    """What paho would send: its packet builders, on a socket that only remembers."""

    def __init__(self, version: MqttVersion, client_id: str = "somebody") -> None:
        self._sent = bytearray()
        protocol = MQTTProtocolVersion.MQTTv5 if version is MqttVersion.V5 else MQTTProtocolVersion.MQTTv311
        clean = None if version is MqttVersion.V5 else False
        self.client: Any = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=protocol, clean_session=clean
        )
        self.client._sock = cast(Any, self)

    def send(self, data: bytes) -> int:
        self._sent += data
        return len(data)

    def close(self) -> None:
        """Paho closes its socket after a DISCONNECT."""

    def read(self) -> bytes:
        return bytes(self._sent)


@both
@pytest.mark.parametrize(
    ("username", "password"), [(None, None), ("me", None), ("me", ""), ("mé", "geheim" * 50)]
)
def test_connect_is_what_paho_sends(version: MqttVersion, username: str | None, password: str | None) -> None:
    paho = Captured(version, "gridgate-ingest")
    if username is not None:
        paho.client.username_pw_set(username, password)
    if version is MqttVersion.V5:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho has no type here
        properties.SessionExpiryInterval = 86_400
        properties.ReceiveMaximum = 4000
        paho.client._connect_properties = properties
        paho.client._clean_start = False
    paho.client._send_connect(30)
    ours = Connect(version, "gridgate-ingest", 30, False, username, password, 86_400, 4000)  # noqa: FBT003
    assert ours.encode() == paho.read()


@both
def test_a_clean_connect_byte_by_byte(version: MqttVersion) -> None:
    data = Connect(version, "a", 258, is_clean=True, session_expiry_s=1, receive_maximum=2).encode()
    properties = b"\x08\x11\0\0\0\1\x21\0\2" if version is MqttVersion.V5 else b""
    body = b"\0\4MQTT" + bytes([version]) + b"\2" + b"\1\2" + properties + b"\0\1a"
    assert data == b"\x10" + bytes([len(body)]) + body


@both
def test_subscribe_and_unsubscribe_are_what_paho_sends(version: MqttVersion) -> None:
    filters = ["oadr/meter/+", "ven/é/#", "x" * 300]
    paho = Captured(version)
    if version is MqttVersion.V5:
        options = SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
        paho.client._send_subscribe(False, [(each.encode(), options) for each in filters])  # noqa: FBT003
    else:
        paho.client._send_subscribe(False, [(each.encode(), 1) for each in filters])  # noqa: FBT003
    assert SubscribeRequest(version, 1, filters).encode() == paho.read()

    paho = Captured(version)
    paho.client._send_unsubscribe(False, [each.encode() for each in filters])  # noqa: FBT003
    assert SubscribeRequest(version, 1, filters).encode_end() == paho.read()


@both
def test_acknowledgement_ping_and_departure_are_what_paho_sends(version: MqttVersion) -> None:
    paho = Captured(version)
    for packet_id in (1, 256, 65_535):
        paho.client._send_puback(packet_id)
    paho.client._send_pingreq()
    paho.client._send_disconnect()
    ours = packets.acknowledgements([1, 256, 65_535]) + packets.PING + packets.DISCONNECT
    assert ours == paho.read()


@both
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("payload", [b"", b"{}", bytes(300_000)])
def test_a_message_of_paho(version: MqttVersion, qos: int, payload: bytes) -> None:
    paho = Captured(version)
    properties = None
    if version is MqttVersion.V5:
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho has no type here
        properties.UserProperty = [("k", "v" * 100), ("k", "w" * 100)]
        properties.ContentType = "application/json"
    told = mqtt.MQTTMessageInfo(7)
    topic = b"ven/\xc3\xa9"
    paho.client._send_publish(7, topic, payload, qos, retain=True, info=told, properties=properties)
    assert packets.read_publish(only(paho.read()), version) == ("ven/é", payload, 7 if qos else 0)


def test_a_packet_has_a_largest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packets, "LONGEST_PACKET", 100)
    with pytest.raises(ValueError, match="a packet of"):
        SubscribeRequest(MqttVersion.V5, 1, ["x" * 101]).encode()
