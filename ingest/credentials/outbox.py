"""The outbox of credentials as its dispatcher uses it: pending changes, and their outcome."""

from collections.abc import Sequence
from datetime import datetime
from types import TracebackType
from typing import Self

import psycopg
from msgspec import Struct
from psycopg import sql

from ingest.credentials import queries
from ingest.credentials.dynsec import CredentialChange
from ingest.storing.admission import admit
from schemas.db.channels import CREDENTIALS


class Outcome(Struct, frozen=True):
    """The outcome of a change; without an error the broker has applied it."""

    change: CredentialChange
    error: str | None
    next_attempt_at: datetime


class CredentialOutbox:
    """Pending changes of credentials. One program at a time holds the outbox, to the end of its session."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self._is_holder = False
        self._connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(CREDENTIALS)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def take(self, now: datetime, most: int) -> list[CredentialChange]:
        """Return up to `most` due changes, revocations first; none while another program holds the outbox."""
        if not self._is_held():
            return []
        with self._connection.transaction():
            admit(self._connection)
            rows = self._connection.execute(queries.TAKE, {"now": now, "most": most}).fetchall()
        return [CredentialChange(*row) for row in rows]

    def settle(self, outcomes: Sequence[Outcome], now: datetime) -> None:
        """Record the outcome of changes; passwords that the broker has applied are erased."""
        columns = {
            "ven_id": [each.change.ven_id for each in outcomes],
            "revision": [each.change.revision for each in outcomes],
            "error": [each.error for each in outcomes],
            "next_attempt_at": [each.next_attempt_at for each in outcomes],
            "now": now,
        }
        with self._connection.transaction():
            admit(self._connection)
            self._connection.execute(queries.SETTLE, columns)
            self._connection.execute(queries.NOTIFY_CREDENTIALS)

    def note_trouble(self, reason: str, now: datetime) -> None:
        """Record at due changes why they are not applied, without counting an attempt."""
        with self._connection.transaction():
            admit(self._connection)
            self._connection.execute(queries.NOTE_TROUBLE, {"error": reason, "now": now})

    def wait(self, timeout_s: float) -> None:
        """Wait for a NOTIFY of the outbox, at most `timeout_s`."""
        for _ in self._connection.notifies(timeout=timeout_s, stop_after=1):
            pass

    def _is_held(self) -> bool:
        if not self._is_holder:
            row = self._connection.execute(queries.TRY_LOCK).fetchone()
            self._is_holder = bool(row and row[0])
        return self._is_holder
