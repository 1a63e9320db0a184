"""The ledger of ingest batches, the rejected messages (dead letters), and the runs of jobs.

A batch enters the ledger in the transaction that stores its rows, and with it one row for each lane in
`pending_batches`. A lane deletes that row in the transaction that adds the batch to its summary: readers must
add pending batches.
"""

from typing import Annotated

import polars as pl
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    Date,
    Double,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    text,
)

from schemas.db.frame_models import pa
from schemas.tables.metadata import Frame, Utc, instant, metadata, text_key

LANES = ("snapshot", "history")

PRESENCE_WORKER, PEOPLE, REPLAY = "presence", "people", "replay"
"""Workers of batches that do not come from a broker: a job, serving, and replayed messages."""

ingest_batches = Table(
    "ingest_batches",
    metadata,
    Column("batch_id", BigInteger, Identity(), primary_key=True),
    Column("worker", Text, nullable=False),
    instant("received_at"),
    Column("messages", Integer, nullable=False),
    Column("telemetry_rows", Integer, nullable=False),
    Column("sample_rows", Integer, nullable=False),
    Column("description_rows", Integer, nullable=False),
    Column("status_rows", Integer, nullable=False),
    instant("first_ts", nullable=True),
    instant("last_ts", nullable=True),
    Column("days", ARRAY(Date)),
    Column("xact_id", BigInteger, server_default=text("(pg_current_xact_id()::text::bigint)")),
    Index("ix_ingest_batches_xact_id", "xact_id"),
)

pending_batches = Table(
    "pending_batches",
    metadata,
    Column("lane", Text, primary_key=True),
    Column("batch_id", BigInteger, primary_key=True, autoincrement=False),
    postgresql_with={"autovacuum_vacuum_scale_factor": 0, "autovacuum_vacuum_threshold": 10_000},
)

rejected_messages = Table(
    "rejected_messages",
    metadata,
    Column("rejected_id", BigInteger, Identity(), primary_key=True),
    Column("topic", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("ven_id", Text),
    instant("ts", nullable=True),
    instant("received_at"),
    Index("ix_rejected_messages_received_at", "received_at"),
)

job_runs = Table(
    "job_runs",
    metadata,
    Column("run_id", BigInteger, Identity(), primary_key=True),
    Column("job", Text, nullable=False),
    instant("started_at"),
    Column("duration_s", Double, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("error", Text),
    Index("ix_job_runs_started_at", "started_at"),
)

job_leases = Table(
    "job_leases",
    metadata,
    text_key("job"),
    Column("holder", Text, nullable=False),
    instant("due_at"),
    instant("expires_at"),
    instant("succeeded_at"),
)


partition_moves = Table(
    "partition_moves",
    metadata,
    text_key("parent"),
    Column("target", Text, nullable=False),
    instant("since"),
    instant("until"),
    instant("copied_until"),
    Column("caught_up_xact_id", BigInteger, nullable=False),
)

Days = Annotated[pl.List, pl.Date()]


class IngestBatchFrame(Frame):
    """`days`: UTC days of the batch's rows in partitioned tables; null without any, and of batches that were
    consumed before there was this column. `xact_id`: the transaction that wrote it; null for these, too.
    """

    batch_id: int
    worker: str
    received_at: Utc
    messages: pl.Int32
    telemetry_rows: pl.Int32
    sample_rows: pl.Int32
    description_rows: pl.Int32
    status_rows: pl.Int32
    first_ts: Utc = pa.Field(nullable=True)
    last_ts: Utc = pa.Field(nullable=True)
    days: Days = pa.Field(nullable=True)
    xact_id: int = pa.Field(nullable=True)


class PendingBatchFrame(Frame):
    lane: str = pa.Field(isin=["snapshot", "history"])
    batch_id: int


class RejectedMessageFrame(Frame):
    """`payload`: the bytes as received; if the rest of the message was stored, only the rejected entry."""

    rejected_id: int
    topic: str
    payload: pl.Binary
    reason: str
    detail: str
    ven_id: str = pa.Field(nullable=True)
    ts: Utc = pa.Field(nullable=True)
    received_at: Utc


class JobRunFrame(Frame):
    run_id: int
    job: str
    started_at: Utc
    duration_s: float
    rows: int
    error: str = pa.Field(nullable=True)


class JobLeaseFrame(Frame):
    """The lease of a job: its holder, its expiry unless renewed, and when the next cycle is due.

    `succeeded_at`: when a cycle last completed, some seconds late; initially, when the row was created.
    """

    job: str
    holder: str
    due_at: Utc
    expires_at: Utc
    succeeded_at: Utc


class PartitionMoveFrame(Frame):
    """A move of a time range's raw rows to a table that becomes a partition, `target`.

    Rows before `copied_until` are copied, except those of batches whose transaction may not have been over
    when the copy began: their `xact_id` is not less than `caught_up_xact_id`.
    """

    parent: str
    target: str
    since: Utc
    until: Utc
    copied_until: Utc
    caught_up_xact_id: int
