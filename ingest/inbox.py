"""Messages between the network's thread and the worker: in their order, and bounded."""

import threading
from collections import deque
from collections.abc import Callable, Sequence

from ingest.messages import Received

MOST_BYTES = 128 * 1024 * 1024


class Inbox:
    """Whatever was received and is not settled yet: waiting here, or taken and not released.

    `MOST_BYTES` is more than what two batches take: after `drop_waiting` there is room again.
    """

    def __init__(self, most_messages: int) -> None:
        self._most_messages = most_messages
        self._waiting: deque[Received] = deque()
        self._changed = threading.Condition(threading.Lock())
        self._is_nudged = False
        self._held = 0
        self._held_bytes = 0

    @property
    def has_room(self) -> bool:
        """Whether to read on: otherwise a flood would only move from the broker's memory to ours."""
        return self._held < self._most_messages and self.is_light

    @property
    def is_light(self) -> bool:
        """Whether the size of it all, if not the number, allows for more."""
        return self._held_bytes < MOST_BYTES

    @property
    def is_empty(self) -> bool:
        """Whether all that was put has been released."""
        return self._held == 0

    def put(self, messages: Sequence[Received]) -> None:
        with self._changed:
            self._waiting.extend(messages)
            self._count(messages, 1)
            self._changed.notify()

    def take(self, most: int, most_bytes: int, timeout_s: float) -> list[Received]:
        """Whatever waits, up to a number and a size; waits for it until the time is up or somebody nudges."""
        taken: list[Received] = []
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_nudged, timeout_s)
            self._is_nudged = False
            while self._waiting and len(taken) < most and most_bytes > 0:
                taken.append(self._waiting.popleft())
                most_bytes -= len(taken[-1].payload)
        return taken

    def nudge(self) -> None:
        """End the waiting of `take`, or spare the next one its wait."""
        with self._changed:
            self._is_nudged = True
            self._changed.notify()

    def release(self, messages: Sequence[Received]) -> None:
        """Forget messages that were taken: they are settled."""
        with self._changed:
            self._count(messages, -1)

    def drop_waiting(self, comes_again: Callable[[Received], bool]) -> None:
        """Forget what was not taken and will be put again."""
        with self._changed:
            self._count(self._waiting, -1)
            self._waiting = deque(message for message in self._waiting if not comes_again(message))
            self._count(self._waiting, 1)

    def _count(self, messages: Sequence[Received], sign: int) -> None:
        self._held += sign * len(messages)
        self._held_bytes += sign * sum(len(message.payload) for message in messages)
