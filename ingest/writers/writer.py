"""Supervises one writer process: starts and feeds it, reads its reports, restarts it."""

import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import structlog
from msgspec import Struct

from ingest.decoding.messages import Received
from ingest.metrics import IngestMetrics
from ingest.storing.worker import MessageSource
from ingest.writers import wire
from ingest.writers.suspects import Suspects
from ingest.writers.unacknowledged import UnacknowledgedQueue
from ingest.writers.wire import Acknowledged, Alive, CommitFailed, Committed, FrameStream, Report

FROZEN_AFTER_S = 30.0
"""A writer that has sent no heartbeat for so long is killed; they come every second."""

STARTS_WITHIN_S = 120.0
"""Timeout until its first heartbeat: on a busy machine imports take long."""

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
GOOD_RUN_S = 60.0
"""A writer that ran for so long is restarted without a longer back-off."""

IDLE_S = 0.5
MESSAGES_AT_ONCE = 500
BYTES_AT_ONCE = 4 * 1024 * 1024
BUFFER_BYTES = 1024 * 1024
ENDS_WITHIN_S = 5.0
TOLERATED_ENDS = 2
"""Consecutive ends that do not make the program unhealthy."""


class ReturnableSource(MessageSource, Protocol):
    """A source that takes messages back, for another writer."""

    def give_back(self, messages: list[Received]) -> None: ...


Launch = Callable[[int, socket.socket], subprocess.Popen[bytes]]
"""Starts the writer process with a number, which uses the given socket."""


class WriterContext(Struct, frozen=True):
    """What all writers share. `reject` moves a message to the rejected ones; returns whether it could."""

    source: ReturnableSource
    launch: Launch
    metrics: IngestMetrics
    suspects: Suspects
    reject: Callable[[Received], bool]
    stopping: threading.Event
    most_messages: int


class Writer:
    """One writer; `run` returns when `stopping` is set and the process has ended."""

    def __init__(self, number: int, context: WriterContext) -> None:
        self._number = number
        self._shared = context
        self._unacknowledged = UnacknowledgedQueue(0)
        self._has_reported = False
        self._ends_in_a_row = 0
        self._last_end = ""
        self._started_s = time.monotonic()
        self._log = structlog.get_logger().bind(writer=number)

    @property
    def trouble(self) -> str | None:
        """Return the reason for being unhealthy; None while healthy."""
        if self._ends_in_a_row <= TOLERATED_ENDS or self._has_run_well():
            return None
        return f"writer {self._number} has ended {self._ends_in_a_row} times in a row, {self._last_end}"

    def _has_run_well(self) -> bool:
        return time.monotonic() - self._started_s >= GOOD_RUN_S

    def run(self) -> None:
        while not self._shared.stopping.is_set():
            self._started_s = time.monotonic()
            try:
                self._run_once()
            except OSError as error:  # no process, or no file descriptor, is available now
                self._last_end = f"as it cannot be started: {error}"
                self._log.error("writer_not_started", reason=str(error))
            if self._shared.stopping.is_set():
                return
            self._ends_in_a_row = 1 if self._has_run_well() else self._ends_in_a_row + 1
            self._shared.stopping.wait(pause_s(self._ends_in_a_row))

    def _run_once(self) -> None:
        ours, theirs = socket.socketpair()
        with ours:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
            ours.settimeout(STARTS_WITHIN_S)
            with theirs:
                process = self._shared.launch(self._number, theirs)
            self._unacknowledged = UnacknowledgedQueue(self._shared.most_messages)
            self._has_reported = False
            feeder = threading.Thread(
                target=self._feed, args=[ours, self._unacknowledged, process], name="feeder"
            )
            feeder.start()
            try:
                self._listen(ours, process)
            finally:
                self._unacknowledged.close()
                with suppress(OSError):
                    ours.shutdown(socket.SHUT_RDWR)
                feeder.join()
                self._end(process)
                self._give_back()

    def _feed(
        self, ours: socket.socket, unacknowledged: UnacknowledgedQueue, process: subprocess.Popen[bytes]
    ) -> None:
        """Send messages as long as the writer has room; `_listen` notices its end."""
        try:
            while self._is_running(unacknowledged):
                room = unacknowledged.wait_for_room(IDLE_S)
                if room:
                    messages = self._shared.source.take(min(room, MESSAGES_AT_ONCE), BYTES_AT_ONCE, IDLE_S)
                    self._send(messages, ours, unacknowledged)
        except OSError as error:
            self._log.debug("writer_not_fed", reason=str(error))
        finally:
            with suppress(OSError):
                ours.shutdown(socket.SHUT_WR)  # the writer commits its batch, reports that, and ends
            if not self._has_reported:
                process.kill()  # it still imports, and has stored nothing

    def _is_running(self, unacknowledged: UnacknowledgedQueue) -> bool:
        return not self._shared.stopping.is_set() and not unacknowledged.is_closed

    def _send(
        self, messages: list[Received], ours: socket.socket, unacknowledged: UnacknowledgedQueue
    ) -> None:
        self._shared.metrics.took(len(messages))
        unacknowledged.add(messages)
        for portion, is_alone in self._shared.suspects.portions(messages):
            if is_alone and not self._wait_until_acknowledged(unacknowledged):
                return
            unacknowledged.mark_sent(len(portion))
            ours.sendall(wire.encode_messages(portion))
            if is_alone and not self._wait_until_acknowledged(unacknowledged):
                return

    def _wait_until_acknowledged(self, unacknowledged: UnacknowledgedQueue) -> bool:
        while self._is_running(unacknowledged):
            if unacknowledged.wait_until_acknowledged(IDLE_S):
                return True
        return False

    def _listen(self, ours: socket.socket, process: subprocess.Popen[bytes]) -> None:
        stream = FrameStream()
        try:
            while data := ours.recv(BUFFER_BYTES):
                self._has_reported = True
                ours.settimeout(FROZEN_AFTER_S)
                for frame in stream.feed(data):
                    self._handle(wire.decode_report(frame))
        except TimeoutError:
            self._log.error("writer_frozen", silent_s=ours.gettimeout(), doing="kill it, and restart it")
            process.kill()
        except OSError as error:
            self._log.warning("writer_lost", reason=str(error))

    def _handle(self, report: Report) -> None:
        metrics = self._shared.metrics
        match report:
            case Acknowledged(count):
                messages = self._unacknowledged.acknowledged(count)
                self._shared.suspects.cleared(messages)
                self._shared.source.acknowledge(messages)
                metrics.acknowledged(len(messages))
            case Committed(stored, duration_s, newest):
                self._ends_in_a_row = 0
                metrics.committed(stored, duration_s, newest, self._number)
            case CommitFailed():
                metrics.commit_failed(self._number)
            case Alive():
                pass

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        try:
            code = process.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        self._last_end = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        if not self._shared.stopping.is_set():
            self._shared.metrics.writer_ended()
            self._log.warning("writer_ended", how=self._last_end, pid=process.pid, doing="restart it")

    def _give_back(self) -> None:
        """Give unacknowledged messages to another writer; storing them twice is idempotent."""
        sent, unsent = self._unacknowledged.rest()
        self._shared.metrics.returned(len(sent) + len(unsent))
        rejected = []
        if not self._shared.stopping.is_set():
            rejected = [each for each in self._shared.suspects.ended_with(sent) if self._shared.reject(each)]
        self._shared.suspects.cleared(rejected)
        self._shared.source.acknowledge(rejected)
        self._shared.source.give_back([each for each in sent if each not in rejected] + unsent)


def pause_s(ends_in_a_row: int) -> float:
    """Return the seconds until the next start, after so many consecutive ends."""
    return float(min(FIRST_PAUSE_S * 2 ** min(ends_in_a_row - 1, 10), LONGEST_PAUSE_S))
