"""A probe of shared subscriptions: a message to ourselves, delivered only by a broker that supports them.

A broker without them may take `$share/group/topic` for an ordinary topic filter and confirm it; nothing would
ever arrive, and nobody would notice.
"""

import math
import uuid
from urllib.parse import quote

from ingest.mqtt import packets
from ingest.mqtt.packets import MqttVersion

TOPIC = "gridgate/probe/"
WITHIN_S = 10.0
"""Timeout of the probe, from the subscription or from the last message that arrived by it."""


class SharedSubscriptionProbe:
    """One worker's probe: its topic and share group are its own. `now_s` is a monotonic clock's."""

    def __init__(self, client_id: str, version: MqttVersion) -> None:
        name = quote(client_id, safe="")
        self.topic = TOPIC + name
        self.filter = f"$share/{name}/{self.topic}"
        self._version = version
        self._content = uuid.uuid4().hex.encode()
        self._due_s = math.inf

    @property
    def is_under_way(self) -> bool:
        return self._due_s < math.inf

    def packet(self, now_s: float) -> bytes:
        """Return the message to send now, with QoS 0: its arrival is the confirmation."""
        self._due_s = now_s + WITHIN_S
        return packets.probe(self._version, self.topic, self._content)

    def arrives(self, payload: bytes) -> bool:
        """Whether this message on our topic is the probe; then it is no longer under way."""
        if payload != self._content:
            return False
        self._due_s = math.inf
        return True

    def postpone(self, now_s: float) -> None:
        """Restart the timeout: messages arrive, and the probe may be queued behind them."""
        if self.is_under_way:
            self._due_s = now_s + WITHIN_S

    def cancel(self) -> None:
        self._due_s = math.inf

    def left_s(self, now_s: float) -> float:
        """Seconds until the timeout."""
        return max(self._due_s - now_s, 0.0)
