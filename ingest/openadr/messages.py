"""Notifications of OpenADR on their way to the broker: rows leave the table once the broker has them."""

from types import TracebackType
from typing import Self

import psycopg
from msgspec import Struct
from psycopg import sql

from ingest.commands.publisher import OutgoingMessage, Publisher
from ingest.storing import queries
from ingest.storing.admission import admit
from schemas.db.channels import OPENADR_MESSAGES


class Sent(Struct, frozen=True):
    """What became of some notifications: their number, and of the messages that the broker refused why."""

    rows: int
    refusals: list[str]


class MessageOutbox:
    """Rows of `openadr_messages`, published in their order by one program at a time."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self._connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(OPENADR_MESSAGES)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def publish(self, publisher: Publisher, most: int) -> Sent | None:
        """Publish the oldest, at most so many; None without any, or while another program does.

        Where it fails or dies in between, they are published again.

        Raises:
            OSError: the connection to the broker ended, or it does not confirm.
        """
        with self._connection.transaction():
            admit(self._connection)
            rows = self._connection.execute(queries.TAKE_MESSAGES, [most]).fetchall()
            if not rows:
                return None
            messages = [
                OutgoingMessage(topic, payload.encode()) for _, topics, payload in rows for topic in topics
            ]
            refusals = publisher.publish_messages(messages)
            self._connection.execute(queries.FORGET_MESSAGES, [[message_id for message_id, *_ in rows]])
        return Sent(len(rows), refusals)

    def wait(self, timeout_s: float) -> None:
        """Wait for a NOTIFY of the table, at most so long."""
        for _ in self._connection.notifies(timeout=timeout_s, stop_after=1):
            pass
