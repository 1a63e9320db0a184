"""The jobs: exact with any number of schedulers and runs, and after any fault between them."""

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import polars as pl
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, select, text
from sqlalchemy.exc import DBAPIError

from ingest.decoding.messages import Received
from ingest.storing.batch import Batch
from ingest.storing.store import Store
from jobs.queries.summaries import merging as merging_queries
from jobs.running.runner import Runner
from jobs.running.schedule import Job, schedule
from jobs.settings import Cadence
from jobs.summaries.lanes import consume_history_batches, refresh_energy
from jobs.summaries.ledger import claim
from jobs.summaries.rows import fetch, write
from schemas.db.connections import engine_for
from schemas.tables import FRAMES, metadata
from schemas.tables.history import ven_history
from schemas.tables.snapshots import load_type_rollups
from tests.conftest import REPOSITORY
from tests.integration.published import (
    MAX_AHEAD,
    NOW,
    THREE,
    batch_of,
    description,
    received,
    rows,
    status,
    telemetry,
    until,
    value,
)
from tests.integration.recomputed import assert_energy_equals_a_rebuild, assert_equals_a_rebuild
from tests.oracle.messages import random_traffic

JOBS = schedule(Cadence())
LANES = tuple(job for job in JOBS if job.has_backlog)
SUMMARY = (
    "ven_snapshots",
    "load_snapshots",
    "load_type_rollups",
    "network_history",
    "ven_history",
    "load_history",
    "network_energy",
)


def ingest(store: Store, seed: int, messages: int, at_once: int) -> None:
    traffic = received(random_traffic(seed, messages, shuffled=True))
    for position in range(0, messages, at_once):
        store.write(Batch.of(traffic[position : position + at_once], MAX_AHEAD))


def summary(connection: psycopg.Connection) -> dict[str, list[tuple[Any, ...]]]:
    return {table: sorted(rows(connection, f"SELECT * FROM {table}"), key=str) for table in SUMMARY}


# Once, twice, together


def test_running_again_adds_nothing(store: Store, runner: Runner, connection: psycopg.Connection) -> None:
    ingest(store, seed=3, messages=400, at_once=50)
    assert runner.catch_up(LANES) > 400
    first = summary(connection)
    assert runner.catch_up(LANES) == 0
    assert [runner.run(job) for job in LANES] == [0, 0]
    assert summary(connection) == first
    assert_equals_a_rebuild(connection)
    assert_energy_equals_a_rebuild(connection)


def test_nothing_to_do_is_no_run(runner: Runner, connection: psycopg.Connection) -> None:
    assert [runner.run(job) for job in LANES] == [0, 0]
    assert rows(connection, "SELECT job FROM job_runs") == []
    assert value(connection, "SELECT ven_count FROM network_snapshot") == 0


@pytest.mark.thorough
def test_two_workers_beside_ingest_make_what_one_makes(
    store: Store, database_url: str, connection: psycopg.Connection
) -> None:
    """Lanes of both workers interleave while batches keep coming."""
    written = threading.Event()

    def work(first: int) -> None:
        engine = engine_for(database_url, "jobs")
        own = Runner(engine, lambda: NOW)
        try:
            while not written.is_set():
                own.run(LANES[first])
                own.run(LANES[1 - first])
            own.catch_up(LANES)
        finally:
            engine.dispose()

    with ThreadPoolExecutor(4) as pool:
        workers = [pool.submit(work, first) for first in (0, 0, 1, 1)]
        try:
            ingest(store, seed=5, messages=600, at_once=15)
        finally:
            written.set()
        for worker in workers:
            worker.result(60)
    assert value(connection, "SELECT count(*) FROM pending_batches") == 0
    assert_equals_a_rebuild(connection)
    assert_energy_equals_a_rebuild(connection)


def test_catching_up_waits_for_what_another_worker_holds(
    store: Store, runner: Runner, engine: Engine, connection: psycopg.Connection
) -> None:
    """It reported an empty backlog while another worker's claim was open, which was rolled back later."""
    ingest(store, seed=3, messages=40, at_once=40)
    with ThreadPoolExecutor(1) as pool, engine.connect() as holder:
        assert claim(holder, "snapshot") is not None
        caught_up = pool.submit(runner.catch_up, schedule(Cadence()))
        wait_for_lock_or(caught_up.done, connection)
        assert not caught_up.done()
        holder.rollback()
        assert caught_up.result(30) > 0
    assert connection.execute("SELECT count(*) FROM pending_batches").fetchone() == (0,)


def at(now: datetime) -> datetime:
    return now


def test_catching_up_includes_what_presence_finds(
    store: Store, engine: Engine, connection: psycopg.Connection
) -> None:
    """Presence ran last, and left its own batch pending."""
    payload = json.dumps({"timestamp": NOW.timestamp()}).encode()
    store.write(Batch.of([Received("oadr/meter/house", payload, NOW)], MAX_AHEAD))
    for now in (NOW, NOW + timedelta(minutes=2)):
        Runner(engine, partial(at, now)).catch_up(schedule(Cadence()))
    assert connection.execute("SELECT count(*) FROM pending_batches").fetchone() == (0,)
    assert connection.execute("SELECT status FROM ven_snapshots").fetchone() == ("offline",)


def test_a_batch_in_another_workers_hands_is_left_to_it(store: Store, engine: Engine) -> None:
    store.write(batch_of(telemetry("a")))
    with engine.connect() as first, engine.connect() as second:
        assert consume_history_batches(first, NOW) == 1
        store.write(batch_of(telemetry("b", THREE + timedelta(hours=1))))  # no bucket of the first's
        assert consume_history_batches(second, NOW) == 1
        first.commit()
        second.commit()
        assert sorted(first.execute(select(ven_history.c.ven_id)).scalars()) == ["a", "b"]


def test_energy_has_what_a_slower_worker_commits_meanwhile(
    store: Store, engine: Engine, connection: psycopg.Connection
) -> None:
    """A slot was stale; one worker adds to it, not yet committed, while another computes its energy."""
    store.write(batch_of(telemetry("a", used_kw=12)))
    with engine.begin() as quick:
        consume_history_batches(quick, NOW)
    store.write(batch_of(telemetry("b", used_kw=12)))
    with engine.connect() as slow:
        consume_history_batches(slow, NOW)
        with ThreadPoolExecutor(1) as pool, engine.connect() as quick:
            # Where the marks lock each other, the second waits for the first: let it, but not for ever.
            quick.execute(text("SET statement_timeout = '10s'"))
            refreshed = pool.submit(refresh_energy, quick, NOW)
            wait_for_lock_or(refreshed.done, connection)
            slow.commit()
            refreshed.result(20)
            quick.commit()
        refresh_energy(slow, NOW)
        slow.commit()
    assert value(connection, "SELECT used_energy_kwh FROM network_energy") == pytest.approx(2.0)


def wait_for_lock_or(done: Any, connection: psycopg.Connection) -> None:
    mine = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    waiting = f"{mine} AND wait_event_type = 'Lock'"
    until(lambda: done() or value(connection, waiting) > 0)


# Crashes

DIE_ONCE = """
CREATE SEQUENCE deaths;
CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('deaths') = 1 THEN
        PERFORM pg_terminate_backend(pg_backend_pid());
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER die AFTER INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION die()
"""


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("table", "lane"),
    [
        ("load_snapshots", 1),
        ("network_history", 1),
        ("load_type_rollups", 1),
        pytest.param("load_history", 0, marks=pytest.mark.not_on_citus),  # a trigger on a distributed table
        ("stale_slots", 0),
        ("network_energy", 0),
    ],
)
def test_a_connection_killed_within_a_step_leaves_no_trace(
    table: str, lane: int, store: Store, runner: Runner, connection: psycopg.Connection
) -> None:
    ingest(store, seed=9, messages=150, at_once=40)
    connection.execute(DIE_ONCE.format(table=table).encode())
    before = rows(connection, "SELECT * FROM pending_batches ORDER BY 1, 2")
    with pytest.raises((DBAPIError, psycopg.Error)):
        runner.run(LANES[lane])
    consumed = table in {"load_type_rollups", "network_energy"}  # the second steps: the first has committed
    assert (rows(connection, "SELECT * FROM pending_batches ORDER BY 1, 2") == before) is not consumed
    assert value(connection, f"SELECT count(*) FROM {table}") == 0
    runner.catch_up(LANES)
    assert_equals_a_rebuild(connection)
    assert_energy_equals_a_rebuild(connection)
    errors = rows(connection, "SELECT job, rows FROM job_runs WHERE error IS NOT NULL")
    assert errors == [(LANES[lane].name, 0)]


def test_runs_are_recorded(store: Store, runner: Runner, connection: psycopg.Connection) -> None:
    store.write(batch_of(telemetry("a", loads=[{"id": "l"}]), status("a", THREE, "online")))
    for job in JOBS[:2]:
        runner.run(job)
    runs = rows(connection, "SELECT job, started_at, rows, error, duration_s >= 0 FROM job_runs ORDER BY 1")
    assert runs == [("history", NOW, 3, None, True), ("snapshot", NOW, 3, None, True)]


def broken(connection: Connection, _now: datetime) -> int:
    connection.execute(text("SELECT 1 FROM nowhere"))
    return 1


def test_a_failing_job_does_not_stop_the_others(
    store: Store, runner: Runner, connection: psycopg.Connection
) -> None:
    store.write(batch_of(telemetry("a")))
    for job in (Job("broken", 1, "fails", (broken,)), *LANES):
        runner.attempt(job)
    runs = rows(connection, "SELECT job, error FROM job_runs ORDER BY job")
    assert [(job, error is None) for job, error in runs] == [
        ("broken", False),
        ("history", True),
        ("snapshot", True),
    ]
    assert "nowhere" in runs[0][1]
    assert value(connection, "SELECT count(*) FROM ven_history") == 1


def test_catching_up_goes_past_a_job_that_fails(
    store: Store, runner: Runner, connection: psycopg.Connection
) -> None:
    """Retention that could not have the raw tables soon once kept `catch-up` from the lanes."""
    ingest(store, 5, 60, 20)
    with pytest.raises(DBAPIError):
        runner.catch_up((Job("broken", 1, "fails", (broken,)), *LANES))
    assert value(connection, "SELECT count(*) FROM pending_batches") == 0
    assert value(connection, "SELECT count(*) FROM ven_snapshots") > 0


def test_a_lane_that_fails_lets_the_other_catch_up(
    store: Store, runner: Runner, connection: psycopg.Connection
) -> None:
    ingest(store, 5, 60, 20)
    stuck = Job("snapshot", 1, "fails", (broken,), has_backlog=True)
    with pytest.raises(DBAPIError):
        runner.catch_up((stuck, *(lane for lane in LANES if lane.name != "snapshot")))
    assert rows(connection, "SELECT DISTINCT lane FROM pending_batches") == [("snapshot",)]


def test_an_unreachable_database_is_no_reason_to_die() -> None:
    engine = engine_for("postgresql://nobody@/nothing?host=/nonexistent", "jobs")
    for job in JOBS:
        Runner(engine, lambda: NOW).attempt(job)


# Totals


def test_types_that_are_no_more_are_dropped(
    store: Store, runner: Runner, connection: psycopg.Connection
) -> None:
    types = "SELECT load_type FROM load_type_rollups ORDER BY 1"
    store.write(batch_of(description("a", THREE, {"id": "l", "type": "ev"})))
    runner.catch_up(LANES)
    assert rows(connection, types) == [("ev",)]
    store.write(batch_of(description("a", THREE + timedelta(seconds=1), {"id": "l", "type": "hvac"})))
    runner.catch_up(LANES)
    assert rows(connection, types) == [("hvac",)]
    connection.execute("UPDATE vens SET retired_at = now()")
    runner.run(LANES[1])
    assert rows(connection, types) == []


# Frames to tables and back


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
            | st.sampled_from(('"', '""', "", "\\.", "\\N", "null", ",", "a\r\nb", " x ", "None")),
            st.floats(-1e12, 1e12),
        ),
        unique_by=lambda pair: pair[0],
        max_size=6,
    )
)
def test_frames_come_back_as_they_were_written(engine: Engine, drawn: list[tuple[str, float]]) -> None:
    """Through COPY's CSV, with whatever text a VEN may call its loads by."""
    model = FRAMES["load_type_rollups"]
    values = [(load_type, kw, kw / 3, abs(kw)) for load_type, kw in sorted(drawn)]
    frame = pl.DataFrame(values, schema=model.types(), orient="row")
    with engine.connect() as connection:
        write(connection, frame, load_type_rollups, merging_queries.replace)
        query = select(load_type_rollups).order_by(load_type_rollups.c.load_type)
        assert fetch(connection, query, model).rows() == values
        connection.rollback()


def test_every_table_can_be_read_as_its_frame(
    store: Store, runner: Runner, engine: Engine, connection: psycopg.Connection
) -> None:
    read_all(engine)
    ingest(store, seed=4, messages=100, at_once=100)
    store.write(batch_of(telemetry("ven-late", THREE)))
    runner.catch_up(JOBS)
    store.write(batch_of(telemetry("ven-later", THREE)))
    counts = read_all(engine)
    assert counts == {table: value(connection, f"SELECT count(*) FROM {table}") for table in counts}
    assert counts["ven_telemetry"] > 50


def read_all(engine: Engine) -> dict[str, int]:
    """All but the bytes of rejected messages, which CSV cannot carry into a frame and no job reads."""
    with engine.connect() as connection:
        return {
            name: fetch(connection, select(table), FRAMES[name]).height
            for name, table in metadata.tables.items()
            if name != "rejected_messages"
        }


# The command line


def command(database_url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jobs", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "DATABASE_URL": database_url},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.thorough
def test_the_command_line(database_url: str, store: Store, connection: psycopg.Connection) -> None:
    """Each command of `python -m jobs` but the scheduler, all at once."""
    store.write(batch_of(telemetry("a", loads=[{"id": "l"}])))
    with ThreadPoolExecutor(3) as pool:
        listed, ran, refused = pool.map(
            lambda arguments: command(database_url, *arguments),
            (["list"], ["run", "history"], ["run", "nonsense"]),
        )
    assert [line.split()[0] for line in listed.stdout.splitlines()] == [job.name for job in JOBS]
    assert (ran.returncode, ran.stdout) == (0, "2 rows\n")
    assert refused.returncode == 2
    assert all(job.name in refused.stderr for job in JOBS)
    assert "Traceback" not in refused.stderr
    assert rows(connection, "SELECT job FROM job_runs") == [("history",)]
    caught_up = command(database_url, "catch-up")
    assert (caught_up.returncode, caught_up.stdout.splitlines()[-1]) == (0, "2 rows; the backlog is empty")
    assert value(connection, "SELECT count(*) FROM pending_batches") == 0


@pytest.mark.thorough
def test_the_command_line_without_a_database() -> None:
    refused = command("mysql://x", "catch-up")
    assert refused.returncode == 2
    assert refused.stderr.startswith("DATABASE_URL: expected")
    away = command("postgresql://nobody@/nothing?host=/nonexistent", "run", "history")
    assert away.returncode == 75
    assert "Traceback" not in away.stderr
