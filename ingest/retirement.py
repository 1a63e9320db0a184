"""Retiring a worker: what the broker holds for its client id is stored, and then its session ends.

A worker that merely stops comes back: its session goes on collecting, and a shared subscription goes on
dealing to it. One that shall not come back has to be retired, or what it was dealt is lost with its session.
"""

from collections.abc import Callable
from datetime import datetime

from msgspec.structs import replace

from ingest.mqtt import packets
from ingest.mqtt.connection import Connection
from ingest.mqtt.link import Link
from ingest.mqtt.packets import Kind, Packet, Subscription
from ingest.settings import IngestSettings
from ingest.subscriber import FAREWELL_S, Subscriber

QUIET_ROUNDS = 2
MOST_IDS = 65_535


class RetiringSubscriber(Subscriber):
    """Ends the subscriptions and takes what is left of the session.

    It asks the broker for the end of the subscriptions again and again, each time all has been acknowledged.
    Whatever waited for an acknowledgement comes before the answer; when twice nothing does, nothing is left.
    """

    def __init__(
        self, settings: IngestSettings, clock: Callable[[], datetime], on_drained: Callable[[], None]
    ) -> None:
        super().__init__(settings, clock, lambda _: None)
        self._on_drained = on_drained
        self._asked = 0
        self._quiet_rounds = 0

    @property
    def is_drained(self) -> bool:
        """Whether the broker holds nothing for us any more."""
        return self._quiet_rounds >= QUIET_ROUNDS

    def end_session(self) -> None:
        """Have the broker forget us, once we have stopped.

        Raises:
            OSError, ProtocolError: it could not be told.
        """
        login = replace(self._login, is_clean=True, session_expiry_s=0)
        with Link(*self._address, self._tls) as link:
            Connection(link, login)
            link.send(packets.DISCONNECT)
            link.finish(FAREWELL_S)

    def _greeting(self) -> bytes:
        self._asked = self._asked % MOST_IDS + 1
        self._is_answered = False
        return Subscription(self._login.version, self._asked, self._subscription.filters).encode_end()

    def _receive(self, arrived: list[Packet]) -> None:
        if any(packet.kind == Kind.PUBLISH for packet in arrived):
            self._quiet_rounds = 0
        super()._receive(arrived)
        if self._is_answered and self._inbox.is_empty:
            self._ask_again()

    def _hear(self, packet: Packet) -> None:
        if packet.kind != Kind.UNSUBACK:
            super()._hear(packet)
        elif packets.read_suback(packet, self._login.version)[0] == self._asked:
            self._is_answered = True

    def _ask_again(self) -> None:
        self._quiet_rounds += 1
        if self.is_drained:
            self._on_drained()
            return
        _, link = self._link
        if link is not None:
            link.send(self._greeting())
