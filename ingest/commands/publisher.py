"""Commands to the broker, published by paho: pipelined, with QoS 1, over one connection."""

import ssl
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import paho.mqtt.client as mqtt
from msgspec import Struct
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

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
from ingest.mqtt.connection import LoginRefusedError
from ingest.mqtt.link import CONNECT_TIMEOUT_S
from ingest.mqtt.packets import Connect, Version
from schemas.programs.broker_url import BrokerAddress

TOPIC = "ven/cmd/"
CONFIRMED_WITHIN_S = 10.0
"""For all that is published together; well within the lease."""

WINDOW = 100
"""Most messages on their way at once, and so in doubt when the connection ends."""

OVERHEAD_BYTES = 64
"""More than a PUBLISH has beside topic and payload."""

PROTOCOLS = {Version.V3_1_1: MQTTProtocolVersion.MQTTv311, Version.V5: MQTTProtocolVersion.MQTTv5}

Clock = Callable[[], datetime]


class Attempt(Struct, frozen=True):
    """Commands after an attempt, and what ended the connection, if anything did.

    `unconfirmed` and `unpublished` are as they were; of the former the broker may have taken some.
    """

    settled: list[Due]
    unconfirmed: list[Due]
    unpublished: list[Due]
    error: ConnectionError | TimeoutError | None = None


class Message(Struct, frozen=True):
    """A message that has no time of its own."""

    topic: str
    payload: bytes


class Publisher:
    """One connection to the broker, driven by the thread that made it.

    paho's client serves for this one connection and never reconnects, so it repeats nothing by itself.
    """

    def __init__(
        self,
        address: BrokerAddress,
        tls: ssl.SSLContext | None,
        login: Connect,
        clock: Clock,
        *,
        has_expiry: bool = True,
    ) -> None:
        """Log in; without `has_expiry` no message has an expiry, as is always so with MQTT 3.1.1.

        Raises:
            LoginRefusedError: the broker does not let us in, or takes nothing at QoS 1.
            OSError: it cannot be reached, or does not answer.
        """
        self._clock = clock
        self.has_expiry = has_expiry and login.version is Version.V5
        self._confirmed: deque[tuple[int, int]] = deque()
        self._connack: tuple[ReasonCode, Mapping[str, Any]] | None = None
        self._departure = "the broker closed the connection"
        self._client = _client(login, tls)
        self._client.on_connect = self._on_connect
        self._client.on_publish = lambda _c, _u, mid, code, _p: self._confirmed.append((mid, code.value))
        self._client.on_disconnect = self._on_disconnect
        try:
            with _connection_errors():
                self._client.connect(*address, keepalive=login.keepalive_s)
            limits = self._await_login()
        except OSError:
            self.close()
            raise
        self._window = min(limits.get("ReceiveMaximum", WINDOW), WINDOW)
        self._most_bytes = limits.get("MaximumPacketSize")

    def publish(self, commands: Sequence[Due], policy: RetryPolicy) -> Attempt:
        """Publish commands and wait for the broker's confirmations.

        One command alone that the connection ends at has had its attempt; of several, none has.
        """
        waiting = deque(commands)
        in_flight: dict[int, tuple[Due, datetime]] = {}
        settled: list[Due] = []
        try:
            self._pump(waiting, in_flight, settled, policy)
        except TimeoutError as error:  # a broker that goes on without confirming may have delivered them
            settled += (interrupted(*each, policy, is_alone=False) for each in in_flight.values())
            return Attempt(settled, [], list(waiting), error)
        except ConnectionError as error:
            if len(commands) == 1 and in_flight:
                [(command, sent_at)] = in_flight.values()
                return Attempt([interrupted(command, sent_at, policy, is_alone=True)], [], [], error)
            return Attempt(settled, [each for each, _ in in_flight.values()], list(waiting), error)
        return Attempt(settled, [], [])

    def publish_messages(self, messages: Sequence[Message]) -> list[str]:
        """Publish messages in their order and wait for the broker; answers why it refused some.

        Raises:
            OSError: the connection ended, or the broker does not confirm: it may have some of them.
        """
        waiting, in_flight, refusals = deque(messages), dict[int, Message](), list[str]()
        deadline = time.monotonic() + CONFIRMED_WITHIN_S
        while waiting or in_flight:
            while waiting and len(in_flight) < self._window:
                message = waiting.popleft()
                with _connection_errors():
                    sent = self._client.publish(message.topic, message.payload, qos=1)
                in_flight[sent.mid] = message
            if time.monotonic() > deadline:
                raise TimeoutError(f"the broker has not confirmed {len(in_flight)} messages in time")
            self._loop(max(deadline - time.monotonic(), 0))
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
        self._loop(0)

    def leave(self) -> None:
        """Send DISCONNECT, and close."""
        with _connection_errors():
            self._client.disconnect()

    def close(self) -> None:
        """Close what is still open; without the callbacks, reference counting frees paho's client."""
        self._client.on_connect = self._client.on_publish = self._client.on_disconnect = None
        sock = self._client.socket()
        if sock is not None:
            sock.close()

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
                    self._loop(left_s)
                finally:
                    settled += self._take_confirmed(in_flight, policy)

    def _send(self, command: Due, in_flight: dict[int, tuple[Due, datetime]]) -> list[Due]:
        """Publish one; answers it where that is not possible."""
        now, topic = self._clock(), TOPIC + command.ven_id
        content = payload(command, now)
        size_bytes = len(topic.encode()) + len(content) + OVERHEAD_BYTES
        if self._most_bytes is not None and size_bytes > self._most_bytes:
            return [unpublishable(command, REFUSED[0x95])]
        try:
            with _connection_errors(passing=ValueError):
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

    def _await_login(self) -> Mapping[str, Any]:
        """The broker's capabilities by its CONNACK (MQTT 5, 3.2.2.3)."""
        deadline = time.monotonic() + CONNECT_TIMEOUT_S
        while self._connack is None:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError("the broker does not answer CONNECT")
            self._loop(left_s)
        code, properties = self._connack
        if code.is_failure:
            raise LoginRefusedError(str(code).lower())
        if properties.get("MaximumQoS") == 0:
            raise LoginRefusedError("it takes nothing at QoS 1")
        return properties

    def _loop(self, timeout_s: float) -> None:
        with _connection_errors():
            result = self._client.loop(timeout_s)
        refused = self._connack is not None and self._connack[0].is_failure
        if result is not MQTTErrorCode.MQTT_ERR_SUCCESS and not refused:
            raise ConnectionResetError(self._departure)

    def _on_connect(
        self,
        _client: mqtt.Client,
        _data: object,
        _flags: mqtt.ConnectFlags,
        code: ReasonCode,
        limits: Properties | None,
    ) -> None:
        self._connack = code, {} if limits is None else vars(limits)

    def _on_disconnect(
        self,
        _client: mqtt.Client,
        _data: object,
        flags: mqtt.DisconnectFlags,
        code: ReasonCode,
        _limits: Properties | None,
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            self._departure = f"the broker left: {str(code).lower()}"


def _client(login: Connect, tls: ssl.SSLContext | None) -> mqtt.Client:
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2,
        client_id=login.client_id,
        protocol=PROTOCOLS[login.version],
        reconnect_on_failure=False,
    )
    client.max_inflight_messages_set(0)  # the window is ours: paho's takes no account of the broker's
    client.disable_logger()  # what ends a connection is an event of ours
    client.connect_timeout = CONNECT_TIMEOUT_S
    if login.username is not None:
        client.username_pw_set(login.username, login.password)
    if tls is not None:
        client.tls_set_context(tls)
    return client


@contextmanager
def _connection_errors(passing: type[Exception] = ConnectionError) -> Iterator[None]:
    """Whatever paho raises, at bytes that are no MQTT for one, ends the connection and nothing else."""
    try:
        yield
    except (ConnectionError, passing):
        raise
    except Exception as error:
        raise ConnectionAbortedError(f"{type(error).__name__}: {error!s:.200}") from error
