"""A broker that a test scripts, on a real socket."""

import socket
import ssl
from collections.abc import Iterable
from typing import Self

from ingest.mqtt.packets import Kind, MqttVersion, Packet, Stream

PATIENCE_S = 10.0


class Peer:
    """The broker's end of one connection."""

    def __init__(self, connected: socket.socket, version: MqttVersion) -> None:
        self._socket = connected
        self.version = version
        self._stream = Stream()
        self._heard: list[Packet] = []

    def hear(self) -> Packet:
        """The next packet, whatever it is.

        Raises:
            EOFError: the subscriber has closed the connection.
            TimeoutError: it says nothing.
        """
        while not self._heard:
            data = self._socket.recv(262_144)
            if not data:
                raise EOFError
            self._heard += self._stream.feed(data)
        return self._heard.pop(0)

    def expect(self, *kinds: Kind) -> list[Packet]:
        heard = [self.hear() for _ in kinds]
        assert [packet.kind for packet in heard] == list(kinds)
        return heard

    def acknowledged(self, count: int) -> list[int]:
        """The ids of the next acknowledgements."""
        return [int.from_bytes(packet.body) for packet in self.expect(*[Kind.PUBACK] * count)]

    def expect_close(self) -> None:
        try:
            while True:
                self.hear()
        except (EOFError, ConnectionResetError):
            return

    def say(self, *data: bytes) -> None:
        self._socket.sendall(b"".join(data))

    def welcome(self, *, has_session: bool = False, code: int = 0) -> bytes:
        return framed(0x20, bytes([has_session, code]) + self.no_properties)

    def granted(self, *codes: int) -> bytes:
        return framed(0x90, b"\0\1" + self.no_properties + bytes(codes or (1, 1, 1, 1)))

    def message(self, packet_id: int, payload: bytes = b"{}", topic: bytes = b"t") -> bytes:
        """With QoS 1; QoS 0 where the id is 0."""
        identifier = packet_id.to_bytes(2) if packet_id else b""
        body = len(topic).to_bytes(2) + topic + identifier + self.no_properties + payload
        return framed(0x32 if packet_id else 0x30, body)

    def messages(self, packet_ids: Iterable[int]) -> bytes:
        return b"".join(self.message(each) for each in packet_ids)

    def let_in(self, *, has_session: bool = False) -> None:
        """All that comes before the first message."""
        self.expect(Kind.CONNECT)
        self.say(self.welcome(has_session=has_session))
        self.expect(Kind.SUBSCRIBE)
        self.say(self.granted())

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def no_properties(self) -> bytes:
        return b"\0" if self.version is MqttVersion.V5 else b""


class ScriptedBroker:
    """Where subscribers connect; each connection is the test's to play."""

    def __init__(self, version: MqttVersion, tls: ssl.SSLContext | None = None) -> None:
        self.version = version
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.patience_s = PATIENCE_S

    @property
    def mqtt_url(self) -> str:
        return f"mqtt{'s' if self._tls else ''}://localhost:{self.port}"

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def accept(self) -> Peer:
        self._listener.settimeout(self.patience_s)
        connected, _ = self._listener.accept()
        connected.settimeout(self.patience_s)
        if self._tls is not None:
            connected = self._tls.wrap_socket(connected, server_side=True)
        return Peer(connected, self.version)

    def let_in(self, *, has_session: bool = False) -> Peer:
        peer = self.accept()
        peer.let_in(has_session=has_session)
        return peer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()


def framed(head: int, body: bytes) -> bytes:
    """A packet: its first byte, the length in sevens of bits, its body."""
    length, digits = len(body), bytearray()
    while length >= 128:
        digits.append(length % 128 + 128)
        length //= 128
    return bytes([head, *digits, length]) + body
