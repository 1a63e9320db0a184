"""Detects a database that does not answer, reports it, and closes the connection.

TCP alone does not notice a proxy or a firewall that stops forwarding, and PostgreSQL's own timeouts need the
network to arrive. So a waiting client checks over a second connection, after a while, whether the server
still works on the statement.
"""

import threading
from collections.abc import Callable, Generator
from typing import Any

import psycopg
from psycopg import sql

PROBE_AFTER_S = 10.0
"""Silence after which a second connection checks whether the server works on the statement."""

PROBE_WITHIN_S = 5.0
"""Timeout for opening the second connection, and for its answer."""

SILENT_S = 15.0
"""Silence that makes a program unhealthy; longer than the check of a working server takes."""

IS_AT_WORK = sql.SQL(
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE pid = {} AND state = 'active' AND wait_event_type IS DISTINCT FROM 'Client'"
)
"""Wait events of a server process that waits for its client: a packet of one of them was lost."""


class SilenceError(psycopg.OperationalError):
    """The database did not answer; the outcome of the statement is unknown."""


class AnswerMonitor:
    """Tracks for how long the database has not answered a program; thread-safe."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.monotonic = monotonic
        self._lock = threading.Lock()
        self._waiting_since: dict[object, float] = {}
        self._silent_since: float | None = None

    def begin(self, key: object) -> None:
        """Start waiting for an answer; a repeated call restarts the time: the server works on it."""
        self._waiting_since[key] = self.monotonic()

    def answered(self, key: object) -> None:
        """Record an answer; attempts that began before it no longer count."""
        since = self._waiting_since.pop(key, None)
        lost_since = self._silent_since
        if lost_since is not None and since is not None and since >= lost_since:
            self._silent_since = None

    def given_up(self, key: object) -> None:
        """Stop waiting without an answer."""
        with self._lock:
            since = self._waiting_since.pop(key, None)
            if self._silent_since is None:
                self._silent_since = since

    def silent_s(self) -> float:
        """Seconds since the oldest attempt without an answer; 0 without any."""
        waits = list(self._waiting_since.copy().values())
        since = min(waits if self._silent_since is None else [*waits, self._silent_since], default=None)
        return 0.0 if since is None else self.monotonic() - since

    def trouble(self) -> str | None:
        """The reason for being unhealthy; None while the database answers."""
        silent_s = self.silent_s()
        return None if silent_s <= SILENT_S else f"the database has not answered for {silent_s:.0f} s"


class MonitoredConnection(psycopg.Connection):
    """A connection with bounded waits: it waits only while the server works on the statement."""

    monitor: AnswerMonitor | None = None
    probe_after_s = PROBE_AFTER_S
    open_other: Callable[[], psycopg.Connection] | None = None
    """Opens a second connection to the server; without it, silence alone ends the connection."""

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - psycopg's
        """Wait for an answer; silence is bounded, unless the caller bounds it: for notifications.

        Raises:
            SilenceError: there was none, and the server does not work on it. The connection is closed.
        """
        if self.monitor is None or kwargs.get("timeout") is not None:
            return super().wait(gen, *args, **kwargs)
        self.monitor.begin(self)
        try:
            answer = super().wait(self._bounded(gen, self.monitor), *args, **kwargs)
        except SilenceError:
            self.monitor.given_up(self)
            self.pgconn.finish()
            raise
        except BaseException as error:
            is_lost = isinstance(error, psycopg.OperationalError) and error.sqlstate is None
            (self.monitor.given_up if is_lost else self.monitor.answered)(self)
            raise
        self.monitor.answered(self)
        return answer

    def _bounded(self, gen: Generator[Any, Any, Any], monitor: AnswerMonitor) -> Generator[Any, Any, Any]:
        """Run `gen`, waking it after each interval without data; several in a row raise."""
        clock = monitor.monotonic
        last_sign = clock()
        try:
            awaited = next(gen)
            while True:
                ready = yield awaited
                if ready:
                    last_sign = clock()
                elif clock() - last_sign > self.probe_after_s:
                    self._require_life()
                    monitor.begin(self)
                    last_sign = clock()
                awaited = gen.send(ready)
        except StopIteration as end:
            return end.value

    def _require_life(self) -> None:
        if self.open_other is None or not self._is_at_work(self.open_other):
            raise SilenceError(
                f"the database has not answered for {self.probe_after_s:g} s,"
                " nor does it work on the statement"
            )

    def _is_at_work(self, open_other: Callable[[], psycopg.Connection]) -> bool:
        query = IS_AT_WORK.format(self.pgconn.backend_pid)
        try:
            with open_other() as other:
                return bool(other.execute(query).fetchall()[0][0])
        except psycopg.OperationalError as error:
            return error.sqlstate is not None  # an error with an SQLSTATE is an answer
