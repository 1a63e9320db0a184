"""Commands to the broker, published by paho: pipelined, with QoS 1, over one connection."""

import ssl
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from msgspec import Struct
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from ingest.commands.message import expiry_s, payload
from ingest.commands.states import (
    FIRST_REFUSAL,
    REFUSED,
    Due,
    RetryPolicy,
    interrupted,
    published,
    unpublishable,
)
from ingest.mqtt.packets import Connect, MqttVersion
from ingest.mqtt.paho_connection import PahoConnection, connection_errors
from schemas.programs.broker_url import BrokerAddress

TOPIC = "ven/cmd/"
CONFIRMED_WITHIN_S = 10.0
"""Timeout for one pipeline of commands; well within the lease."""

WINDOW = 100
"""Most messages in flight at once, whose delivery is unknown when the connection ends."""

OVERHEAD_BYTES = 64
"""Upper bound of a PUBLISH packet's bytes beside topic and payload."""

Clock = Callable[[], datetime]


class Attempt(Struct, frozen=True):
    """Commands after an attempt, and what ended the connection, if anything did.

    `unconfirmed` and `unpublished` are unchanged; the broker may have received some of the former.
    """

    settled: list[Due]
    unconfirmed: list[Due]
    unpublished: list[Due]
    error: ConnectionError | TimeoutError | None = None


class OutgoingMessage(Struct, frozen=True):
    """A message without an expiry."""

    topic: str
    payload: bytes


class Publisher:
    """Publishes over one connection to the broker; used only by the thread that created it."""

    def __init__(
        self,
        address: BrokerAddress,
        tls: ssl.SSLContext | None,
        login: Connect,
        clock: Clock,
        *,
        has_expiry: bool = True,
    ) -> None:
        """Log in; without `has_expiry`, as always with MQTT 3.1.1, messages have no expiry.

        Raises:
            LoginRefusedError: the broker refuses the login, or does not support QoS 1.
            OSError: it cannot be reached, or does not answer.
        """
        self._clock = clock
        self.has_expiry = has_expiry and login.version is MqttVersion.V5
        self._confirmed: deque[tuple[int, int]] = deque()
        self._connection = PahoConnection(address, tls, login)
        self._client = self._connection.client
        self._client.on_publish = lambda _c, _u, mid, code, _p: self._confirmed.append((mid, code.value))
        self._window = min(self._connection.limits.get("ReceiveMaximum", WINDOW), WINDOW)
        self._most_bytes = self._connection.limits.get("MaximumPacketSize")

    def publish(self, commands: Sequence[Due], policy: RetryPolicy) -> Attempt:
        """Publish commands and wait for the broker's confirmations.

        If the connection ends, a command published alone has used up an attempt; several together have not.
        """
        waiting = deque(commands)
        in_flight: dict[int, tuple[Due, datetime]] = {}
        settled: list[Due] = []
        try:
            self._pump(waiting, in_flight, settled, policy)
        except TimeoutError as error:  # the broker may have delivered them without confirming
            settled += (interrupted(*each, policy, is_alone=False) for each in in_flight.values())
            return Attempt(settled, [], list(waiting), error)
        except ConnectionError as error:
            if len(commands) == 1 and in_flight:
                [(command, sent_at)] = in_flight.values()
                return Attempt([interrupted(command, sent_at, policy, is_alone=True)], [], [], error)
            return Attempt(settled, [each for each, _ in in_flight.values()], list(waiting), error)
        return Attempt(settled, [], [])

    def publish_messages(self, messages: Sequence[OutgoingMessage]) -> list[str]:
        """Publish messages in order and wait for confirmations; returns the broker's reasons for refusals.

        Raises:
            OSError: the connection ended, or a confirmation is missing: the broker may have received some.
        """
        waiting, in_flight, refusals = deque(messages), dict[int, OutgoingMessage](), list[str]()
        deadline = time.monotonic() + CONFIRMED_WITHIN_S
        while waiting or in_flight:
            while waiting and len(in_flight) < self._window:
                message = waiting.popleft()
                with connection_errors():
                    sent = self._client.publish(message.topic, message.payload, qos=1)
                in_flight[sent.mid] = message
            if time.monotonic() > deadline:
                raise TimeoutError(f"the broker has not confirmed {len(in_flight)} messages in time")
            self._connection.loop(max(deadline - time.monotonic(), 0))
            while self._confirmed:
                mid, code = self._confirmed.popleft()
                message = in_flight.pop(mid)
                deadline = time.monotonic() + CONFIRMED_WITHIN_S
                refusals += [f"{message.topic}: {REFUSED.get(code, code)}"] if code >= FIRST_REFUSAL else []
        return refusals

    def keep_alive(self) -> None:
        """Read what the broker sends, and ping it when it is time.

        Raises:
            ConnectionError: the connection has ended.
        """
        self._connection.loop(0)

    def leave(self) -> None:
        """Send DISCONNECT, and close."""
        self._connection.leave()

    def close(self) -> None:
        """Close what is still open."""
        self._connection.close()

    def _pump(
        self,
        waiting: deque[Due],
        in_flight: dict[int, tuple[Due, datetime]],
        settled: list[Due],
        policy: RetryPolicy,
    ) -> None:
        deadline = time.monotonic() + CONFIRMED_WITHIN_S
        while waiting or in_flight:
            while waiting and len(in_flight) < self._window:
                settled += self._send(waiting.popleft(), in_flight)
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError(f"the broker has not confirmed {len(in_flight)} commands in time")
            if in_flight:
                try:
                    self._connection.loop(left_s)
                finally:
                    settled += self._take_confirmed(in_flight, policy)

    def _send(self, command: Due, in_flight: dict[int, tuple[Due, datetime]]) -> list[Due]:
        """Publish a command; returns it, settled, if that is not possible."""
        now, topic = self._clock(), TOPIC + command.ven_id
        content = payload(command, now)
        size_bytes = len(topic.encode()) + len(content) + OVERHEAD_BYTES
        if self._most_bytes is not None and size_bytes > self._most_bytes:
            return [unpublishable(command, REFUSED[0x95])]
        try:
            with connection_errors(passing=ValueError):
                message = self._client.publish(topic, content, qos=1, properties=self._expiry(command, now))
        except ValueError as error:
            return [unpublishable(command, f"it cannot be published: {error}")]
        in_flight[message.mid] = command, now
        return []

    def _expiry(self, command: Due, now: datetime) -> Properties | None:
        if not self.has_expiry:
            return None
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho has no type here
        properties.MessageExpiryInterval = expiry_s(command, now)
        return properties

    def _take_confirmed(
        self, in_flight: dict[int, tuple[Due, datetime]], policy: RetryPolicy
    ) -> Iterator[Due]:
        while self._confirmed:
            mid, code = self._confirmed.popleft()
            command, sent_at = in_flight.pop(mid)
            yield published(command, code, sent_at, policy)
