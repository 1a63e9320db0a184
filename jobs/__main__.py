"""`python -m jobs`: the scheduler; or one job, or all jobs until the backlog is empty."""

import os
import signal
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, timedelta

import structlog
from apscheduler.schedulers.background import BackgroundScheduler

from jobs.cli import AT_A_TERMINAL, command_parser, list_jobs, repeats_pack, run_command, utc_now
from jobs.running.metrics import AlarmConditions, Backlog, JobMetrics, RejectedSize
from jobs.running.runner import Runner
from jobs.running.schedule import Job, schedule
from jobs.running.scheduler_log import log_still_running_at_debug
from jobs.settings import Cadence, JobsSettings
from jobs.webhooks.sender import WebhookSender
from schemas.db.answers import AnswerMonitor
from schemas.db.clock import DatabaseClock, StepDetector
from schemas.db.connections import LONG_WORK, Bounds, connect, engine_for
from schemas.db.watching import DatabaseWatch
from schemas.programs.command_line import print_warning
from schemas.programs.exits import (
    cannot_listen,
    run_program,
)
from schemas.programs.logs import configure_logs
from schemas.programs.monitoring import Trouble, first_trouble, serve_monitoring
from schemas.programs.variables import warn_of_unknown_variables

CYCLE = Bounds(statement_timeout="5min")
"""Statement timeout: a cycle of a large fleet may take long; a silent server is noticed much earlier."""


def main(arguments: list[str]) -> None:
    options = command_parser().parse_args(arguments)
    if options.command == "list":
        warn_of_unknown_variables(os.environ, print_warning)
        list_jobs(schedule(Cadence.from_environment()))
        return
    if options.command == "settle" and repeats_pack(options):
        return
    settings = JobsSettings.from_environment()
    configure_logs(settings.log_level, settings.log_format)
    is_scheduler = options.command in {None, "serve"}
    warn_of_unknown_variables(os.environ, structlog.get_logger().warning if is_scheduler else print_warning)
    jobs, metrics, monitor = schedule(settings), JobMetrics(), AnswerMonitor(time.monotonic)
    session = LONG_WORK if options.command in AT_A_TERMINAL else CYCLE
    engine = engine_for(settings.database_url, "jobs", monitor=monitor, **session)
    clock = DatabaseClock(utc_now, time.monotonic)
    try:
        runner = Runner(engine, clock, metrics, f"{socket.gethostname()}:{os.getpid()}", time.monotonic)
        scheduler = BackgroundScheduler(timezone=UTC)
        watch = _watch(settings.database_url, monitor, clock, scheduler)
        if is_scheduler:
            stop_signals = _catch_stop_signals()
            watch.start()
            trouble = first_trouble(watch.trouble, metrics.trouble)
            metrics.registry.register(Backlog(engine, clock))
            metrics.registry.register(RejectedSize(engine))
            metrics.registry.register(AlarmConditions(engine))
            _serve_monitoring(metrics, trouble, settings.http_port, settings.http_host)
            with _sending_webhooks(settings, monitor, clock, metrics):
                _serve(scheduler, runner, jobs, stop_signals)
        else:
            watch.look()
            run_command(options, runner, jobs, settings)
    finally:
        engine.dispose()


@contextmanager
def _sending_webhooks(
    settings: JobsSettings, monitor: AnswerMonitor, clock: DatabaseClock, metrics: JobMetrics
) -> Iterator[None]:
    """Send webhooks on threads and connections of their own, beside those of the jobs."""
    holder = f"{socket.gethostname()}:{uuid.uuid4().hex[:8]}"
    engine = engine_for(settings.database_url, "jobs", pool_size=2, overflow=8, monitor=monitor, **CYCLE)
    sender = WebhookSender(engine, clock, holder, settings.webhook_policy(), count=metrics.sent)
    sender.start()
    try:
        yield
    finally:
        sender.stop()
        engine.dispose()


def _watch(
    database_url: str, monitor: AnswerMonitor, clock: DatabaseClock, scheduler: BackgroundScheduler
) -> DatabaseWatch:
    return DatabaseWatch(
        lambda: connect(database_url, "jobs-watch", monitor=monitor),
        monitor,
        clock,
        StepDetector(utc_now, time.monotonic),
        structlog.get_logger().warning,
        lambda: _reschedule(scheduler),
    )


def _reschedule(scheduler: BackgroundScheduler) -> None:
    """Make all jobs due: the system clock, by which the scheduler sleeps, has been set."""
    for job in scheduler.get_jobs():
        job.modify(next_run_time=utc_now())


def _serve_monitoring(metrics: JobMetrics, trouble: Trouble, port: int, host: str) -> None:
    if not port:
        return
    try:
        serve_monitoring(metrics.registry, trouble, port, host)
    except OSError as error:
        raise cannot_listen("JOBS_HTTP_PORT", host, port, error) from None


def _catch_stop_signals() -> int:
    """Return a pipe with the first SIGTERM or SIGINT, whichever thread the kernel delivers it to.

    The handler does nothing itself: it could deadlock with locks that the scheduler holds. Blocking the
    signals would not do: threads of Polars do not block them, and so would end the process.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    return reading


def _serve(scheduler: BackgroundScheduler, runner: Runner, jobs: tuple[Job, ...], stop_signals: int) -> None:
    due_in = runner.due_in_s(jobs)
    for job in jobs:
        scheduler.add_job(
            runner.attempt,
            "interval",
            args=[job],
            id=job.name,
            seconds=job.every_s,
            next_run_time=utc_now() + timedelta(seconds=due_in[job.name]),
            coalesce=True,
            max_instances=1,
            misfire_grace_time=None,
        )
    log_still_running_at_debug(scheduler)
    structlog.get_logger().info("scheduler_started", jobs=[job.name for job in jobs])
    scheduler.start()
    os.read(stop_signals, 1)
    runner.stop()
    scheduler.shutdown()
    runner.release_leases()


if __name__ == "__main__":
    run_program(lambda: main(sys.argv[1:]))
