"""Runs a job: its steps, each in its own transaction, and one row in `job_runs` with the result."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta

import psycopg
import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from jobs.queries import running as running_queries
from jobs.queries.summaries import pending as pending_queries
from jobs.running.admission import admit
from jobs.running.backoff import Backoff
from jobs.running.metrics import JobMetrics
from jobs.running.schedule import Job, Step, name_of
from jobs.running.successes import SuccessRecord
from schemas.db.revisions import WrongRevisionError
from schemas.programs.exits import DATABASE_ERRORS


def is_locked(error: Exception) -> bool:
    """Return whether an error is a lock timeout."""
    return isinstance(error.__cause__ or error, psycopg.errors.LockNotAvailable)


def grace(job: Job) -> timedelta:
    """Return how late a lease's holder may be with its next cycle before another scheduler takes over."""
    return timedelta(seconds=min(max(2 * job.every_s, 5.0), 30.0))


Clock = Callable[[], datetime]
Monotonic = Callable[[], float]


class Runner:
    """Runs jobs against a database, for a scheduler, cron, or a test.

    `clock` is compared with stored times, and so should be the database's; `monotonic` measures the
    back-off: by default, `clock` does.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        metrics: JobMetrics | None = None,
        holder: str = "jobs",
        monotonic: Monotonic | None = None,
    ) -> None:
        self.engine = engine
        self._clock = clock
        self._monotonic = monotonic or (lambda: clock().timestamp())
        self._metrics = metrics or JobMetrics()
        self._holder = holder
        self._backoffs: dict[str, Backoff] = {}
        self._successes = SuccessRecord(self._monotonic)
        self._is_stopping = threading.Event()
        self._log = structlog.get_logger()

    def run(self, job: Job) -> int:
        """Run a job's steps; a lane repeats them until it has consumed all that was pending at the start.

        Returns:
            The rows handled; for a lane, those of its backlog.

        Raises:
            SQLAlchemyError: a step failed; the steps before it stand, and the run is recorded with its error.
        """
        return self._drain(job, lambda: job.steps)

    def attempt(self, job: Job) -> None:
        """Run a job for a scheduler: any failure is logged, and retried after a back-off.

        While another scheduler holds the lease, this one takes only the steps that schedulers share. A lane
        that has overrun its period goes on at once with what has come meanwhile: the scheduler would wait
        for the next multiple of the period.
        """
        backoff = self._backoffs.setdefault(job.name, Backoff(job.every_s, job.longest_wait_s))
        if backoff.is_waiting(self._monotonic()):
            return
        try:
            while self._has_overrun(job):
                self._succeeded(job, backoff)
                self._log.debug("job_overruns", job=job.name, every_s=job.every_s)
        except WrongRevisionError as error:
            self._log.debug("job_waits", job=job.name, reason=str(error))
        except Exception as error:  # noqa: BLE001 - of any kind: it must not stop the other jobs
            wait_s = job.every_s if is_locked(error) else backoff.failed(self._monotonic())
            reason = str(error.__cause__ or error).strip()
            self._log.error("job_failed", job=job.name, error=reason, next_in_s=wait_s)
        else:
            self._succeeded(job, backoff)

    def _has_overrun(self, job: Job) -> bool:
        """Run a job; returns whether it is a lane that had more to do than fits into its period."""
        start = time.monotonic()
        handled = self._drain(job, lambda: job.steps if self._take_lease(job) else job.shared_steps)
        is_late = job.has_backlog and handled > 0 and time.monotonic() - start > job.every_s
        return is_late and not self._is_stopping.is_set()

    def stop(self) -> None:
        """Stop draining backlogs after the current cycle."""
        self._is_stopping.set()

    def _drain(self, job: Job, steps: Callable[[], Sequence[Step]]) -> int:
        """Run cycles until all that was pending at the start is consumed; without a backlog, one cycle.

        Each cycle claims its steps again, and so renews the lease, and runs all steps that follow the claim.
        """
        if not job.has_backlog:
            return self._run(job, steps())
        newest = self._newest_pending(job.name)
        total = handled = self._run(job, steps())
        while handled and not self._is_stopping.is_set() and self._has_unclaimed(job.name, newest):
            handled = self._run(job, steps())
            total += handled
        return total

    def _newest_pending(self, lane: str) -> int:
        with self.engine.connect() as connection:
            newest = connection.execute(pending_queries.newest_pending(lane)).scalar_one()
        return 0 if newest is None else newest

    def _has_unclaimed(self, lane: str, up_to: int) -> bool:
        with self.engine.begin() as connection:
            return connection.execute(pending_queries.unclaimed(lane, up_to)).first() is not None

    def now(self) -> datetime:
        return self._clock()

    def due_in_s(self, jobs: Iterable[Job]) -> dict[str, float]:
        """Return when each job should run first, in seconds from now: at once, unless any scheduler ran it
        recently.
        """
        now, due = self._clock(), dict[str, datetime]()
        try:
            with self.engine.connect() as connection:
                due = dict(connection.execute(running_queries.due()).all())
        except DATABASE_ERRORS:
            self._log.warning("database_away", doing="start every job at once")
        left_s = {job.name: (due.get(job.name, now) - now).total_seconds() for job in jobs}
        return {job.name: min(max(left_s[job.name], 0.0), job.every_s) for job in jobs}

    def release_leases(self) -> None:
        """Release all leases at the end, so that other schedulers need not wait for them to expire."""
        try:
            with self.engine.begin() as connection:
                admit(connection)
                connection.execute(running_queries.release_leases(self._holder, self._clock()))
        except WrongRevisionError:
            self._log.debug("wrong_revision", doing="leases are left to expire")
        except DATABASE_ERRORS:
            self._log.warning("database_away", doing="leases are left to expire")

    def _take_lease(self, job: Job) -> bool:
        now = self._clock()
        due_at = now + timedelta(seconds=job.every_s)
        lease = running_queries.take_lease(job.name, self._holder, now, due_at, due_at + grace(job))
        with self.engine.begin() as connection:
            admit(connection)
            return connection.execute(lease).first() is not None

    def _run(self, job: Job, steps: Sequence[Step]) -> int:
        if not steps:
            return 0
        started_at, start = self._clock(), time.monotonic()
        try:
            rows = [self._take(job, step) for step in steps]
            rows += self._repeat(job, rows[-1]) if steps[-1] is job.steps[-1] else ()
        except WrongRevisionError:
            self._metrics.failed(job.name)
            raise
        except Exception as error:
            self._metrics.failed(job.name)
            self._record(job, started_at, start, 0, error)
            raise
        handled = rows[0] if job.has_backlog else sum(rows)
        self._metrics.ran(job.name, handled, self._clock())
        if handled:
            self._record(job, started_at, start, handled, None)
        return handled

    def catch_up(self, jobs: Iterable[Job]) -> int:
        """Run every job; repeat those with a backlog until none is left, not even with another worker.

        Returns the rows handled.

        Raises:
            SQLAlchemyError: one of them failed; the others have been run nevertheless.
        """
        failures = list[Exception]()
        behind = [job for job in jobs if job.has_backlog]
        for job in jobs:
            if not job.has_backlog:
                self._run_collecting_failures(job, failures)
        total = 0
        while (rows := sum(self._run_collecting_failures(job, failures) for job in behind)) or (
            not failures and self._is_anything_pending()
        ):
            total += rows
        if failures:
            raise failures[0]
        return total

    def _run_collecting_failures(self, job: Job, failures: list[Exception]) -> int:
        """Run a job; collect its failure, so that it does not stop the other jobs."""
        try:
            return self.run(job)
        except Exception as error:  # noqa: BLE001 - of any kind: it is raised when all have had their turn
            self._log.error("job_failed", job=job.name, error=str(error.__cause__ or error).strip())
            failures.append(error)
            return 0

    def _is_anything_pending(self) -> bool:
        """Return whether a batch is pending; waits for the session that has locked the oldest."""
        try:
            with self.engine.begin() as connection:
                return connection.execute(pending_queries.oldest_pending()).first() is not None
        except OperationalError as error:
            if is_locked(error):
                return True
            raise

    def _repeat(self, job: Job, rows: int) -> Iterator[int]:
        """Repeat the last step while it handles rows; `rows` is the number that it has just handled."""
        for _ in range(job.rounds - 1):
            if not rows:
                return
            rows = self._take(job, job.steps[-1])
            yield rows

    def _take(self, job: Job, step: Step) -> int:
        start, now = time.monotonic(), self._clock()
        with self.engine.begin() as connection:
            admit(connection, job.longest_pause_s)
            rows = step(connection, now)
        self._metrics.took(job.name, name_of(step), time.monotonic() - start)
        return rows

    def _succeeded(self, job: Job, backoff: Backoff) -> None:
        backoff.succeeded()
        self._record_success(job)

    def _record_success(self, job: Job) -> None:
        if not self._successes.is_due(job.name):
            return
        try:
            with self.engine.begin() as connection:
                admit(connection)
                connection.execute(running_queries.record_success(job.name, self._clock()))
        except (*DATABASE_ERRORS, WrongRevisionError) as error:
            self._log.debug("success_not_recorded", job=job.name, error=str(error.__cause__ or error))
        else:
            self._successes.recorded(job.name)

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
                admit(connection)
                connection.execute(running_queries.record_run(**run))
        except (*DATABASE_ERRORS, WrongRevisionError) as unrecorded:
            self._log.error(
                "run_not_recorded", job=job.name, error=str(unrecorded.__cause__ or unrecorded).strip()
            )
