"""Lines to the database for short questions: few, lent in turn, and each question one round trip.

Who asks this way waits for the network once, and gives Python's lock away once: of sixteen requests at a
time, each waits for fifteen.
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
from sqlalchemy import Engine, event
from sqlalchemy.exc import TimeoutError  # noqa: A004 - as its pools say it

from schemas.database import connect
from serving.queries.prepared import Query, side_by_side, text_of

AT_ONCE = 3
"""Questions that PostgreSQL works on for us at a time; more only take processors from each other."""

PATIENCE_S = 10.0
"""Who has waited so long for a line had better be told."""

SESSION = {"plan_cache_mode": "force_generic_plan"}
"""The plans do not depend on the values, and take longer to make than to carry out."""

Rows = list[tuple[Any, ...]]
Columns = list[list[Any]]


def _untold(_took_s: float) -> None:
    pass


class Lines:
    """Connections in autocommit mode, opened when first needed, lent first come, first served."""

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection],
        tell: Callable[[float], None] = _untold,
        at_once: int = AT_ONCE,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._tell = tell
        self._patience_s = patience_s
        self._lock = Lock()
        self._free = [Line(connect) for _ in range(at_once)]
        self._waiting: deque[SimpleQueue[Line]] = deque()

    @classmethod
    def beside(cls, engine: Engine, tell: Callable[[float], None] = _untold, **session: str) -> "Lines":
        """To the database of an engine, closed when that is disposed of. `tell` hears how long each took.

        `session` is that of `schemas.database.connect`.
        """
        url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        lines = cls(lambda: connect(url, "serving", **SESSION, **session), tell)
        event.listen(engine, "engine_disposed", lambda _: lines.close())
        return lines

    def rows(self, query: Query) -> Rows:
        """What the query finds.

        Raises:
            psycopg.Error: as PostgreSQL says it.
            sqlalchemy.exc.TimeoutError: others have kept the lines for too long.
        """
        started_s = perf_counter()
        text = text_of(query.statement)
        with self._line() as line:
            rows = line.ask(text.sql, text.arguments(query.values))
        self._tell(perf_counter() - started_s)
        return rows

    def columns(self, *queries: Query) -> list[Columns]:
        """The columns of what each query finds, all in one view of the database; none have no entries.

        Raises:
            As `rows`.
        """
        statement = side_by_side(*(query.statement for query in queries))
        values = {name: value for query in queries for name, value in query.values.items()}
        [row] = self.rows(Query(statement, values))
        columns = iter(column or [] for column in row)
        return [list(islice(columns, len(query.statement.selected_columns))) for query in queries]

    def close(self) -> None:
        """Those that nobody has; they open again when they are needed."""
        with self._lock:
            for line in self._free:
                line.close()

    @contextmanager
    def _line(self) -> Iterator["Line"]:
        line = self._take()
        try:
            yield line
        finally:
            self._give(line)

    def _take(self) -> "Line":
        with self._lock:
            if self._free:
                return self._free.pop()
            mine: SimpleQueue[Line] = SimpleQueue()
            self._waiting.append(mine)
        try:
            return mine.get(timeout=self._patience_s)
        except Empty:
            return self._leave(mine)

    def _leave(self, mine: SimpleQueue["Line"]) -> "Line":
        """Give up waiting, unless a line has just been handed over."""
        with self._lock:
            if mine in self._waiting:
                self._waiting.remove(mine)
                raise TimeoutError(f"no line to the database was free within {self._patience_s:g} s")
        return mine.get()

    def _give(self, line: "Line") -> None:
        """To who has waited longest, if anybody has; whoever comes now does not overtake him."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().put(line)
            else:
                self._free.append(line)


class Line:
    """A connection that may not be open yet, or not any more."""

    def __init__(self, connect: Callable[[], psycopg.Connection]) -> None:
        self._connect = connect
        self._connection: psycopg.Connection | None = None

    def ask(self, sql: str, arguments: Sequence[Any]) -> Rows:
        """A connection that has been lying about may have died since: then once more, by a new one."""
        if self._connection is not None:
            try:
                return _ask(self._connection, sql, arguments)
            except psycopg.OperationalError:
                if not self._connection.closed:
                    raise
                self.close()
        self._connection = self._connect()
        return _ask(self._connection, sql, arguments)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _ask(connection: psycopg.Connection, sql: str, arguments: Sequence[Any]) -> Rows:
    cursor = RawCursor(connection)
    return cursor.execute(sql, arguments, prepare=True, binary=True).fetchall()
