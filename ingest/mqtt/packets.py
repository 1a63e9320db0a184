"""Encodes and decodes the packets of MQTT 3.1.1 and 5 that a receiver needs. Pure functions over bytes.

The layouts are those of the OASIS standards MQTT 3.1.1 (2014) and 5.0 (2019); sections are those of 5.0.
"""

from collections.abc import Callable, Iterable
from enum import IntEnum

from msgspec import Struct

QOS_1 = 1
FIRST_REFUSAL_OF_V5 = 0x80
UNSUPPORTED_VERSION = 0x84
LONGEST_PACKET = 268_435_455
PropertyValue = int | bytes | str | tuple[str, str]
"""The value of a property of MQTT 5 (2.2.2.2)."""


class ProtocolError(ValueError):
    """The broker sent bytes that are not an MQTT packet."""


class MqttVersion(IntEnum):
    """The protocol level in CONNECT (3.1.2.2)."""

    V3_1_1 = 4
    V5 = 5


class Kind(IntEnum):
    """The control packets that we send or receive (2.1.2)."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14


class Packet(Struct, frozen=True, gc=False):
    """A received packet: its first byte, and the bytes after its length."""

    head: int
    body: bytes

    @property
    def kind(self) -> int:
        return self.head >> 4


class Connect(Struct, frozen=True, gc=False):
    """The CONNECT packet (3.1). `session_expiry_s` and `receive_maximum` exist with MQTT 5 only."""

    version: MqttVersion
    client_id: str
    keepalive_s: int
    is_clean: bool = False
    username: str | None = None
    password: str | None = None
    session_expiry_s: int = 0
    receive_maximum: int = 65_535

    @property
    def is_durable(self) -> bool:
        """Whether the session is to outlive the connection."""
        return not self.is_clean and (self.version is MqttVersion.V3_1_1 or self.session_expiry_s > 0)

    def encode(self) -> bytes:
        v5 = self.version is MqttVersion.V5
        flags = self.is_clean << 1 | (self.password is not None) << 6 | (self.username is not None) << 7
        properties = (
            b"\x11" + self.session_expiry_s.to_bytes(4) + b"\x21" + self.receive_maximum.to_bytes(2)
            if v5
            else b""
        )
        return _packet(
            Kind.CONNECT << 4,
            _text("MQTT") + bytes([self.version, flags]) + self.keepalive_s.to_bytes(2),
            _sized(properties) if v5 else b"",
            *(_text(each) for each in (self.client_id, self.username, self.password) if each is not None),
        )


class Accepted(Struct, frozen=True, gc=False):
    """The broker's CONNACK (3.2). `refusal` is None if it accepts.

    `is_older`: it refuses because it does not support our version. `session_expiry_s` is None if the
    requested one applies, `maximum_packet_bytes` if there is no limit.
    """

    refusal: str | None
    has_session: bool
    keepalive_s: int | None = None
    is_older: bool = False
    session_expiry_s: int | None = None
    receive_maximum: int = 65_535
    maximum_packet_bytes: int | None = None
    has_wildcards: bool = True
    has_shared: bool = True

    @property
    def limits(self) -> dict[str, int]:
        """The broker's limits, for the log."""
        limits = {
            "session_expiry_s": self.session_expiry_s,
            "receive_maximum": self.receive_maximum,
            "maximum_packet_bytes": self.maximum_packet_bytes,
        }
        return {name: value for name, value in limits.items() if value not in {None, 65_535}}


class SubscribeRequest(Struct, frozen=True, gc=False):
    """SUBSCRIBE at QoS 1. With MQTT 5 retained messages arrive once, for a new subscription (3.8.3.1)."""

    version: MqttVersion
    packet_id: int
    filters: list[str]

    def encode(self) -> bytes:
        v5 = self.version is MqttVersion.V5
        options = bytes([QOS_1 | (1 << 4 if v5 else 0)])
        entries = b"".join(_text(each) + options for each in self.filters)
        return _packet(Kind.SUBSCRIBE << 4 | 2, self.packet_id.to_bytes(2), b"\0" if v5 else b"", entries)

    def encode_end(self) -> bytes:
        """Return the UNSUBSCRIBE packet for the same filters."""
        properties = b"\0" if self.version is MqttVersion.V5 else b""
        entries = b"".join(_text(each) for each in self.filters)
        return _packet(Kind.UNSUBSCRIBE << 4 | 2, self.packet_id.to_bytes(2), properties, entries)


PING = bytes([Kind.PINGREQ << 4, 0])


def acknowledgements(packet_ids: Iterable[int]) -> bytes:
    """Return a PUBACK for each message; this form means success in both versions (3.4.2.1)."""
    return b"".join([b"\x40\x02" + packet_id.to_bytes(2) for packet_id in packet_ids])


def probe(version: MqttVersion, topic: str, payload: bytes) -> bytes:
    """Return a PUBLISH with QoS 0, not retained (3.3): the only kind sent over the receiver's connection."""
    return _packet(Kind.PUBLISH << 4, _text(topic), b"\0" if version is MqttVersion.V5 else b"", payload)


DISCONNECT = bytes([Kind.DISCONNECT << 4, 0])
"""DISCONNECT that keeps the session."""


class Stream:
    """Splits received bytes into packets."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._needed = 0

    def feed(self, data: bytes) -> list[Packet]:
        """Return the packets that these bytes complete.

        Raises:
            ProtocolError: the bytes are not the beginning of a packet.
        """
        self._rest += data
        if len(self._rest) < self._needed:
            return []
        stream, position, packets = bytes(self._rest), 0, []
        while True:
            body, end = _extent(stream, position)
            if end > len(stream):
                break
            packets.append(Packet(stream[position], stream[body:end]))
            position = end
        self._needed = end - position
        self._rest = bytearray(stream[position:])
        return packets


def _extent(stream: bytes, position: int) -> tuple[int, int]:
    """Return where the body of the packet at `position` begins and ends; the end may not have arrived yet."""
    length, body = 0, position + 1
    for shift in (0, 7, 14, 21):
        if body >= len(stream):
            return body, body + 1
        byte = stream[body]
        body += 1
        length |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the bit that says: more
            return body, body + length
    raise ProtocolError("a packet longer than any may be")


def read_publish(packet: Packet, version: MqttVersion) -> tuple[str, bytes, int]:
    """Return topic, payload and packet id of a PUBLISH (3.3); the id is 0 at QoS 0.

    Raises:
        ProtocolError: it is truncated, its topic is not UTF-8, or it could not be acknowledged.
    """
    body = packet.body
    end = 2 + int.from_bytes(body[:2])
    packet_id = 0
    topic = body[2:end]
    if packet.head & 0x06:
        packet_id = int.from_bytes(body[end : end + 2])
        end += 2
        if not packet_id or packet.head & 0x06 == 0x06:  # noqa: PLR2004 - QoS 3
            raise ProtocolError("a message without a packet id, or of a QoS that does not exist")
    if version is MqttVersion.V5 and end < len(body):
        end += 1 + body[end] if body[end] < 0x80 else _skip_properties(body, end)  # noqa: PLR2004
    if end > len(body):
        raise ProtocolError("a truncated message")
    try:
        return topic.decode(), body[end:], packet_id
    except UnicodeDecodeError as error:
        raise ProtocolError(f"a topic that is not UTF-8: {topic!r:.200}") from error


def _skip_properties(body: bytes, position: int) -> int:
    length, start = _variable(body, position)
    return start + length - position


def read_connack(packet: Packet, version: MqttVersion) -> Accepted:
    """Decode the broker's CONNACK.

    Raises:
        ProtocolError: it is another packet.
    """
    if packet.kind != Kind.CONNACK or len(packet.body) < 2:  # noqa: PLR2004 - flags and code
        raise ProtocolError(f"a packet other than CONNACK in answer to CONNECT (packet type {packet.kind})")
    flags, code = packet.body[:2]
    if version is MqttVersion.V5 and 0 < code < FIRST_REFUSAL_OF_V5:  # a broker that supports 3.1.1 only
        reason = _explain(code, {}, _REFUSALS[MqttVersion.V3_1_1])
        return Accepted(reason, has_session=False, is_older=code == 1)
    properties = _properties(packet.body, 2) if version is MqttVersion.V5 else {}
    receive_maximum = _number(properties, _RECEIVE_MAXIMUM)
    return Accepted(
        refusal=_explain(code, properties, _REFUSALS[version]) if code else None,
        has_session=bool(flags & 1),
        keepalive_s=_number(properties, _SERVER_KEEPALIVE),
        is_older=code == UNSUPPORTED_VERSION,
        session_expiry_s=_number(properties, _SESSION_EXPIRY),
        receive_maximum=65_535 if receive_maximum is None else receive_maximum,
        maximum_packet_bytes=_number(properties, _MAXIMUM_PACKET),
        has_wildcards=properties.get(_HAS_WILDCARDS, 1) == 1,
        has_shared=properties.get(_HAS_SHARED, 1) == 1,
    )


def read_suback(packet: Packet, version: MqttVersion) -> tuple[int, list[int]]:
    """Return packet id and one reason code for each filter of a SUBACK or UNSUBACK: 128 and up refuse it.

    Raises:
        ProtocolError: it is truncated.
    """
    body, start = packet.body, 2
    if version is MqttVersion.V5:
        length, start = _variable(body, 2)
        start += length
    if start > len(body):
        raise ProtocolError("a truncated answer to SUBSCRIBE")
    return int.from_bytes(body[:2]), list(body[start:])


def read_disconnect(packet: Packet) -> str:
    """Return the reason of the broker's DISCONNECT, which exists in MQTT 5 (3.14).

    Raises:
        ProtocolError: its properties are invalid.
    """
    code = packet.body[0] if packet.body else 0
    return _explain(code, _properties(packet.body, 1) if len(packet.body) > 1 else {}, _DEPARTURES)


def _explain(code: int, properties: dict[int, PropertyValue], meanings: dict[int, str]) -> str:
    meaning = meanings.get(code, f"reason code {code}")
    detail = properties.get(_REASON)
    return f"{meaning}: {detail}" if detail and isinstance(detail, str) else meaning


_REFUSALS = {
    MqttVersion.V3_1_1: {
        1: "unacceptable protocol version",
        2: "client id rejected",
        3: "server unavailable",
        4: "bad user name or password",
        5: "not authorized",
    },
    MqttVersion.V5: {
        0x80: "unspecified error",
        0x81: "malformed packet",
        0x82: "protocol error",
        0x83: "implementation specific error",
        0x84: "unsupported protocol version",
        0x85: "client identifier not valid",
        0x86: "bad user name or password",
        0x87: "not authorized",
        0x88: "server unavailable",
        0x89: "server busy",
        0x8A: "banned",
        0x8C: "bad authentication method",
        0x95: "packet too large",
        0x97: "quota exceeded",
        0x9C: "use another server",
        0x9D: "server moved",
        0x9F: "connection rate exceeded",
    },
}

_DEPARTURES = _REFUSALS[MqttVersion.V5] | {
    0x00: "normal disconnection",
    0x8B: "server shutting down",
    0x8D: "keep alive timeout",
    0x8E: "session taken over: another client has our client id",
    0x93: "receive maximum exceeded",
    0x98: "administrative action",
}

_SESSION_EXPIRY = 0x11
_SERVER_KEEPALIVE = 0x13
_REASON = 0x1F
_RECEIVE_MAXIMUM = 0x21
_MAXIMUM_PACKET = 0x27
_HAS_WILDCARDS = 0x28
_HAS_SHARED = 0x2A


def _properties(body: bytes, position: int) -> dict[int, PropertyValue]:
    """Return properties by number (2.2.2.2); of one that occurs more than once, the last."""
    if position == len(body):  # a packet may have none
        return {}
    length, position = _variable(body, position)
    end = position + length
    if end > len(body):
        raise ProtocolError("truncated properties")
    properties: dict[int, PropertyValue] = {}
    while position < end:
        number = body[position]
        read = _PROPERTY.get(number)
        if read is None:
            raise ProtocolError(f"property {number}, which does not exist")
        properties[number], position = read(body, position + 1)
    if position > end:
        raise ProtocolError("a property that is longer than all of them")
    return properties


def _number(properties: dict[int, PropertyValue], number: int) -> int | None:
    """Return a numeric property; None without it."""
    value = properties.get(number)
    return value if isinstance(value, int) else None


def _variable(body: bytes, position: int) -> tuple[int, int]:
    """Return a variable byte integer (1.5.5), and where it ends."""
    value = 0
    for shift in (0, 7, 14, 21):
        if position >= len(body):
            break
        byte = body[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004
            return value, position
    raise ProtocolError("a length that does not end")


def _integer(size: int) -> Callable[[bytes, int], tuple[int, int]]:
    return lambda body, at: (int.from_bytes(body[at : at + size]), at + size)


def _binary(body: bytes, position: int) -> tuple[bytes, int]:
    end = position + 2 + int.from_bytes(body[position : position + 2])
    return body[position + 2 : end], end


def _string(body: bytes, position: int) -> tuple[str, int]:
    data, end = _binary(body, position)
    return data.decode(errors="replace"), end


def _pair(body: bytes, position: int) -> tuple[tuple[str, str], int]:
    name, position = _string(body, position)
    value, position = _string(body, position)
    return (name, value), position


_PROPERTY: dict[int, Callable[[bytes, int], tuple[PropertyValue, int]]] = {
    **dict.fromkeys((0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A), _integer(1)),
    **dict.fromkeys((0x13, 0x21, 0x22, 0x23), _integer(2)),
    **dict.fromkeys((0x02, 0x11, 0x18, 0x27), _integer(4)),
    **dict.fromkeys((0x03, 0x08, 0x12, 0x15, 0x1A, 0x1C, 0x1F), _string),
    **dict.fromkeys((0x09, 0x16), _binary),
    0x0B: _variable,
    0x26: _pair,
}


def _packet(head: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    if len(body) > LONGEST_PACKET:
        raise ValueError(f"a packet of {len(body)} bytes")
    return bytes([head]) + _sized(body)


def _sized(data: bytes) -> bytes:
    """Return data prefixed by its length as a variable byte integer."""
    length, digits = len(data), bytearray()
    while length > 0x7F:  # noqa: PLR2004
        digits.append(length & 0x7F | 0x80)
        length >>= 7
    digits.append(length)
    return bytes(digits) + data


def _text(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2) + data
