"""The table of commands as a dispatcher uses it: it leases due ones, and writes down the outcome."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql

from ingest.commands.states import Due
from ingest.storing import queries
from ingest.storing.admission import admit
from schemas.db.channels import COMMANDS

LEASE = timedelta(seconds=60)
"""So long others leave a command alone that a dispatcher has in hand; after its death they take over."""

AT_ONCE = 1_000

SETTLED = (
    "ven_id",
    "command_id",
    "status",
    "attempts",
    "sent_at",
    "next_attempt_at",
    "error",
    "queued_since",
    "interruptions",
)
"""The key, and the columns that a dispatcher writes."""


class Outbox:
    """Commands in hand belong to `holder` until they are settled, or the lease is over."""

    def __init__(self, connection: psycopg.Connection, holder: str) -> None:
        self._connection = connection
        self._holder = holder
        self._connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(COMMANDS)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def take(self, now: datetime, *, only_over: bool = False) -> list[Due]:
        """Take due commands in hand, oldest first; or only those whose time is over."""
        parameters = {
            "now": now,
            "over_at": now if only_over else None,
            "holder": self._holder,
            "leased_until": now + LEASE,
            "most": AT_ONCE,
        }
        with self._connection.transaction():
            admit(self._connection)
            taken = [Due(*row) for row in self._connection.execute(queries.TAKE_COMMANDS, parameters)]
        return sorted(taken, key=lambda command: (command.next_attempt_at, command.created_at))

    def settle(self, commands: Sequence[Due]) -> None:
        """Write down what became of commands in hand, and release them. Idempotent.

        One that has been answered meanwhile stays answered.
        """
        if not commands:
            return
        with self._connection.transaction():
            admit(self._connection)
            self._connection.execute(queries.SETTLE_COMMANDS, self._columns(commands))
            self._connection.execute(queries.NOTIFY_COMMANDS)

    def wait(self, timeout_s: float) -> None:
        """Wait for a NOTIFY of the outbox, at most so long."""
        for _ in self._connection.notifies(timeout=timeout_s, stop_after=1):
            pass

    def _columns(self, commands: Sequence[Due]) -> dict[str, object]:
        columns = {name: [getattr(command, name) for command in commands] for name in SETTLED}
        return {**columns, "holder": self._holder}
