"""`python -m jobs`: the scheduler; or one job, or all jobs until the backlog is empty."""

import argparse
import os
import signal
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

import structlog
from apscheduler.schedulers.background import BackgroundScheduler
from sqlalchemy import Engine

from jobs.archive.checking import damages, write_again
from jobs.archive.verifying import archived_range, rebuild_archived, verify_archived
from jobs.console import followed, instant, show_differences, show_previews
from jobs.events.measuring import DatabaseRecords
from jobs.events.packs import Pack, PackError, pack_of, remade, write_pack
from jobs.events.recorded import Recorder
from jobs.events.settlement import settle
from jobs.queries import archive as archive_queries
from jobs.queries import summary as summary_queries
from jobs.queries.archive import manifest_of
from jobs.running.admission import admit
from jobs.running.metrics import AlarmConditions, Backlog, JobMetrics, RejectedSize
from jobs.running.runner import Runner
from jobs.running.schedule import MEASURING_PAUSE_S, Job, schedule
from jobs.running.scheduler_log import log_still_running_at_debug
from jobs.settings import Cadence, JobsSettings
from jobs.storage.distributing import CannotDistributeError, distribute
from jobs.storage.retention import preview
from jobs.summaries.rebuild import rebuild, verify, whole_range
from jobs.weather.importing import import_temperatures
from jobs.weather.reading import WrongFileError, read_temperatures
from jobs.webhooks.sender import WebhookSender
from schemas.archive.folder import ArchiveFolder
from schemas.db.answers import AnswerMonitor
from schemas.db.clock import DatabaseClock, StepDetector
from schemas.db.connections import LONG_WORK, Bounds, connect, engine_for
from schemas.db.watching import DatabaseWatch
from schemas.programs.command_line import print_warning, program_name, program_parser
from schemas.programs.exits import (
    EXIT_CODES,
    FAILED,
    WRONG_USAGE,
    cannot_listen,
    end_with_failure,
    run_program,
)
from schemas.programs.logs import configure_logs
from schemas.programs.monitoring import Trouble, first_trouble, serve_monitoring
from schemas.programs.variables import warn_of_unknown_variables
from schemas.times.instants import parse_iso

DIFFERENT = FAILED
AT_A_TERMINAL = {"verify", "rebuild", "retention", "settle", "weather", "archive", "distribute"}

CYCLE = Bounds(statement_timeout="5min")
"""Statement timeout: a cycle of a large fleet may take long; a silent server is noticed much earlier."""


def main(arguments: list[str]) -> None:
    options = _parser().parse_args(arguments)
    if options.command == "list":
        warn_of_unknown_variables(os.environ, print_warning)
        _list(schedule(Cadence.from_environment()))
        return
    if options.command == "settle" and _repeats_pack(options):
        return
    settings = JobsSettings.from_environment()
    configure_logs(settings.log_level, settings.log_format)
    is_scheduler = options.command in {None, "serve"}
    warn_of_unknown_variables(os.environ, structlog.get_logger().warning if is_scheduler else print_warning)
    jobs, metrics, monitor = schedule(settings), JobMetrics(), AnswerMonitor(time.monotonic)
    session = LONG_WORK if options.command in AT_A_TERMINAL else CYCLE
    engine = engine_for(settings.database_url, "jobs", monitor=monitor, **session)
    clock = DatabaseClock(_now, time.monotonic)
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
            _dispatch(options, runner, jobs, settings)
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
        StepDetector(_now, time.monotonic),
        structlog.get_logger().warning,
        lambda: _reschedule(scheduler),
    )


def _reschedule(scheduler: BackgroundScheduler) -> None:
    """Make all jobs due: the system clock, by which the scheduler sleeps, has been set."""
    for job in scheduler.get_jobs():
        job.modify(next_run_time=_now())


def _dispatch(
    options: argparse.Namespace, runner: Runner, jobs: tuple[Job, ...], settings: JobsSettings
) -> None:
    match options.command:
        case "verify" | "rebuild":
            _check(options, runner.engine, settings.archive_url)
        case "retention":
            _retention(options, runner, jobs, settings)
        case "archive":
            _archive(options, runner, jobs, settings.archive_url)
        case "settle":
            _settle(options.event_id, options.pack, runner, settings)
        case "weather":
            _import_weather(options.file, options.region, runner)
        case "distribute":
            _distribute(runner.engine, with_rows=options.with_rows)
        case "run":
            print(f"{runner.run(_named(jobs, options.name))} rows")
        case "catch-up":
            print(f"{runner.catch_up(jobs)} rows; the backlog is empty")


def _parser() -> argparse.ArgumentParser:
    parser = program_parser(
        "jobs",
        "Make summaries of what VENs report, and run demand-response events.",
        [JobsSettings],
        [
            "",
            "run snapshot    # one cycle, for cron",
            "verify --start 2026-01-15 --end 2026-01-16",
            "settle evt-1 --pack settlements/evt-1",
            "weather temperatures.csv --region north",
        ],
        EXIT_CODES | {FAILED: "a job failed, `verify` found differences, or `archive --check` damage"},
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("serve", help="run every job on its schedule (the default)")
    commands.add_parser("list", help="show the schedule")
    run = commands.add_parser("run", help="run one cycle of a job, for cron")
    run.add_argument("name", metavar="NAME", help="as `list` shows it")
    commands.add_parser("catch-up", help="run until the backlog is empty")
    retention = commands.add_parser("retention", help="delete what is too old")
    retention.add_argument("--dry-run", action="store_true", help="only show what would be deleted")
    archive = commands.add_parser("archive", help="archive the days that are closed, in ARCHIVE_URL")
    archive.add_argument("--check", action="store_true", help="read all files; 1 if one is damaged")
    _add_settle(commands)
    _add_weather(commands)
    distributes = commands.add_parser("distribute", help="distribute what grows over a Citus cluster")
    distributes.add_argument(
        "--with-rows", action="store_true", help="copy the rows of tables that have some"
    )
    verify = commands.add_parser("verify", help="compare the summary with the raw rows; 1 if they differ")
    rebuild = commands.add_parser("rebuild", help="correct what differs from the raw rows")
    for command in (verify, rebuild):
        command.add_argument("--start", type=_instant, help="ISO 8601; default: the first that is stored")
        command.add_argument("--end", type=_instant, help="exclusive; both are widened to whole hours")
        command.add_argument("--ven", action="append", help="only this VEN and its loads; may be repeated")
    return parser


def _add_settle(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    settles = commands.add_parser("settle", help="settle an event now, or again if its figures have changed")
    settles.add_argument("event_id", metavar="EVENT_ID", nargs="?", help="not with --from")
    settles.add_argument("--pack", type=Path, metavar="DIR", help="write its inputs and results there")
    settles.add_argument(
        "--from",
        type=Path,
        metavar="DIR",
        dest="source",
        help="repeat the settlement of a pack, without a database; 1 if the result differs",
    )


def _add_weather(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    weather = commands.add_parser("weather", help="import temperatures, by which a baseline matches days")
    weather.add_argument(
        "file", type=Path, metavar="FILE", help="CSV or .parquet: timestamp, temperature_c, perhaps region"
    )
    weather.add_argument("--region", help="of all lines; default: the column, else the whole site")


def _retention(
    options: argparse.Namespace, runner: Runner, jobs: tuple[Job, ...], settings: JobsSettings
) -> None:
    if options.dry_run:
        retention, is_archived = settings.by_resolution(), settings.archive_url is not None
        with runner.engine.connect() as connection:
            show_previews(preview(connection, runner.now(), retention, is_archived=is_archived))
        return
    job, total = _named(jobs, "retention"), 0
    while handled := runner.run(job):
        total += handled
    print(f"{total} partitions and rows deleted")


def _archive(options: argparse.Namespace, runner: Runner, jobs: tuple[Job, ...], url: str | None) -> None:
    if url is None:
        end_with_failure("ARCHIVE_URL is not set: it is the folder of the archive.", WRONG_USAGE)
    if options.check:
        _check_archive(runner.engine, ArchiveFolder(url))
        return
    job = _named(jobs, "archive")
    while runner.run(job):
        pass
    with runner.engine.connect() as connection:
        manifests = [manifest_of(row) for row in archive_queries.archived().each(connection)]
    rows, size = sum(each.rows for each in manifests), sum(each.bytes for each in manifests)
    print(f"{len(manifests)} days are archived: {rows:,} rows, {size / 1e6:,.1f} MB")


def _check_archive(engine: Engine, folder: ArchiveFolder) -> None:
    with engine.begin() as connection:
        admit(connection)
        damaged = list(damages(connection, folder))
        again = write_again(connection, [each.day for each in damaged])
    print(
        "\n".join(
            [*(f"{each.path}: {each.what}" for each in damaged), f"{len(damaged)} damaged or missing files"]
        )
    )
    if again is not None:
        print(f"PostgreSQL has the days from {again:%F} on: the next run writes them again.")
    if damaged:
        sys.exit(FAILED)


def _repeats_pack(options: argparse.Namespace) -> bool:
    """Repeat the settlement of a pack, if asked to; returns whether it was. It needs no settings."""
    if (options.event_id is None) == (options.source is None):
        _refuse("settle takes either EVENT_ID or --from DIR")
    if options.source is None:
        return False
    try:
        pack = remade(options.source)
        if options.pack is not None:
            write_pack(pack, options.pack)
    except PackError as error:
        end_with_failure(str(error), FAILED)
    parameters = pack.contents.parameters
    print(f"revision {pack.contents.revision} of event {parameters.event.event_id!r}: the same bytes again")
    print(f"SHA-256 of the pack: {pack.digest}")
    return True


def _settle(event_id: str, folder: Path | None, runner: Runner, settings: JobsSettings) -> None:
    rules, url = settings.rules(), settings.archive_url
    archive = None if url is None else ArchiveFolder(url)
    with runner.engine.begin() as connection:
        admit(connection, MEASURING_PAUSE_S)
        records = DatabaseRecords(connection, archive)
        recorder = None if folder is None else Recorder(records)
        settled = settle(connection, runner.now(), rules, event_id, recorder or records, settings.notifier())
    if settled is None:
        end_with_failure(f"There is no event {event_id!r} that has run and is over.", WRONG_USAGE)
    delivered = "unknown" if settled.delivered_kw is None else f"{settled.delivered_kw:.3f} kW"
    news = "made" if settled.is_new else "still holds"
    print(f"revision {settled.revision} {news}; by {rules.primary}, delivered: {delivered}")
    if folder is not None and recorder is not None:
        _write_pack(pack_of(recorder, settled.event, rules, settled.revision), folder)


def _write_pack(pack: Pack, folder: Path) -> None:
    try:
        write_pack(pack, folder)
    except PackError as error:
        end_with_failure(str(error), FAILED)
    print(f"SHA-256 of the pack: {pack.digest}")


def _import_weather(path: Path, region: str | None, runner: Runner) -> None:
    try:
        rows = read_temperatures(path, region)
    except WrongFileError as error:
        end_with_failure(str(error), WRONG_USAGE)
    with runner.engine.begin() as connection:
        imported = import_temperatures(connection, rows, runner.now())
    for stranger in imported.strangers:
        print(f"No VEN is in the region {stranger!r}: its temperatures count for nobody yet.")
    print(f"{imported.new} temperatures new, {imported.changed} changed, {imported.same} as before")


def _distribute(engine: Engine, *, with_rows: bool) -> None:
    try:
        names = distribute(engine, with_rows=with_rows)
    except CannotDistributeError as error:
        end_with_failure(str(error), FAILED)
    print(f"{', '.join(names) or 'nothing'} distributed by VEN; the other tables stay on the coordinator")


def _instant(text: str) -> datetime:
    try:
        return parse_iso(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _check(options: argparse.Namespace, engine: Engine, archive_url: str | None) -> None:
    if options.start and options.end and options.start >= options.end:
        _refuse("--start must be before --end")
    with engine.connect() as connection:
        within = whole_range(connection, options.start, options.end)
        existing = set(connection.execute(summary_queries.known_vens(options.ven or [])).scalars())
    if strangers := sorted(set(options.ven or []) - existing):
        _refuse(f"there is no VEN {', '.join(map(repr, strangers))}")
    archived = _check_archived(options, engine, archive_url)
    if within is None:
        if archived is None:
            print("There are no raw rows in this range.")
        elif archived and options.command == "verify":
            sys.exit(DIFFERENT)
        return
    with engine.begin() as connection:
        admit(connection)
    does = {"verify": verify, "rebuild": rebuild}[options.command]
    differing = followed(does(engine, within, options.ven), within, options.command)
    show_differences(differing)
    count = sum(differences.height for differences in differing)
    if options.command == "rebuild":
        print(f"{instant(within.start)} to {instant(within.end)}: {count} differences, corrected")
        return
    print(f"{instant(within.start)} to {instant(within.end)}: {count} differences")
    if count or archived:
        sys.exit(DIFFERENT)


def _check_archived(options: argparse.Namespace, engine: Engine, archive_url: str | None) -> int | None:
    """Return the number of differences between summary and archive; None if it has no dropped day.

    `rebuild` corrects them.
    """
    if archive_url is None:
        return None
    with engine.begin() as connection:
        admit(connection)
        within = archived_range(connection, options.start, options.end)
    if within is None:
        return None
    does = {"verify": verify_archived, "rebuild": rebuild_archived}[options.command]
    chunks = does(engine, ArchiveFolder(archive_url), within, options.ven)
    differing = followed(chunks, within, f"{options.command} archived days")
    show_differences(differing)
    count = sum(differences.height for differences in differing)
    ending = ", corrected" if options.command == "rebuild" else ""
    print(f"{instant(within.start)} to {instant(within.end)}, archived: {count} differences{ending}")
    return count


def _refuse(reason: str) -> NoReturn:
    """Exit with a usage error: a mistyped argument must not look like a summary without differences."""
    end_with_failure(f"{program_name('jobs')}: error: {reason}", WRONG_USAGE)


def _list(jobs: tuple[Job, ...]) -> None:
    for job in jobs:
        print(f"{job.name:<12} every {job.every_s:g} s   {job.about}")


def _named(jobs: tuple[Job, ...], name: str) -> Job:
    by_name = {job.name: job for job in jobs}
    if name not in by_name:
        end_with_failure(f"There is no job {name!r}; there are {', '.join(by_name)}.", WRONG_USAGE)
    return by_name[name]


def _now() -> datetime:
    return datetime.now(UTC)


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
            next_run_time=_now() + timedelta(seconds=due_in[job.name]),
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
