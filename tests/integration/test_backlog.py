"""Workers divide a backlog evenly, and a lane runs on while it has work."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine

from ingest.storing.store import Store
from jobs.running.runner import Runner
from jobs.running.schedule import Job, Step, schedule
from jobs.settings import Cadence
from jobs.summaries.ledger import FIRST_PAGE, MOST_ROWS, claim, page_size
from schemas.db.connections import connect
from tests.integration.published import NOW, THREE, batch_of, rows, telemetry, value
from tests.integration.recomputed import assert_energy_equals_a_rebuild, assert_equals_a_rebuild

HISTORY, SNAPSHOT = (job for job in schedule(Cadence()) if job.has_backlog)
WORKERS = 3
PENDING = "SELECT count(*) FROM pending_batches WHERE lane = 'history'"


def queue(connection: psycopg.Connection, *rows_of_batches: int) -> None:
    """Batches in the ledger with so many rows each; the raw rows themselves do not matter to a claim."""
    connection.execute(
        "WITH batches AS (INSERT INTO ingest_batches (worker, received_at, messages, telemetry_rows,"
        " sample_rows, description_rows, status_rows)"
        " SELECT 'tests', now(), 1, 0, n, 0, 0 FROM unnest(%s::int[]) n RETURNING batch_id)"
        " INSERT INTO pending_batches SELECT lane, batch_id FROM batches,"
        " unnest(array['snapshot', 'history']) lane",
        [list(rows_of_batches)],
    )


@pytest.fixture
def workers(engine: Engine) -> Iterator[list[Connection]]:
    connections = [engine.connect() for _ in range(WORKERS)]
    yield connections
    for connection in connections:
        connection.close()


def claimed(worker: Connection, most_rows: int = MOST_ROWS) -> list[int]:
    taken = claim(worker, "history", most_rows)
    return [] if taken is None else taken.batch_ids


@pytest.mark.parametrize(
    ("sizes", "each"),
    [([36_000] * 300, 14), ([500_000] * 30, 1), ([10_000] * 300, 50), ([9] * 3, 3), ([2_000_000] * 4, 1)],
)
def test_claims_that_are_open_at_once_are_of_one_size(
    sizes: list[int], each: int, workers: list[Connection], connection: psycopg.Connection
) -> None:
    """The first worker locked 20,000 batches to keep fourteen; the second and third found nothing."""
    queue(connection, *sizes)
    parts = [claimed(worker) for worker in workers]
    assert len({batch_id for part in parts for batch_id in part}) == sum(map(len, parts))
    expected = [min(each, max(0, len(sizes) - number * each)) for number in range(WORKERS)]
    if each > FIRST_PAGE or sizes == [9] * 3:
        assert [len(part) for part in parts] == expected
    else:  # what a first page locks beyond its claim is free again when that commits
        assert [len(part) for part in parts if part] == [each] * sum(map(bool, parts))


def test_a_batch_whose_transaction_is_not_quite_over_waits(
    database_url: str, workers: list[Connection], connection: psycopg.Connection
) -> None:
    """Citus commits on the coordinator first: the batch is seen, and its rows on the workers not yet."""
    queue(connection, 10, 20)
    with connect(database_url, "tests") as writer:
        with writer.transaction():
            xact_id = value(writer, "SELECT pg_current_xact_id()::text::bigint")
            second = value(connection, "SELECT max(batch_id) FROM ingest_batches")
            # As if it had begun after four billion transactions.
            mark = "UPDATE ingest_batches SET xact_id = %s WHERE batch_id = %s"
            connection.execute(mark, [xact_id + 2**32, second])
            assert claimed(workers[0]) == [second - 1]
            workers[0].commit()
        assert claimed(workers[0]) == [second]


def test_three_workers_at_once_divide_a_backlog_evenly(
    engine: Engine, connection: psycopg.Connection
) -> None:
    queue(connection, *[36_000] * 300)
    at_once = threading.Barrier(WORKERS)

    def work() -> int:
        """In step with the others, as if each claim took each of them as long."""
        total = 0
        for _ in range(8):
            with engine.begin() as own:
                total += len(claimed(own))
                at_once.wait(20)  # all hold their claims
            at_once.wait(20)  # all have committed
        return total

    with ThreadPoolExecutor(WORKERS) as pool:
        parts = [each.result(60) for each in [pool.submit(work) for _ in range(WORKERS)]]
    assert sum(parts) == 300
    assert min(parts) >= 300 // WORKERS - 14
    assert value(connection, PENDING) == 0


@given(st.integers(1, 20_000), st.integers(0, MOST_ROWS - 1))
def test_a_page_is_what_is_likely_to_be_consumed(batches: int, rows_of_them: int) -> None:
    size = page_size(batches, rows_of_them, MOST_ROWS)
    assert 1 <= size <= 3 * batches
    mean = rows_of_them / batches
    assert size == 1 or rows_of_them + size * mean <= MOST_ROWS
    assert size == 3 * batches or rows_of_them + (size + 1) * mean >= MOST_ROWS or size == 1


def test_sizes_that_grow_do_not_pass_the_bound(
    workers: list[Connection], connection: psycopg.Connection
) -> None:
    queue(connection, *[9] * 100, *[400_000] * 10)
    taken = claim(workers[0], "history")
    assert taken is not None
    assert taken.rows == 900 + 2 * 400_000  # the batch that reaches the bound is the last one
    assert value(connection, PENDING) == 110  # nothing is committed


def lane(name: str, most_rows: int, *behind: Step) -> Job:
    """A lane whose claims are small enough for a test, with the same step behind each."""

    def consume(connection: Connection, _now: datetime) -> int:
        taken = claim(connection, name, most_rows)
        return 0 if taken is None else taken.rows

    return Job(name, 60, "", (consume, *behind), has_backlog=True)


def test_a_lane_runs_on_while_it_has_work(engine: Engine, connection: psycopg.Connection) -> None:
    """One claim a cycle kept the lane to 50,000 rows/s; what follows a claim follows each of them."""
    queue(connection, *[10] * 95)
    refreshed = []

    def refresh(_connection: Connection, _now: datetime) -> int:
        refreshed.append(value(connection, PENDING))
        return 0

    Runner(engine, lambda: NOW).attempt(lane("history", 100, refresh))
    assert value(connection, PENDING) == 0
    assert refreshed == [85, 75, 65, 55, 45, 35, 25, 15, 5, 0]
    assert [handled for [handled] in rows(connection, "SELECT rows FROM job_runs ORDER BY run_id")] == [
        *[100] * 9,
        50,
    ]


def test_a_cycle_ends_with_what_was_pending_at_its_start(
    engine: Engine, connection: psycopg.Connection
) -> None:
    """Else a lane that new batches reach faster than it claims would never let its job end."""
    queue(connection, *[10] * 15)

    def arrive(_connection: Connection, _now: datetime) -> int:
        queue(connection, *[10] * 10)
        return 0

    assert Runner(engine, lambda: NOW).run(lane("history", 100, arrive)) == 200
    assert value(connection, PENDING) == 15


def test_a_claim_that_another_worker_holds_is_not_waited_for(
    engine: Engine, workers: list[Connection], connection: psycopg.Connection
) -> None:
    queue(connection, *[10] * 15)
    assert len(claimed(workers[0], 100)) == 10
    assert Runner(engine, lambda: NOW).run(lane("history", 100)) == 50
    workers[0].rollback()
    assert Runner(engine, lambda: NOW).run(lane("history", 100)) == 100


def test_a_lane_that_drains_ends_when_the_scheduler_does(
    engine: Engine, connection: psycopg.Connection
) -> None:
    queue(connection, *[10] * 95)
    runner = Runner(engine, lambda: NOW)

    def stop(_connection: Connection, _now: datetime) -> int:
        runner.stop()
        return 0

    runner.attempt(lane("history", 100, stop))
    assert value(connection, PENDING) == 85


def test_a_lane_that_drains_renews_its_lease(engine: Engine, connection: psycopg.Connection) -> None:
    """Else another scheduler took the job over in the middle of a long backlog."""
    queue(connection, *[10] * 30)
    now = NOW
    seen = []

    def look(_connection: Connection, _now: datetime) -> int:
        nonlocal now
        now += timedelta(minutes=10)
        seen.append(value(connection, "SELECT due_at FROM job_leases WHERE job = 'history'"))
        return 0

    Runner(engine, lambda: now, holder="one").attempt(lane("history", 100, look))
    assert seen == [NOW + timedelta(minutes=10 * cycle, seconds=60) for cycle in range(3)]


def test_the_real_lanes_drain_and_are_right(
    store: Store, engine: Engine, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three workers at once over small claims of real rows."""
    for number in range(60):
        at = THREE + timedelta(seconds=7 * number)
        store.write(batch_of(*(telemetry(f"ven-{ven}", at, loads=[{"id": "l"}]) for ven in range(5))))
    monkeypatch.setattr(claim, "__defaults__", (100,))
    with ThreadPoolExecutor(WORKERS) as pool:
        runs = [
            pool.submit(Runner(engine, lambda: NOW, holder=str(number)).attempt, job)
            for number in range(WORKERS)
            for job in (SNAPSHOT, HISTORY)
        ]
        for run in runs:
            run.result(60)
    Runner(engine, lambda: NOW).catch_up((SNAPSHOT, HISTORY))
    assert value(connection, "SELECT count(*) FROM pending_batches") == 0
    assert_equals_a_rebuild(connection)
    assert_energy_equals_a_rebuild(connection)
    rows_of_runs = "SELECT job, sum(rows) FROM job_runs WHERE job IN ('snapshot', 'history') GROUP BY job"
    assert dict(connection.execute(rows_of_runs).fetchall()) == {"history": 600, "snapshot": 600}
