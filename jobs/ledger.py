"""Claiming batches: each is consumed once by each lane, whoever gets there first."""

import polars as pl
from msgspec import Struct
from sqlalchemy import Connection, Table

from jobs.models import ClaimFrame
from jobs.queries import pending as pending_queries
from jobs.ranges import Range, ranges_of_days
from jobs.rows import fetch
from schemas.tables import Frame
from schemas.tables.raw import PARTITIONED

MOST_BATCHES = 20_000
MOST_ROWS = 500_000
"""Bounds of one claim, and so of a cycle's memory: half a million rows are some 100 MB of frames."""

MOST_RANGES = 16
"""Of device time, for one query: each is looked for in the partitions that it touches."""


class Claim(Struct, frozen=True):
    """Batches that this transaction consumes, if it commits."""

    connection: Connection
    batch_ids: list[int]
    rows: int
    within: list[Range]
    """Ranges of device time that hold the batches' rows in partitioned tables, but for a few spare days."""

    def read(self, table: Table, model: type[Frame]) -> pl.DataFrame:
        """The rows that these batches brought to a raw table."""
        within = self.within if table in PARTITIONED else None
        return fetch(
            self.connection, pending_queries.rows_of_batches(table, model, self.batch_ids, within), model
        )


def claim(connection: Connection, lane: str) -> Claim | None:
    """Take the oldest batches that a lane has pending and nobody else holds; None if there are none."""
    batches = fetch(connection, pending_queries.pending(lane, MOST_BATCHES), ClaimFrame)
    taken = batches.filter(pl.col("rows").cum_sum().shift(1, fill_value=0) < MOST_ROWS)
    if taken.is_empty():
        return None
    batch_ids = taken.get_column("batch_id").to_list()
    connection.execute(pending_queries.consume(lane, batch_ids))
    return Claim(connection, batch_ids, int(taken.get_column("rows").sum()), _within(taken))


def _within(batches: pl.DataFrame) -> list[Range]:
    days = batches.get_column("days").drop_nulls().explode().drop_nulls().unique()
    return ranges_of_days(days, MOST_RANGES)
