"""The thread that stores the inbox of reports. Its failures never stop the ingest of MQTT messages."""

import time
from collections.abc import Callable
from datetime import datetime

import psycopg

from ingest.decoding.messages import RejectedError
from ingest.metrics import IngestMetrics
from ingest.openadr.inbox import ReportInbox
from ingest.side_thread import SideThread
from ingest.storing.batch import FAULT
from schemas.db.revisions import WrongRevisionError

POLL_S = 1.0
"""Poll interval, for a missed NOTIFY."""

AT_ONCE = 100
"""Most reports in one transaction."""

REPORT_ATTEMPTS = 5
"""Failures after which a report is rejected, counted only while the database stores other rows."""

WRITER = -1
"""This thread's number among the writers in the metrics."""


class ReportDrain(SideThread):
    """Stores the measurements of reports; after a failure one report at a time, until one is stored."""

    def __init__(
        self,
        open_inbox: Callable[[], ReportInbox],
        clock: Callable[[], datetime],
        metrics: IngestMetrics,
    ) -> None:
        super().__init__("reports")
        self._open_inbox = open_inbox
        self._clock = clock
        self._metrics = metrics
        self._failures = 0

    def _attempt(self) -> None:
        try:
            self._drain()
        except WrongRevisionError as error:
            self._log.debug("reports_wait", reason=str(error))
        except Exception as error:  # noqa: BLE001 - of any kind: it must not stop ingest of telemetry
            self._failed(error)

    def _drain(self) -> None:
        with self._open_inbox() as inbox:
            inbox.require_schema()
            while not self._stopping.is_set():
                if not self.drain_once(inbox):
                    inbox.wait(POLL_S)

    def drain_once(self, inbox: ReportInbox) -> bool:
        """Store the measurements of the next reports; returns whether there were any."""
        start = time.monotonic()
        drained = inbox.drain(1 if self._failures else AT_ONCE)
        self._failures = 0
        self._reset_pause()
        if drained is None:
            return False
        self._metrics.committed(drained.stored, time.monotonic() - start, drained.newest, WRITER)
        if drained.stored.rejected:
            self._log.warning("rejected", **drained.stored.rejected, see="python -m ingest rejected")
        return True

    def _failed(self, error: Exception) -> None:
        self._metrics.commit_failed(WRITER)
        reason, is_own_fault = str(error).strip(), not isinstance(error, psycopg.Error)
        self._log.error("reports_failed", error=reason, retry_s=self._pause_s, exc_info=is_own_fault)
        try:
            with self._open_inbox() as inbox:
                inbox.probe(self._clock())
                self._failures += 1
                if self._failures >= REPORT_ATTEMPTS:
                    inbox.reject_oldest(
                        RejectedError(FAULT if is_own_fault else "refused_by_database", reason or repr(error))
                    )
                    self._failures = 0
        except (psycopg.Error, WrongRevisionError) as away:
            self._log.debug("reports_wait", reason=str(away).strip())
