"""Freezing a process, as SIGSTOP does: its connections stay open, and it answers nothing."""

import os
import signal
from contextlib import suppress
from pathlib import Path

from tests.faults.deadline import until

FROZEN_WITHIN_S = 10.0
STOPPED = b"T"


def freeze(pid: int) -> None:
    """Stop a process, and wait until each of its threads stands still.

    Linux hands the signal to one of the threads; the others run on until that one has had a processor, which
    takes some time on a busy machine.
    """
    os.kill(pid, signal.SIGSTOP)
    until(lambda: set(_states(pid)) == {STOPPED}, FROZEN_WITHIN_S, lambda: f"it runs on: {_states(pid)}")


def thaw(pid: int) -> None:
    os.kill(pid, signal.SIGCONT)


def _states(pid: int) -> list[bytes]:
    """Return the states of all threads, by the letters of proc(5): the field after the name in brackets."""
    states = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # this thread has ended meanwhile
            states.append((task / "stat").read_bytes().rpartition(b")")[2].split()[0])
    return states
