"""The receiving process's side of one writer process: started, fed, listened to, started again."""

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
from ingest.writers.in_hand import InHand
from ingest.writers.suspects import Suspects
from ingest.writers.wire import Acknowledged, Alive, CommitFailed, Committed, FrameStream, Report

FROZEN_AFTER_S = 30.0
"""A writer that has sent nothing for so long is killed; it sends every second."""

STARTS_WITHIN_S = 120.0
"""Until its first word: a busy machine takes long to import a program."""

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
GOOD_RUN_S = 60.0
"""A writer that ran for so long is started again without a longer pause."""

IDLE_S = 0.5
MESSAGES_AT_ONCE = 500
BYTES_AT_ONCE = 4 * 1024 * 1024
BUFFER_BYTES = 1024 * 1024
ENDS_WITHIN_S = 5.0
TOLERATED_ENDS = 2
"""Ends in a row that do not make the program unhealthy."""


class ReturnableSource(MessageSource, Protocol):
    """A source that takes messages back, for another writer."""

    def give_back(self, messages: list[Received]) -> None: ...


Launch = Callable[[int, socket.socket], subprocess.Popen[bytes]]
"""Starts the writer process of a number, which uses the given socket."""


class Surroundings(Struct, frozen=True):
    """What all writers share. `put_aside` stores a message as refused; it returns whether it could."""

    source: ReturnableSource
    launch: Launch
    metrics: IngestMetrics
    suspects: Suspects
    put_aside: Callable[[Received], bool]
    stopping: threading.Event
    most_messages: int


class Writer:
    """One writer; `run` returns when `stopping` is set and the process has ended."""

    def __init__(self, number: int, surroundings: Surroundings) -> None:
        self._number = number
        self._with = surroundings
        self._in_hand = InHand(0)
        self._is_heard = False
        self._ends_in_a_row = 0
        self._last_end = ""
        self._started_s = time.monotonic()
        self._log = structlog.get_logger().bind(writer=number)

    @property
    def trouble(self) -> str | None:
        """The reason for being unhealthy; None while healthy."""
        if self._ends_in_a_row <= TOLERATED_ENDS or self._has_run_well():
            return None
        return f"writer {self._number} has ended {self._ends_in_a_row} times in a row, {self._last_end}"

    def _has_run_well(self) -> bool:
        return time.monotonic() - self._started_s >= GOOD_RUN_S

    def run(self) -> None:
        while not self._with.stopping.is_set():
            self._started_s = time.monotonic()
            try:
                self._run_once()
            except OSError as error:  # no process, or no descriptor, is to be had now
                self._last_end = f"as it cannot be started: {error}"
                self._log.error("writer_not_started", reason=str(error))
            if self._with.stopping.is_set():
                return
            self._ends_in_a_row = 1 if self._has_run_well() else self._ends_in_a_row + 1
            self._with.stopping.wait(pause_s(self._ends_in_a_row))

    def _run_once(self) -> None:
        ours, theirs = socket.socketpair()
        with ours:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
            ours.settimeout(STARTS_WITHIN_S)
            with theirs:
                process = self._with.launch(self._number, theirs)
            self._in_hand = InHand(self._with.most_messages)
            self._is_heard = False
            feeder = threading.Thread(target=self._feed, args=[ours, self._in_hand, process], name="feeder")
            feeder.start()
            try:
                self._listen(ours, process)
            finally:
                self._in_hand.close()
                with suppress(OSError):
                    ours.shutdown(socket.SHUT_RDWR)
                feeder.join()
                self._end(process)
                self._give_back()

    def _feed(self, ours: socket.socket, in_hand: InHand, process: subprocess.Popen[bytes]) -> None:
        """Send messages as long as the writer has room; its end is noticed by who listens."""
        try:
            while self._is_on(in_hand):
                room = in_hand.wait_for_room(IDLE_S)
                if room:
                    messages = self._with.source.take(min(room, MESSAGES_AT_ONCE), BYTES_AT_ONCE, IDLE_S)
                    self._send(messages, ours, in_hand)
        except OSError as error:
            self._log.debug("writer_not_fed", reason=str(error))
        finally:
            with suppress(OSError):
                ours.shutdown(socket.SHUT_WR)  # the writer commits what it is at, reports that, and ends
            if not self._is_heard:
                process.kill()  # it is at its imports, and has stored nothing

    def _is_on(self, in_hand: InHand) -> bool:
        return not self._with.stopping.is_set() and not in_hand.is_closed

    def _send(self, messages: list[Received], ours: socket.socket, in_hand: InHand) -> None:
        self._with.metrics.took(len(messages))
        in_hand.add(messages)
        for portion, is_alone in self._with.suspects.portions(messages):
            if is_alone and not self._wait_until_none_is_sent(in_hand):
                return
            in_hand.mark_sent(len(portion))
            ours.sendall(wire.encode_messages(portion))
            if is_alone and not self._wait_until_none_is_sent(in_hand):
                return

    def _wait_until_none_is_sent(self, in_hand: InHand) -> bool:
        while self._is_on(in_hand):
            if in_hand.wait_until_none_is_sent(IDLE_S):
                return True
        return False

    def _listen(self, ours: socket.socket, process: subprocess.Popen[bytes]) -> None:
        stream = FrameStream()
        try:
            while data := ours.recv(BUFFER_BYTES):
                self._is_heard = True
                ours.settimeout(FROZEN_AFTER_S)
                for frame in stream.feed(data):
                    self._hear(wire.decode_report(frame))
        except TimeoutError:
            self._log.error("writer_frozen", silent_s=ours.gettimeout(), doing="kill it, and start another")
            process.kill()
        except OSError as error:
            self._log.warning("writer_lost", reason=str(error))

    def _hear(self, report: Report) -> None:
        metrics = self._with.metrics
        match report:
            case Acknowledged(count):
                messages = self._in_hand.acknowledged(count)
                self._with.suspects.cleared(messages)
                self._with.source.acknowledge(messages)
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
        if not self._with.stopping.is_set():
            self._with.metrics.writer_ended()
            self._log.warning("writer_ended", how=self._last_end, pid=process.pid, doing="start another")

    def _give_back(self) -> None:
        """What has no acknowledgement goes to another writer; storing it twice is harmless."""
        sent, unsent = self._in_hand.rest()
        self._with.metrics.returned(len(sent) + len(unsent))
        aside = []
        if not self._with.stopping.is_set():
            aside = [each for each in self._with.suspects.ended_with(sent) if self._with.put_aside(each)]
        self._with.suspects.cleared(aside)
        self._with.source.acknowledge(aside)
        self._with.source.give_back([each for each in sent if each not in aside] + unsent)


def pause_s(ends_in_a_row: int) -> float:
    """Seconds until the next start, after so many ends in a row."""
    return float(min(FIRST_PAUSE_S * 2 ** min(ends_in_a_row - 1, 10), LONGEST_PAUSE_S))
