"""Several schedulers over one database: each job runs once per cycle, and each run is recorded."""

import urllib.request
from datetime import datetime, timedelta

import psycopg
import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from sqlalchemy import Connection, Engine

from ingest.storing.store import Store
from jobs.running.metrics import Backlog, JobMetrics, RejectedSize
from jobs.running.runner import Runner, grace
from jobs.running.schedule import Job, schedule
from jobs.settings import Cadence
from local.ports import free_ports
from schemas.db.connections import engine_for
from schemas.programs.monitoring import serve_monitoring
from tests.integration.published import NOW, batch_of, rows, telemetry, value

HISTORY, SNAPSHOT = (job for job in schedule(Cadence()) if job.has_backlog)


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Steps:
    """Counts how often it is taken; fails on demand."""

    def __init__(self) -> None:
        self.taken = 0
        self.error: Exception | None = None

    def step(self, _connection: Connection, _now: datetime) -> int:
        self.taken += 1
        if self.error is not None:
            raise self.error
        return 1


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def steps() -> Steps:
    return Steps()


def two(engine: Engine, clock: Clock) -> tuple[Runner, Runner]:
    return Runner(engine, clock, holder="one"), Runner(engine, clock, holder="two")


def test_one_of_two_schedulers_runs_a_job(engine: Engine, clock: Clock, steps: Steps) -> None:
    one, two_ = two(engine, clock)
    job = Job("x", 10, "", (steps.step,))
    for _ in range(3):
        one.attempt(job)
        two_.attempt(job)
        clock.move(10)
    assert steps.taken == 3


def test_the_other_takes_over_when_the_first_is_gone(engine: Engine, clock: Clock, steps: Steps) -> None:
    one, two_ = two(engine, clock)
    job = Job("x", 10, "", (steps.step,))
    one.attempt(job)
    clock.move(10 + grace(job).total_seconds())
    two_.attempt(job)
    one.attempt(job)
    assert steps.taken == 2
    two_.release_leases()
    one.attempt(job)
    assert steps.taken == 3


def test_the_other_helps_with_the_backlog(
    engine: Engine, clock: Clock, store: Store, connection: psycopg.Connection
) -> None:
    """What does not merge is computed by one of them."""
    one, two_ = two(engine, clock)
    one.attempt(SNAPSHOT)
    clock.move(1)
    store.write(batch_of(telemetry("a")))
    two_.attempt(SNAPSHOT)
    assert value(connection, "SELECT count(*) FROM ven_snapshots") == 1
    assert value(connection, "SELECT refreshed_at FROM network_snapshot") == NOW
    one.attempt(SNAPSHOT)
    assert value(connection, "SELECT ven_count FROM network_snapshot") == 1


def test_a_lane_that_overruns_its_period_goes_on_at_once(
    engine: Engine, clock: Clock, store: Store, connection: psycopg.Connection
) -> None:
    """The scheduler would wait for the next multiple of the period, and totals would be as much older."""
    [consume, *others] = SNAPSHOT.steps
    waiting = list("bcd")

    def consume_while_more_comes(session: Connection, now: datetime) -> int:
        if waiting:
            store.write(batch_of(telemetry(waiting.pop())))
        return consume(session, now)

    late = replace(SNAPSHOT, steps=(consume_while_more_comes, *others), every_s=0)
    store.write(batch_of(telemetry("a")))
    Runner(engine, clock).attempt(late)
    assert value(connection, "SELECT count(*) FROM ven_snapshots") == 4
    assert value(connection, "SELECT ven_count FROM network_snapshot") == 4
    waiting += "ef"
    Runner(engine, clock).attempt(replace(late, every_s=3600))
    assert len(waiting) == 1, "a lane with time to spare leaves what has come meanwhile to its next cycle"


def test_an_overrunning_lane_records_its_success_in_between(
    engine: Engine, clock: Clock, store: Store, connection: psycopg.Connection
) -> None:
    """For as long as it went on, the alarm `jobs_late` took it for standing still."""
    recorded: list[datetime] = []
    [consume, *others] = SNAPSHOT.steps

    def consume_for_a_minute(session: Connection, now: datetime) -> int:
        clock.move(60)
        recorded.append(value(connection, "SELECT succeeded_at FROM job_leases"))
        if len(recorded) < 3:
            store.write(batch_of(telemetry(f"ven-{len(recorded)}")))
        return consume(session, now)

    store.write(batch_of(telemetry("a")))
    Runner(engine, clock).attempt(replace(SNAPSHOT, steps=(consume_for_a_minute, *others), every_s=0))
    assert recorded == [NOW, NOW + timedelta(seconds=60), NOW + timedelta(seconds=120)]


def test_what_must_be_on_time_waits_for_no_lease(engine: Engine, clock: Clock, steps: Steps) -> None:
    """The holder of the lease may have died just before an event starts."""
    one, two_ = two(engine, clock)
    job = Job("x", 10, "", (steps.step,), is_for_all=True, longest_wait_s=15)
    one.attempt(job)
    two_.attempt(job)
    assert steps.taken == 2
    steps.error = ZeroDivisionError()
    for _ in range(10):
        two_.attempt(job)
        clock.move(15)
    assert steps.taken == 12


def test_a_job_that_was_missed_is_due_at_once(engine: Engine, clock: Clock, steps: Steps) -> None:
    daily, quick = Job("daily", 86_400, "", (steps.step,)), Job("quick", 2, "", (steps.step,))
    first = Runner(engine, clock, holder="one")
    assert first.due_in_s([daily]) == {"daily": 0}
    first.attempt(daily)
    first.attempt(quick)
    clock.move(3600)
    assert first.due_in_s([daily, quick]) == {"daily": 82_800, "quick": 0}
    clock.move(5 * 86_400)
    assert first.due_in_s([daily]) == {"daily": 0}


def test_whatever_fails_is_tried_again_later(
    engine: Engine, clock: Clock, steps: Steps, connection: psycopg.Connection
) -> None:
    runner = Runner(engine, clock)
    job = Job("x", 2, "", (steps.step,))
    steps.error = ZeroDivisionError("of a kind that nobody thought of")
    for _ in range(15):
        runner.attempt(job)
        clock.move(2)
    assert steps.taken == 4  # after 0, 4, 12 and 28 s
    steps.error = None
    clock.move(60)
    runner.attempt(job)
    clock.move(2)
    runner.attempt(job)
    assert steps.taken == 6
    errors = rows(connection, "SELECT error FROM job_runs ORDER BY run_id")
    assert errors[0] == ("ZeroDivisionError: of a kind that nobody thought of",)
    assert errors[-1] == (None,)


def test_a_database_that_is_away_is_asked_less_and_less(clock: Clock, steps: Steps) -> None:
    engine = engine_for("postgresql://nobody@/nothing?host=/nonexistent", "jobs")
    metrics = JobMetrics()
    runner = Runner(engine, clock, metrics)
    for _ in range(30):
        runner.attempt(HISTORY)
        clock.move(HISTORY.every_s)
    assert steps.taken == 0
    assert runner.due_in_s([HISTORY]) == {"history": 0}
    runner.release_leases()


# Metrics


def scraped(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        lines = [line.rpartition(" ") for line in answer.read().decode().splitlines() if line[0] != "#"]
    return {name.removeprefix("gridgate_jobs_"): float(number) for name, _, number in lines}


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_metrics_tell_what_was_done_and_what_is_left(engine: Engine, clock: Clock, store: Store) -> None:
    metrics = JobMetrics()
    metrics.registry.register(Backlog(engine, clock))
    [port] = free_ports(1)
    serve_monitoring(metrics.registry, metrics.trouble, port)
    runner = Runner(engine, clock, metrics)
    store.write(batch_of(telemetry("a", loads=[{"id": "l"}])))
    store.write(batch_of(telemetry("b")))
    clock.move(5)
    before = scraped(port)
    assert before['pending_batches{lane="history"}'] == 2
    assert before['pending_rows{lane="snapshot"}'] == 3
    assert before['lag_seconds{lane="snapshot"}'] == 5
    runner.attempt(SNAPSHOT)
    runner.attempt(Job("broken", 1, "", (lambda *_: 1 // 0,)))
    after = scraped(port)
    assert after['pending_batches{lane="snapshot"}'] == 0
    assert after['lag_seconds{lane="snapshot"}'] == 0
    assert after['cycle_rows_sum{job="snapshot"}'] == 3
    assert after['step_seconds_count{job="snapshot",step="refresh_totals"}'] == 1
    assert after['failures_total{job="broken"}'] == 1
    assert after['last_success_timestamp_seconds{job="snapshot"}'] == clock.now.timestamp()


def test_no_backlog_is_told_while_the_database_is_away(clock: Clock) -> None:
    engine = engine_for("postgresql://nobody@/nothing?host=/nonexistent", "jobs")
    assert list(Backlog(engine, clock).collect()) == []
    assert list(RejectedSize(engine).collect()) == []


def test_the_size_of_refused_messages_is_told(engine: Engine, connection: psycopg.Connection) -> None:
    registry = CollectorRegistry()
    registry.register(RejectedSize(engine))
    before = registry.get_sample_value("gridgate_jobs_rejected_bytes")
    connection.execute(
        "INSERT INTO rejected_messages (topic, payload, reason, detail, received_at)"
        " SELECT 't', sha512(n::text::bytea), 'not_json', '', now() FROM generate_series(1, 10000) n"
    )
    after = registry.get_sample_value("gridgate_jobs_rejected_bytes")
    assert before is not None
    assert after is not None
    assert after - before > 10_000 * 64
