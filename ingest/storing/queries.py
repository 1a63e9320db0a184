"""All of ingest's SQL.

Tables with a natural key are written by COPY. `Keyed` names the key, the other columns, and the columns by
which a conflict is distinguished from a redelivery.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from psycopg import sql

from ingest.storing.binary import COPY_OPTIONS, copy_data, double, instant, load_entry_data, text
from ingest.storing.rows import Row
from schemas.db.channels import COMMANDS, EVENTS
from schemas.db.locks import OPENADR_MESSAGES
from schemas.db.revisions import REVISION_NOW


@dataclass(frozen=True)
class Keyed:
    """A raw table: its key, its other columns, and the columns that are compared as its content.

    `encode` returns rows, which have key and columns in this order, and a batch's id for COPY.
    """

    table: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    content: tuple[str, ...]
    encode: Callable[[Sequence[Row], int], bytes]

    @property
    def _all(self) -> sql.Composed:
        return _names("batch_id", *self.key, *self.columns)

    @property
    def _staging(self) -> sql.Identifier:
        return sql.Identifier(f"staged_{self.table}")

    def copy(self) -> sql.Composed:
        """COPY straight into the table; a key that exists already is a UniqueViolation."""
        return self._copy(sql.Identifier(self.table))

    def create_staging(self) -> sql.Composed:
        return sql.SQL("CREATE TEMPORARY TABLE IF NOT EXISTS {} (LIKE {}) ON COMMIT DELETE ROWS").format(
            self._staging, sql.Identifier(self.table)
        )

    def copy_staged(self) -> sql.Composed:
        return self._copy(self._staging)

    def insert_staged(self) -> sql.Composed:
        """Insert rows with new keys, in key order (against deadlocks); returns the inserted keys."""
        return sql.SQL(
            "INSERT INTO {table} ({all}) SELECT {all} FROM {staged} ORDER BY {key}"
            " ON CONFLICT DO NOTHING RETURNING {key}"
        ).format(table=sql.Identifier(self.table), all=self._all, staged=self._staging, key=_names(*self.key))

    def differing(self) -> sql.Composed:
        """Select staged rows whose key is stored with other content: key, staged content, stored content."""
        same_key = sql.SQL(" AND ").join(
            sql.SQL("stored.{0} = staged.{0}").format(sql.Identifier(k)) for k in self.key
        )
        return sql.SQL(
            "SELECT {key}, {new}, {old} FROM {staged} AS staged JOIN {table} AS stored ON {same_key}"
            " WHERE stored.batch_id <> staged.batch_id AND ({new}) IS DISTINCT FROM ({old})"
        ).format(
            key=sql.SQL(", ").join(sql.Identifier("staged", k) for k in self.key),
            new=self._texts("staged"),
            old=self._texts("stored"),
            staged=self._staging,
            table=sql.Identifier(self.table),
            same_key=same_key,
        )

    def _copy(self, table: sql.Identifier) -> sql.Composed:
        options = sql.SQL(COPY_OPTIONS)
        return sql.SQL("COPY {} ({}) FROM STDIN ({})").format(table, self._all, options)

    def _texts(self, alias: str) -> sql.Composed:
        """The content as JSON, so that differences of formatting do not count."""
        columns = sql.SQL(", ").join(sql.Identifier(alias, column) for column in self.content)
        return sql.SQL("{}::text" if len(self.content) == 1 else "json_build_array({})::text").format(columns)


def _names(*names: str) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))


_LOAD_CONTENT = (
    "load_type",
    "name",
    "used_power_kw",
    "shed_power_kw",
    "capacity_kw",
    "shed_capability_kw",
    "enabled",
    "priority",
    "metadata",
)

TELEMETRY = Keyed(
    table="ven_telemetry",
    key=("ven_id", "ts"),
    columns=(
        "used_power_kw",
        "shed_power_kw",
        "requested_reduction_kw",
        "event_id",
        "baseline_power_kw",
        "battery_soc",
        "payload",
        "received_at",
    ),
    content=("payload",),
    encode=partial(
        copy_data,
        (text, instant, double, double, double, text, double, double, text, instant),
    ),
)
STATUSES = Keyed(
    table="ven_statuses",
    key=("ven_id", "ts"),
    columns=("status", "details", "received_at"),
    content=("status", "details"),
    encode=partial(copy_data, (text, instant, text, text, instant)),
)
DESCRIPTIONS = Keyed(
    table="ven_load_descriptions",
    key=("ven_id", "ts", "load_id"),
    columns=_LOAD_CONTENT,
    content=_LOAD_CONTENT,
    encode=load_entry_data,
)
SAMPLES = replace(DESCRIPTIONS, table="ven_load_samples")

STORE_ABILITIES = (
    "INSERT INTO ven_abilities (ven_id, understands, said_at)"
    " SELECT ven_id, reported.understands::json, reported.said_at"
    " FROM unnest(%s::text[], %s::text[], %s::timestamptz[]) AS reported (ven_id, understands, said_at)"
    " JOIN vens USING (ven_id) ORDER BY ven_id ON CONFLICT (ven_id)"
    " DO UPDATE SET understands = excluded.understands, said_at = excluded.said_at"
    ' WHERE (ven_abilities.said_at, ven_abilities.understands::text COLLATE "C")'
    ' < (excluded.said_at, excluded.understands::text COLLATE "C")'
)
"""The newest abilities win, in whatever order they arrive; a tie is broken by the greater text."""

NEXT_BATCH = f"SELECT nextval(pg_get_serial_sequence('ingest_batches', 'batch_id')), {REVISION_NOW}"
CLOSE_BATCH = (
    "INSERT INTO ingest_batches (batch_id, worker, received_at, messages, telemetry_rows, sample_rows,"
    " description_rows, status_rows, first_ts, last_ts, days)"
    " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s::date[])"
)
QUEUE_BATCH = "INSERT INTO pending_batches (lane, batch_id) SELECT unnest(%s::text[]), %s"
REGISTER_VENS = (
    "INSERT INTO vens (ven_id, created_at) SELECT ven_id, created_at"
    " FROM unnest(%s::text[], %s::timestamptz[]) AS seen (ven_id, created_at) ORDER BY ven_id"
    " ON CONFLICT DO NOTHING"
)
REGISTERED_VENS = "SELECT ven_id FROM vens WHERE ven_id = ANY(%s)"
COUNT_VENS = "SELECT count(*) FROM vens WHERE retired_at IS NULL"
LOADS_OF_VENS_WITH_MANY = (
    "SELECT ven_id, array_agg(load_id) FROM load_snapshots GROUP BY ven_id HAVING count(*) >= %s"
)
LOAD_TYPES = "SELECT load_type FROM load_type_rollups ORDER BY load_type LIMIT %s"
REJECT = "COPY rejected_messages (topic, payload, reason, detail, ven_id, ts, received_at) FROM STDIN"
"""Not by executemany: psycopg ends its pipeline with a Flush after the Sync, at which PostgreSQL stops the
timer of `idle_in_transaction_session_timeout`; the locks of a lost client would be held for ever.
"""
LIMIT_LOCK_WAIT = "SET LOCAL lock_timeout = '300ms'"
ENSURE_PARTITIONS = "SELECT ensure_raw_partitions(%s::date[])"
REJECTED_BY_REASON = (
    "SELECT counted.reason, number, first_at, last_at, detail, topic, ven_id FROM ("
    "SELECT reason, count(*) AS number, min(received_at) AS first_at, max(received_at) AS last_at,"
    " max(rejected_id) AS rejected_id FROM rejected_messages GROUP BY reason"
    ") counted JOIN rejected_messages USING (rejected_id) ORDER BY number DESC, counted.reason"
)
REJECTED = (
    "SELECT rejected_id, topic, payload, received_at, ven_id, ts FROM rejected_messages"
    " WHERE rejected_id > %(after)s AND rejected_id <= %(last)s AND reason <> ALL(%(final)s)"
    " AND (%(reason)s::text IS NULL OR reason = %(reason)s) ORDER BY rejected_id LIMIT %(most)s"
)
LAST_REJECTED = "SELECT coalesce(max(rejected_id), 0) FROM rejected_messages"
FORGET_REJECTED = "DELETE FROM rejected_messages WHERE rejected_id = ANY(%s)"

HAS_REPORTS = "SELECT FROM report_inbox LIMIT 1"
TAKE_REPORTS = (
    "SELECT inbox_id, client_id, vens::text, body::text, received_at FROM report_inbox"
    " ORDER BY inbox_id LIMIT %s FOR UPDATE SKIP LOCKED"
)
FORGET_REPORTS = "DELETE FROM report_inbox WHERE inbox_id = ANY(%s)"

TAKE_MESSAGES = (
    "SELECT message_id, topics, payload::text FROM openadr_messages"
    f" WHERE pg_try_advisory_xact_lock(hashtext('{OPENADR_MESSAGES}')) ORDER BY message_id LIMIT %s"
)
"""Returns no rows while another program publishes them."""

FORGET_MESSAGES = "DELETE FROM openadr_messages WHERE message_id = ANY(%s)"

_OPEN = "status IN ('pending', 'sent')"
TAKE_COMMANDS = (
    "WITH due AS MATERIALIZED (SELECT ven_id, command_id FROM commands"
    f" WHERE {_OPEN} AND next_attempt_at <= %(now)s AND (leased_until IS NULL OR leased_until <= %(now)s)"
    " AND (%(over_at)s::timestamptz IS NULL OR expires_at <= %(over_at)s)"
    " ORDER BY next_attempt_at, created_at LIMIT %(most)s FOR UPDATE SKIP LOCKED),"
    " taken AS (UPDATE commands SET leased_by = %(holder)s, leased_until = %(leased_until)s FROM due"
    " WHERE commands.ven_id = due.ven_id AND commands.command_id = due.command_id"
    " RETURNING commands.ven_id, commands.command_id, op, data::text, commands.status, attempts, created_at,"
    " next_attempt_at, expires_at, sent_at, error, queued_since, interruptions)"
    " SELECT taken.*, greatest(ven.received_at, ven.heard_at), coalesce(ven.status = 'offline', false)"
    " FROM taken LEFT JOIN ven_snapshots AS ven ON ven.ven_id = taken.ven_id"
)
"""The columns of `Due`, in order."""

SETTLE_COMMANDS = (
    "WITH outcome AS (SELECT * FROM unnest(%(ven_id)s::text[], %(command_id)s::text[], %(status)s::text[],"
    " %(attempts)s::int[], %(sent_at)s::timestamptz[], %(next_attempt_at)s::timestamptz[],"
    " %(error)s::text[], %(queued_since)s::timestamptz[], %(interruptions)s::int[])"
    " AS outcome (ven_id, command_id, status, attempts, sent_at, next_attempt_at, error, queued_since,"
    " interruptions)),"
    " ours AS MATERIALIZED (SELECT outcome.* FROM commands JOIN outcome USING (ven_id, command_id)"
    " WHERE leased_by = %(holder)s ORDER BY ven_id, command_id FOR UPDATE OF commands)"
    " UPDATE commands SET attempts = ours.attempts, sent_at = ours.sent_at,"
    " next_attempt_at = ours.next_attempt_at, queued_since = ours.queued_since,"
    " interruptions = ours.interruptions, leased_by = NULL, leased_until = NULL,"
    f" status = CASE WHEN commands.{_OPEN} THEN ours.status ELSE commands.status END,"
    f" error = CASE WHEN commands.{_OPEN} THEN ours.error ELSE commands.error END"
    " FROM ours WHERE commands.ven_id = ours.ven_id AND commands.command_id = ours.command_id"
)
"""Locks rows in key order, like `ANSWER_COMMANDS`, so that the two cannot deadlock."""

NOTIFY_COMMANDS = f"NOTIFY {COMMANDS}"
ANSWER_COMMANDS = (
    "WITH answer AS (SELECT * FROM unnest(%(ven_id)s::text[], %(command_id)s::text[],"
    " %(is_accepted)s::bool[], %(received_at)s::timestamptz[], %(content)s::text[])"
    " AS answer (ven_id, command_id, is_accepted, received_at, content)),"
    " open AS MATERIALIZED (SELECT answer.* FROM commands JOIN answer USING (ven_id, command_id)"
    " WHERE acknowledged_at IS NULL ORDER BY ven_id, command_id FOR UPDATE OF commands)"
    " UPDATE commands SET acknowledged_at = open.received_at, acknowledgement = open.content::json,"
    f" status = CASE WHEN NOT {_OPEN} THEN status WHEN is_accepted THEN 'acknowledged' ELSE 'rejected' END"
    " FROM open WHERE commands.ven_id = open.ven_id AND commands.command_id = open.command_id"
    " RETURNING commands.ven_id, commands.command_id, event_id"
)
EXISTING_COMMANDS = (
    "SELECT ven_id, command_id FROM commands JOIN unnest(%(ven_id)s::text[], %(command_id)s::text[])"
    " AS answer (ven_id, command_id) USING (ven_id, command_id)"
)
NOTIFY_EVENTS = f"SELECT pg_notify('{EVENTS}', event_id) FROM unnest(%s::text[]) AS event_id"
