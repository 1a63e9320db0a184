"""The loop of ingest: take messages, commit them, acknowledge them. Always in that order."""

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import timedelta
from typing import Protocol

import msgspec
import psycopg
import structlog

from ingest.decoding.messages import Received
from ingest.storing.batch import FAULT, Batch
from ingest.storing.quotas import Quotas
from ingest.storing.store import Store, Stored
from schemas.db.revisions import WrongRevisionError

IDLE_S = 0.5
BETWEEN_COMMITS_S = 0.1
"""Time between the starts of two commits within which a batch grows for as long as messages come.

A commit costs as much CPU as some fifteen messages. The first message after a silence does not wait.
"""

ENOUGH_MESSAGES = 500
"""A batch of so many does not wait for more: what a commit costs is little beside them."""

MORE_WITHIN_S = 0.003
"""Where none comes for so long, the broker may be waiting for acknowledgements."""

NO_WAITS = 5
"""Commits that do not wait after one that has waited for nothing: some brokers keep one message in flight."""

MOST_BATCH_BYTES = 32 * 1024 * 1024
FIRST_RETRY_S = 0.1
LAST_RETRY_S = 5.0
REVISION_RETRY_S = 1.0
"""Interval between checks of the schema's revision."""

BATCH_ATTEMPTS = 3
"""Failures after which a batch is split, counted only while the database stores other rows."""

MESSAGE_ATTEMPTS = 5
"""Failures after which a message is rejected, counted only while the database stores other rows."""


class Stopped(Exception):  # noqa: N818 - a requested stop, not an error
    """Stopped during a database outage; the broker keeps the unacknowledged messages."""


class MessageSource(Protocol):
    """A source of messages: a subscriber, or the process that has one."""

    def take(self, most: int, most_bytes: int, timeout_s: float) -> list[Received]: ...

    def acknowledge(self, messages: list[Received]) -> None: ...


class WakeableSource(MessageSource, Protocol):
    """A source whose `take` ends at once when it is woken."""

    def wake(self) -> None: ...


class Metrics(Protocol):
    """Counters of a worker."""

    def took(self, messages: int) -> None: ...

    def acknowledged(self, messages: int) -> None: ...

    def stored(self, batch: Batch, stored: Stored, duration_s: float) -> None: ...

    def commit_failed(self) -> None: ...


class Worker:
    """Moves messages from their source to the store; connects to the database as needed."""

    def __init__(  # noqa: PLR0913 - what it is composed of, by name
        self,
        source: WakeableSource,
        open_store: Callable[[], Store],
        stopping: threading.Event,
        *,
        batch_messages: int,
        max_ahead: timedelta,
        metrics: Metrics,
        quotas: Quotas | None = None,
    ) -> None:
        self._source = source
        self._open_store = open_store
        self._stopping = stopping
        self._batch_messages = batch_messages
        self._max_ahead = max_ahead
        self._metrics = metrics
        self._quotas = quotas or Quotas()
        self._store: Store | None = None
        self._no_waits = 0
        self._log = structlog.get_logger()

    def run(self) -> None:
        """Work until `stopping` is set."""
        try:
            with ThreadPoolExecutor(1, "writer") as writer:
                self._feed(writer)
        except Stopped:
            self._log.info("stopped_while_waiting", why="the database is unavailable, or has another schema")
        finally:
            self._close()

    def _feed(self, writer: ThreadPoolExecutor) -> None:
        """Decode the next batch while the previous one is written; hand it over once that is done."""
        writing: Future[None] = Future()
        writing.set_result(None)
        batch, next_commit_s = Batch(self._quotas), time.monotonic()
        while not self._stopping.is_set():
            self._gather(batch, writing)
            if not writing.done():
                continue
            writing.result()
            if batch.received:
                self._let_grow(batch, next_commit_s)
                if self._stopping.is_set():
                    break
                next_commit_s = time.monotonic() + BETWEEN_COMMITS_S
                writing = writer.submit(self.commit, batch)
                writing.add_done_callback(lambda _: self._source.wake())
                batch = Batch(self._quotas)
        writing.result()

    def _gather(self, batch: Batch, writing: Future[None]) -> None:
        """Add arrived messages to a batch; waits for messages, for the writer, or `IDLE_S`."""
        if self._has_room(batch):
            self._add_arrived(batch, IDLE_S)
        else:
            wait([writing], IDLE_S)

    def _let_grow(self, batch: Batch, until_s: float) -> None:
        """Add messages to a batch up to a time, for as long as they come."""
        if self._no_waits > 0:
            self._no_waits -= 1
            return
        has_grown = False
        while self._is_small(batch) and time.monotonic() < until_s and not self._stopping.wait(MORE_WITHIN_S):
            if not self._add_arrived(batch, timeout_s=0):
                if not has_grown:
                    self._no_waits = NO_WAITS
                return
            has_grown = True

    def _is_small(self, batch: Batch) -> bool:
        return len(batch.received) < ENOUGH_MESSAGES and self._has_room(batch)

    def _has_room(self, batch: Batch) -> bool:
        return len(batch.received) < self._batch_messages and batch.size_bytes < MOST_BATCH_BYTES

    def _add_arrived(self, batch: Batch, timeout_s: float) -> int:
        """Add arrived messages to a batch; returns how many."""
        room, room_bytes = self._batch_messages - len(batch.received), MOST_BATCH_BYTES - batch.size_bytes
        messages = self._source.take(room, room_bytes, timeout_s)
        self._metrics.took(len(messages))
        batch.extend(messages, self._max_ahead)
        return len(messages)

    def commit(self, batch: Batch) -> None:
        """Store a batch, retrying throughout a database outage, and acknowledge it.

        Raises:
            Stopped: `stopping` was set before it could be stored.
        """
        self._settle(batch)
        self._source.acknowledge(batch.received)
        self._metrics.acknowledged(len(batch.received))

    def _settle(self, batch: Batch, attempts: int = BATCH_ATTEMPTS) -> None:
        """Store a batch. If it fails while other rows are stored, bisect it down to the message to reject.

        Errors do not tell reliably whether a row is the cause (a full lock table, a deadlock, an error of an
        extension), so the only test is whether the database stores something else.
        """
        messages = batch.received
        try:
            self._write(batch, MESSAGE_ATTEMPTS if len(messages) == 1 else attempts)
        except Stopped:
            raise
        except Exception as error:  # noqa: BLE001 - of any kind: one message must not stop the others
            if len(messages) == 1:
                reason = "refused_by_database" if isinstance(error, psycopg.Error) else FAULT
                self._write(Batch.rejecting(messages[0], reason, str(error) or repr(error)))
                return
            self._log.warning("batch_halved", messages=len(messages), error=str(error).strip())
            middle = len(messages) // 2
            for half in (messages[:middle], messages[middle:]):
                self._settle(Batch.of(half, self._max_ahead, self._quotas), attempts=1)

    def _write(self, batch: Batch, attempts: float = math.inf) -> None:
        """Commit a batch, retrying for as long as the database stores nothing.

        Raises:
            Exception: the batch failed this number of times while other rows were stored.
            Stopped: `stopping` was set before it could be stored.
        """
        failures, delay_s = 0, FIRST_RETRY_S
        while True:
            try:
                self._attempt(batch)
            except Stopped:
                raise
            except Exception as error:
                self._metrics.commit_failed()
                is_own_fault = not isinstance(error, psycopg.Error)
                self._log.error(
                    "store_failed", error=str(error).strip(), retry_s=delay_s, exc_info=is_own_fault
                )
                self._close()
                failures += self._stores_others(batch)
                if failures >= attempts:
                    raise
            else:
                return
            if self._stopping.wait(delay_s):
                raise Stopped
            delay_s = min(delay_s * 2, LAST_RETRY_S)

    def _stores_others(self, batch: Batch) -> bool:
        """Return whether the database stores other rows of that time now."""
        try:
            self._opened_store().probe(batch.received[0].received_at)
        except Exception:  # noqa: BLE001 - the same
            self._close()
            return False
        return True

    def _opened_store(self) -> Store:
        self._store = self._store or self._open_store()
        return self._store

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def _attempt(self, batch: Batch) -> None:
        start = time.monotonic()
        stored = self._write_at_revision(batch)
        self._metrics.stored(batch, stored, time.monotonic() - start)
        self._log.debug("batch_stored", **msgspec.structs.asdict(stored))
        if stored.rejected:
            self._log.warning("rejected", **stored.rejected, see="python -m ingest rejected")

    def _write_at_revision(self, batch: Batch) -> Stored:
        """Write a batch, waiting while the schema has another revision: that is not the batch's fault."""
        while True:
            try:
                store = self._opened_store()
                if self._quotas.is_due(batch.received[-1].received_at):
                    store.refresh(self._quotas)
                return store.write(batch)
            except WrongRevisionError as error:
                self._log.debug("batch_waits", reason=str(error))
            if self._stopping.wait(REVISION_RETRY_S):
                raise Stopped
