"""The commands of `python -m jobs`, besides the scheduler."""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from sqlalchemy import Engine

from jobs.archive.checking import damages, write_again
from jobs.archive.verifying import archived_range, rebuild_archived, verify_archived
from jobs.console import followed, instant, show_differences, show_previews
from jobs.events.packs import Pack, PackError, pack_of, remade, write_pack
from jobs.events.recorded import Recorder
from jobs.events.records import DatabaseRecords
from jobs.events.settlement import settle
from jobs.queries.storage import archive as archive_queries
from jobs.queries.storage.archive import manifest_of
from jobs.queries.summaries import summary as summary_queries
from jobs.running.admission import admit
from jobs.running.runner import Runner
from jobs.running.schedule import MEASURING_PAUSE_S, Job
from jobs.settings import JobsSettings
from jobs.storage.distributing import CannotDistributeError, distribute
from jobs.storage.retention import preview
from jobs.summaries.rebuild import rebuild, verify, whole_range
from jobs.weather.importing import import_temperatures
from jobs.weather.reading import WrongFileError, read_temperatures
from schemas.archive.folder import ArchiveFolder
from schemas.programs.command_line import program_name, program_parser
from schemas.programs.exits import (
    EXIT_CODES,
    FAILED,
    WRONG_USAGE,
    end_with_failure,
)
from schemas.times.instants import parse_iso

DIFFERENT = FAILED
AT_A_TERMINAL = {"verify", "rebuild", "retention", "settle", "weather", "archive", "distribute"}


def run_command(
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


def command_parser() -> argparse.ArgumentParser:
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


def repeats_pack(options: argparse.Namespace) -> bool:
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


def list_jobs(jobs: tuple[Job, ...]) -> None:
    for job in jobs:
        print(f"{job.name:<12} every {job.every_s:g} s   {job.about}")


def _named(jobs: tuple[Job, ...], name: str) -> Job:
    by_name = {job.name: job for job in jobs}
    if name not in by_name:
        end_with_failure(f"There is no job {name!r}; there are {', '.join(by_name)}.", WRONG_USAGE)
    return by_name[name]


def utc_now() -> datetime:
    return datetime.now(UTC)
