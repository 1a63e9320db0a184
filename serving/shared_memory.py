"""Memory that the worker processes of a server share, and a lock that a killed process does not keep."""

import fcntl
import mmap
import os
import threading
from pathlib import Path
from types import TracebackType


class SharedMemory:
    """Bytes that are zero at first; given a file, of all processes that share the file.

    As a context manager it is a lock, among threads and processes. The kernel releases that of a process
    that dies.
    """

    def __init__(self, size_bytes: int, file: Path | None = None) -> None:
        self._threads = threading.Lock()
        self._descriptor: int | None = None
        if file is None:
            self.bytes = memoryview(bytearray(size_bytes))
        else:
            self._descriptor = open_private(file)
            os.ftruncate(self._descriptor, size_bytes)
            self.bytes = memoryview(mmap.mmap(self._descriptor, size_bytes))

    def __enter__(self) -> None:
        self._threads.acquire()
        if self._descriptor is not None:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            except BaseException:
                self._threads.release()
                raise

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self._threads.release()


def open_private(file: Path) -> int:
    """Open a file to be shared by processes of one user, and not by programs that they start."""
    return os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
