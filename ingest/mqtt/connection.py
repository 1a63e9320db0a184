"""A connection to the broker: CONNECT, then packets, with keep-alive."""

import math
import time

from ingest.mqtt import packets
from ingest.mqtt.link import CONNECT_TIMEOUT_S, Link
from ingest.mqtt.packets import Connect, Packet, Stream


class LoginRefusedError(ConnectionError):
    """The broker refuses CONNECT; `is_older` if it does not support MQTT 5."""

    def __init__(self, reason: str, *, is_older: bool = False) -> None:
        super().__init__(reason)
        self.is_older = is_older


class HungUpError(ConnectionResetError):
    """The broker closed the connection instead of answering CONNECT."""


class Connection:
    """An established MQTT connection, used by one thread.

    `accepted` is the broker's CONNACK. If it has a session, the broker sends unacknowledged messages again.
    """

    def __init__(self, link: Link, login: Connect) -> None:
        """Log in.

        Raises:
            LoginRefusedError: the broker refuses.
            HungUpError: the broker closes the connection.
            OSError, ProtocolError: the broker does not answer, or sends invalid packets.
        """
        self._link = link
        self._stream = Stream()
        self._ping_every_s = login.keepalive_s / 2
        self._ping_at = self._received_at = time.monotonic()
        link.send(login.encode())
        answer, *self._early = self._await_answer()
        self.accepted = accepted = packets.read_connack(answer, login.version)
        if accepted.refusal is not None:
            raise LoginRefusedError(accepted.refusal, is_older=accepted.is_older)
        self._ping_every_s = min(accepted.keepalive_s or login.keepalive_s, login.keepalive_s) / 2
        self._ping_at = time.monotonic() + self._ping_every_s

    def receive(self, *, reads: bool = True, within_s: float = math.inf) -> list[Packet]:
        """Wait until packets arrive or the link is woken, and send pings meanwhile.

        Without `reads` nothing is read from the socket: back-pressure. `within_s` is the timeout.

        Raises:
            OSError: the connection broke, or the broker has timed out.
            ProtocolError: the broker sent an invalid packet.
        """
        if self._early:
            early, self._early = self._early, []
            return early
        data = self._link.exchange(min(self._wait_s(), within_s), reads=reads)
        now = time.monotonic()
        if data or not reads:
            self._received_at = now
        elif now - self._received_at > 3 * self._ping_every_s:
            raise TimeoutError(f"the broker has been silent for {now - self._received_at:.0f} s")
        return self._stream.feed(data) if data else []

    def _wait_s(self) -> float:
        """Seconds until the next ping; a ping that is due is sent."""
        now = time.monotonic()
        if now >= self._ping_at:
            self._link.send(packets.PING)
            self._ping_at = now + self._ping_every_s
        return self._ping_at - now

    def _await_answer(self) -> list[Packet]:
        deadline = time.monotonic() + CONNECT_TIMEOUT_S
        while (left_s := deadline - time.monotonic()) > 0:
            try:
                data = self._link.exchange(left_s)
            except ConnectionResetError as error:
                raise HungUpError("the broker closed the connection at CONNECT") from error
            arrived = self._stream.feed(data)
            if arrived:
                return arrived
        raise TimeoutError("the broker does not answer CONNECT")
