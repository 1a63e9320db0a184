"""Places of live streams, a fixed number of which the worker processes of a server share."""

import fcntl
import os
from hashlib import blake2b
from itertools import count
from pathlib import Path

from serving.errors import TooManyStreamsError
from serving.shared_memory import SharedMemory, open_private

MEMORY_FILE = "streams"
NUMBER_BYTES = 8
FREE = 0


class StreamPlaces:
    """Given a directory, the places of all processes that share the directory.

    Each process holds the lock of a file as long as it lives, and its number marks the places of its
    streams: those of a process that was killed are given back.
    """

    def __init__(self, most: int = 64, directory: Path | None = None) -> None:
        self._most = most
        self._most_of_a_holder = max(1, most - most // 4)
        self._directory = directory
        file = None if directory is None else directory / MEMORY_FILE
        self._memory = SharedMemory(2 * NUMBER_BYTES * max(1, most), file)
        numbers = self._memory.bytes.cast("Q")
        self._processes, self._holders = numbers[:most], numbers[most : 2 * most]
        with self._memory:
            self._process = self._number()
            self._free_places_of(self._process)

    def enter(self, holder: str | None) -> int:
        """Take a place for a stream; one holder may have three quarters of them.

        Raises:
            TooManyStreamsError: none is left, or none for this holder.
        """
        mark = _mark(holder)
        with self._memory:
            refusal = self._refusal(mark)
            if refusal is not None:
                self._free_places_of_the_dead()
                refusal = self._refusal(mark)
            if refusal is not None:
                raise TooManyStreamsError(refusal)
            place = self._processes.tolist().index(FREE)
            self._processes[place] = self._process
            self._holders[place] = mark
        return place

    def leave(self, place: int) -> None:
        with self._memory:
            self._free(place)

    def _refusal(self, mark: int) -> str | None:
        """Return why no place can be taken."""
        if FREE not in self._processes.tolist():
            return f"There are {self._most} live streams already, the most that this takes."
        if mark != FREE and self._holders.tolist().count(mark) >= self._most_of_a_holder:
            return (
                f"This key has {self._most_of_a_holder} of {self._most} live streams open, the most"
                " that one key may have."
            )
        return None

    def _number(self) -> int:
        """Return the lowest number, from 1, that no living process has; its lock is never released."""
        if self._directory is None:
            return 1
        return next(number for number in count(1) if _lock_for_life(self._file_of(number)))

    def _free_places_of_the_dead(self) -> None:
        others = set(self._processes.tolist()) - {FREE, self._process}
        for number in others:
            if _is_unlocked(self._file_of(number)):
                self._free_places_of(number)

    def _free_places_of(self, number: int) -> None:
        for place, process in enumerate(self._processes.tolist()):
            if process == number:
                self._free(place)

    def _free(self, place: int) -> None:
        # In this order a process that is killed in between leaves no holder at a free place.
        self._holders[place] = FREE
        self._processes[place] = FREE

    def _file_of(self, number: int) -> Path:
        if self._directory is None:
            raise AssertionError("without a directory there is one process")
        return self._directory / f"process-{number}"


def _mark(holder: str | None) -> int:
    """Return a number for a holder; 0 for none."""
    if holder is None:
        return FREE
    return int.from_bytes(blake2b(holder.encode(), digest_size=NUMBER_BYTES).digest()) or 1


def _lock_for_life(file: Path) -> bool:
    """Lock a file until this process ends; false if another process holds it."""
    descriptor = open_private(file)
    if _is_locked_now(descriptor):
        return True
    os.close(descriptor)
    return False


def _is_unlocked(file: Path) -> bool:
    descriptor = open_private(file)
    try:
        return _is_locked_now(descriptor)
    finally:
        os.close(descriptor)


def _is_locked_now(descriptor: int) -> bool:
    """Try to lock a file; returns whether that worked."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
