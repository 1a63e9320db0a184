"""The loop: take what has arrived, commit it, acknowledge it. In that order, whatever fails."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta

import msgspec
import psycopg
import structlog

from ingest.batch import Batch
from ingest.messages import Received
from ingest.metrics import Metrics
from ingest.store import Store
from ingest.subscriber import Subscriber

IDLE_S = 0.5
FIRST_RETRY_S = 0.1
LAST_RETRY_S = 5.0

POISON = ("22", "23", "54")
"""SQLSTATE classes that blame the rows: data exceptions, integrity, program limits. All else may pass."""


def _blames_rows(error: psycopg.Error) -> bool:
    """What psycopg itself refuses to send has no SQLSTATE."""
    return (error.sqlstate or "").startswith(POISON) or isinstance(error, psycopg.DataError)


class Stopped(Exception):  # noqa: N818 - asked for, not an error
    """We were told to stop while the database was away; the broker keeps what was not acknowledged."""


class Worker:
    """Moves messages from the subscriber to the store. Connections to the database are made as needed."""

    def __init__(
        self,
        subscriber: Subscriber,
        open_store: Callable[[], Store],
        stopping: threading.Event,
        *,
        batch_messages: int,
        max_ahead: timedelta,
        metrics: Metrics,
    ) -> None:
        self._subscriber = subscriber
        self._open_store = open_store
        self._stopping = stopping
        self._batch_messages = batch_messages
        self._max_ahead = max_ahead
        self._metrics = metrics
        self._store: Store | None = None
        self._log = structlog.get_logger()

    def run(self) -> None:
        """Work until told to stop."""
        try:
            while not self._stopping.is_set():
                self.handle(self._subscriber.take(self._batch_messages, IDLE_S))
        except Stopped:
            self._log.info("stopped_while_waiting", why="the database is away")
        finally:
            self._close()

    def handle(self, messages: list[Received]) -> None:
        """Store messages, however long the database is away, and acknowledge them.

        Raises:
            Stopped: told to stop before they could be stored.
        """
        if messages:
            self._metrics.took(len(messages))
            self._settle(messages)
            self._subscriber.acknowledge(messages)
            self._metrics.acknowledged()

    def _settle(self, messages: list[Received]) -> None:
        """Store messages; where the database refuses some, find out which by halves and put those aside."""
        try:
            self._write(Batch.of(messages, self._max_ahead))
        except psycopg.Error as refusal:
            if len(messages) == 1:
                self._write(Batch.refusing(messages[0], "refused_by_database", str(refusal)))
                return
            middle = len(messages) // 2
            self._settle(messages[:middle])
            self._settle(messages[middle:])

    def _write(self, batch: Batch) -> None:
        """Commit a batch, trying again while the fault is not the batch's own."""
        delay_s = FIRST_RETRY_S
        while True:
            try:
                self._attempt(batch)
            except psycopg.Error as error:
                if _blames_rows(error):
                    raise
                self._metrics.commit_failed()
                self._log.error("store_failed", error=str(error).strip(), retry_s=delay_s)
                self._close()
            else:
                return
            if self._stopping.wait(delay_s):
                raise Stopped
            delay_s = min(delay_s * 2, LAST_RETRY_S)

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def _attempt(self, batch: Batch) -> None:
        start = time.monotonic()
        self._store = self._store or self._open_store()
        stored = self._store.write(batch)
        self._metrics.stored(batch, stored, time.monotonic() - start)
        self._log.debug("batch_stored", **msgspec.structs.asdict(stored))
        if stored.rejected:
            self._log.warning("rejected", **stored.rejected, see="python -m ingest rejected")
