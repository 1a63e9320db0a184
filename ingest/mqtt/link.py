"""One TCP or TLS connection: bytes out and in, without ever blocking on either alone."""

import select
import socket
import ssl
import threading
import time
from contextlib import suppress
from queue import Empty, SimpleQueue
from select import POLLERR, POLLHUP, POLLIN, POLLOUT, poll
from types import TracebackType
from typing import Self

CONNECT_TIMEOUT_S = 10.0
LARGEST_READ = 256 * 1024
_CLOSED = "the broker closed the connection"
_GONE: int = POLLERR | POLLHUP | getattr(select, "POLLRDHUP", 0)
"""Linux tells of the other side's leaving even to those who do not read."""


class Link:
    """A connection that belongs to one thread; `send` and `wake` may be called from any.

    What to wait for depends on TLS: to send it may first have to receive, and the other way round.
    """

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        """Connect.

        Raises:
            OSError: nobody answers there, or TLS does not come about.
        """
        self._socket = _connect(host, port, tls)
        self._waiting_room: SimpleQueue[bytes] = SimpleQueue()
        self._outgoing = bytearray()
        self._bell, self._ear = socket.socketpair()
        self._ringing = threading.Lock()
        self._sending, self._receiving = 0, POLLIN
        for each in (self._socket, self._bell, self._ear):
            each.setblocking(False)  # noqa: FBT003
        self._poll = poll()
        self._poll.register(self._ear, POLLIN)
        self._poll.register(self._socket, POLLIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._socket.close()
        self._ear.close()
        with self._ringing:  # else a late ring could go to whatever gets the bell's descriptor next
            self._bell.close()

    def send(self, data: bytes) -> None:
        """Have data sent by the next `exchange`, which ends its waiting for it."""
        self._waiting_room.put(data)
        self.wake()

    def wake(self) -> None:
        """End the waiting of `exchange`."""
        with self._ringing, suppress(OSError):  # it rings already, or nobody is there any more
            self._bell.send(b"\0")

    def exchange(self, timeout_s: float, *, reads: bool = True) -> bytes:
        """Send what waits, and wait until something arrives, somebody wakes us, or time is up.

        Returns:
            what has arrived: nothing, if something else ended the waiting or `reads` is false.

        Raises:
            OSError: the connection broke, or the other side closed it.
        """
        self._flush()
        self._wait(timeout_s, reads=reads)
        self._flush()
        return self._receive() if reads else b""

    def finish(self, within_s: float) -> None:
        """Send what waits, and read on until the other side closes.

        To close with something unread would take along what was sent: TCP then resets the connection.
        """
        deadline = time.monotonic() + within_s
        with suppress(OSError):
            while (left_s := deadline - time.monotonic()) > 0:
                self.exchange(left_s)

    def _wait(self, timeout_s: float, *, reads: bool) -> None:
        self._poll.modify(self._socket, _GONE | reads * self._receiving | self._sending)
        for descriptor, events in self._poll.poll(0 if reads and self._has_decrypted() else timeout_s * 1000):
            if descriptor == self._ear.fileno():
                self._ear.recv(4096)
            elif events & _GONE and not reads:  # a reader finds out after what had arrived before
                raise ConnectionResetError(_CLOSED)

    def _has_decrypted(self) -> bool:
        return isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0

    def _flush(self) -> None:
        self._gather()
        self._send_waiting()

    def _gather(self) -> None:
        try:
            while True:
                self._outgoing += self._waiting_room.get_nowait()
        except Empty:
            return

    def _send_waiting(self) -> None:
        self._sending = 0
        try:
            while self._outgoing:
                del self._outgoing[: self._socket.send(self._outgoing)]
        except ssl.SSLWantReadError:
            self._sending = POLLIN
        except (BlockingIOError, ssl.SSLWantWriteError):
            self._sending = POLLOUT

    def _receive(self) -> bytes:
        self._receiving = POLLIN
        try:
            data = self._socket.recv(LARGEST_READ)
        except ssl.SSLWantWriteError:
            self._receiving = POLLOUT
            return b""
        except (BlockingIOError, ssl.SSLWantReadError):
            return b""
        if not data:
            raise ConnectionResetError(_CLOSED)
        return data


def _connect(host: str, port: int, tls: ssl.SSLContext | None) -> socket.socket:
    connected = socket.create_connection((host, port), CONNECT_TIMEOUT_S)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls is None:
        return connected
    try:
        return tls.wrap_socket(connected, server_hostname=host)
    except BaseException:
        connected.close()
        raise
