"""A sender that counts its messages: QoS 1, limited in flight, waiting while the broker is away."""

import threading
import time
from collections import deque
from typing import Any
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from tests.faults.sums import Sums
from tests.faults.traffic import Telemetry, telemetry, unreadable

IN_FLIGHT = 500
TWICE_AT_ONCE = 10
TWICE_LATER = 7
LATER_BY = 300
UNREADABLE = 1000
NOBODY_LISTENS = 0x10


class Stopped(Exception):  # noqa: N818 - the test is over
    """`stop` was called before everything was sent."""


class Sender(threading.Thread):
    """Publishes `count` distinct messages, some of them twice, and some unreadable ones.

    The last one is sent when the broker has acknowledged all others: a subscriber that gets messages in
    order has all of them once it has that one. It sends no more than `limit` messages, until that is
    raised.

    A broker that is killed may lose acknowledged messages. For that, `repeat` sends again all messages
    since the last call of `saved`.
    """

    def __init__(
        self,
        mqtt_url: str,
        count: int,
        *,
        per_s: float | None = None,
        limit: int | None = None,
        protocol: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5,
    ) -> None:
        super().__init__(name="sender", daemon=True)
        self.count = count
        self.limit = count if limit is None else limit
        self.sums = Sums()
        self.duplicates = 0
        self.unreadable: set[bytes] = set()
        self.acknowledged = 0
        self.without_subscriber = 0
        self.started_at = time.monotonic()
        self._per_s = per_s
        self._published = 0
        self._again: deque[tuple[int, Telemetry]] = deque()
        self._repeats: deque[tuple[str, bytes]] = deque()
        self._unsaved: list[tuple[str, bytes]] = []
        self._room = threading.Semaphore(IN_FLIGHT)
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="sender", protocol=protocol)
        self._client.max_inflight_messages_set(IN_FLIGHT)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_publish = self._on_publish
        url = urlsplit(mqtt_url)
        if url.username is not None:
            self._client.username_pw_set(url.username, url.password)
        self._client.connect(url.hostname or "", url.port or 1883)

    def run(self) -> None:
        self._client.loop_start()
        try:
            self._send_all()
        except Stopped:
            pass
        except BaseException as failure:  # noqa: BLE001 - `finish` raises it in the test's own thread
            self._failure = failure
        finally:
            self._client.disconnect()
            self._client.loop_stop()

    def finish(self, within_s: float) -> None:
        """Wait until the broker has acknowledged everything."""
        self.join(within_s)
        if self._failure is not None:
            raise self._failure
        assert not self.is_alive(), f"{self._published} published, {self.acknowledged} acknowledged"
        assert self.without_subscriber == 0, (
            f"the broker had no subscriber for {self.without_subscriber} messages"
        )

    def has_reached_its_limit(self) -> bool:
        """Whether all messages up to the limit are acknowledged."""
        return self.sums.messages >= self.limit and not self._repeats and self.acknowledged >= self._published

    def saved(self) -> None:
        """To be called when the broker has everything on its disk, and nothing is in flight."""
        self._unsaved = []

    def repeat(self) -> None:
        """Send again what the broker may have lost. The sender must have reached its limit."""
        unsaved, self._unsaved = self._unsaved, []
        self._repeats.extend(unsaved)

    def stop(self) -> None:
        self._stopping.set()
        self.join(30)

    def _send_all(self) -> None:
        for number, message in enumerate(telemetry(self.count)):
            if self._per_s is not None:
                self._pause(self.started_at + number / self._per_s - time.monotonic())
            while number >= self.limit:
                self._send_repeats()
                self._pause(0.01)
            if number == self.count - 1:
                self._send_again(number + LATER_BY)
                self._wait_for_acknowledgements()
            self._publish(message.topic, message.payload)
            if number < self.count - 1:
                self._send_more(number, message)
            self.sums.add(message.ven_id, message.used_kw, message.loads)
        self._wait_for_acknowledgements()

    def _send_more(self, number: int, message: Telemetry) -> None:
        """Send duplicates, at once or later, and sometimes an unreadable message."""
        if number % TWICE_AT_ONCE == 0:
            self._again.appendleft((number, message))
        elif number % TWICE_LATER == 0:
            self._again.append((number + LATER_BY, message))
        if number % UNREADABLE == 0:
            self.unreadable.add(unreadable(number))
            self._publish(message.topic, unreadable(number))
        self._send_again(number)

    def _send_again(self, due: int) -> None:
        while self._again and self._again[0][0] <= due:
            _, message = self._again.popleft()
            self._publish(message.topic, message.payload)
            self.duplicates += 1

    def _send_repeats(self) -> None:
        while self._repeats:
            self._publish(*self._repeats[0])
            self._repeats.popleft()
            self.duplicates += 1

    def _publish(self, topic: str, payload: bytes) -> None:
        while not self._room.acquire(timeout=0.2):
            self._raise_if_stopped()
        self._raise_if_stopped()
        self._client.publish(topic, payload, qos=1)  # without a connection it waits in the client
        self._published += 1
        self._unsaved.append((topic, payload))

    def _wait_for_acknowledgements(self) -> None:
        while self.acknowledged < self._published:
            self._pause(0.01)

    def _pause(self, seconds: float) -> None:
        if seconds > 0:
            self._stopping.wait(seconds)
        self._raise_if_stopped()

    def _raise_if_stopped(self) -> None:
        if self._stopping.is_set():
            raise Stopped

    def _on_publish(
        self, _client: mqtt.Client, _userdata: object, _mid: int, reason: ReasonCode, _properties: Any
    ) -> None:
        self.acknowledged += 1
        self.without_subscriber += reason.value == NOBODY_LISTENS
        self._room.release()
