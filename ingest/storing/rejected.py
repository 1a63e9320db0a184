"""Rejected messages: counted by reason, and replayed after a fix."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

import psycopg
from msgspec import Raw, Struct
from msgspec.json import Decoder

from ingest.decoding.decoder import decode
from ingest.decoding.loads import any_rows
from ingest.decoding.messages import Received, Source
from ingest.storing import queries
from ingest.storing.batch import Batch
from ingest.storing.quotas import Quotas
from ingest.storing.store import Store

FINAL = ("bad_field", "conflict", "load_conflict", "load_twice", "too_many_load_types", "unknown_command")
"""Reasons that no fix changes: another message, or the rest of the entry, is stored instead."""

ENTRY_REASONS = ("bad_load", "too_many_loads")
"""Reasons for which an entry is rejected as a whole."""

AT_ONCE = 500

_entries = Decoder(list[Raw])


class ReasonCount(Struct, frozen=True):
    """How often a reason occurred, and the last message rejected for it.

    `ven_id` is null if the message was rejected as a whole; the topic may still name the VEN.
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


class RejectedMessageRow(Struct, frozen=True):
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
    """Return the reasons, most frequent first."""
    return [ReasonCount(*row) for row in connection.execute(queries.REJECTED_BY_REASON)]


def replay(
    connection: psycopg.Connection,
    store: Store,
    max_ahead: timedelta,
    reason: str | None = None,
    quotas: Quotas | None = None,
) -> Iterator[tuple[int, int]]:
    """Replay rejected messages, oldest first. Those accepted now are stored, and deleted from the table.

    Yields:
        (replayed, accepted) of each block, so that a caller can show progress.
    """
    [[newest]] = connection.execute(queries.LAST_REJECTED)
    last_id = 0  # a message that is rejected again is not replayed twice
    while messages := _block(connection, last_id, newest, reason):
        last_id = messages[-1].rejected_id
        batch, accepted = _readable(messages, max_ahead, quotas)
        if accepted:
            with connection.transaction():
                store.write(batch)
                connection.execute(queries.FORGET_REJECTED, [accepted])
        yield len(messages), len(accepted)


def _block(
    connection: psycopg.Connection, after: int, last: int, reason: str | None
) -> list[RejectedMessageRow]:
    parameters = {"after": after, "last": last, "reason": reason, "final": list(FINAL), "most": AT_ONCE}
    return [RejectedMessageRow(*row) for row in connection.execute(queries.REJECTED, parameters)]


def _readable(
    messages: Iterable[RejectedMessageRow], max_ahead: timedelta, quotas: Quotas | None
) -> tuple[Batch, list[int]]:
    quotas = quotas or Quotas()
    batch, accepted = Batch(quotas), []
    for rejected in messages:
        if rejected.ven_id is None or rejected.ts is None:
            is_accepted = _add_message(batch, rejected, max_ahead, quotas)
        else:
            source = Source(rejected.message, rejected.ven_id, rejected.ts)
            is_accepted = _add_entries(batch, source, quotas)
        if is_accepted:
            accepted.append(rejected.rejected_id)
    return batch, accepted


def _add_message(batch: Batch, rejected: RejectedMessageRow, max_ahead: timedelta, quotas: Quotas) -> bool:
    try:
        decode(rejected.message, max_ahead, quotas)
    except Exception:  # noqa: BLE001 - rejected again, or a defect that is not fixed yet
        return False
    batch.add(rejected.message, max_ahead)
    return True


def _add_entries(batch: Batch, source: Source, quotas: Quotas) -> bool:
    """Add load entries to the samples, or the descriptions, of their message, which is stored already."""
    payload = source.message.payload
    try:
        entries = _entries.decode(payload) if payload.startswith(b"[") else [Raw(payload)]
    except ValueError:
        return False
    batch.received.append(source.message)
    rows, rejections = any_rows(entries, source, quotas)
    stored_rows = batch.described if source.message.topic.startswith("ven/loads/") else batch.late_samples
    for load_id, row in rows.items():
        stored_rows[source.ven_id, source.ts, load_id] = (source, row)
    return bool(rows) and not any(rejection.reason in ENTRY_REASONS for rejection in rejections)
