"""Claiming batches: each is consumed once by each lane, whoever gets there first."""

from datetime import datetime
from typing import Any

import polars as pl
from msgspec import Struct
from sqlalchemy import Connection, Table

from jobs.models import ClaimFrame
from jobs.queries import pending as pending_queries
from jobs.rows import fetch
from schemas.tables import Frame
from schemas.tables.raw import PARTITIONED

MOST_BATCHES = 20_000
MOST_ROWS = 500_000
"""Bounds of one claim, and so of a cycle's memory: half a million rows are some 100 MB of frames."""


class Claim(Struct, frozen=True):
    """Batches that this transaction consumes, if it commits."""

    connection: Connection
    batch_ids: list[int]
    rows: int
    days: tuple[datetime, datetime] | None

    def read(self, table: Table, model: type[Frame]) -> pl.DataFrame:
        """The rows that these batches brought to a raw table."""
        days = self.days if table in PARTITIONED else None
        return fetch(
            self.connection, pending_queries.rows_of_batches(table, model, self.batch_ids, days), model
        )


def claim(connection: Connection, lane: str) -> Claim | None:
    """Take the oldest batches that a lane has pending and nobody else holds; None if there are none."""
    batches = fetch(connection, pending_queries.pending(lane, MOST_BATCHES), ClaimFrame)
    taken = batches.filter(pl.col("rows").cum_sum().shift(1, fill_value=0) < MOST_ROWS)
    if taken.is_empty():
        return None
    batch_ids = taken.get_column("batch_id").to_list()
    connection.execute(pending_queries.consume(lane, batch_ids))
    return Claim(connection, batch_ids, int(taken.get_column("rows").sum()), _days(taken))


def _days(batches: pl.DataFrame) -> tuple[datetime, datetime] | None:
    first: Any = batches.get_column("first_ts").min()
    last: Any = batches.get_column("last_ts").max()
    return None if first is None else (first, last)
