"""The SQL of batches that lanes have not consumed yet, and of their rows."""

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

from sqlalchemy import (
    BigInteger,
    Delete,
    Select,
    Table,
    and_,
    delete,
    false,
    func,
    literal_column,
    or_,
    select,
    text,
)

from schemas.db.ledger import DAYS_OF_BATCH
from schemas.db.queries import Query, Relation
from schemas.tables import Frame
from schemas.tables.ledger import ingest_batches, pending_batches
from schemas.times.time_ranges import TimeRange

MOST_SPANS = 16


ROWS_OF_BATCH = (
    ingest_batches.c.telemetry_rows
    + ingest_batches.c.sample_rows
    + ingest_batches.c.description_rows
    + ingest_batches.c.status_rows
)


XIDS = 2**32
"""The numbers of transactions in locks begin anew after so many."""

UNFINISHED: Select[int] = select(
    literal_column("CAST(CAST(transactionid AS text) AS bigint)", BigInteger)
).select_from(
    text("pg_catalog.pg_locks WHERE locktype = 'transactionid' AND pid IS DISTINCT FROM pg_backend_pid()")
)
"""Transactions that still hold their locks, by their numbers in locks.

With Citus, what a transaction wrote on the coordinator is seen a moment before what it wrote on the workers,
and it gives up its locks after both.
"""


READ_BY_ONE_PROCESS = text("SET LOCAL max_parallel_workers_per_gather = 0")
"""All rows that are read are sent to us: parallel workers would only pass each on to another process."""


def pending(lane: str, most: int) -> Relation:
    """Select batches that a lane has not consumed, oldest first, locked against other workers of the lane."""
    return (
        select(
            pending_batches.c.batch_id,
            ROWS_OF_BATCH.label("rows"),
            DAYS_OF_BATCH.label("days"),
            (ingest_batches.c.xact_id % XIDS).label("xid"),
        )
        .join(ingest_batches, ingest_batches.c.batch_id == pending_batches.c.batch_id)
        .where(pending_batches.c.lane == lane)
        .order_by(pending_batches.c.batch_id)
        .limit(most)
        .with_for_update(of=pending_batches, skip_locked=True)
    )


def newest_pending(lane: str) -> Select[int | None]:
    """Select the newest batch that a lane has pending; null if it has none."""
    return select(func.max(pending_batches.c.batch_id)).where(pending_batches.c.lane == lane)


def unclaimed(lane: str, up_to: int) -> Select[int]:
    """Select a row if a lane has a pending batch, up to an id, that no worker has claimed."""
    return (
        select(pending_batches.c.batch_id)
        .where(pending_batches.c.lane == lane, pending_batches.c.batch_id <= up_to)
        .limit(1)
        .with_for_update(skip_locked=True)
    )


def oldest_pending() -> Select[int]:
    """Select the oldest batch that any lane has pending; waits for a worker that has locked it."""
    oldest = select(pending_batches.c.batch_id).order_by(pending_batches.c.batch_id).limit(1)
    return oldest.with_for_update()


class BacklogRow(NamedTuple):
    """A lane's backlog: batches, their rows, and when the oldest was received."""

    lane: str
    batches: int
    rows: int
    oldest: datetime


def backlog() -> Query[BacklogRow]:
    """Select the backlog of each lane."""
    lanes = (
        select(
            pending_batches.c.lane,
            func.count().label("batches"),
            func.sum(ROWS_OF_BATCH).label("rows"),
            func.min(ingest_batches.c.received_at).label("oldest"),
        )
        .join(ingest_batches, ingest_batches.c.batch_id == pending_batches.c.batch_id)
        .group_by(pending_batches.c.lane)
    )
    return Query(BacklogRow, lanes)


def consume(lane: str, batch_ids: Sequence[int]) -> Delete:
    return delete(pending_batches).where(
        pending_batches.c.lane == lane, pending_batches.c.batch_id.in_(batch_ids)
    )


def rows_of_batches(
    table: Table,
    model: type[Frame],
    batch_ids: Sequence[int],
    within: Sequence[TimeRange] | None,
) -> Relation:
    """Select the rows of batches; ranges of time prune other partitions, without any all are read."""
    columns = [table.c[name] for name in model.types()]
    # The index serves the spans; for a list it would search once for each batch, so that is only a filter.
    spans = (table.c.batch_id.between(first, last) for first, last in spans_of(batch_ids))
    query = select(*columns).where(or_(*spans), (table.c.batch_id + 0).in_(batch_ids))
    if within is None:
        return query
    return query.where(
        or_(false(), *(and_(table.c.ts >= part.start, table.c.ts < part.end) for part in within))
    )


def spans_of(batch_ids: Sequence[int], most: int = MOST_SPANS) -> list[tuple[int, int]]:
    """Return at most `most` spans, first and last, that contain all ids and leave out their widest gaps."""
    ids = sorted(batch_ids)
    gaps = [place for place in range(1, len(ids)) if ids[place] - ids[place - 1] > 1]
    widest = sorted(gaps, key=lambda place: ids[place - 1] - ids[place])[: most - 1]
    borders = [0, *sorted(widest), len(ids)]
    return [(ids[start], ids[end - 1]) for start, end in pairwise(borders)]
