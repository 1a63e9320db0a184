"""The outbox of commands as a dispatcher uses it: it leases due commands and records their outcome."""

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
"""How long a claimed command is leased; if its dispatcher dies, others claim it afterwards."""

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
    """Claimed commands are leased to `holder` until they are settled or the lease expires."""

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
        """Claim due commands, oldest first; or only those that have expired."""
        parameters = {
            "now": now,
            "over_at": now if only_over else None,
            "holder": self._holder,
            "leased_until": now + LEASE,
            "most": AT_ONCE,
        }
        with self._connection.transaction():
            admit(self._connection)
            commands = [Due(*row) for row in self._connection.execute(queries.TAKE_COMMANDS, parameters)]
        return sorted(commands, key=lambda command: (command.next_attempt_at, command.created_at))

    def settle(self, commands: Sequence[Due]) -> None:
        """Record the outcome of claimed commands, and release their leases. Idempotent.

        A command that was acknowledged meanwhile keeps its status.
        """
        if not commands:
            return
        with self._connection.transaction():
            admit(self._connection)
            self._connection.execute(queries.SETTLE_COMMANDS, self._columns(commands))
            self._connection.execute(queries.NOTIFY_COMMANDS)

    def wait(self, timeout_s: float) -> None:
        """Wait for a NOTIFY of the outbox, at most `timeout_s`."""
        for _ in self._connection.notifies(timeout=timeout_s, stop_after=1):
            pass

    def _columns(self, commands: Sequence[Due]) -> dict[str, object]:
        columns = {name: [getattr(command, name) for command in commands] for name in SETTLED}
        return {**columns, "holder": self._holder}
