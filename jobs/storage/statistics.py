"""Statistics for the planner and BRIN summaries, sooner than autovacuum makes them.

Autovacuum looks at a database once a minute. Until then the planner takes a new table for empty, and a BRIN
index has no entry for new pages, so that each search reads all of them. A fleet that registers within a
minute, or a day that begins, costs several times as much as later. Both steps take time in proportion to new
rows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from psycopg.errors import LockNotAvailable, UndefinedTable
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from jobs.queries.storage import statistics as queries
from schemas.tables.metadata import metadata
from schemas.tables.raw import PARTITIONED

FEWEST_ROWS = 5_000
"""Fewer rows are read at once, whatever the plan."""

PARAMETERS = {
    "tables": [table.name for table in metadata.sorted_tables if table not in PARTITIONED],
    "partitioned": [table.name for table in PARTITIONED],
    "fewest": FEWEST_ROWS,
}


def analyze_grown_tables(connection: Connection, _now: datetime) -> int:
    """Analyze tables that have doubled since their last ANALYZE; returns how many.

    On Citus these are tables of the coordinator: its workers' autovacuum does the others.
    """
    grown = connection.execute(queries.GROWN_TABLES, PARAMETERS).scalars().all()
    connection.execute(queries.LIMIT_LOCK_WAIT)
    for name in grown:
        with _unless_changed(connection):
            connection.execute(queries.analyze(name))
    return len(grown)


def summarize_new_pages(connection: Connection, _now: datetime) -> int:
    """Bring BRIN indexes up to date; returns the number of page ranges.

    A table that another session vacuums or changes is left to that session, or to the next run.
    """
    names, ranges = connection.execute(queries.UNSUMMARIZED, PARAMETERS).scalars().all(), 0
    connection.execute(queries.LIMIT_LOCK_WAIT)
    for name in names:
        with _unless_changed(connection):
            ranges += connection.execute(queries.SUMMARIZE, {"name": name}).scalar_one()
    return ranges


@contextmanager
def _unless_changed(connection: Connection) -> Iterator[None]:
    """Roll back, and go on, if another session has locked the table or index, or has dropped it meanwhile."""
    try:
        with connection.begin_nested():
            yield
    except DBAPIError as error:
        if not isinstance(error.orig, (LockNotAvailable, UndefinedTable)):
            raise
