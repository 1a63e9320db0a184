"""The outbox of OpenADR notifications: a row is deleted once the broker has confirmed its messages."""

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
    """The outcome of publishing: the number of notifications, and the broker's reasons for refusals."""

    rows: int
    refusals: list[str]


class MessageOutbox:
    """Rows of `openadr_messages`, published in order by one program at a time."""

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
        """Publish the oldest, at most `most`; None if there are none, or while another program publishes.

        If the program fails or dies before the commit, they are published again.

        Raises:
            OSError: the connection to the broker ended, or a confirmation is missing.
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
        """Wait for a NOTIFY of the table, at most `timeout_s`."""
        for _ in self._connection.notifies(timeout=timeout_s, stop_after=1):
            pass
