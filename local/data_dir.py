"""The data directory: a lock for one instance at a time, which waits for processes of the last one to end."""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from local.disk import EMPTY_MB, too_full
from local.service import InUseError, UnusableError

_REMAINS_WITHIN_S = 30.0


@contextmanager
def locked(data_dir: Path) -> Iterator[int]:
    """Create the directory and hold its lock; gives the lock's file descriptor.

    The guardian shares the lock: after a kill it is held until all processes have ended. So when the holder
    is dead, this waits for that.

    Raises:
        InUseError: another instance uses it.
        UnusableError: it cannot be created.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        full = (
            f"; {too_full(data_dir, EMPTY_MB)}"
            if error.errno == errno.ENOSPC
            else ": choose another --data-dir"
        )
        raise UnusableError(f"cannot use {data_dir} ({error.strerror}){full}") from error
    try:
        _acquire(lock, data_dir)
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        yield lock
    finally:
        os.close(lock)


def _acquire(lock: int, data_dir: Path) -> None:
    deadline = time.monotonic() + _REMAINS_WITHIN_S
    while not _try(lock):
        holder = int(os.pread(lock, 20, 0) or b"0")
        if (holder and _is_alive(holder)) or time.monotonic() > deadline:
            who = f"process {holder}" if holder else "another instance"
            raise InUseError(f"{data_dir} is in use by {who}: stop it, or choose another --data-dir")
        time.sleep(0.1)  # flock has no timeout


def _try(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_alive(pid: int) -> bool:
    """Whether it runs; a zombie does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
