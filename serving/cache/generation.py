"""A counter of changes, shared by the worker processes of a server."""

import fcntl
import mmap
import os
from pathlib import Path

SIZE_BYTES = 8


class ChangeCounter:
    """Grows with each change of this process; given a file, of all processes that share the file.

    Reading costs no system call: every request of a cached response reads it.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._descriptor: int | None = None
        if file is None:
            memory = memoryview(bytearray(SIZE_BYTES))
        else:
            self._descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.ftruncate(self._descriptor, SIZE_BYTES)
            memory = memoryview(mmap.mmap(self._descriptor, SIZE_BYTES))
        self._count = memory.cast("Q")

    @property
    def value(self) -> int:
        return self._count[0]

    def increment(self) -> None:
        """Count a change that is committed: responses that were built from an earlier state end with it."""
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            self._count[0] += 1
        finally:
            if self._descriptor is not None:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
