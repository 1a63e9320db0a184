"""`python -m jobs`: the scheduler; or one job, or all of them until nothing is left."""

import argparse
import signal
import sys
from datetime import UTC, datetime

import structlog
from apscheduler.schedulers.background import BackgroundScheduler

from jobs.runner import DATABASE_ERRORS, Runner
from jobs.schedule import Job, schedule
from jobs.settings import Cadence, JobsSettings
from schemas.database import engine_for
from schemas.logs import log_options
from schemas.settings import SettingsError


def main(arguments: list[str]) -> None:
    options = _parser().parse_args(arguments)
    if options.command == "list":
        _list(schedule(Cadence.from_environment()))
        return
    settings = JobsSettings.from_environment()
    structlog.configure(**log_options(settings.log_level, settings.log_format))
    jobs = schedule(settings)
    engine = engine_for(settings.database_url, "jobs")
    try:
        _obey(options, Runner(engine, lambda: datetime.now(UTC)), jobs)
    finally:
        engine.dispose()


def _obey(options: argparse.Namespace, runner: Runner, jobs: tuple[Job, ...]) -> None:
    match options.command:
        case "run":
            print(f"{runner.run(_named(jobs, options.name))} rows")
        case "catch-up":
            print(f"{runner.catch_up(jobs)} rows; nothing is left")
        case _:
            _serve(runner, jobs)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m jobs", description=__doc__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("serve", help="run every job on its schedule (the default)")
    commands.add_parser("list", help="show the schedule")
    run = commands.add_parser("run", help="run one cycle of a job, for cron")
    run.add_argument("name", metavar="NAME", help="as `list` shows it")
    commands.add_parser("catch-up", help="run until nothing is left")
    return parser


def _list(jobs: tuple[Job, ...]) -> None:
    for job in jobs:
        print(f"{job.name:<12} every {job.every_s:g} s   {job.about}")


def _named(jobs: tuple[Job, ...], name: str) -> Job:
    for job in jobs:
        if job.name == name:
            return job
    sys.exit(f"There is no job {name!r}; there are {', '.join(job.name for job in jobs)}.")


def _serve(runner: Runner, jobs: tuple[Job, ...]) -> None:
    scheduler = BackgroundScheduler(timezone=UTC)
    for job in jobs:
        scheduler.add_job(
            runner.attempt,
            "interval",
            args=[job],
            id=job.name,
            seconds=job.every_s,
            next_run_time=datetime.now(UTC),
            coalesce=True,
            max_instances=1,
            misfire_grace_time=None,
        )
    # Waited for, not handled: a handler would run amid the scheduler's own locks and could wait for ever.
    stops = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    structlog.get_logger().info("scheduler_started", jobs=[job.name for job in jobs])
    scheduler.start()
    signal.sigwait(stops)
    scheduler.shutdown(wait=False)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SettingsError as error:
        sys.exit(str(error))
    except DATABASE_ERRORS as error:
        sys.exit(f"The database failed: {str(error.__cause__ or error).strip()}")
