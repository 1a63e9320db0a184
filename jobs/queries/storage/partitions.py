"""The SQL of the raw tables' partitions, and of moving rows between them.

Partitions are found by the raw table that they belong to, never by their names. `partition`, `target` and
`parent` are names as SQL has them: with their schema, quoted where necessary.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import (
    BigInteger,
    DateTime,
    Delete,
    Select,
    Table,
    TableClause,
    Update,
    column,
    delete,
    func,
    literal_column,
    or_,
    quoted_name,
    select,
    table,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.elements import TextClause

from jobs.queries.summaries.pending import spans_of
from schemas.db.ledger import NEXT_XACT_ID
from schemas.db.literals import sql_with_values
from schemas.db.queries import Query, Relation, fields_of
from schemas.tables.ledger import ingest_batches, partition_moves
from schemas.times.time_ranges import TimeRange

OLDEST_XACT_ID: ColumnElement[int] = literal_column(
    "CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint)", BigInteger
)

LIMIT_LOCK_WAIT = text("SET LOCAL lock_timeout = '2s'")
RAISE_TIME_LIMIT = text("SET LOCAL statement_timeout = '10min'")
RAW_FOR_ONESELF = text(
    "LOCK TABLE ONLY ven_telemetry, ONLY ven_load_samples, ONLY ven_load_descriptions"
    " IN ACCESS EXCLUSIVE MODE"
)

ENSURE_DEFAULT = text("SELECT ensure_raw_partitions('{}')")
"""The advisory lock for creating partitions, held to the end of the transaction."""

PARTITIONS = text(
    "SELECT format('%I.%I', home, name) AS partition, is_default, greatest(since, '0001-01-01Z') AS since,"
    " least(until, '9999-12-31Z') AS until, greatest(reltuples, 0)::bigint AS rows,"
    " coalesce(stored_bytes(id), 0) AS bytes"
    " FROM raw_partitions(CAST(:parent AS regclass)) JOIN pg_catalog.pg_class AS found ON found.oid = id"
    " ORDER BY is_default, since"
)
"""The partitions of a raw table, oldest first, the default one last."""

FREE_NAME = text(
    "SELECT format('%I.%I', nspname, name) FROM pg_catalog.pg_class AS parent"
    " JOIN pg_catalog.pg_namespace AS home ON home.oid = parent.relnamespace"
    " CROSS JOIN generate_series(1, 1000) AS number"
    " CROSS JOIN LATERAL (SELECT concat(parent.relname, CAST(:ending AS text), '_' || nullif(number, 1)))"
    " AS candidate (name)"
    " WHERE parent.oid = CAST(:parent AS regclass) AND NOT EXISTS (SELECT FROM pg_catalog.pg_class AS other"
    " WHERE other.relnamespace = home.oid AND other.relname = name) ORDER BY number LIMIT 1"
)
"""A free table name in the schema of a raw table, derived from that one's name.

A detached partition keeps its name, and so does an unrelated table.
"""


class MoveRow(NamedTuple):
    """A move in progress: see `PartitionMoveFrame`."""

    parent: str
    target: str
    since: datetime
    until: datetime
    copied_until: datetime
    caught_up_xact_id: int


def move(parent: str) -> Query[MoveRow]:
    """Select the move in progress to a new partition of a raw table, if any."""
    moves = select(*fields_of(MoveRow, partition_moves))
    return Query(MoveRow, moves.where(partition_moves.c.parent == parent))


def begin_move(parent: str, target: str, within: TimeRange) -> Insert:
    """Record a move. All transactions before the oldest running one are over: their rows are visible."""
    return insert(partition_moves).values(
        parent=parent,
        target=target,
        since=within.start,
        until=within.end,
        copied_until=within.start,
        caught_up_xact_id=OLDEST_XACT_ID,
    )


def oldest_transaction() -> Select[int]:
    """Select the oldest transaction that may still commit; all before it are over, and visible."""
    return select(OLDEST_XACT_ID)


def note_progress(parent: str, **values: object) -> Update:
    return update(partition_moves).where(partition_moves.c.parent == parent).values(**values)


def end_move(parent: str) -> Delete:
    return delete(partition_moves).where(partition_moves.c.parent == parent)


def late_batches(within: TimeRange, since_xact_id: int) -> Select[int]:
    """Select batches with rows in a range, written by a given transaction or a later one.

    After a dump was restored the ledger has transaction ids of the future: those batches are not late.
    """
    batch = ingest_batches.c
    day = func.unnest(batch.days).column_valued("day")
    touches_day = select(day).where(day >= within.start.date(), day < within.end.date()).exists()
    return (
        select(batch.batch_id)
        .where(batch.xact_id >= since_xact_id, batch.xact_id < NEXT_XACT_ID)
        .where(batch.first_ts < within.end, batch.last_ts >= within.start)
        .where(or_(batch.days.is_(None), touches_day))
    )


def make_table(target: str, parent: str) -> TextClause:
    return text(f"CREATE TABLE {target} (LIKE {parent} INCLUDING ALL)")


def bound(target: str, within: TimeRange) -> TextClause:
    """Add a check constraint, which lets the server attach the table without scanning it."""
    start, end = _ends(within)
    return text(f"ALTER TABLE {target} ADD CONSTRAINT moved CHECK (ts >= {start} AND ts < {end})")


def copy(table: Table, target: str, within: TimeRange) -> str:
    """Copy the rows of a range, sorted by time."""
    columns, rows = ", ".join(table.c.keys()), _rows(table, within)
    return f"INSERT INTO {target} ({columns}) {sql_with_values(rows.order_by(table.c.ts))}"


def copy_late(table: Table, target: str, within: TimeRange, batch_ids: Sequence[int]) -> str:
    """Copy the rows of batches in a range that are not there yet."""
    spans = (table.c.batch_id.between(first, last) for first, last in spans_of(batch_ids))
    rows = _rows(table, within).where(or_(*spans), (table.c.batch_id + 0).in_(batch_ids))
    columns = ", ".join(table.c.keys())
    return f"INSERT INTO {target} ({columns}) {sql_with_values(rows)} ON CONFLICT DO NOTHING"


def attach(parent: str, target: str, within: TimeRange) -> TextClause:
    start, end = _ends(within)
    return text(f"ALTER TABLE {parent} ATTACH PARTITION {target} FOR VALUES FROM ({start}) TO ({end})")


def unbound(target: str) -> TextClause:
    """Drop the check constraint, which the partition's bounds make redundant."""
    return text(f"ALTER TABLE {target} DROP CONSTRAINT moved")


def analyze(target: str) -> TextClause:
    return text(f"ANALYZE {target}")


def drop(tables: Sequence[str]) -> TextClause:
    return text(f"DROP TABLE {', '.join(tables)}")


def empty(partition: str) -> TextClause:
    return text(f"TRUNCATE {partition}")


def extent(partition: str) -> TextClause:
    """Select the first and the last instant of a partition's rows; null without any."""
    return text(f"SELECT min(ts), max(ts) FROM {partition}")


def has_rows(partition: str) -> TextClause:
    return text(f"SELECT EXISTS (SELECT 1 FROM {partition})")


def delete_range(partition: str, within: TimeRange) -> TextClause:
    start, end = _ends(within)
    return text(f"DELETE FROM {partition} WHERE ts >= {start} AND ts < {end}")


def count_before(partition: str, since: datetime) -> TextClause:
    return text(f"SELECT count(*) FROM {partition} WHERE ts < '{since.isoformat()}'")


def by_name(partition: str) -> TableClause:
    """A partition, for statements that need no more than the times of its rows."""
    return table(quoted_name(partition, quote=False), column("ts", DateTime(timezone=True)))


def _rows(table: Table, within: TimeRange) -> Relation:
    return select(*table.c).where(table.c.ts >= within.start, table.c.ts < within.end)


def _ends(within: TimeRange) -> tuple[str, str]:
    return f"'{within.start.isoformat()}'", f"'{within.end.isoformat()}'"
