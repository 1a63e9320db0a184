"""Commands to the broker: pipelined, with QoS 1, over one connection."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import cycle

import msgspec

from ingest.commands.states import Due, Patience, interrupted, published
from ingest.mqtt import packets
from ingest.mqtt.connection import Connection
from ingest.mqtt.link import Link
from ingest.mqtt.packets import Kind, Packet, ProtocolError, Version
from schemas.commands import envelope

TOPIC = "ven/cmd/"
CONFIRMED_WITHIN_S = 10.0
"""For all that is published together; well within the lease."""

WINDOW = 1_000
"""Most messages on their way at once, where the broker does not ask for fewer."""

Clock = Callable[[], datetime]


class Publisher:
    """Publishes what it is given, and tells what became of it; it belongs to the thread that made it."""

    def __init__(self, link: Link, connection: Connection, version: Version, clock: Clock) -> None:
        self._link = link
        self._connection = connection
        self._version = version
        self._clock = clock
        self._window = min(connection.receive_maximum, WINDOW)
        self._ids = cycle(range(1, 65_536))
        self._in_flight: dict[int, tuple[Due, datetime]] = {}

    def publish(
        self, commands: Iterable[Due], patience: Patience
    ) -> tuple[list[Due], OSError | ProtocolError | None]:
        """Publish commands; answers each as it is now, and what broke the connection, if anything did.

        One that was not on its way yet when it broke comes back as it was.
        """
        waiting, told = deque(commands), list[Due]()
        try:
            self._pump(waiting, told, patience)
        except (OSError, ProtocolError) as error:
            told += (interrupted(command, sent_at, patience) for command, sent_at in self._in_flight.values())
            self._in_flight.clear()
            return [*told, *waiting], error
        return told, None

    def keep_alive(self) -> None:
        """Hear what the broker says, and ping it when it is time.

        Raises:
            OSError, ProtocolError: the connection has ended.
        """
        for packet in self._connection.receive(within_s=0):
            self._hear(packet)

    def leave(self, within_s: float) -> None:
        self._link.send(packets.DISCONNECT)
        self._link.finish(within_s)

    def _pump(self, waiting: deque[Due], told: list[Due], patience: Patience) -> None:
        deadline = time.monotonic() + CONFIRMED_WITHIN_S
        while waiting or self._in_flight:
            self._send(waiting)
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError(f"the broker has not confirmed {len(self._in_flight)} commands in time")
            for packet in self._connection.receive(within_s=left_s):
                if packet.kind == Kind.PUBACK:
                    told += self._confirmed(packet, patience)
                else:
                    self._hear(packet)

    def _send(self, waiting: deque[Due]) -> None:
        """As many as the window has room for, in one piece."""
        now, out = self._clock(), list[bytes]()
        while waiting and len(self._in_flight) < self._window:
            command, packet_id = waiting.popleft(), next(self._ids)
            self._in_flight[packet_id] = command, now
            out.append(packets.publish(self._version, packet_id, TOPIC + command.ven_id, _payload(command)))
        if out:
            self._link.send(b"".join(out))

    def _confirmed(self, packet: Packet, patience: Patience) -> Sequence[Due]:
        packet_id, code = packets.read_puback(packet)
        if packet_id not in self._in_flight:
            raise ProtocolError(f"a confirmation of message {packet_id}, which we have not sent")
        command, sent_at = self._in_flight.pop(packet_id)
        return [published(command, code, sent_at, patience)]

    def _hear(self, packet: Packet) -> None:
        match packet.kind:
            case Kind.PINGRESP:
                pass
            case Kind.DISCONNECT:
                raise ConnectionResetError(f"the broker left: {packets.read_disconnect(packet)}")
            case kind:
                raise ProtocolError(f"a packet that we did not ask for (type {kind})")


def _payload(command: Due) -> bytes:
    told = envelope(command.op, command.ven_id, command.command_id, {})
    return msgspec.json.encode({**told, "data": msgspec.Raw(command.data.encode())})
