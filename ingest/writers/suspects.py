"""Messages that may have crashed a writer process (poison messages): they must not crash writers for ever."""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence

from ingest.decoding.messages import Received

ENDS_TOGETHER = 3
"""Ends of writers that had a message, after which it is sent alone."""

ENDS_ALONE = 2
"""Further ends, with the message alone, after which it is rejected."""


class Suspects:
    """Counts for each message how often a writer that had it ended. Shared by all writers."""

    def __init__(self) -> None:
        self._ends: Counter[tuple[int, int]] = Counter()
        self._lock = threading.Lock()

    def ended_with(self, messages: Sequence[Received]) -> list[Received]:
        """Count the end of a writer that had these messages; returns those to reject."""
        with self._lock:
            self._ends.update(message.delivery for message in messages)
            return [each for each in messages if self._ends[each.delivery] >= ENDS_TOGETHER + ENDS_ALONE]

    def cleared(self, messages: Sequence[Received]) -> None:
        """Stop counting messages that are stored."""
        if self._ends:
            with self._lock:
                for message in messages:
                    self._ends.pop(message.delivery, None)

    def portions(self, messages: Sequence[Received]) -> Iterator[tuple[list[Received], bool]]:
        """Yield messages to send together; True marks a single message that the writer must get alone."""
        together: list[Received] = []
        for message in messages:
            if self._ends and self._ends[message.delivery] >= ENDS_TOGETHER:
                if together:
                    yield together, False
                    together = []
                yield [message], True
            else:
                together.append(message)
        if together:
            yield together, False
