"""Retires a worker: stores the messages queued in its session, and then ends the session.

While a worker is stopped the broker goes on queueing messages in its session, also those of a shared
subscription. A worker that will not start again must be retired, or these messages are lost with the session.
"""

from collections.abc import Callable
from datetime import datetime

from msgspec.structs import replace

from ingest.mqtt import packets
from ingest.mqtt.connection import Connection
from ingest.mqtt.link import Link
from ingest.mqtt.packets import Kind, Packet, SubscribeRequest
from ingest.receiving.subscriber import FAREWELL_S, Subscriber
from ingest.settings import IngestSettings

QUIET_ROUNDS = 2
MOST_IDS = 65_535


class RetiringSubscriber(Subscriber):
    """Unsubscribes, and receives the remaining messages of the session.

    It sends UNSUBSCRIBE repeatedly, whenever all messages have been acknowledged. The broker sends queued
    messages before its UNSUBACK; after two rounds without a message, the session is empty.
    """

    def __init__(
        self, settings: IngestSettings, clock: Callable[[], datetime], on_drained: Callable[[], None]
    ) -> None:
        super().__init__(settings, clock, lambda _: None)
        self._on_drained = on_drained
        self._packet_id = 0
        self._quiet_rounds = 0

    @property
    def is_drained(self) -> bool:
        """Whether the session holds no message any more."""
        return self._quiet_rounds >= QUIET_ROUNDS

    def end_session(self) -> None:
        """Have the broker delete the session; call this after the end of `run`.

        Raises:
            OSError, ProtocolError: the broker could not be reached, or did not answer.
        """
        login = replace(self._login, is_clean=True, session_expiry_s=0)
        with Link(*self._address, self._tls) as link:
            Connection(link, login)
            link.send(packets.DISCONNECT)
            link.finish(FAREWELL_S)

    def _greeting(self) -> bytes:
        self._packet_id = self._packet_id % MOST_IDS + 1
        self._is_answered = False
        return SubscribeRequest(self._login.version, self._packet_id, self._subscription.filters).encode_end()

    def _receive(self, arrived: list[Packet]) -> None:
        if any(packet.kind == Kind.PUBLISH for packet in arrived):
            self._quiet_rounds = 0
        super()._receive(arrived)
        if self._is_answered and self._inbox.is_empty:
            self._start_round()

    def _hear(self, packet: Packet) -> None:
        if packet.kind != Kind.UNSUBACK:
            super()._hear(packet)
        elif packets.read_suback(packet, self._login.version)[0] == self._packet_id:
            self._is_answered = True

    def _start_round(self) -> None:
        self._quiet_rounds += 1
        if self.is_drained:
            self._on_drained()
            return
        _, link = self._link
        if link is not None:
            link.send(self._greeting())
