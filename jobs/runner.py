"""Running a job: its steps, each in its own transaction, and one row in `job_runs` that says how it went."""

import time
from collections.abc import Callable, Iterable
from datetime import datetime

import psycopg
import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from jobs import queries
from jobs.schedule import Job, Step

DATABASE_ERRORS = (SQLAlchemyError, psycopg.Error)
"""COPY speaks to psycopg directly, so its errors come unwrapped."""


def is_away(error: Exception) -> bool:
    """It could not be reached, or hung up: the same may work later."""
    return isinstance(error, OperationalError | psycopg.OperationalError | psycopg.InterfaceError)


Clock = Callable[[], datetime]


class Runner:
    """Runs jobs against a database, whoever asks: a scheduler, cron, or a test."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self.engine = engine
        self._clock = clock
        self._log = structlog.get_logger()

    def run(self, job: Job) -> int:
        """One cycle of a job; answers the rows handled: where there is a backlog, those taken from it.

        Raises:
            SQLAlchemyError: a step failed; the steps before it stand, and the run is recorded with its error.
        """
        started_at, start = self._clock(), time.monotonic()
        try:
            rows = [self._take(step) for step in job.steps]
        except Exception as error:
            self._record(job, started_at, start, 0, error)
            raise
        handled = rows[0] if job.has_backlog else sum(rows)
        if handled:
            self._record(job, started_at, start, handled, None)
        return handled

    def attempt(self, job: Job) -> None:
        """One cycle, for a scheduler: a database that is away is logged, and the next cycle tries again."""
        try:
            self.run(job)
        except DATABASE_ERRORS as error:
            self._log.error("job_failed", job=job.name, error=str(error.__cause__ or error).strip())

    def catch_up(self, jobs: Iterable[Job]) -> int:
        """Run every job, and those with a backlog until none is left, not even with another worker.

        Answers the rows handled.
        """
        behind = [job for job in jobs if job.has_backlog]
        for job in jobs:
            if not job.has_backlog:
                self.run(job)
        total = 0
        while (rows := sum(self.run(job) for job in behind)) or self._is_anything_pending():
            total += rows
        return total

    def _is_anything_pending(self) -> bool:
        """Waits for whoever holds the oldest pending batch."""
        with self.engine.begin() as connection:
            return connection.execute(queries.oldest_pending()).first() is not None

    def _take(self, step: Step) -> int:
        with self.engine.begin() as connection:
            return step(connection, self._clock())

    def _record(
        self, job: Job, started_at: datetime, start: float, rows: int, error: Exception | None
    ) -> None:
        duration_s = time.monotonic() - start
        self._log.debug("job_ran", job=job.name, rows=rows, duration_s=round(duration_s, 4))
        run = {
            "job": job.name,
            "started_at": started_at,
            "duration_s": duration_s,
            "rows": rows,
            "error": None if error is None else f"{type(error).__name__}: {error}",
        }
        try:
            with self.engine.begin() as connection:
                connection.execute(queries.record_run(**run))
        except DATABASE_ERRORS as unrecorded:
            self._log.error(
                "run_not_recorded", job=job.name, error=str(unrecorded.__cause__ or unrecorded).strip()
            )
