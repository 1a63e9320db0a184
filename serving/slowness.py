"""Clients that take or give next to nothing: their connections are cut, so that none holds a thread for ever.

The server bounds how long a request's headers may take, but neither its body nor the taking of an answer.
The kernel (Linux) knows what each connection has moved; a thread of each worker process looks now and then.
"""

import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from msgspec import Struct

LEAST_BYTES_PER_S = 512
LOOKS_PER_WINDOW = 6
FDS = Path("/proc/self/fd")

_TCP_INFO = struct.Struct("=120xQQ8xI")
"""Of the kernel's `tcp_info`: bytes acknowledged by the peer, bytes received, bytes not sent yet."""


class Moved(Struct, frozen=True):
    """What a connection has moved in its life, and whether something waits to be taken."""

    taken_bytes: int
    given_bytes: int
    has_waiting: bool


def is_too_slow(before: Moved, after: Moved, window_s: float) -> bool:
    """Whether a client has moved next to nothing.

    Who has an answer waiting must take it at a rate; who has none must have taken something (a heartbeat will
    do), or give at a rate: he is in the middle of a body, or merely idle.
    """
    least = LEAST_BYTES_PER_S * window_s
    taken, given = after.taken_bytes - before.taken_bytes, after.given_bytes - before.given_bytes
    if before.has_waiting and after.has_waiting:
        return taken < least
    return taken == 0 and given < least


class SlowClients:
    """Cuts connections to a port of this process that were too slow for a whole window."""

    def __init__(self, port: int, window_s: float, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._port = port
        self._window_s = window_s
        self._clock_s = clock_s
        self._seen: dict[int, tuple[float, Moved]] = {}

    def watch(self, stopping: threading.Event) -> None:
        """Look until told to stop."""
        while not stopping.wait(self._window_s / LOOKS_PER_WINDOW):
            self.look()

    def look(self) -> None:
        seen = self._seen
        self._seen = {}
        for connection in _connections(self._port):
            with closing(connection):
                identity = os.fstat(connection.fileno()).st_ino
                self._judge(connection, identity, seen.get(identity))

    def _judge(self, connection: socket.socket, identity: int, seen: tuple[float, Moved] | None) -> None:
        now_s, moved = self._clock_s(), _moved(connection)
        if seen is not None and now_s - seen[0] < self._window_s:
            self._seen[identity] = seen
        elif seen is not None and is_too_slow(seen[1], moved, self._window_s):
            connection.shutdown(socket.SHUT_RDWR)
        else:
            self._seen[identity] = now_s, moved


def start_watching(port: int, window_s: float, stopping: threading.Event) -> None:
    if sys.platform == "linux":
        watch = SlowClients(port, window_s).watch
        threading.Thread(target=watch, args=(stopping,), name="slow-clients", daemon=True).start()


def _connections(port: int) -> Iterator[socket.socket]:
    """Our ends of connections to a port of ours, each as a duplicate that stays what it is."""
    for entry in list(FDS.iterdir()):
        try:
            duplicate = os.dup(int(entry.name))
        except OSError:  # it was closed in between
            continue
        try:
            connection = socket.socket(fileno=duplicate)
        except OSError:  # a file
            os.close(duplicate)
            continue
        if _is_to(connection, port):
            yield connection
        else:
            connection.close()


def _is_to(connection: socket.socket, port: int) -> bool:
    try:
        return (
            connection.family in {socket.AF_INET, socket.AF_INET6}
            and connection.type == socket.SOCK_STREAM
            and connection.getsockname()[1] == port
            and bool(connection.getpeername())
        )
    except OSError:  # it listens, or has ended
        return False


def _moved(connection: socket.socket) -> Moved:
    told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    taken, given, not_sent = _TCP_INFO.unpack(told.ljust(_TCP_INFO.size, b"\0"))
    return Moved(taken, given, has_waiting=not_sent > 0)
