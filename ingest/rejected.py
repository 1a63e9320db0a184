"""The dead letters: what was refused, counted by reason; and another try, after a fix."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

import psycopg
from msgspec import Raw, Struct

from ingest import queries
from ingest.batch import Batch
from ingest.decoding import decode
from ingest.loads import any_rows
from ingest.messages import Received, Refused, Source
from ingest.store import Store

FINAL = ("conflict", "load_conflict", "load_twice", "unknown_command")
"""Reasons that no fix of ours changes: another message stands in the place."""

AT_ONCE = 500


class ReasonCount(Struct, frozen=True):
    """How often a reason occurred, and the last message for which it did.

    `ven_id` is null where the message was refused as a whole; the topic may name the VEN all the same.
    """

    reason: str
    count: int
    first: datetime
    last: datetime
    detail: str
    topic: str
    ven_id: str | None = None

    def __str__(self) -> str:
        """One line, for people."""
        ven_id = self.ven_id or ven_of_topic(self.topic) or "-"
        last = f"last {self.last:%Y-%m-%dT%H:%M:%SZ} on {self.topic} from {ven_id}"
        return f"{self.count:>9}  {self.reason:<20} {last}: {self.detail}"


def ven_of_topic(topic: str) -> str | None:
    """The VEN that a topic names, if it is a topic of one VEN."""
    kind, _, ven_id = topic.rpartition("/")
    return ven_id if kind in {"oadr/meter", "ven/loads", "ven/status", "ven/ack"} else None


class Letter(Struct, frozen=True):
    """A rejected message; or, with `ven_id` and `ts`, one load entry of a message that was stored."""

    rejected_id: int
    topic: str
    payload: bytes
    received_at: datetime
    ven_id: str | None
    ts: datetime | None

    @property
    def message(self) -> Received:
        return Received(self.topic, self.payload, self.received_at)


def count_by_reason(connection: psycopg.Connection) -> list[ReasonCount]:
    """Most frequent first."""
    return [ReasonCount(*row) for row in connection.execute(queries.REJECTED_BY_REASON)]


def replay(
    connection: psycopg.Connection, store: Store, max_ahead: timedelta, reason: str | None = None
) -> Iterator[tuple[int, int]]:
    """Try rejected messages again, oldest first. What is accepted now is stored and leaves the table.

    Yields:
        (tried, accepted) of each block, so that a caller can show progress.
    """
    last_id = 0
    while letters := _block(connection, last_id, reason):
        last_id = letters[-1].rejected_id
        batch, accepted = _readable(letters, max_ahead)
        with connection.transaction():
            store.write(batch)
            connection.execute(queries.FORGET_REJECTED, [accepted])
        yield len(letters), len(accepted)


def _block(connection: psycopg.Connection, after: int, reason: str | None) -> list[Letter]:
    asked = {"after": after, "reason": reason, "final": list(FINAL), "most": AT_ONCE}
    return [Letter(*row) for row in connection.execute(queries.REJECTED, asked)]


def _readable(letters: Iterable[Letter], max_ahead: timedelta) -> tuple[Batch, list[int]]:
    batch, accepted = Batch(), []
    for letter in letters:
        is_accepted = _add_message if letter.ts is None else _add_entry
        if is_accepted(batch, letter, max_ahead):
            accepted.append(letter.rejected_id)
    return batch, accepted


def _add_message(batch: Batch, letter: Letter, max_ahead: timedelta) -> bool:
    try:
        decode(letter.message, max_ahead)
    except Refused:
        return False
    batch.add(letter.message, max_ahead)
    return True


def _add_entry(batch: Batch, letter: Letter, _max_ahead: timedelta) -> bool:
    """A load entry joins the sample, or the description, that its message has left."""
    if letter.ven_id is None or letter.ts is None:
        return False
    batch.received.append(letter.message)
    source = Source(letter.message, letter.ven_id, letter.ts)
    rows, _ = any_rows([Raw(letter.payload)], source)
    kept = batch.described if letter.topic.startswith("ven/loads/") else batch.late_samples
    for load_id, row in rows.items():
        kept[letter.ven_id, letter.ts, load_id] = (source, row)
    return bool(rows)
