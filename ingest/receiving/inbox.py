"""A bounded FIFO queue of messages between the network's thread and the worker."""

import threading
from collections import deque
from collections.abc import Callable, Sequence

from ingest.decoding.messages import Received

MOST_BYTES = 128 * 1024 * 1024


class Inbox:
    """Messages that were received and are not acknowledged yet: waiting, or messages and not released.

    `MOST_BYTES` exceeds the size of two batches, so that after `drop_waiting` there is room again.

    Several writers release messages in any order, but MQTT wants acknowledgements in the order of arrival
    (MQTT 5, 4.6), and rumqttd requires it. So `release` returns the acknowledgements due, in that order.
    """

    def __init__(self, most_messages: int) -> None:
        self._most_messages = most_messages
        self._waiting: deque[Received] = deque()
        self._changed = threading.Condition(threading.Lock())
        self._is_woken = False
        self._held = 0
        self._held_bytes = 0
        self._unacknowledged: deque[tuple[int, int]] = deque()
        self._released: set[tuple[int, int]] = set()

    @property
    def has_room(self) -> bool:
        """Whether to read more from the broker (back-pressure)."""
        return self._held < self._most_messages and self.is_light

    @property
    def is_light(self) -> bool:
        """Whether the sum of all payloads is below its limit."""
        return self._held_bytes < MOST_BYTES

    @property
    def is_empty(self) -> bool:
        """Whether every message has been released."""
        return self._held == 0

    def put(self, messages: Sequence[Received]) -> None:
        with self._changed:
            self._waiting.extend(messages)
            self._unacknowledged.extend([each.delivery for each in messages if each.delivery[1]])
            self._count(messages, 1)
            self._changed.notify()

    def take(self, most: int, most_bytes: int, timeout_s: float) -> list[Received]:
        """Take waiting messages, up to a number and a size; block until one comes, `wake`, or the timeout."""
        messages: list[Received] = []
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_woken, timeout_s)
            self._is_woken = False
            while self._waiting and len(messages) < most and most_bytes > 0:
                messages.append(self._waiting.popleft())
                most_bytes -= len(messages[-1].payload)
            if self._waiting:
                self._changed.notify()  # another thread may be waiting, too
        return messages

    def put_back(self, messages: Sequence[Received]) -> None:
        """Put messages messages back at the front of the queue."""
        with self._changed:
            self._waiting.extendleft(reversed(messages))
            self._changed.notify()

    def wake(self) -> None:
        """Have the blocked `take`, or else the next one, return at once."""
        with self._changed:
            self._is_woken = True
            self._changed.notify()

    def release(self, messages: Sequence[Received]) -> list[int]:
        """Remove stored messages from the count; returns the packet ids to acknowledge now, in order."""
        with self._changed:
            self._count(messages, -1)
            self._released.update([each.delivery for each in messages if each.delivery[1]])
            return self._due()

    def forget_order(self) -> None:
        """Discard acknowledgements due on a connection that has ended."""
        with self._changed:
            self._unacknowledged.clear()
            self._released.clear()

    def _due(self) -> list[int]:
        due: list[int] = []
        while self._unacknowledged and self._unacknowledged[0] in self._released:
            delivery = self._unacknowledged.popleft()
            self._released.remove(delivery)
            due.append(delivery[1])
        return due

    def drop_waiting(self, comes_again: Callable[[Received], bool]) -> None:
        """Drop waiting messages that the broker will send again."""
        with self._changed:
            self._count(self._waiting, -1)
            self._waiting = deque(message for message in self._waiting if not comes_again(message))
            self._count(self._waiting, 1)

    def _count(self, messages: Sequence[Received], sign: int) -> None:
        self._held += sign * len(messages)
        self._held_bytes += sign * sum(len(message.payload) for message in messages)
