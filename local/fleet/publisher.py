"""The fleet's connection to the broker.

One connection publishes for all VENs, where in the field each has its own: thousands of simulated VENs
would otherwise be thousands of sockets and threads on this machine, and the gateway sees no difference.
"""

import threading
from collections.abc import Callable
from typing import Self
from urllib.parse import urlsplit

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from local.fleet.telemetry.messages import Message

MOST_IN_FLIGHT = 400  # below the broker's own limit of 500
_CONNECT_WITHIN_S = 30.0
_ACKNOWLEDGED_WITHIN_S = 60.0


class BrokerError(Exception):
    """The broker is unreachable, or does not respond any more."""


class FleetPublisher:
    """Publishes with QoS 1 and at most `MOST_IN_FLIGHT` messages that the broker has not acknowledged."""

    def __init__(self, mqtt_url: str, client_id: str) -> None:
        self._where = urlsplit(mqtt_url)
        self._connected = threading.Event()
        self._in_flight_slots = threading.Semaphore(MOST_IN_FLIGHT)
        self._on_command: Callable[[bytes], None] | None = None
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=client_id)
        self._client.max_inflight_messages_set(MOST_IN_FLIGHT)
        self._client.reconnect_delay_set(1, 5)
        self._client.on_connect = self._connect
        self._client.on_publish = self._acknowledge
        self._client.on_message = self._receive

    def listen(self, on_command: Callable[[bytes], None]) -> None:
        """Pass commands to any VEN to `on_command`, on a thread of paho's. Call it before `with`."""
        self._on_command = on_command

    def __enter__(self) -> Self:
        self._client.connect_async(self._where.hostname or "", self._where.port or 1883)
        self._client.loop_start()
        if not self._connected.wait(_CONNECT_WITHIN_S):
            self._client.loop_stop()
            raise BrokerError(f"no answer from {self._where.geturl()} within {_CONNECT_WITHIN_S:g} s")
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, message: Message) -> None:
        """Publish a message; waits while too many are in flight. Not for use in `on_command`."""
        if not self._in_flight_slots.acquire(timeout=_ACKNOWLEDGED_WITHIN_S):
            raise BrokerError(f"nothing acknowledged within {_ACKNOWLEDGED_WITHIN_S:g} s")
        self._client.publish(message.topic, message.payload, qos=1)

    def wait_acknowledged(self, timeout_s: float = _ACKNOWLEDGED_WITHIN_S) -> None:
        """Wait until the broker has acknowledged everything."""
        slots = 0
        try:
            while slots < MOST_IN_FLIGHT:
                if not self._in_flight_slots.acquire(timeout=timeout_s):
                    raise BrokerError(f"nothing acknowledged within {timeout_s:g} s")
                slots += 1
        finally:
            if slots:
                self._in_flight_slots.release(slots)

    def _connect(
        self, client: Client, _data: None, _flags: ConnectFlags, reason: ReasonCode, _props: Properties | None
    ) -> None:
        if reason.is_failure:
            return
        if self._on_command is not None:
            client.subscribe("ven/cmd/+", qos=1)
        self._connected.set()

    def _acknowledge(
        self, _client: Client, _data: None, _mid: int, _reason: ReasonCode, _props: Properties | None
    ) -> None:
        self._in_flight_slots.release()

    def _receive(self, _client: Client, _data: None, message: MQTTMessage) -> None:
        if self._on_command is not None:
            self._on_command(bytes(message.payload))
