"""The access log and the Prometheus metrics: responses by route, with their duration and time in SQL.

Worker processes share only files: each writes its metrics to its own memory-mapped file, and the one that
responds sums them. Counters of a dead worker still count; its gauges do not.
"""

import logging
import os
import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any, Self, TypeVar, cast

import psycopg
import structlog
from falcon import Request, Response
from msgspec import Struct, field
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector
from psycopg.rows import TupleRow
from sqlalchemy import Engine, event

from schemas.programs.monitoring import BuildInfo
from schemas.programs.redaction import without_secrets
from serving.http.representation import requested_method

NO_ROUTE = "none"
ENDLESS = "text/event-stream"
MAX_LOGGED_PATH = 512
"""Characters."""


class SqlClock:
    """The time that each thread has spent executing statements and fetching rows, s."""

    def __init__(self) -> None:
        self._of_thread = threading.local()
        self._cursors = _timed_cursors(self.add)

    def listen_to(self, engine: Engine) -> None:
        event.listen(engine, "before_cursor_execute", self._start)
        event.listen(engine, "after_cursor_execute", self._stop)
        event.listen(engine, "connect", self._time_fetches)

    def total_s(self) -> float:
        return getattr(self._of_thread, "total_s", 0.0)

    def add(self, duration_s: float) -> None:
        self._of_thread.total_s = self.total_s() + duration_s

    def _start(self, *_: object) -> None:
        self._of_thread.started = perf_counter()

    def _stop(self, *_: object) -> None:
        self.add(perf_counter() - self._of_thread.started)

    def _time_fetches(self, connection: psycopg.Connection, _record: object) -> None:
        connection.server_cursor_factory = self._cursors


def _timed_cursors(add: Callable[[float], None]) -> type[psycopg.ServerCursor[TupleRow]]:
    """Return a class of server-side cursors that call `add` with the duration of each fetch."""

    class TimedCursor(psycopg.ServerCursor[TupleRow]):
        def fetchmany(self, size: int = 0) -> list[TupleRow]:
            started_s = perf_counter()
            try:
                return super().fetchmany(size)
            finally:
                add(perf_counter() - started_s)

    return TimedCursor


METRICS_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
"""The library's name."""

TIMES_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
ADDED_UP_EVERY_S = 1.0
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


class Durations(Histogram):
    """A histogram that also takes observations that were counted before, by bucket."""

    def add(self, counts: Iterable[int], total_s: float) -> None:
        self._sum.inc(total_s)
        for bucket, count in zip(self._buckets, counts, strict=True):
            bucket.inc(count)


Labelled = TypeVar("Labelled", Counter, Durations)


class Tally(Struct):
    """Responses of the fast path that the metrics do not have yet, by bucket of their duration."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(TIMES_S) + 1))
    total_s: float = 0.0


class RequestMetrics:
    """The metrics of one process, or of all processes that share a directory.

    Responses of the fast path, which take less time than an update of the metrics, are added up every second,
    and when this process responds with the metrics.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        self.registry = CollectorRegistry()
        self.registry.register(BuildInfo("serving"))
        self._children: dict[tuple[object, tuple[str | int, ...]], object] = {}
        self._tallies: defaultdict[tuple[str, int], Tally] = defaultdict(Tally)
        self._lock = threading.Lock()
        if directory is not None:
            os.environ[METRICS_DIRECTORY] = str(directory)
            pid = os.getpid()  # by default each update calls getpid, which costs more than the update
            values.ValueClass = values.MultiProcessValue(lambda: pid)  # type: ignore[no-untyped-call]
        self._requests = Counter(
            "gridgate_serving_requests",
            "Responses, by route",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self._durations = Durations(
            "gridgate_serving_request_seconds",
            "Time to the last byte of a response, by route; without live streams",
            ["route"],
            buckets=TIMES_S,
            registry=self.registry,
        )
        self._sql = Counter(
            "gridgate_serving_sql_seconds", "Time in SQL, by route", ["route"], registry=self.registry
        )
        self._clients = Gauge(
            "gridgate_serving_stream_clients",
            "Open live streams",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self._confirmed_at = Gauge(
            "gridgate_serving_heard_timestamp_seconds",
            "When the worker that is furthest behind last confirmed its cache with the database",
            registry=self.registry,
            multiprocess_mode="livemin",
        )

    def answered(self, method: str, route: str, status: int, duration_s: float | None, sql_s: float) -> None:
        """Count a response; without a duration for an endless stream."""
        counted = method if method in METHODS else "other"
        self._child(self._requests, counted, route, status).inc()
        if duration_s is not None:
            self._child(self._durations, route).observe(duration_s)
        if sql_s:
            self._sql.labels(route).inc(sql_s)

    def answered_from_cache(self, route: str, status: int, duration_s: float) -> None:
        """Count a response of the fast path to a GET."""
        with self._lock:
            tally = self._tallies[route, status]
            tally.counts[bisect_left(TIMES_S, duration_s)] += 1
            tally.total_s += duration_s

    def start_adding_up(self) -> Callable[[], None]:
        """Start the thread that adds up responses of the fast path; returns what ends it."""
        stopping = threading.Event()

        def add_up() -> None:
            while not stopping.wait(ADDED_UP_EVERY_S):
                self._add_tallies()

        threading.Thread(target=add_up, name="metrics", daemon=True).start()
        return stopping.set

    def _add_tallies(self) -> None:
        with self._lock:
            tallies, self._tallies = self._tallies, defaultdict(Tally)
        for (route, status), tally in tallies.items():
            self._child(self._requests, "GET", route, status).inc(sum(tally.counts))
            self._child(self._durations, route).add(tally.counts, tally.total_s)

    def _child(self, metric: Labelled, *labels: str | int) -> Labelled:
        """Return the cached child of labels, which the library would look up under a lock."""
        key = metric, labels
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return cast(Labelled, child)

    def set_gauges(self, stream_clients: int, confirmed_at_s: float) -> None:
        """Set the gauges; called every few seconds."""
        self._clients.set(stream_clients)
        self._confirmed_at.set(confirmed_at_s)

    def text(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        self._add_tallies()
        if self._directory is None:
            return generate_latest(self.registry)
        _mark_dead_processes(self._directory)
        registry = CollectorRegistry()
        registry.register(_WorkerFiles(self._directory))
        registry.register(BuildInfo("serving"))
        return generate_latest(registry)


class _WorkerFiles(Collector):
    """The metrics of all worker processes, ignoring files that were just created."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def collect(self) -> Iterable[Metric]:
        files = [str(file) for file in self._directory.glob("*.db") if file.stat().st_size]
        metrics: Iterable[Metric] = MultiProcessCollector.merge(files, accumulate=True)  # type: ignore[no-untyped-call]
        return metrics


def _mark_dead_processes(directory: Path) -> None:
    pids = {int(path.stem.rpartition("_")[2]) for path in directory.glob("gauge_live*.db")}
    for pid in pids:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            mark_process_dead(pid, path=str(directory))  # type: ignore[no-untyped-call]


class AccessLog:
    """The outermost Falcon middleware: logs and counts responses; a stream when it has ended."""

    def __init__(self, metrics: RequestMetrics, sql_clock: SqlClock) -> None:
        self.metrics = metrics
        self.sql_clock = sql_clock
        self._log = structlog.get_logger().bind()

    def process_request(self, request: Request, _response: Response) -> None:
        request.context.started = perf_counter(), self.sql_clock.total_s()

    def process_response(
        self,
        request: Request,
        response: Response,
        _resource: object,
        _succeeded: bool,  # noqa: FBT001 - Falcon's
    ) -> None:
        if response.stream is None:
            self._log_response(request, response, len(response.data or b""))
        else:
            blocks: Any = response.stream
            response.stream = CountedStream(blocks, lambda sent: self._log_response(request, response, sent))

    def log_cached(self, route: str, status: int, duration_s: float) -> None:
        """Count a response of the fast path; logged at DEBUG only, as a line costs more than the response."""
        self.metrics.answered_from_cache(route, status, duration_s)
        if self._log.is_enabled_for(logging.DEBUG):
            self._log.debug(
                "request", method="GET", route=route, status=status, duration_s=round(duration_s, 6)
            )

    def _log_response(self, request: Request, response: Response, sent_bytes: int) -> None:
        started, sql_before_s = request.context.started
        duration_s, sql_s = perf_counter() - started, self.sql_clock.total_s() - sql_before_s
        route, status = request.uri_template or NO_ROUTE, response.status_code
        method = requested_method(request.env)
        is_endless = response.content_type == ENDLESS
        self.metrics.answered(method, route, status, None if is_endless else duration_s, sql_s)
        if not self._log.is_enabled_for(logging.INFO):
            return
        self._log.info(
            "request",
            method=method,
            route=route,
            path=without_secrets(request.path)[:MAX_LOGGED_PATH],
            status=status,
            duration_s=round(duration_s, 6),
            sql_s=round(sql_s, 6),
            bytes=0 if method == "HEAD" else sent_bytes,
            client=request.remote_addr,
        )


class CountedStream:
    """A streamed body that calls `on_end` once, with the number of bytes that were sent."""

    def __init__(self, blocks: Iterable[bytes], on_end: Callable[[int], None]) -> None:
        self._blocks = blocks
        self._iterator: Iterator[bytes] = iter(blocks)
        self._on_end: Callable[[int], None] | None = on_end
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
        if self._on_end is not None:
            on_end, self._on_end = self._on_end, None
            on_end(self._sent_bytes)
