"""The ledger's protocol for writing a few raw rows: open a batch, stamp the rows, queue the batch.

All three happen in one transaction, so that rows, batch and queue entries become visible at once. Ingest does
the same in its own statements. For readers: the days of a batch's rows, and whether a transaction was over.
"""

from datetime import datetime

from sqlalchemy import BigInteger, Boolean, ColumnElement, Text, cast, func, literal_column
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.sql.dml import ReturningInsert

from schemas.tables.ledger import LANES, ingest_batches, pending_batches

DAYS_OF_BATCH = func.coalesce(
    ingest_batches.c.days,
    literal_column(
        "ARRAY(SELECT CAST(day AS date) FROM generate_series("
        "CAST(CAST(first_ts AT TIME ZONE 'UTC' AS date) AS timestamp), last_ts AT TIME ZONE 'UTC', '1 day')"
        " AS day WHERE first_ts IS NOT NULL)"
    ),
)
"""The UTC days of a batch's rows in partitioned tables.

Programs of older versions record none: then all days between the batch's ends.
"""

NEXT_XACT_ID: ColumnElement[int] = literal_column(
    "CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint)", BigInteger
)


def is_visible_in(snapshot: ColumnElement[str], xact_id: ColumnElement[int | None]) -> ColumnElement[bool]:
    """The condition that a transaction was over when a snapshot was taken."""
    as_xid8 = func.xid8(cast(xact_id, Text))
    return func.pg_visible_in_snapshot(as_xid8, func.pg_snapshot(snapshot), type_=Boolean)


def open_status_batch(worker: str, status_rows: int, now: datetime) -> ReturningInsert[int]:
    """Insert a batch with statuses only; returns its id."""
    counts = {"messages": 0, "telemetry_rows": 0, "sample_rows": 0, "description_rows": 0}
    values = {"worker": worker, "received_at": now, "status_rows": status_rows, **counts}
    return insert(ingest_batches).values(**values).returning(ingest_batches.c.batch_id)


def queue_batch(batch_id: int, *, except_lane: str) -> Insert:
    """Queue a batch for every lane except the one whose summary its writer has already updated."""
    lanes = [lane for lane in LANES if lane != except_lane]
    return insert(pending_batches).values([{"lane": lane, "batch_id": batch_id} for lane in lanes])
