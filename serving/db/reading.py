"""Reads long lists in blocks, from one snapshot of the database."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, text

from schemas.db.queries import Query, RowT

ROWS_AT_ONCE = 2_000
"""Rows of a server-side cursor that are fetched in one round trip."""

SLOW_CLIENT_S = 60
"""Longest pause between two blocks of a streamed response, which holds a connection to the database.

Writing transactions have ten seconds, as they hold locks.
"""

_HOLD_RAW = text(
    "LOCK TABLE ONLY ven_telemetry, ONLY ven_load_samples, ONLY ven_load_descriptions IN ACCESS SHARE MODE"
)
_PLAN_BY_VALUES = text("SET LOCAL plan_cache_mode = force_custom_plan")
"""Custom plans: a generic plan would open and lock all partitions, not only those of the values."""


def hold_raw(connection: Connection) -> None:
    """Begin a transaction that reads raw rows: lock them, so that none are dropped before its end.

    Its statements do not take the transaction's snapshot.
    """
    connection.execute(_HOLD_RAW)
    connection.execute(_PLAN_BY_VALUES)


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """Return a connection whose statements all see the same snapshot of the database."""
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        # SET, and not set_config(): that would take the snapshot, before the caller has locked tables.
        connection.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = '{SLOW_CLIENT_S}s'")
        yield connection


def in_blocks(connection: Connection, query: Query[RowT]) -> Iterator[RowT]:
    """Yield the rows of a query; at most `ROWS_AT_ONCE` of them are in memory."""
    yield from query.each(connection.execution_options(yield_per=ROWS_AT_ONCE))
