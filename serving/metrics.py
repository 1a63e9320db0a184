"""What serving tells Prometheus: the sums of all of its worker processes, whichever answers.

Workers share nothing but files: each writes its numbers to its own, mapped into memory, and who is asked
adds them up. Counters of a worker that has died keep counting; its gauges do not.
"""

import os
from pathlib import Path
from typing import TypeVar, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

METRICS_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
"""The library's name of it."""

TIMES_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
Labelled = TypeVar("Labelled", Counter, Histogram)
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


class Metrics:
    """Of one process, or with a directory of all that share it."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        self._registry = CollectorRegistry()
        self._children: dict[tuple[object, tuple[str | int, ...]], object] = {}
        if directory is not None:
            os.environ[METRICS_DIRECTORY] = str(directory)
            pid = os.getpid()  # by default each number asks again, which costs more than adding to it
            values.ValueClass = values.MultiProcessValue(lambda: pid)  # type: ignore[no-untyped-call]
        self._requests = Counter(
            "gridgate_serving_requests",
            "Answers, by route",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._durations = Histogram(
            "gridgate_serving_request_seconds",
            "Time of an answer to its last byte, by route; not of live streams",
            ["route"],
            buckets=TIMES_S,
            registry=self._registry,
        )
        self._sql = Counter(
            "gridgate_serving_sql_seconds", "Time in SQL, by route", ["route"], registry=self._registry
        )
        self._clients = Gauge(
            "gridgate_serving_stream_clients",
            "Live streams that are open",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self._heard_at = Gauge(
            "gridgate_serving_heard_timestamp_seconds",
            "When the worker that is furthest behind last heard from the database that its answers stand",
            registry=self._registry,
            multiprocess_mode="livemin",
        )

    def answered(self, method: str, route: str, status: int, duration_s: float | None, sql_s: float) -> None:
        """An answer has been sent; no duration for what has no end."""
        known = method if method in METHODS else "other"
        self._child(self._requests, known, route, status).inc()
        if duration_s is not None:
            self._child(self._durations, route).observe(duration_s)
        if sql_s:
            self._sql.labels(route).inc(sql_s)

    def _child(self, metric: Labelled, *labels: str | int) -> Labelled:
        """That of these labels, which the library would look for under a lock."""
        key = metric, labels
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return cast(Labelled, child)

    def look(self, stream_clients: int, heard_at_s: float) -> None:
        """What changes by itself, every few seconds."""
        self._clients.set(stream_clients)
        self._heard_at.set(heard_at_s)

    def text(self) -> bytes:
        """Prometheus' text format."""
        if self._directory is None:
            return generate_latest(self._registry)
        _bury_the_dead(self._directory)
        everybody = CollectorRegistry()
        MultiProcessCollector(everybody, path=str(self._directory))  # type: ignore[no-untyped-call]
        return generate_latest(everybody)


def _bury_the_dead(directory: Path) -> None:
    pids = {int(path.stem.rpartition("_")[2]) for path in directory.glob("gauge_live*.db")}
    for pid in pids:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            mark_process_dead(pid, path=str(directory))  # type: ignore[no-untyped-call]
