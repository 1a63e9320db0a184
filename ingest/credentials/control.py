"""Requests to the broker's plugin dynamic-security, over one connection."""

import ssl
import time
from collections.abc import Callable, Sequence

import msgspec
import paho.mqtt.client as mqtt
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from ingest.credentials.dynsec import CONTROL, RESPONSES, Command, Response, responses_in
from ingest.mqtt.packets import Connect
from ingest.mqtt.paho_connection import PahoConnection, connection_errors
from schemas.programs.broker_url import BrokerAddress

ANSWERED_WITHIN_S = 10.0
NO_PLUGIN = "the broker does not answer on $CONTROL: is its plugin dynamic-security loaded?"
NOT_ADMITTED = "the broker does not let the user of MQTT_ADMIN_URL control dynamic-security"


class ControlRefusedError(ConnectionError):
    """The login is not allowed to control the plugin."""


class ControlConnection:
    """Sends commands to the plugin and reads its responses; used only by the thread that created it."""

    def __init__(self, address: BrokerAddress, tls: ssl.SSLContext | None, login: Connect) -> None:
        """Log in and subscribe to the responses.

        Raises:
            LoginRefusedError: the broker refuses the login.
            ControlRefusedError: it refuses the subscription to the responses.
            OSError: it cannot be reached, or does not answer.
        """
        self._answers: dict[str, Response] = {}
        self._subscriptions: list[ReasonCode] = []
        self._refusal: ReasonCode | None = None
        self._connection = PahoConnection(address, tls, login)
        client = self._connection.client
        client.on_message = self._on_message
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        try:
            with connection_errors():
                client.subscribe(RESPONSES, qos=1)
            self._loop_until(lambda: bool(self._subscriptions))
            if self._subscriptions[0].is_failure:
                raise ControlRefusedError(NOT_ADMITTED)
        except OSError:
            self.close()
            raise

    def ask(self, commands: Sequence[Command]) -> list[Response]:
        """Send commands to the plugin; returns its responses, in order.

        Raises:
            ControlRefusedError: this login is not allowed to.
            OSError: the connection ended, or there is no response in time.
        """
        if not commands:
            return []
        self._answers, self._refusal = {}, None
        names = [str(number) for number in range(len(commands))]
        numbered = [
            {**command, "correlationData": name} for name, command in zip(names, commands, strict=True)
        ]
        with connection_errors():
            self._connection.client.publish(CONTROL, msgspec.json.encode({"commands": numbered}), qos=1)
        self._loop_until(lambda: self._refusal is not None or len(self._answers) == len(names))
        if self._refusal is not None:
            raise ControlRefusedError(NOT_ADMITTED)
        return [self._answers[name] for name in names]

    def keep_alive(self) -> None:
        """Read what the broker sends, and ping it when it is time.

        Raises:
            ConnectionError: the connection has ended.
        """
        self._connection.loop(0)

    def leave(self) -> None:
        self._connection.leave()

    def close(self) -> None:
        self._connection.close()

    def _loop_until(self, is_done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + ANSWERED_WITHIN_S
        while not is_done():
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError(NO_PLUGIN)
            self._connection.loop(left_s)

    def _on_message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        for response in responses_in(bytes(message.payload)):
            if response.correlation_data is not None:
                self._answers[response.correlation_data] = response

    def _on_subscribe(
        self,
        _client: mqtt.Client,
        _data: object,
        _mid: int,
        codes: list[ReasonCode],
        _limits: Properties | None,
    ) -> None:
        self._subscriptions = codes

    def _on_publish(
        self, _client: mqtt.Client, _data: object, _mid: int, code: ReasonCode, _limits: Properties | None
    ) -> None:
        if code.is_failure:
            self._refusal = code
