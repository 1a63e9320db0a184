"""The broker's side of ingest: messages in, acknowledgements out, a session that outlives the connection."""

import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as mqtt
import structlog
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from ingest.messages import Received
from ingest.settings import IngestSettings

QOS = 1
KEEPALIVE_S = 30
MAX_RECONNECT_DELAY_S = 10
DEFAULT_PORT = {"mqtt": 1883, "mqtts": 8883}
MOST_BYTES = 128 * 1024 * 1024
MOST_BATCH_BYTES = 32 * 1024 * 1024


class Subscriber:
    """A durable subscription. Until they are acknowledged, at most twice `mqtt_receive_maximum` messages, and
    `MOST_BYTES` of them, are here: the broker holds the rest.

    A packet id names a message only within one connection; so an acknowledgement carries the number of the
    connection that its message came by, and one from before a reconnect is dropped: the broker sends that
    message again, and the database knows it already.
    """

    def __init__(
        self, settings: IngestSettings, clock: Callable[[], datetime], on_change: Callable[[bool], None]
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._on_change = on_change
        self._log = structlog.get_logger()
        self._arrived: SimpleQueue[Received] = SimpleQueue()
        self._bytes = 0
        self._held = 0
        self._is_stopping = False
        self._room = threading.Condition(threading.Lock())
        self._connection = 0
        self._connection_lock = threading.Lock()
        self._client = self._make_client()

    def start(self) -> None:
        url = urlsplit(self._settings.mqtt_url)
        host, port = url.hostname or "", url.port or DEFAULT_PORT[url.scheme]
        if self._settings.mqtt_protocol == "5":
            session = self._session()
            self._client.connect_async(host, port, KEEPALIVE_S, clean_start=False, properties=session)
        else:
            self._client.connect_async(host, port, KEEPALIVE_S)
        self._client.loop_start()

    def stop(self) -> None:
        """Leave; the broker keeps the session, and in it whatever was not acknowledged."""
        self._client.disconnect()
        with self._room:
            self._is_stopping = True
            self._room.notify()
        self._client.loop_stop()

    def take(self, most: int, timeout_s: float) -> list[Received]:
        """Whatever has arrived, waiting up to `timeout_s` for the first message."""
        taken: list[Received] = []
        size = 0
        try:
            while len(taken) < most and size < MOST_BATCH_BYTES:
                taken.append(self._arrived.get_nowait() if taken else self._arrived.get(timeout=timeout_s))
                size += len(taken[-1].payload)
        except Empty:
            pass
        return taken

    def acknowledge(self, messages: list[Received]) -> None:
        """Tell the broker that these are stored, in the order in which it sent them."""
        self._make_room(messages)
        with self._connection_lock:
            for message in messages:
                connection, packet_id = message.delivery
                if connection == self._connection:
                    self._client.ack(packet_id, QOS)

    def _make_room(self, messages: list[Received]) -> None:
        with self._room:
            self._held -= len(messages)
            self._bytes -= sum(len(message.payload) for message in messages)
            self._room.notify()

    def _has_room(self) -> bool:
        """Some brokers send far beyond the receive maximum (mosquitto 2.0.11 once acknowledgements flow)."""
        most = 2 * self._settings.mqtt_receive_maximum
        return self._is_stopping or (self._bytes < MOST_BYTES and self._held < most)

    def _make_client(self) -> mqtt.Client:
        v5 = self._settings.mqtt_protocol == "5"
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._settings.mqtt_client_id,
            protocol=mqtt.MQTTv5 if v5 else mqtt.MQTTv311,
            manual_ack=True,
            clean_session=None if v5 else False,
        )
        url = urlsplit(self._settings.mqtt_url)
        if url.username:
            client.username_pw_set(unquote(url.username), unquote(url.password or ""))
        if url.scheme == "mqtts":
            settings = self._settings
            client.tls_set(
                _path(settings.mqtt_ca_file), _path(settings.mqtt_cert_file), _path(settings.mqtt_key_file)
            )
        client.reconnect_delay_set(1, MAX_RECONNECT_DELAY_S)
        # Set before connecting: a session's backlog arrives at once.
        client.on_message = self._on_message
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        return client

    def _session(self) -> Properties:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = self._settings.mqtt_session_expiry_s
        properties.ReceiveMaximum = self._settings.mqtt_receive_maximum
        return properties

    def _on_message(self, _client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage) -> None:
        payload = bytes(message.payload)
        with self._room:
            # Reading on would only move a flood from the broker's memory to ours.
            self._room.wait_for(self._has_room)
            self._held += 1
            self._bytes += len(payload)
        delivery = (self._connection, message.mid)
        self._arrived.put(Received(message.topic, payload, self._clock(), delivery, message.retain))

    def _on_connect(self, client: mqtt.Client, _userdata: object, *answer: Any) -> None:  # noqa: ANN401 - paho's
        reason: ReasonCode = answer[1]
        if reason.is_failure:
            self._log.error("broker_refused", reason=str(reason))
            return
        self._log.info("broker_connected", client_id=self._settings.mqtt_client_id)
        if answer[0].session_present:
            self._drop_what_comes_again()
        client.subscribe([(topic, self._how()) for topic in self._settings.subscriptions])

    def _drop_what_comes_again(self) -> None:
        """The broker sends again what it has no acknowledgement of: without this, each reconnect while the
        database is away would add a whole window to what waits here.
        """
        try:
            while True:
                self._make_room([self._arrived.get_nowait()])
        except Empty:
            return

    def _how(self) -> Any:  # noqa: ANN401 - paho takes options with MQTT 5, a number with 3.1.1
        """A retained message is news once: last week's last will must not come back at each reconnect."""
        if self._settings.mqtt_protocol != "5":
            return QOS
        return SubscribeOptions(qos=QOS, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)

    def _on_subscribe(
        self, _client: mqtt.Client, _userdata: object, _mid: int, reasons: list[ReasonCode], _more: object
    ) -> None:
        refused = [
            topic
            for topic, reason in zip(self._settings.subscriptions, reasons, strict=True)
            if reason.is_failure
        ]
        if refused:
            self._log.error(
                "subscription_refused", topics=refused, fix="see MQTT_TOPICS and the broker's ACL"
            )
        else:
            self._log.info("subscribed", topics=self._settings.subscriptions)
            self._on_change(True)  # noqa: FBT003 - connected or not is all there is to say

    def _on_disconnect(self, _client: mqtt.Client, _userdata: object, *answer: Any) -> None:  # noqa: ANN401 - paho's
        with self._connection_lock:
            self._connection += 1
        protocol = self._settings.mqtt_protocol
        self._log.warning("broker_disconnected", reason=str(answer[1]), mqtt_protocol=protocol)
        self._on_change(False)  # noqa: FBT003


def _path(file: Path | None) -> str | None:
    return None if file is None else str(file)
