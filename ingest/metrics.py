"""Prometheus metrics of ingest, and its health."""

from collections.abc import Callable, Sequence
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ingest.commands.states import Due
from ingest.storing.batch import Batch
from ingest.storing.store import Stored
from schemas.programs.monitoring import BuildInfo

BATCH_SIZES = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000)
COMMIT_TIMES_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10)
LAGS_S = (0.1, 0.3, 1, 3, 10, 30, 100, 1_000, 10_000, 100_000)
TOLERATED_FAILURES = 3
"""Consecutive failed commits that do not make the worker unhealthy."""


class IngestMetrics:
    """Counters of one worker, in a registry of their own."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self.registry = CollectorRegistry()
        self.registry.register(BuildInfo("ingest"))
        self._received = self._counter("messages_received", "Messages received from the broker")
        self._rows = self._counter("rows_stored", "Rows inserted", ["kind"])
        self._duplicates = self._counter("messages_duplicate", "Messages that had been stored before")
        self._rejected = self._counter("rejected", "Messages and load entries rejected", ["reason"])
        self._failures = self._counter("commit_failures", "Failed attempts to commit")
        self._batch = self._histogram("batch_messages", "Messages in one transaction", BATCH_SIZES)
        self._commit = self._histogram("commit_seconds", "Time to write and commit a batch", COMMIT_TIMES_S)
        self._lag = self._histogram("lag_seconds", "From a batch's newest device time to its commit", LAGS_S)
        self._in_flight = Gauge(
            "gridgate_ingest_in_flight", "Messages taken and not acknowledged yet", registry=self.registry
        )
        connected = Gauge(
            "gridgate_ingest_subscribed", "1 while the broker holds our subscriptions", registry=self.registry
        )
        connected.set_function(lambda: self._not_subscribed is None)
        self._commands = self._counter("commands", "Commands settled, by status", ["status"])
        self._dispatch_failures = self._counter(
            "dispatch_failures", "Times that the command dispatcher lost the broker or the database"
        )
        dispatching = Gauge(
            "gridgate_ingest_dispatching", "1 while commands can be published", registry=self.registry
        )
        dispatching.set_function(lambda: self._is_dispatching)
        self._is_dispatching = False
        self._sessions_lost = self._counter(
            "sessions_lost",
            "Sessions lost by the broker, with the messages queued in them",
        )
        self._not_subscribed: str | None = "the broker does not hold our subscriptions"
        self._failed_in_a_row: dict[int, int] = {}
        self._returned = 0
        self._writer_ends = self._counter("writer_ends", "Writer processes that ended, and were replaced")

    def took(self, messages: int) -> None:
        again = min(messages, self._returned)
        self._returned -= again
        self._received.inc(messages - again)
        self._in_flight.inc(messages)

    def returned(self, messages: int) -> None:
        """Count messages as no longer in flight."""
        self._returned += messages
        self._in_flight.dec(messages)

    def acknowledged(self, messages: int) -> None:
        self._in_flight.dec(messages)

    def stored(self, batch: Batch, stored: Stored, duration_s: float) -> None:
        """Count one committed batch."""
        self.committed(stored, duration_s, batch.newest())

    def committed(self, stored: Stored, duration_s: float, newest: datetime | None, writer: int = 0) -> None:
        """Count one transaction; `newest` is the newest device time of its reports."""
        self._failed_in_a_row[writer] = 0
        self._batch.observe(stored.messages)
        self._commit.observe(duration_s)
        self._duplicates.inc(stored.duplicates)
        for kind in ("telemetry", "sample", "description", "status", "acknowledgement"):
            self._rows.labels(kind).inc(getattr(stored, f"{kind}_rows"))
        for reason, count in stored.rejected.items():
            self._rejected.labels(reason).inc(count)
        if newest is not None:
            self._lag.observe((self._clock() - newest).total_seconds())

    def commit_failed(self, writer: int = 0) -> None:
        self._failed_in_a_row[writer] = self._failed_in_a_row.get(writer, 0) + 1
        self._failures.inc()

    def writer_ended(self) -> None:
        self._writer_ends.inc()

    def settled(self, commands: Sequence[Due]) -> None:
        """Count commands by their status after an attempt."""
        for command in commands:
            self._commands.labels(command.status).inc()

    def dispatch_failed(self) -> None:
        self._dispatch_failures.inc()

    def dispatching(self, *, is_on: bool) -> None:
        self._is_dispatching = is_on

    def subscribed(self, trouble: str | None) -> None:
        """Set the reason why no messages can arrive; None if they can."""
        self._not_subscribed = trouble

    def session_lost(self) -> None:
        self._sessions_lost.inc()

    def trouble(self) -> str | None:
        """Return the reason for being unhealthy; None while healthy."""
        if self._not_subscribed is not None:
            return self._not_subscribed
        failed_in_a_row = max(self._failed_in_a_row.copy().values(), default=0)
        if failed_in_a_row > TOLERATED_FAILURES:
            return f"{failed_in_a_row} attempts to commit have failed in a row"
        return None

    def _counter(self, name: str, about: str, labels: list[str] | None = None) -> Counter:
        return Counter(f"gridgate_ingest_{name}", about, labels or [], registry=self.registry)

    def _histogram(self, name: str, about: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"gridgate_ingest_{name}", about, buckets=buckets, registry=self.registry)
