"""Whether the database answers: silence is noticed, told of, and ended.

TCP alone does not notice a proxy or a firewall that stops forwarding, and PostgreSQL's own time-outs need
the network to arrive. So whoever waits for an answer asks over a second connection, after a while, whether
the server still works on the statement.
"""

import threading
from collections.abc import Callable, Generator
from typing import Any

import psycopg
from psycopg import sql

ASK_AFTER_S = 10.0
"""Silence after which the server is asked, over another connection, whether it works on the statement."""

PROBE_WITHIN_S = 5.0
"""For the other connection to be made, and again for its answer."""

SILENT_S = 15.0
"""Silence that makes a program unhealthy: longer than a server that works needs to say so."""

IS_AT_WORK = sql.SQL(
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE pid = {} AND state = 'active' AND wait_event_type IS DISTINCT FROM 'Client'"
)
"""A server that waits for its client is not at work: our words, or its own, are lost on the way."""


class SilenceError(psycopg.OperationalError):
    """The database did not answer; what became of the statement is not known."""


class AnswerMonitor:
    """For how long the database has owed one program an answer; for any number of threads."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.monotonic = monotonic
        self._lock = threading.Lock()
        self._waiting_since: dict[object, float] = {}
        self._silent_since: float | None = None

    def begin(self, key: object) -> None:
        """Somebody waits for an answer from now on; called again: the server has said that it is at work."""
        self._waiting_since[key] = self.monotonic()

    def answered(self, key: object) -> None:
        """The answer is there: whatever was lost before it was asked for is over."""
        since = self._waiting_since.pop(key, None)
        lost_since = self._silent_since
        if lost_since is not None and since is not None and since >= lost_since:
            self._silent_since = None

    def given_up(self, key: object) -> None:
        """No answer came, and nobody waits for it any more."""
        with self._lock:
            since = self._waiting_since.pop(key, None)
            if self._silent_since is None:
                self._silent_since = since

    def silent_s(self) -> float:
        """Seconds since the oldest question without an answer or a sign of life; 0 if there is none."""
        waits = list(self._waiting_since.copy().values())
        since = min(waits if self._silent_since is None else [*waits, self._silent_since], default=None)
        return 0.0 if since is None else self.monotonic() - since

    def trouble(self) -> str | None:
        """What is wrong, in words; None while the database answers."""
        silent_s = self.silent_s()
        return None if silent_s <= SILENT_S else f"the database has not answered for {silent_s:.0f} s"


class MonitoredConnection(psycopg.Connection[Any]):
    """A connection that does not wait for ever: a server that is silent has to be at work."""

    monitor: AnswerMonitor | None = None
    ask_after_s = ASK_AFTER_S
    open_other: Callable[[], psycopg.Connection[Any]] | None = None
    """Another connection to the same server; without it silence alone ends the connection."""

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - psycopg's
        """Wait for an answer; silence is bounded, unless the caller bounds it: for notifications.

        Raises:
            SilenceError: none came, and the server does not work on it. The connection is closed.
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
        """`gen`, which is told of each moment that nothing came; some of them in a row are too many."""
        clock = monitor.monotonic
        last_sign = clock()
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if ready:
                    last_sign = clock()
                elif clock() - last_sign > self.ask_after_s:
                    self._require_life()
                    monitor.begin(self)
                    last_sign = clock()
                wanted = gen.send(ready)
        except StopIteration as end:
            return end.value

    def _require_life(self) -> None:
        if self.open_other is None or not self._is_at_work(self.open_other):
            raise SilenceError(f"the database has not answered for {self.ask_after_s:g} s, nor is it at work")

    def _is_at_work(self, open_other: Callable[[], psycopg.Connection[Any]]) -> bool:
        query = IS_AT_WORK.format(self.pgconn.backend_pid)
        try:
            with open_other() as other:
                return bool(other.execute(query).fetchall()[0][0])
        except psycopg.OperationalError as error:
            return error.sqlstate is not None  # it answers, if only to refuse: it has not fallen silent
