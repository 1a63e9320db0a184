"""One connection to the broker by paho; used only by the thread that created it.

paho's client is used for this one connection and never reconnects, so it never resends anything by itself.
"""

import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from ingest.mqtt.connection import LoginRefusedError
from ingest.mqtt.link import CONNECT_TIMEOUT_S
from ingest.mqtt.packets import Connect, MqttVersion
from schemas.programs.broker_url import BrokerAddress

PROTOCOLS = {MqttVersion.V3_1_1: MQTTProtocolVersion.MQTTv311, MqttVersion.V5: MQTTProtocolVersion.MQTTv5}


class PahoConnection:
    """A connection that is logged in; `limits` are the broker's, by its CONNACK (MQTT 5, 3.2.2.3)."""

    def __init__(self, address: BrokerAddress, tls: ssl.SSLContext | None, login: Connect) -> None:
        """Log in.

        Raises:
            LoginRefusedError: the broker refuses the login, or does not support QoS 1.
            OSError: it cannot be reached, or does not answer.
        """
        self._connack: tuple[ReasonCode, Mapping[str, Any]] | None = None
        self._departure = "the broker closed the connection"
        self.client = _client(login, tls)
        self.client.on_connect = self._on_connect
        self.client.on_disconnect = self._on_disconnect
        try:
            with connection_errors():
                self.client.connect(*address, keepalive=login.keepalive_s)
            self.limits = self._await_login()
        except OSError:
            self.close()
            raise

    def loop(self, timeout_s: float) -> None:
        """Read what the broker sends, write what is due, and ping it when it is time.

        Raises:
            ConnectionError: the connection has ended.
        """
        with connection_errors():
            result = self.client.loop(timeout_s)
        refused = self._connack is not None and self._connack[0].is_failure
        if result is not MQTTErrorCode.MQTT_ERR_SUCCESS and not refused:
            raise ConnectionResetError(self._departure)

    def leave(self) -> None:
        """Send DISCONNECT, and close."""
        with connection_errors():
            self.client.disconnect()

    def close(self) -> None:
        """Close what is still open; without the callbacks, reference counting frees paho's client."""
        self.client.on_connect = self.client.on_publish = self.client.on_disconnect = None
        self.client.on_message = self.client.on_subscribe = None
        sock = self.client.socket()
        if sock is not None:
            sock.close()

    def _await_login(self) -> Mapping[str, Any]:
        deadline = time.monotonic() + CONNECT_TIMEOUT_S
        while self._connack is None:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError("the broker does not answer CONNECT")
            self.loop(left_s)
        code, limits = self._connack
        if code.is_failure:
            raise LoginRefusedError(str(code).lower())
        if limits.get("MaximumQoS") == 0:
            raise LoginRefusedError("it does not support QoS 1")
        return limits

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
    client.max_inflight_messages_set(0)  # we limit what is in flight: paho ignores receive maximum
    client.disable_logger()  # we log the end of a connection ourselves
    client.connect_timeout = CONNECT_TIMEOUT_S
    if login.username is not None:
        client.username_pw_set(login.username, login.password)
    if tls is not None:
        client.tls_set_context(tls)
    return client


@contextmanager
def connection_errors(passing: type[Exception] = ConnectionError) -> Iterator[None]:
    """Translate any exception of paho's, say at bytes that are not MQTT, to the end of the connection."""
    try:
        yield
    except (ConnectionError, passing):
        raise
    except Exception as error:
        raise ConnectionAbortedError(f"{type(error).__name__}: {error!s:.200}") from error
