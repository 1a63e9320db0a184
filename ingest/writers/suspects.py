"""Messages at which a writer process may have ended: such a one must not end all of them for ever."""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence

from ingest.decoding.messages import Received

ENDS_TOGETHER = 3
"""So often a writer may have ended while it had a message; from then on it is sent alone."""

ENDS_ALONE = 2
"""So often more, with the message alone: then it is put aside."""


class Suspects:
    """Counts for messages how often the writer that had them ended. Shared by all writers."""

    def __init__(self) -> None:
        self._ends: Counter[tuple[int, int]] = Counter()
        self._lock = threading.Lock()

    def ended_with(self, messages: Sequence[Received]) -> list[Received]:
        """Count the end of a writer that had these; returns what is to be put aside."""
        with self._lock:
            self._ends.update(message.delivery for message in messages)
            return [each for each in messages if self._ends[each.delivery] >= ENDS_TOGETHER + ENDS_ALONE]

    def cleared(self, messages: Sequence[Received]) -> None:
        """Forget messages that are stored."""
        if self._ends:
            with self._lock:
                for message in messages:
                    self._ends.pop(message.delivery, None)

    def portions(self, messages: Sequence[Received]) -> Iterator[tuple[list[Received], bool]]:
        """What to send together; True where it is one that is to be alone at the writer."""
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
