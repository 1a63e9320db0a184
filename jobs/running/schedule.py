"""The schedule as data: the jobs, their periods and steps."""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from msgspec import Struct
from sqlalchemy import Connection

from jobs.alarms.evaluation import evaluate_alarms
from jobs.alarms.measures import measures
from jobs.archive.writing import archive_next_day
from jobs.events.execution import see_executions
from jobs.events.lifecycle import follow_participations, move_events_on, share_out
from jobs.events.presence import judge_presence
from jobs.events.progress import Progress
from jobs.events.settlement import revise_settled, settle_ended
from jobs.running.backoff import LONGEST_S
from jobs.running.sessions import FROZEN_AFTER, end_frozen_sessions
from jobs.settings import Cadence
from jobs.storage.partitions import arrange_partitions
from jobs.storage.retention import (
    delete_raw_rows,
    drop_raw_days,
    forget_buckets,
    trim_commands,
    trim_events,
    trim_live_changes,
    trim_records,
)
from jobs.storage.statistics import analyze_grown_tables, summarize_new_pages
from jobs.storage.trimming import (
    trim_alarms,
    trim_openadr_messages,
    trim_openadr_reports,
    trim_rejected,
    trim_statuses,
    trim_webhooks,
)
from jobs.summaries.forecasts import forecast_load_types
from jobs.summaries.lanes import (
    consume_history_batches,
    consume_snapshot_batches,
    refresh_energy,
    refresh_totals,
)
from jobs.summaries.widths import learn_slot_widths
from jobs.transforms.events.presence import PresenceTime
from schemas.archive.folder import ArchiveFolder
from schemas.db.connections import IDLE_IN_TRANSACTION_S
from schemas.tables.history import RAW_S

EVENTS_PAUSE_S = 5.0
"""Idle timeout of event steps: a frozen scheduler delays events by at most this, as others wait for it."""

MEASURING_PAUSE_S = 300.0
"""Longer timeout: baselines of a large fleet take long; no other session waits for these steps' locks."""

MOST_ROUNDS = 50
"""Pause within which `progress` computes baselines, and `forecast` reads history."""

EVENTS_WAIT_S = 2.0
"""Longest back-off of the job `events`: events are on time again so soon after a database outage."""

Step = Callable[[Connection, datetime], int]
"""One transaction as of a time; returns the number of rows handled."""


class Job(Struct, frozen=True):
    """Steps that run in order, each in a transaction of its own.

    With a backlog, the job is named after its lane, and its first step claims what the lane has pending.
    """

    name: str
    every_s: float
    about: str
    steps: tuple[Step, ...]
    has_backlog: bool = False
    is_for_all: bool = False
    """Every scheduler runs the steps, without waiting for another's lease to expire. They exclude each other
    by locks, and are idempotent: the second scheduler finds nothing to do."""

    longest_wait_s: float = LONGEST_S
    """Longest back-off after failures."""

    rounds: int = 1
    """Most repetitions of the last step while it handles rows."""

    longest_pause_s: float = IDLE_IN_TRANSACTION_S
    """Idle timeout between two statements of a step, after which a frozen process loses its locks."""

    @property
    def shared_steps(self) -> tuple[Step, ...]:
        """Steps that several schedulers may run at once: the claim of a backlog, or all if `is_for_all`."""
        return self.steps if self.is_for_all else self.steps[: int(self.has_backlog)]


def name_of(step: Step) -> str:
    function = step.func if isinstance(step, partial) else step
    return str(function.__name__)


def schedule(cadence: Cadence) -> tuple[Job, ...]:
    """Return all jobs, those with a backlog first."""
    jobs = (
        *_lanes(cadence),
        *_events(cadence),
        *_measuring(cadence),
        *_upkeep(cadence),
        *_quotas_and_sessions(cadence),
        *_archive(cadence),
    )
    return (*jobs, _alarms(cadence, jobs))


def _presence_time(cadence: Cadence) -> PresenceTime:
    return PresenceTime(cadence.silent_intervals, timedelta(seconds=cadence.silent_at_least_s))


def _lanes(cadence: Cadence) -> tuple[Job, ...]:
    """Return the jobs that consume batches."""
    return (
        Job(
            "history",
            cadence.history_every_s,
            "buckets by VEN and by load; energy of the network",
            (consume_history_batches, refresh_energy),
            has_backlog=True,
            rounds=20,
        ),
        Job(
            "snapshot",
            cadence.snapshot_every_s,
            "latest values; network history; totals",
            (
                consume_snapshot_batches,
                partial(refresh_totals, gone_after=cadence.loads_gone_after(), time_zone=cadence.time_zone),
            ),
            has_backlog=True,
        ),
    )


def _events(cadence: Cadence) -> tuple[Job, ...]:
    """Return the jobs that advance events, and track their participants."""
    return (
        Job(
            "events",
            cadence.events_every_s,
            "starts and ends events, allocates shares to VENs, tracks participation",
            (
                move_events_on,
                partial(
                    follow_participations, gone_after=cadence.loads_gone_after(), notifier=cadence.notifier()
                ),
                partial(
                    share_out,
                    rest=cadence.rest(),
                    gone_after=cadence.loads_gone_after(),
                    notifier=cadence.notifier(),
                ),
            ),
            is_for_all=True,
            longest_wait_s=EVENTS_WAIT_S,
            longest_pause_s=EVENTS_PAUSE_S,
        ),
        Job(
            "presence",
            cadence.presence_every_s,
            "sets VENs online that were heard, and offline those that have fallen silent",
            (partial(judge_presence, presence_time=_presence_time(cadence)),),
        ),
        Job(
            "commands",
            cadence.commands_every_s,
            "detects the execution of commands in telemetry",
            (see_executions,),
        ),
    )


def _measuring(cadence: Cadence) -> tuple[Job, ...]:
    """Return the jobs that measure events."""
    progress = Progress(cadence.rules(), _presence_time(cadence))
    archive = None if cadence.archive_url is None else ArchiveFolder(cadence.archive_url)
    rules, notifier = cadence.rules(), cadence.notifier()
    make_forecast = partial(
        forecast_load_types,
        time_zone=cadence.time_zone,
        holidays=cadence.holidays,
        gone_after=cadence.loads_gone_after(),
    )
    return (
        Job(
            "progress",
            cadence.settlement_every_s,
            "measures the progress of running events",
            (progress.follow_events, progress.make_missing_baselines),
            rounds=MOST_ROUNDS,
            longest_pause_s=MEASURING_PAUSE_S,
        ),
        Job(
            "settlement",
            cadence.settlement_every_s,
            "settles ended events: what they delivered",
            (
                partial(settle_ended, rules=rules, archive=archive, notifier=notifier),
                partial(revise_settled, rules=rules, archive=archive, notifier=notifier),
            ),
            longest_pause_s=MEASURING_PAUSE_S,
        ),
        Job(
            "widths",
            3600,
            "learns the slot widths of VENs from the times of their reports",
            (partial(learn_slot_widths, archive=archive),),
        ),
        Job(
            "forecast",
            cadence.forecast_every_s,
            "forecasts usage and shed capability by load type and half hour, two days ahead",
            (make_forecast,),
            rounds=MOST_ROUNDS,
        ),
    )


def _alarms(cadence: Cadence, watched: tuple[Job, ...]) -> Job:
    limits = cadence.alarm_limits()
    periods_s = {job.name: job.every_s for job in watched}
    return Job(
        "alarms",
        cadence.alarms_every_s,
        "evaluates the conditions of alarms, raises and clears them",
        (partial(evaluate_alarms, limits=limits, measures=measures(limits, periods_s)),),
    )


def _upkeep(cadence: Cadence) -> tuple[Job, ...]:
    """Return the jobs that delete rows and arrange partitions."""
    is_archived = cadence.archive_url is not None
    return (
        Job(
            "retention",
            600,
            "deletes raw rows and history that are too old",
            (
                partial(drop_raw_days, retention=cadence.by_resolution(), is_archived=is_archived),
                partial(delete_raw_rows, retention=cadence.by_resolution(), is_archived=is_archived),
                partial(forget_buckets, retention=cadence.by_resolution()),
            ),
        ),
        Job(
            "trim",
            3600,
            "deletes old runs of jobs, batches without raw rows, changes of live streams, alarms, webhooks,"
            " reports of OpenADR, commands and VENs' parts in events that are over",
            (
                partial(trim_records, runs_kept=timedelta(days=cadence.runs_days)),
                partial(trim_live_changes, retention=timedelta(hours=cadence.live_hours)),
                partial(trim_alarms, retention=timedelta(days=cadence.alarms_days)),
                partial(trim_webhooks, retention=timedelta(days=cadence.webhooks_days)),
                trim_openadr_messages,
                partial(trim_openadr_reports, retention=timedelta(days=cadence.openadr_reports_days)),
                partial(trim_commands, retention=timedelta(days=cadence.commands_days)),
                partial(trim_events, retention=cadence.events_retention()),
            ),
        ),
    )


def _quotas_and_sessions(cadence: Cadence) -> tuple[Job, ...]:
    """Return the jobs that limit the resources of devices and frozen programs."""
    return (
        Job(
            "quotas",
            20,
            "deletes rejected messages and statuses that are too old, and rejected messages beyond a size",
            (
                partial(
                    trim_rejected,
                    retention=timedelta(days=cadence.rejected_days),
                    most_bytes=cadence.rejected_mb * 1_000_000,
                ),
                partial(trim_statuses, retention=timedelta(days=cadence.statuses_days)),
            ),
        ),
        Job(
            "sessions",
            5,
            "terminates database sessions of programs that are frozen within a statement",
            (partial(end_frozen_sessions, after=FROZEN_AFTER),),
            is_for_all=True,
        ),
        Job(
            "partitions",
            60,
            "creates partitions of coming days, merges old ones into months and years",
            (partial(arrange_partitions, retention=cadence.by_resolution().get(RAW_S)),),
            rounds=40,
        ),
        Job(
            "statistics",
            5,
            "analyzes tables that have doubled, and summarizes new pages in BRIN indexes",
            (analyze_grown_tables, summarize_new_pages),
        ),
    )


def _archive(cadence: Cadence) -> tuple[Job, ...]:
    """Return the job that archives closed days, if there is an archive."""
    if cadence.archive_url is None:
        return ()
    folder, after = ArchiveFolder(cadence.archive_url), timedelta(days=cadence.archive_after_days)
    return (
        Job(
            "archive",
            60,
            "writes closed days, and late rows of them, to ARCHIVE_URL as Parquet",
            (partial(archive_next_day, folder=folder, after=after),),
            rounds=MOST_ROUNDS,
            longest_pause_s=MEASURING_PAUSE_S,
        ),
    )
