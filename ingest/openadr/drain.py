"""The thread that empties the inbox of reports. Whatever fails in it, messages of the broker go on."""

import threading
import time
from collections.abc import Callable
from datetime import datetime

import psycopg
import structlog

from ingest.decoding.messages import Refused
from ingest.metrics import IngestMetrics
from ingest.openadr.inbox import ReportInbox
from ingest.receiving.broker import FIRST_PAUSE_S, LONGEST_PAUSE_S
from ingest.storing.batch import FAULT
from schemas.db.revisions import WrongRevisionError

POLL_S = 1.0
"""For notifications that are missed."""

AT_ONCE = 100
"""Reports in one transaction."""

REPORT_ATTEMPTS = 5
"""A report that fails so often while the database stores other rows is put aside."""

WRITER = -1
"""The number of this thread among the writers of the metrics."""


class ReportDrain:
    """Stores what reports measure. After a failure they are taken one by one, until one has passed."""

    def __init__(
        self,
        open_inbox: Callable[[], ReportInbox],
        clock: Callable[[], datetime],
        metrics: IngestMetrics,
    ) -> None:
        self._open_inbox = open_inbox
        self._clock = clock
        self._metrics = metrics
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self.run, name="reports")
        self._failures = 0
        self._pause_s = FIRST_PAUSE_S
        self._log = structlog.get_logger()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End after the transaction of just now."""
        self._stopping.set()
        self._thread.join()

    def run(self) -> None:
        """Work until `stop` is called."""
        while not self._stopping.is_set():
            try:
                self._drain()
            except WrongRevisionError as error:
                self._log.debug("reports_wait", reason=str(error))
            except Exception as error:  # noqa: BLE001 - of any kind: it must not stop ingest of telemetry
                self._failed(error)
            self._stopping.wait(self._pause_s)
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def _drain(self) -> None:
        with self._open_inbox() as inbox:
            inbox.require_schema()
            while not self._stopping.is_set():
                if not self.drain_once(inbox):
                    inbox.wait(POLL_S)

    def drain_once(self, inbox: ReportInbox) -> bool:
        """Store what some reports measure; False without any."""
        start = time.monotonic()
        drained = inbox.drain(1 if self._failures else AT_ONCE)
        self._failures, self._pause_s = 0, FIRST_PAUSE_S
        if drained is None:
            return False
        self._metrics.committed(drained.stored, time.monotonic() - start, drained.newest, WRITER)
        if drained.stored.rejected:
            self._log.warning("rejected", **drained.stored.rejected, see="python -m ingest rejected")
        return True

    def _failed(self, error: Exception) -> None:
        self._metrics.commit_failed(WRITER)
        reason, is_ours = str(error).strip(), not isinstance(error, psycopg.Error)
        self._log.error("reports_failed", error=reason, retry_s=self._pause_s, exc_info=is_ours)
        try:
            with self._open_inbox() as inbox:
                inbox.probe(self._clock())
                self._failures += 1
                if self._failures >= REPORT_ATTEMPTS:
                    inbox.put_aside(
                        Refused(FAULT if is_ours else "refused_by_database", reason or repr(error))
                    )
                    self._failures = 0
        except (psycopg.Error, WrongRevisionError) as away:
            self._log.debug("reports_wait", reason=str(away).strip())
