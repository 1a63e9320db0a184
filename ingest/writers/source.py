"""A writer process's end of the pipe: messages from the receiving process, reports to it."""

import select
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from ingest.decoding.messages import Received
from ingest.receiving.inbox import Inbox
from ingest.storing.batch import Batch
from ingest.storing.store import Stored
from ingest.writers import wire
from ingest.writers.wire import Acknowledged, Alive, CommitFailed, Committed, FrameStream, Report

ALIVE_EVERY_S = 1.0
LARGEST_READ = 256 * 1024
NO_LIMIT = 2**31
"""The receiving process limits what it sends."""


class ReportSender:
    """Sends reports from any thread; discards them once the receiving process has ended."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def report(self, report: Report) -> None:
        with self._lock, suppress(OSError):
            self._connection.sendall(wire.encode_report(report))


class PipeSource:
    """A source of messages for a worker, read from the receiving process.

    `on_end` is called when no more messages will arrive: the receiving process stops, or has ended.
    """

    def __init__(self, connection: socket.socket, reporter: ReportSender, on_end: Callable[[], None]) -> None:
        self._connection = connection
        self._reporter = reporter
        self._on_end = on_end
        self._inbox = Inbox(NO_LIMIT)
        self._thread = threading.Thread(target=self._run, name="receiver", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def take(self, most: int, most_bytes: int, timeout_s: float) -> list[Received]:
        return self._inbox.take(most, most_bytes, timeout_s)

    def wake(self) -> None:
        self._inbox.wake()

    def acknowledge(self, messages: list[Received]) -> None:
        self._inbox.release(messages)
        self._reporter.report(Acknowledged(len(messages)))

    def _run(self) -> None:
        stream = FrameStream()
        with suppress(OSError):
            while data := self._read():
                for frame in stream.feed(data):
                    self._inbox.put(wire.decode_messages(frame))
        self._on_end()
        self.wake()

    def _read(self) -> bytes:
        """Return the next bytes; empty at the end. While waiting, report that this process is alive."""
        while True:
            self._reporter.report(Alive())
            ready, _, _ = select.select([self._connection], [], [], ALIVE_EVERY_S)
            if ready:
                return self._connection.recv(LARGEST_READ)


class ReportedMetrics:
    """A worker's metrics, counted by the receiving process."""

    def __init__(self, reporter: ReportSender) -> None:
        self._reporter = reporter

    def took(self, messages: int) -> None:
        """Do nothing: the receiving process counts them."""

    def acknowledged(self, messages: int) -> None:
        """Do nothing: the receiving process counts them."""

    def stored(self, batch: Batch, stored: Stored, duration_s: float) -> None:
        self._reporter.report(Committed(stored, duration_s, batch.newest()))

    def commit_failed(self) -> None:
        self._reporter.report(CommitFailed())
