"""Writes each batch in one transaction by COPY, through staging tables if a key exists already."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from operator import itemgetter
from typing import Any

import psycopg
import structlog
from msgspec import Struct
from psycopg.errors import CheckViolation, InternalError_, UniqueViolation

from ingest.decoding.messages import RejectedError
from ingest.storing import queries
from ingest.storing.batch import Batch
from ingest.storing.probe_batch import probe_batch
from ingest.storing.queries import DESCRIPTIONS, SAMPLES, STATUSES, TELEMETRY, Keyed
from ingest.storing.quotas import Quotas
from ingest.storing.rows import Row
from schemas.db.revisions import require_revision
from schemas.devices.content import same_content
from schemas.tables.ledger import LANES

KEYED_REASONS = ("conflict", "unknown_command")
"""Reasons for rejecting messages whose key exists already."""

PARTITIONS_RETRY = timedelta(minutes=1)
"""Wait after a failed attempt to create a partition."""

COUNT_AGAIN_AFTER = timedelta(minutes=1)
SHARE_OF_ROOM = 16
"""A worker counts the VENs again after it has registered this part of the room that was left."""


class Stored(Struct, frozen=True):
    """Counts of one transaction."""

    messages: int
    telemetry_rows: int
    sample_rows: int
    description_rows: int
    status_rows: int
    acknowledgement_rows: int
    duplicates: int
    rejected: dict[str, int]


class Store:
    """Writes batches to the database; caches which VENs and partitions exist."""

    def __init__(self, connection: psycopg.Connection, worker: str) -> None:
        self._connection = connection
        self._worker = worker
        self._known_vens: set[str] = set()
        self._known_days: set[date] = set()
        self._next_attempt_at = datetime.min.replace(tzinfo=UTC)
        self._uncounted_vens = 0
        self._count_again_at = datetime.min.replace(tzinfo=UTC)
        self._log = structlog.get_logger()

    def close(self) -> None:
        self._connection.close()

    def write(self, batch: Batch) -> Stored:
        """Write a batch in one transaction.

        Raises:
            WrongRevisionError: the schema is not at this program's revision; nothing was stored.
            psycopg.Error: nothing was stored; or all of it, if the connection broke in the commit. Writing
            the batch again is idempotent.
        """
        received_at = batch.received[0].received_at
        self._reject_vens_beyond_quota(batch, received_at)
        self._ensure_live_days(batch.days(), received_at)
        try:
            return self._transact(batch)
        except CheckViolation:
            # No partition, not even the default one, accepts a row: create it again.
            self._ensure_partitions([], received_at)
            return self._transact(batch)

    def refresh(self, quotas: Quotas) -> None:
        """Restart quotas with the loads and load types in the database."""
        limits = quotas.limits
        many = self._connection.execute(queries.LOADS_OF_VENS_WITH_MANY, [(limits.loads_of_ven + 1) // 2])
        load_ids: dict[str, list[str]] = dict(many.fetchall())
        types = self._connection.execute(queries.LOAD_TYPES, [limits.load_types])
        quotas.restart(load_ids, [load_type for [load_type] in types])

    def probe(self, at: datetime) -> None:
        """Write a row of each kind, and roll back.

        Raises:
            psycopg.Error: the database accepts no rows at present.
        """
        batch = probe_batch(at)
        self._ensure_live_days(batch.days(), at)
        with self._connection.transaction(force_rollback=True):
            self._transact(batch)
        self._known_vens -= batch.vens.keys()

    def _ensure_live_days(self, days: set[date], now: datetime) -> None:
        """Create missing partitions for the days around today; the jobs create those of older days.

        If one cannot be created soon, say because of a manual ANALYZE, the default partition takes the rows.
        """
        live = {now.date() + timedelta(days=ahead) for ahead in (-1, 0, 1)}
        missing = (days & live) - self._known_days
        if missing and now >= self._next_attempt_at and self._ensure_partitions(sorted(missing), now):
            self._known_days |= missing

    def _ensure_partitions(self, days: list[date], now: datetime) -> bool:
        try:
            with self._connection.transaction():
                self._connection.execute(queries.LIMIT_LOCK_WAIT)
                self._connection.execute(queries.ENSURE_PARTITIONS, [days])
        except psycopg.Error as error:
            if self._connection.broken:
                raise
            self._next_attempt_at = now + PARTITIONS_RETRY
            self._log.warning("partition_not_made", days=[f"{day}" for day in days], error=str(error).strip())
            return False
        return True

    def _transact(self, batch: Batch) -> Stored:
        rejected_before = len(batch.rejections)
        try:
            with self._connection.transaction():
                registered = self._register_vens(batch)
                stored = self._write_rows(batch)
                self._write_rejections(batch)
        finally:
            # Rejections that depend on stored rows are determined by each attempt.
            del batch.rejections[rejected_before:]
        self._known_vens |= registered
        return stored

    def _register_vens(self, batch: Batch) -> set[str]:
        new = {ven_id: at for ven_id, at in batch.vens.items() if ven_id not in self._known_vens}
        if new:
            self._connection.execute(queries.REGISTER_VENS, [list(new), list(new.values())])
        return set(new)

    def _reject_vens_beyond_quota(self, batch: Batch, now: datetime) -> None:
        """Reject messages of new VENs beyond the quota, which several workers may exceed.

        Counting reads the whole registry, and each worker meets each VEN for the first time: so it is done
        for each batch only where the quota is nearly reached. Each further worker may exceed it by a
        sixteenth of the room that it has found.
        """
        new = [ven_id for ven_id in batch.vens if ven_id not in self._known_vens]
        self._uncounted_vens -= len(new)
        if not new or (self._uncounted_vens >= 0 and now < self._count_again_at):
            return
        [count] = self._connection.execute(queries.COUNT_VENS).fetchone() or (0,)
        room = batch.limits.vens - count
        self._uncounted_vens, self._count_again_at = room // SHARE_OF_ROOM, now + COUNT_AGAIN_AFTER
        if room >= len(new):
            return
        registered = {ven_id for [ven_id] in self._connection.execute(queries.REGISTERED_VENS, [new])}
        unknown = [ven_id for ven_id in new if ven_id not in registered]
        beyond = unknown[max(room, 0) :]
        if beyond:
            detail = f"there are {batch.limits.vens} VENs already (INGEST_MAX_VENS); retire some, or raise it"
            batch.reject_vens(beyond, RejectedError("too_many_vens", detail))

    def _write_rows(self, batch: Batch) -> Stored:
        batch_id = self._next_batch()
        reports = self._insert(TELEMETRY, [report.row for report in batch.reports.values()], batch_id, batch)
        new = [batch.reports[key] for key in reports]
        samples = [row for report in new for row in report.samples.values()]
        batch.rejections += chain.from_iterable(report.rejections for report in new)
        self._copy(SAMPLES, samples, batch_id)
        late = self._insert(SAMPLES, [row for _, row in batch.late_samples.values()], batch_id, batch)
        described = self._insert(DESCRIPTIONS, [row for _, row in batch.described.values()], batch_id, batch)
        statuses = self._insert(STATUSES, [status.row for status in batch.statuses.values()], batch_id, batch)
        answered = self._answer_commands(batch)
        self._write_abilities(batch)
        rejected = Counter(rejection.reason for rejection in batch.rejections)
        stored = Stored(
            messages=len(batch.received),
            telemetry_rows=len(reports),
            sample_rows=len(samples) + len(late),
            description_rows=len(described),
            status_rows=len(statuses),
            acknowledgement_rows=answered,
            duplicates=batch.keyed
            - len(reports)
            - len(statuses)
            - answered
            - sum(rejected[reason] for reason in KEYED_REASONS),
            rejected=rejected,
        )
        if reports or late or described or statuses:
            times = [key[1] for key in (*reports, *late, *described)]
            self._close(batch_id, batch, stored, times)
        return stored

    def _answer_commands(self, batch: Batch) -> int:
        """Record acknowledgements at their commands; returns how many were the first for their command."""
        if not batch.answers:
            return 0
        answers = list(batch.answers.values())
        names = ("ven_id", "command_id", "is_accepted", "received_at", "content")
        values = {name: [getattr(answer, name) for answer in answers] for name in names}
        answered = self._connection.execute(queries.ANSWER_COMMANDS, values).fetchall()
        if answered:
            self._connection.execute(queries.NOTIFY_COMMANDS)
            self._connection.execute(queries.NOTIFY_EVENTS, [sorted({e for *_, e in answered if e})])
        if len(answered) < len(answers):
            sent = set(self._connection.execute(queries.EXISTING_COMMANDS, values))
            for key in batch.answers.keys() - sent:
                batch.reject_answer(batch.answers[key])
        return len(answered)

    def _write_abilities(self, batch: Batch) -> None:
        """Upsert the abilities of VENs, in key order."""
        if batch.abilities:
            words = [(ven_id, *batch.abilities[ven_id]) for ven_id in sorted(batch.abilities)]
            ven_ids, times, understands = (list(column) for column in zip(*words, strict=True))
            self._connection.execute(queries.STORE_ABILITIES, [ven_ids, understands, times])

    def _insert(self, keyed: Keyed, rows: list[Row], batch_id: int, batch: Batch) -> list[tuple[Any, ...]]:
        """Insert rows in key order; returns the keys that were new."""
        if not rows:
            return []
        key_of = itemgetter(slice(len(keyed.key)))
        rows.sort(key=key_of)
        try:
            with self._connection.transaction():
                self._copy(keyed, rows, batch_id)
        except (UniqueViolation, InternalError_):
            # A worker of Citus reports the first as the second; whatever else it was, will come again.
            return self._insert_staged(keyed, rows, batch_id, batch)
        return [key_of(row) for row in rows]

    def _insert_staged(
        self, keyed: Keyed, rows: list[Row], batch_id: int, batch: Batch
    ) -> list[tuple[Any, ...]]:
        self._connection.execute(keyed.create_staging())
        self._copy(keyed, rows, batch_id, is_staged=True)
        inserted = self._connection.execute(keyed.insert_staged()).fetchall()
        for *key, new, old in self._connection.execute(keyed.differing()):
            if not same_content(new, old):
                self._reject_conflict(batch, keyed, tuple(key))
        return inserted

    def _reject_conflict(self, batch: Batch, keyed: Keyed, key: tuple[Any, ...]) -> None:
        if keyed in {DESCRIPTIONS, SAMPLES}:
            entries = batch.described if keyed is DESCRIPTIONS else batch.late_samples
            batch.reject_conflict(entries[key][0], key[2])
        else:
            messages = batch.reports if keyed is TELEMETRY else batch.statuses
            batch.reject_conflict(messages[key].source)

    def _copy(self, keyed: Keyed, rows: list[Row], batch_id: int, *, is_staged: bool = False) -> None:
        if rows:
            data = keyed.encode(rows, batch_id)
            statement = keyed.copy_staged() if is_staged else keyed.copy()
            with self._connection.cursor().copy(statement) as copy:
                copy.write(data)

    def _close(self, batch_id: int, batch: Batch, stored: Stored, times: list[datetime]) -> None:
        """Insert the batch into the ledger: once it is committed, the jobs consume these rows."""
        values = [
            batch_id,
            self._worker,
            batch.received[0].received_at,
            stored.messages,
            stored.telemetry_rows,
            stored.sample_rows,
            stored.description_rows,
            stored.status_rows,
            min(times, default=None),
            max(times, default=None),
            sorted({at.date() for at in times}) or None,
        ]
        self._connection.execute(queries.CLOSE_BATCH, values)
        self._connection.execute(queries.QUEUE_BATCH, [list(LANES), batch_id])

    def _write_rejections(self, batch: Batch) -> None:
        if batch.rejections:
            with self._connection.cursor().copy(queries.REJECT) as copy:
                for r in batch.rejections:
                    detail = _plain(r.detail)
                    copy.write_row(
                        (_plain(r.topic), r.payload, r.reason, detail, r.ven_id, r.ts, r.received_at)
                    )

    def _next_batch(self) -> int:
        row = self._connection.execute(queries.NEXT_BATCH).fetchone()
        if row is None:
            raise LookupError("the database has no number for the next batch")
        batch_id, revision = row
        require_revision(revision)
        return int(batch_id)


def _plain(text: str) -> str:
    """Return the text without NUL, which PostgreSQL cannot store."""
    return text.replace("\0", "\\0")
