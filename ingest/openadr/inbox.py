"""The inbox of reports: a row is deleted in the transaction that stores its measurements."""

from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

import psycopg
from msgspec import Struct
from psycopg import sql

from ingest.decoding.messages import RejectedError
from ingest.openadr.readings import InboxRow, translated
from ingest.storing import queries
from ingest.storing.admission import admit
from ingest.storing.batch import Batch
from ingest.storing.quotas import Quotas
from ingest.storing.store import Store, Stored
from schemas.db.channels import REPORTS


class Drained(Struct, frozen=True):
    """Counts of one transaction, and the newest device time in it."""

    stored: Stored
    newest: datetime | None


class ReportInbox:
    """Rows of `report_inbox`, on a connection of its own; several programs may drain it concurrently."""

    def __init__(
        self, connection: psycopg.Connection, worker: str, max_ahead: timedelta, quotas: Quotas
    ) -> None:
        self._connection = connection
        self._store = Store(connection, worker)
        self._max_ahead = max_ahead
        self._quotas = quotas
        self._connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(REPORTS)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def require_schema(self) -> None:
        """Check that the database has this program's schema revision.

        Raises:
            WrongRevisionError: the schema is another one, or is being migrated.
        """
        with self._connection.transaction():
            admit(self._connection)

    def drain(self, most: int) -> Drained | None:
        """Store the measurements of the oldest reports, at most `most`; None if there are none.

        After an exception nothing is stored, and the connection must not be used again.
        """
        if self._connection.execute(queries.HAS_REPORTS).fetchone() is None:
            return None
        with self._connection.transaction():
            admit(self._connection)
            rows = self._take(most)
            if not rows:
                return None
            if self._quotas.is_due(rows[0].received_at):
                self._store.refresh(self._quotas)
            return self._write(_batch(rows, self._max_ahead, self._quotas), rows)

    def reject_oldest(self, problem: RejectedError) -> None:
        """Move the oldest report to the rejected messages as a whole."""
        with self._connection.transaction():
            admit(self._connection)
            for row in self._take(1):
                self._write(Batch.rejecting(row.message, problem.reason, problem.detail), [row])

    def probe(self, at: datetime) -> None:
        """Test whether the database stores other rows.

        Raises:
            psycopg.Error: it does not.
        """
        self._store.probe(at)

    def wait(self, timeout_s: float) -> None:
        """Wait for a NOTIFY of the inbox, at most `timeout_s`."""
        for _ in self._connection.notifies(timeout=timeout_s, stop_after=1):
            pass

    def _take(self, most: int) -> list[InboxRow]:
        return [InboxRow(*row) for row in self._connection.execute(queries.TAKE_REPORTS, [most])]

    def _write(self, batch: Batch, rows: list[InboxRow]) -> Drained:
        stored = self._store.write(batch)
        self._connection.execute(queries.FORGET_REPORTS, [[row.inbox_id for row in rows]])
        return Drained(stored, batch.newest())


def _batch(rows: list[InboxRow], max_ahead: timedelta, quotas: Quotas) -> Batch:
    """Return the messages that reports translate to, decoded like messages of VENs."""
    batch = Batch(quotas)
    for row in rows:
        report = translated(row)
        batch.received.append(row.message)
        for problem in report.problems:
            batch.reject(row.message, problem)
        batch.extend(report.messages, max_ahead)
    return batch
