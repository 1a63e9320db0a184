"""Prometheus metrics of the jobs."""

from collections.abc import Callable, Iterator
from datetime import datetime

import psycopg
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from jobs.queries import alarms as alarm_queries
from jobs.queries import pending as pending_queries
from jobs.queries import trimming as trimming_queries
from schemas.programs.monitoring import BuildInfo
from schemas.tables.ledger import LANES

CYCLE_ROWS = (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000)
TOLERATED_FAILURES = 3
"""Consecutive failed cycles of a job before the program reports itself unhealthy."""

STEP_TIMES_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)


class JobMetrics:
    """Counters of one scheduler, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(BuildInfo("jobs"))
        self._failed_in_a_row: dict[str, int] = {}
        self._rows = Histogram(
            "gridgate_jobs_cycle_rows",
            "Rows handled in a cycle",
            ["job"],
            buckets=CYCLE_ROWS,
            registry=self.registry,
        )
        self._steps = Histogram(
            "gridgate_jobs_step_seconds",
            "Duration of a step, with its commit",
            ["job", "step"],
            buckets=STEP_TIMES_S,
            registry=self.registry,
        )
        self._failures = Counter(
            "gridgate_jobs_failures", "Cycles that failed", ["job"], registry=self.registry
        )
        self._webhooks = Counter(
            "gridgate_jobs_webhook_attempts",
            "Attempts to deliver webhooks, by outcome",
            ["outcome"],
            registry=self.registry,
        )
        self._ran_at = Gauge(
            "gridgate_jobs_last_success_timestamp_seconds",
            "When a cycle last completed, Unix time",
            ["job"],
            registry=self.registry,
        )

    def sent(self, outcome: str) -> None:
        """Count one attempt to deliver a webhook."""
        self._webhooks.labels(outcome).inc()

    def took(self, job: str, step: str, duration_s: float) -> None:
        """Count one committed step."""
        self._steps.labels(job, step).observe(duration_s)

    def ran(self, job: str, rows: int, now: datetime) -> None:
        """Count one completed cycle."""
        self._rows.labels(job).observe(rows)
        self._ran_at.labels(job).set(now.timestamp())
        self._failed_in_a_row.pop(job, None)

    def failed(self, job: str) -> None:
        self._failures.labels(job).inc()
        self._failed_in_a_row[job] = self._failed_in_a_row.get(job, 0) + 1

    def trouble(self) -> str | None:
        """Return the reason for being unhealthy, the jobs that keep failing; None while healthy."""
        failing = sorted(job for job, times in self._failed_in_a_row.items() if times > TOLERATED_FAILURES)
        return f"cycles keep failing: {', '.join(failing)}" if failing else None


class Backlog(Collector):
    """The backlog of each lane, queried at each scrape; nothing while the database is unavailable."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._clock = clock

    def describe(self) -> Iterator[Metric]:
        yield from self._families()

    def collect(self) -> Iterator[Metric]:
        batches, rows, lag = self._families()
        try:
            with self._engine.connect() as connection:
                backlogs = {row.lane: row for row in pending_queries.backlog().each(connection)}
        except (SQLAlchemyError, psycopg.Error):
            return
        for lane in LANES:
            pending = backlogs.get(lane)
            batches.add_metric([lane], pending.batches if pending else 0)
            rows.add_metric([lane], pending.rows if pending else 0)
            lag.add_metric([lane], (self._clock() - pending.oldest).total_seconds() if pending else 0)
        yield from (batches, rows, lag)

    @staticmethod
    def _families() -> tuple[GaugeMetricFamily, ...]:
        return (
            GaugeMetricFamily(
                "gridgate_jobs_pending_batches", "Batches that a lane has not consumed", labels=["lane"]
            ),
            GaugeMetricFamily("gridgate_jobs_pending_rows", "Raw rows in these batches", labels=["lane"]),
            GaugeMetricFamily(
                "gridgate_jobs_lag_seconds",
                "Time since the oldest batch that a lane has not consumed was received",
                labels=["lane"],
            ),
        )


class RejectedSize(Collector):
    """The size of rejected messages, queried at each scrape; nothing while the database is unavailable."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def describe(self) -> Iterator[Metric]:
        yield self._family()

    def collect(self) -> Iterator[Metric]:
        family = self._family()
        try:
            with self._engine.connect() as connection:
                family.add_metric([], connection.execute(trimming_queries.SIZE_OF_REJECTED).scalar_one())
        except (SQLAlchemyError, psycopg.Error):
            return
        yield family

    @staticmethod
    def _family() -> GaugeMetricFamily:
        return GaugeMetricFamily(
            "gridgate_jobs_rejected_bytes", "Size of rejected_messages on disk, with indexes and free space"
        )


class AlarmConditions(Collector):
    """Conditions of alarms, queried at each scrape; nothing while the database is unavailable."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def describe(self) -> Iterator[Metric]:
        yield from self._families()

    def collect(self) -> Iterator[Metric]:
        value, threshold, open_alarms, evaluated_at = self._families()
        try:
            with self._engine.connect() as connection:
                rows = alarm_queries.conditions().all(connection)
        except (SQLAlchemyError, psycopg.Error):
            return
        for row in rows:
            threshold.add_metric([row.kind], row.threshold)
            open_alarms.add_metric([row.kind], row.open_alarms)
            if row.value is not None:
                value.add_metric([row.kind], row.value)
            if row.evaluated_at is not None:
                evaluated_at.add_metric([row.kind], row.evaluated_at.timestamp())
        yield from (value, threshold, open_alarms, evaluated_at)

    @staticmethod
    def _families() -> tuple[GaugeMetricFamily, ...]:
        about = {
            "alarm_value": "Last measured value of the condition of an alarm, by kind",
            "alarm_threshold": "Value at which an alarm of the kind is raised",
            "alarms_open": "Alarms that are not cleared",
            "alarm_evaluated_timestamp_seconds": "When the condition was last evaluated, Unix time",
        }
        return tuple(
            GaugeMetricFamily(f"gridgate_jobs_{name}", text, labels=["kind"]) for name, text in about.items()
        )
