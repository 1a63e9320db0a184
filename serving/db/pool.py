"""A small connection pool for short queries, first come, first served.

A query costs one network round trip and releases the GIL once: with sixteen requests at a time, each release
costs a wait for up to fifteen other threads.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from queue import Empty, SimpleQueue
from threading import Lock
from time import perf_counter
from typing import Any

import psycopg
from psycopg.raw_cursor import RawCursor
from psycopg.rows import TupleRow
from sqlalchemy import Engine, event
from sqlalchemy.exc import TimeoutError  # noqa: A004 - as its own pools raise it

from schemas.db.connections import connect, database_url_of, monitor_of
from schemas.db.queries import Query, RowT
from serving.db.statements import side_by_side, text_for
from serving.db.worker_share import SHORT_QUERIES

WAIT_TIMEOUT_S = 10.0
"""How long a request waits for a connection before it fails."""

SESSION = {"plan_cache_mode": "force_generic_plan"}
"""Generic plans: they do not depend on the values, and planning takes longer than execution."""

PLAN_BY_VALUES = "SET plan_cache_mode = auto"
"""Citus cannot plan a query of distributed tables without the values; then it never has a generic plan."""

Columns = list[list[Any]]
"""Result format: the values of a column have one type, which its reader knows."""


def _ignore(_duration_s: float) -> None:
    pass


class ConnectionPool:
    """Connections in autocommit mode, opened when first needed."""

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection],
        on_query: Callable[[float], None] = _ignore,
        size: int = SHORT_QUERIES,
        wait_timeout_s: float = WAIT_TIMEOUT_S,
    ) -> None:
        self._on_query = on_query
        self._wait_timeout_s = wait_timeout_s
        self._lock = Lock()
        self._free = [PooledConnection(connect) for _ in range(size)]
        self._waiting: deque[SimpleQueue[PooledConnection]] = deque()

    @classmethod
    def for_engine(
        cls,
        engine: Engine,
        on_query: Callable[[float], None] = _ignore,
        size: int = SHORT_QUERIES,
        **session: str,
    ) -> "ConnectionPool":
        """Return a pool for the database of an engine, closed with it. `on_query` gets the seconds of each
        query.

        `session` is that of `schemas.db.connections.connect`.
        """
        monitor = monitor_of(engine)
        url = database_url_of(engine)
        pool = cls(lambda: connect(url, "serving", monitor=monitor, **SESSION, **session), on_query, size)
        event.listen(engine, "engine_disposed", lambda _: pool.close())
        return pool

    def rows(self, query: Query[RowT]) -> list[RowT]:
        """Return the rows of a query.

        Raises:
            psycopg.Error: the query failed.
            sqlalchemy.exc.TimeoutError: no connection became free in time.
        """
        started_s = perf_counter()
        text = text_for(query.statement, query.values)
        with self._connection() as connection:
            rows = connection.execute(text.sql, text.arguments(query.values))
        self._on_query(perf_counter() - started_s)
        return query.typed_rows(rows)

    def columns(self, *queries: Query[tuple[object, ...]]) -> list[Columns]:
        """Return the columns of each query, from one snapshot of the database; empty lists without rows.

        Raises:
            As `rows`.
        """
        statement = side_by_side(*(query.statement for query in queries))
        values = {name: value for query in queries for name, value in query.values.items()}
        arrays: Query[tuple[list[Any] | None, ...]] = Query(tuple, statement, values)
        [row] = self.rows(arrays)
        columns = iter(column or [] for column in row)
        return [list(islice(columns, len(query.statement.selected_columns))) for query in queries]

    def close(self) -> None:
        """Close the idle connections; each is reopened when needed."""
        with self._lock:
            for connection in self._free:
                connection.close()

    @contextmanager
    def _connection(self) -> Iterator["PooledConnection"]:
        connection = self._acquire()
        try:
            yield connection
        finally:
            self._release(connection)

    def _acquire(self) -> "PooledConnection":
        with self._lock:
            if self._free:
                return self._free.pop()
            handover: SimpleQueue[PooledConnection] = SimpleQueue()
            self._waiting.append(handover)
        try:
            return handover.get(timeout=self._wait_timeout_s)
        except Empty:
            return self._stop_waiting(handover)

    def _stop_waiting(self, handover: SimpleQueue["PooledConnection"]) -> "PooledConnection":
        """Stop waiting, unless a connection has just been handed over."""
        with self._lock:
            if handover in self._waiting:
                self._waiting.remove(handover)
                raise TimeoutError(
                    f"no connection to the database became free within {self._wait_timeout_s:g} s"
                )
        return handover.get()

    def _release(self, connection: "PooledConnection") -> None:
        """Hand the connection to the thread that has waited longest, or return it to the pool."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().put(connection)
            else:
                self._free.append(connection)


class PooledConnection:
    """A connection that is opened on first use, and reopened after it was lost."""

    def __init__(self, connect: Callable[[], psycopg.Connection]) -> None:
        self._connect = connect
        self._connection: psycopg.Connection | None = None

    def execute(self, sql: str, arguments: Sequence[object]) -> list[TupleRow]:
        """Run a query; if the idle connection was lost, retry once on a new one."""
        if self._connection is not None:
            try:
                return _planned(self._connection, sql, arguments)
            except psycopg.OperationalError:
                if not self._connection.closed:
                    raise
                self.close()
        self._connection = self._connect()
        return _planned(self._connection, sql, arguments)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _planned(connection: psycopg.Connection, sql: str, arguments: Sequence[object]) -> list[TupleRow]:
    """Run a query; if the server has no generic plan for it, once more with a plan for its values.

    From then on the connection leaves the choice to the server.
    """
    try:
        return _execute(connection, sql, arguments)
    except psycopg.errors.FeatureNotSupported:
        connection.execute(PLAN_BY_VALUES)
        return _execute(connection, sql, arguments)


def _execute(connection: psycopg.Connection, sql: str, arguments: Sequence[object]) -> list[TupleRow]:
    cursor = RawCursor(connection)
    return cursor.execute(sql, arguments, prepare=True, binary=True).fetchall()
