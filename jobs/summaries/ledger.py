"""Claims batches: each lane consumes each batch once, in the worker that claims it first."""

from collections.abc import Iterator

import polars as pl
from msgspec import Struct
from sqlalchemy import Connection, Table

from jobs.queries.summaries import pending as pending_queries
from jobs.summaries.models import ClaimFrame
from jobs.summaries.rows import fetch, paged
from schemas.tables import Frame
from schemas.tables.raw import PARTITIONED
from schemas.times.time_ranges import TimeRange, ranges_of_days

MOST_BATCHES = 20_000
MOST_ROWS = 500_000
"""Most rows of one claim, which bounds a cycle's memory: half a million rows are some 100 MB of frames."""

MOST_RANGES = 16
"""Most ranges of device time in one query: each is searched in the partitions that it touches."""

FIRST_PAGE = 4
"""Batches that a claim locks first, before it has seen how many rows a batch has."""


class Claim(Struct, frozen=True):
    """Batches that this transaction consumes, if it commits."""

    connection: Connection
    batch_ids: list[int]
    rows: int
    within: list[TimeRange]
    """Ranges of device time that contain the batches' rows in partitioned tables, with a few extra days."""

    def read(self, table: Table, model: type[Frame]) -> pl.DataFrame:
        """Return the rows of these batches in a raw table."""
        within = self.within if table in PARTITIONED else None
        return fetch(
            self.connection, pending_queries.rows_of_batches(table, model, self.batch_ids, within), model
        )


def claim(connection: Connection, lane: str, most_rows: int = MOST_ROWS) -> Claim | None:
    """Claim the oldest pending batches of a lane that no other worker has locked; None without any.

    A claim locks little more than it consumes, so that workers that claim at the same time get equal parts
    of a backlog. A batch whose transaction is not quite over is left for the next claim.
    """
    connection.execute(pending_queries.READ_BY_ONE_PROCESS)
    batches = pl.concat(_pending(connection, lane, most_rows))
    unfinished = connection.execute(pending_queries.UNFINISHED).scalars().all()
    batches = batches.filter(~pl.col("xid").is_in(unfinished).fill_null(value=False))
    claimed = batches.filter(pl.col("rows").cum_sum().shift(1, fill_value=0) < most_rows)
    if claimed.is_empty():
        return None
    batch_ids = claimed.get_column("batch_id").to_list()
    connection.execute(pending_queries.consume(lane, batch_ids))
    return Claim(connection, batch_ids, int(claimed.get_column("rows").sum()), _within(claimed))


def _pending(connection: Connection, lane: str, most_rows: int) -> Iterator[pl.DataFrame]:
    """Lock pending batches page by page until they have enough rows; the first page may be empty."""
    batches, rows, size = 0, 0, FIRST_PAGE
    with paged(connection, pending_queries.pending(lane, MOST_BATCHES), ClaimFrame) as read:
        while True:
            page = read(size)
            yield page
            batches, rows = batches + page.height, rows + int(page.get_column("rows").sum())
            if page.height < size or rows >= most_rows:
                return
            size = page_size(batches, rows, most_rows)


def page_size(batches: int, rows: int, most_rows: int) -> int:
    """Return how many batches to lock next, from the rows of those locked so far.

    As many as will probably be consumed, but at most three times as many as before: the next ones may be
    larger.
    """
    likely = batches * (most_rows - rows) // max(rows, 1)
    return max(1, min(likely, 3 * batches))


def _within(batches: pl.DataFrame) -> list[TimeRange]:
    days = batches.get_column("days").drop_nulls().explode().drop_nulls().unique()
    return ranges_of_days(days, MOST_RANGES)
