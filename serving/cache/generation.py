"""A counter of changes, shared by the worker processes of a server."""

from pathlib import Path

from serving.shared_memory import SharedMemory

SIZE_BYTES = 8


class ChangeCounter:
    """Grows with each change of this process; given a file, of all processes that share the file.

    Reading costs no system call: every request of a cached response reads it.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._memory = SharedMemory(SIZE_BYTES, file)
        self._count = self._memory.bytes.cast("Q")

    @property
    def value(self) -> int:
        return self._count[0]

    def increment(self) -> None:
        """Count a change that is committed: responses that were built from an earlier state end with it."""
        with self._memory:
            self._count[0] += 1
