"""A non-blocking TCP or TLS connection that sends and receives at the same time."""

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
"""With POLLRDHUP, Linux reports that the peer has closed, also without reading."""


class Link:
    """A connection that one thread uses; `send` and `wake` may be called from any thread.

    Which events to poll for depends on TLS: to send it may have to receive first, and vice versa.
    """

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        """Connect.

        Raises:
            OSError: the connection is refused, or the TLS handshake fails.
        """
        self._socket = _connect(host, port, tls)
        self._send_queue: SimpleQueue[bytes] = SimpleQueue()
        self._outgoing = bytearray()
        self._wake_writer, self._wake_reader = socket.socketpair()
        self._wake_lock = threading.Lock()
        self._sending, self._receiving = 0, POLLIN
        for each in (self._socket, self._wake_writer, self._wake_reader):
            each.setblocking(False)  # noqa: FBT003
        self._poll = poll()
        self._poll.register(self._wake_reader, POLLIN)
        self._poll.register(self._socket, POLLIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._socket.close()
        self._wake_reader.close()
        with self._wake_lock:  # else `wake` could write to another file that gets this descriptor
            self._wake_writer.close()

    def send(self, data: bytes) -> None:
        """Queue data for `exchange`, and wake it."""
        self._send_queue.put(data)
        self.wake()

    def wake(self) -> None:
        """Have a blocked `exchange` return."""
        with self._wake_lock, suppress(OSError):  # woken already, or closed
            self._wake_writer.send(b"\0")

    def exchange(self, timeout_s: float, *, reads: bool = True) -> bytes:
        """Send queued data, and wait until data arrive, `wake` is called, or the timeout.

        Returns:
            The received data; empty if none arrived or `reads` is false.

        Raises:
            OSError: the connection broke, or the other side closed it.
        """
        self._flush()
        self._wait(timeout_s, reads=reads)
        self._flush()
        return self._receive() if reads else b""

    def finish(self, within_s: float) -> None:
        """Send queued data, and read until the peer closes.

        Closing a socket with unread data resets the connection, and what was sent may be lost.
        """
        deadline = time.monotonic() + within_s
        with suppress(OSError):
            while (left_s := deadline - time.monotonic()) > 0:
                self.exchange(left_s)

    def _wait(self, timeout_s: float, *, reads: bool) -> None:
        self._poll.modify(self._socket, _GONE | reads * self._receiving | self._sending)
        for descriptor, events in self._poll.poll(0 if reads and self._has_decrypted() else timeout_s * 1000):
            if descriptor == self._wake_reader.fileno():
                self._wake_reader.recv(4096)
            elif events & _GONE and not reads:  # `recv` reports it after the data that arrived before
                raise ConnectionResetError(_CLOSED)

    def _has_decrypted(self) -> bool:
        return isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0

    def _flush(self) -> None:
        self._gather()
        self._send_waiting()

    def _gather(self) -> None:
        try:
            while True:
                self._outgoing += self._send_queue.get_nowait()
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
