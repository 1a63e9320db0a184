"""Every answer, for the log and for Prometheus: which route, how long, and how much of that in SQL."""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from time import perf_counter
from typing import Any, Self

import psycopg
import structlog
from falcon import Request, Response
from sqlalchemy import Engine, event

from serving.metrics import Metrics
from serving.secrets import without_secrets
from serving.whole import Sent

NO_ROUTE = "none"
ENDLESS = "text/event-stream"
LOGGED_OF_PATH = 512

ASKED = "gridgate.asked"
"""In a request's environment: the method that was asked for, where another is made of it."""


class SqlClock:
    """The time that each thread has spent in statements, and in fetching more of what they found."""

    def __init__(self) -> None:
        self._of_thread = threading.local()
        self._cursors = _timed_cursors(self.add)

    def watch(self, engine: Engine) -> None:
        event.listen(engine, "before_cursor_execute", self._start)
        event.listen(engine, "after_cursor_execute", self._stop)
        event.listen(engine, "connect", self._time_fetches)

    def total_s(self) -> float:
        return getattr(self._of_thread, "total_s", 0.0)

    def add(self, took_s: float) -> None:
        self._of_thread.total_s = self.total_s() + took_s

    def _start(self, *_: Any) -> None:  # noqa: ANN401 - SQLAlchemy's
        self._of_thread.started = perf_counter()

    def _stop(self, *_: Any) -> None:  # noqa: ANN401
        self.add(perf_counter() - self._of_thread.started)

    def _time_fetches(self, connection: psycopg.Connection, _record: object) -> None:
        connection.server_cursor_factory = self._cursors


def _timed_cursors(add: Callable[[float], None]) -> type[psycopg.ServerCursor[Any]]:
    """Cursors in the server, from which long answers are fetched in blocks; each tells how long that took."""

    class Timed(psycopg.ServerCursor[Any]):
        def fetchmany(self, size: int = 0) -> list[Any]:
            started_s = perf_counter()
            try:
                return super().fetchmany(size)
            finally:
                add(perf_counter() - started_s)

    return Timed


class Watch:
    """Falcon middleware, the outermost. Streams are told of when they have ended."""

    def __init__(self, metrics: Metrics, sql_clock: SqlClock) -> None:
        self.metrics = metrics
        self.sql_clock = sql_clock
        self._log = structlog.get_logger()

    def process_request(self, request: Request, _response: Response) -> None:
        request.context.since = perf_counter(), self.sql_clock.total_s()

    def process_response(
        self,
        request: Request,
        response: Response,
        _resource: object,
        _succeeded: bool,  # noqa: FBT001 - Falcon's
    ) -> None:
        if response.stream is None:
            self._tell(request, response, len(response.data or b""))
        else:
            blocks: Any = response.stream
            response.stream = Counted(blocks, lambda sent: self._tell(request, response, sent))

    def tell_of_ready(self, method: str, route: str, sent: Sent, duration_s: float) -> None:
        """Of an answer that was ready. It is counted; the line in the log would cost more than the answer."""
        self.metrics.answered(method, route, int(sent.status[:3]), duration_s, 0.0)
        if self._log.is_enabled_for(logging.DEBUG):
            self._log.debug(
                "request",
                method=method,
                route=route,
                status=int(sent.status[:3]),
                duration_s=round(duration_s, 6),
            )

    def _tell(self, request: Request, response: Response, sent_bytes: int) -> None:
        started, sql_before_s = request.context.since
        duration_s, sql_s = perf_counter() - started, self.sql_clock.total_s() - sql_before_s
        route, status = request.uri_template or NO_ROUTE, response.status_code
        method = request.env.get(ASKED, request.method)
        is_endless = response.content_type == ENDLESS
        self.metrics.answered(method, route, status, None if is_endless else duration_s, sql_s)
        if not self._log.is_enabled_for(logging.INFO):
            return
        self._log.info(
            "request",
            method=method,
            route=route,
            path=without_secrets(request.path)[:LOGGED_OF_PATH],
            status=status,
            duration_s=round(duration_s, 6),
            sql_s=round(sql_s, 6),
            bytes=0 if method == "HEAD" else sent_bytes,
            client=request.remote_addr,
        )


class Counted:
    """A streamed body that tells, once, how many bytes it was."""

    def __init__(self, blocks: Iterable[bytes], told: Callable[[int], None]) -> None:
        self._blocks = blocks
        self._iterator: Iterator[bytes] = iter(blocks)
        self._told: Callable[[int], None] | None = told
        self._sent_bytes = 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        try:
            block = next(self._iterator)
        except BaseException:
            self._end()
            raise
        self._sent_bytes += len(block)
        return block

    def close(self) -> None:
        if close := getattr(self._blocks, "close", None):
            close()
        self._end()

    def _end(self) -> None:
        if self._told is not None:
            told, self._told = self._told, None
            told(self._sent_bytes)
