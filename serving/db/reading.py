"""Long lists: read in blocks, from one snapshot of the database."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, Row, Select

ROWS_AT_ONCE = 2_000
"""Rows of a server-side cursor that are fetched in one round trip."""


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """A connection whose statements all see the same state of the database."""
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        yield connection


def in_blocks(connection: Connection, query: Select[Any]) -> Iterator[Row[Any]]:
    """The rows of a query; at most `ROWS_AT_ONCE` of them are in memory."""
    yield from connection.execution_options(yield_per=ROWS_AT_ONCE).execute(query)
