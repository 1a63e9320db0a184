"""The unacknowledged messages of one writer process, in the order in which it got them."""

import threading
from collections import deque
from collections.abc import Sequence
from itertools import islice

from ingest.decoding.messages import Received


class UnacknowledgedQueue:
    """A bounded queue of unacknowledged messages; `close` wakes all waiting threads."""

    def __init__(self, most_messages: int) -> None:
        self._most_messages = most_messages
        self._messages: deque[Received] = deque()
        self._sent = 0
        self._changed = threading.Condition(threading.Lock())
        self.is_closed = False

    def wait_for_room(self, timeout_s: float) -> int:
        """Wait until there is room; returns the number of messages that fit."""
        with self._changed:
            self._changed.wait_for(lambda: self._room > 0 or self.is_closed, timeout_s)
            return 0 if self.is_closed else max(self._room, 0)

    def wait_until_acknowledged(self, timeout_s: float) -> bool:
        """Wait until all sent messages are acknowledged; returns whether they are."""
        with self._changed:
            self._changed.wait_for(lambda: self._sent == 0 or self.is_closed, timeout_s)
            return self._sent == 0

    def add(self, messages: Sequence[Received]) -> None:
        with self._changed:
            self._messages.extend(messages)

    def mark_sent(self, count: int) -> None:
        with self._changed:
            self._sent += count

    def acknowledged(self, count: int) -> list[Received]:
        """Remove and return the oldest sent messages."""
        with self._changed:
            count = min(count, self._sent)
            self._sent -= count
            self._changed.notify_all()
            return [self._messages.popleft() for _ in range(count)]

    def close(self) -> None:
        with self._changed:
            self.is_closed = True
            self._changed.notify_all()

    def rest(self) -> tuple[list[Received], list[Received]]:
        """Return the sent messages without an acknowledgement, and the unsent ones."""
        with self._changed:
            return list(islice(self._messages, self._sent)), list(islice(self._messages, self._sent, None))

    @property
    def _room(self) -> int:
        return self._most_messages - len(self._messages)
