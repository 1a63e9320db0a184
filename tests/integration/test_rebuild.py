"""Verify finds whatever is wrong with the summary, rebuild mends it; both while everything else runs."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import polars as pl
import psycopg
import pytest
from _pytest.mark import ParameterSet
from sqlalchemy import Engine

from ingest.storing.batch import Batch
from ingest.storing.store import Store
from jobs.queries.summaries import summary as summary_queries
from jobs.queries.summaries.summary import Scope
from jobs.running.runner import Runner
from jobs.running.schedule import schedule
from jobs.settings import Cadence
from jobs.summaries.rebuild import Chunk, rebuild, verify, whole_range
from jobs.transforms.summaries.latest import LOADS as LATEST_LOADS
from jobs.transforms.summaries.latest import VENS as LATEST_VENS
from schemas.db.connections import connect, engine_for
from schemas.tables.snapshots import load_snapshots, ven_snapshots
from schemas.times.time_ranges import TimeRange
from tests.conftest import REPOSITORY, TEMPLATE
from tests.integration.published import (
    MAX_AHEAD,
    NOW,
    THREE,
    assert_same_rows,
    batch_of,
    received,
    rows,
    telemetry,
    value,
)
from tests.oracle.messages import random_traffic
from tests.servers import DatabaseServer, cloned_database

LANES = tuple(job for job in schedule(Cadence()) if job.has_backlog)
SUMMARY = (
    "ven_snapshots",
    "load_snapshots",
    "network_history",
    "ven_history",
    "load_history",
    "network_energy",
)


@pytest.fixture(scope="module")
def filled(module_database_url: str) -> str:
    """The name of a database with traffic and its summary."""
    engine = engine_for(module_database_url, "tests")
    with connect(module_database_url, "tests") as connection:
        ingest(Store(connection, "tests"), seed=3, messages=300)
    Runner(engine, lambda: NOW).catch_up(LANES)
    engine.dispose()
    return str(engine.url.database)


@pytest.fixture
def full() -> None:
    """Have the test's database be a copy of the filled one."""


@pytest.fixture
def database_url(postgres: DatabaseServer, request: pytest.FixtureRequest) -> Iterator[str]:
    template = request.getfixturevalue("filled") if "full" in request.fixturenames else TEMPLATE
    with cloned_database(postgres, "test", template) as url:
        yield url


def ingest(store: Store, seed: int, messages: int, at_once: int = 100) -> None:
    traffic = received(random_traffic(seed, messages, shuffled=True))
    for position in range(0, messages, at_once):
        store.write(Batch.of(traffic[position : position + at_once], MAX_AHEAD))


def everything(engine: Engine) -> TimeRange:
    with engine.connect() as connection:
        within = whole_range(connection, None, None)
    assert within is not None
    return within


def differences(engine: Engine, within: TimeRange | None = None) -> list[tuple[Any, ...]]:
    chunks = verify(engine, within or everything(engine))
    return pl.concat(chunk.differences for chunk in chunks).unique().sort("table", "key", "column").rows()


def mend(engine: Engine, within: TimeRange | None = None, ven_ids: Sequence[str] | None = None) -> int:
    chunks = rebuild(engine, within or everything(engine), ven_ids)
    return sum(chunk.differences.height for chunk in chunks)


def summary(connection: psycopg.Connection) -> dict[str, list[tuple[Any, ...]]]:
    return {table: sorted(rows(connection, f"SELECT * FROM {table}"), key=str) for table in SUMMARY}


def row_versions(connection: psycopg.Connection) -> list[list[tuple[Any, ...]]]:
    return [sorted(rows(connection, f"SELECT ctid, xmin FROM {table}")) for table in SUMMARY]


@pytest.mark.usefixtures("full")
def test_a_right_summary_is_found_right_and_left_alone(
    engine: Engine, connection: psycopg.Connection
) -> None:
    before, versions = summary(connection), row_versions(connection)
    assert differences(engine) == []
    assert mend(engine) == 0
    assert summary(connection) == before
    assert row_versions(connection) == versions


DAMAGE = {
    "a sum": "UPDATE ven_history SET used_power_kw_sum = used_power_kw_sum + 1",
    "a count": "UPDATE load_history SET samples = samples + 1",
    "a missing bucket": "DELETE FROM network_history WHERE resolution_s = 300",
    "a missing hour": "DELETE FROM network_history WHERE resolution_s = 3600",
    "a surplus hour": "INSERT INTO network_history SELECT 3600, bucket - interval '1 hour', 1, 1, 1, 1, 1"
    " FROM network_history WHERE resolution_s = 3600 ON CONFLICT DO NOTHING",
    "surplus buckets": "INSERT INTO ven_history SELECT 'nobody', 300, bucket, 1, 1, 1, 1, 1 FROM ven_history"
    " ON CONFLICT DO NOTHING",
    "seconds": "UPDATE network_history SET shed_power_kw_sum = 5 WHERE resolution_s = 1",
    "energy": "UPDATE network_energy SET used_energy_kwh = 0",
    "missing energy": "DELETE FROM network_energy",
    "an old value": "UPDATE ven_snapshots SET used_power_kw = 99",
    "a value from nowhere": "UPDATE load_snapshots SET name = 'x', name_stamp = used_power_kw_stamp",
    "a value too old": "UPDATE ven_snapshots SET ts = ts - interval '1 s', used_power_ts = used_power_ts"
    " - interval '2 s', status_ts = status_ts - interval '3 s'",
    "no latest": "DELETE FROM ven_snapshots",
    "no latest of loads": "DELETE FROM load_snapshots",
    "no number": "UPDATE ven_history SET used_power_kw_sum = 'NaN'",
    "no number among the latest": "UPDATE ven_snapshots SET used_power_kw = 'NaN'",
    "no end": "UPDATE network_history SET used_power_kw_sum = 'Infinity' WHERE resolution_s = 300",
    "fewer than none": "UPDATE load_history SET samples = -samples",
    "long before": "INSERT INTO ven_history SELECT ven_id, 300, bucket - interval '90 days', 1, 1, 1, 1, 1"
    " FROM ven_history",
    "long after": "INSERT INTO network_energy SELECT bucket + interval '90 days', 1, 1 FROM network_energy",
    "latest from the future": "UPDATE ven_snapshots SET ts = ts + interval '90 days', shed_power_kw = 99",
    "a field from the future": "UPDATE load_snapshots SET used_power_kw = 99,"
    " used_power_kw_stamp = used_power_kw_stamp + 2 * 86400000000 * 90",
    "everything": f"TRUNCATE {', '.join(SUMMARY)}",
    "raw rows too many": "DELETE FROM ven_telemetry WHERE ven_id = 'ven-2';"
    "DELETE FROM ven_load_samples WHERE ven_id = 'ven-2'; DELETE FROM ven_statuses WHERE ven_id = 'ven-2'",
    "the newest raw rows": "DELETE FROM ven_telemetry WHERE ts > '2024-07-10';"
    " DELETE FROM ven_load_samples WHERE ts > '2024-07-10';"
    " DELETE FROM ven_load_descriptions WHERE ts > '2024-07-10'",
}


ONE_OF_A_KIND = {"a sum", "a missing bucket", "surplus buckets", "energy", "an old value", "no latest"}


def some(damages: Iterable[str], quick: AbstractSet[str]) -> list[ParameterSet]:
    """Parameters, of which those that are not quick are for `make thorough`."""
    thorough = pytest.mark.thorough
    return [pytest.param(each, marks=() if each in quick else thorough) for each in damages]


@pytest.mark.thorough
@pytest.mark.usefixtures("full")
@pytest.mark.parametrize("damage", some(DAMAGE, ONE_OF_A_KIND))
def test_whatever_is_wrong_is_found_and_mended(
    damage: str, engine: Engine, connection: psycopg.Connection, runner: Runner
) -> None:
    for statement in DAMAGE[damage].split(";"):
        connection.execute(statement.encode())
    within = everything(engine)
    assert differences(engine, within)
    assert mend(engine, within)
    assert differences(engine, within) == []
    # A second opinion: what the lanes make of the same raw rows, from nothing.
    mended = summary(connection)
    connection.execute(f"TRUNCATE {', '.join(SUMMARY)}".encode())
    connection.execute(
        "INSERT INTO pending_batches SELECT l, batch_id FROM ingest_batches,"
        " unnest(array['snapshot', 'history']) l"
    )
    runner.catch_up(LANES)
    assert_same(mended, summary(connection))


def assert_same(found: dict[str, list[tuple[Any, ...]]], expected: dict[str, list[tuple[Any, ...]]]) -> None:
    """But for when something was last received: deleted rows have been heard, all the same."""
    for table in SUMMARY:
        heard = slice(8, 10) if table == "ven_snapshots" else slice(0, 0)
        kept, right = (
            [line[: heard.start] + line[heard.stop :] for line in each[table]] for each in (found, expected)
        )
        assert_same_rows(kept, right)


@pytest.mark.parametrize(
    "damage", some(["everything", "surplus buckets", "energy", "an old value"], {"surplus buckets"})
)
def test_chunks_that_are_smaller_than_a_slot(
    damage: str, store: Store, runner: Runner, engine: Engine, connection: psycopg.Connection
) -> None:
    """A slot of 10,000 VENs that report every 5 s was one chunk of 5.4 M rows."""
    for second in range(0, 360, 60):  # two slots, of 75 and 15 rows
        at = THREE + timedelta(seconds=second)
        store.write(
            batch_of(*(telemetry(f"v{ven}", at, ven, loads=[{"id": "l"}, {"id": "m"}]) for ven in range(5)))
        )
    runner.catch_up(LANES)
    before = summary(connection)
    connection.execute(DAMAGE[damage].encode())
    within = everything(engine)
    wrong = listed(verify(engine, within, most_rows=20))
    assert wrong
    assert {line[:2] for line in wrong} == {line[:2] for line in differences(engine, within)}
    assert listed(rebuild(engine, within, most_rows=20))
    assert listed(verify(engine, within, most_rows=20)) == differences(engine, within) == []
    assert_same(summary(connection), before)


def listed(chunks: Iterable[Chunk]) -> list[tuple[Any, ...]]:
    return [line for chunk in chunks for line in chunk.differences.rows()]


@pytest.mark.usefixtures("full")
def test_a_chunk_reads_the_latest_values_of_its_own_vens(
    engine: Engine, connection: psycopg.Connection
) -> None:
    """Each chunk read those of the whole fleet."""
    connection.execute("INSERT INTO ven_snapshots (ven_id, ts) VALUES ('other', '2020-01-01')")
    connection.execute("INSERT INTO ven_snapshots (ven_id) VALUES ('undated')")
    connection.execute(
        "INSERT INTO load_snapshots (ven_id, load_id, ts, name_stamp)"
        " VALUES ('other', 'old', '2020-01-01', 0), ('other', 'stamped', '2020-01-01', %s)",
        [2 * round(THREE.timestamp() * 1e6)],
    )
    hour = Scope(TimeRange(THREE, THREE + timedelta(hours=1)), THREE)
    with engine.connect() as own:
        loads = own.execute(summary_queries.latest(load_snapshots, LATEST_LOADS, hour, ["ven-1"])).all()
        vens = own.execute(summary_queries.latest(ven_snapshots, LATEST_VENS, hour, ["ven-1"])).all()
    assert {row.load_id for row in loads if row.ven_id == "other"} == {"stamped"}
    assert {"ven-1", "undated"} <= {row.ven_id for row in vens}
    assert "other" not in {row.ven_id for row in vens}
    assert len(rows(connection, "SELECT 1 FROM load_snapshots WHERE ven_id = 'ven-1'")) == sum(
        row.ven_id == "ven-1" for row in loads
    )


@pytest.mark.usefixtures("full")
def test_one_ven_at_a_time(engine: Engine, connection: psycopg.Connection) -> None:
    damaged = "UPDATE ven_history SET used_power_kw_sum = 7"
    connection.execute(damaged)
    connection.execute("UPDATE load_history SET used_power_kw_sum = 7")
    assert mend(engine, ven_ids=["ven-1"])
    wrong = {key.split()[0] for table, key, *_ in differences(engine) if table == "ven_history"}
    assert wrong
    assert "ven-1" not in wrong
    mend(engine, ven_ids=sorted(wrong))
    assert differences(engine) == []


@pytest.mark.usefixtures("full")
def test_only_the_range_asked_for(engine: Engine, connection: psycopg.Connection) -> None:
    connection.execute("UPDATE ven_history SET used_power_kw_sum = 7")
    day = TimeRange(THREE.replace(hour=0), THREE.replace(hour=12))
    assert mend(engine, day)
    assert differences(engine, day) == []
    left = value(connection, "SELECT max(bucket) FROM ven_history WHERE used_power_kw_sum = 7")
    assert left < day.start or left >= day.end
    assert value(connection, "SELECT min(bucket) FROM ven_history WHERE used_power_kw_sum = 7") < day.start


@pytest.mark.thorough
def test_what_is_pending_is_not_expected(
    store: Store, engine: Engine, runner: Runner, connection: psycopg.Connection
) -> None:
    ingest(store, seed=3, messages=200)
    for lane in (None, *LANES):
        if lane:
            runner.run(lane)
        store.write(batch_of(telemetry("late", THREE + timedelta(seconds=value(connection, PENDING)))))
        assert differences(engine) == []
        assert mend(engine) == 0
    runner.catch_up(LANES)
    assert differences(engine) == []


PENDING = "SELECT count(*) FROM pending_batches"


def test_what_presence_writes_is_in_the_summary_at_once(
    store: Store, engine: Engine, connection: psycopg.Connection
) -> None:
    store.write(batch_of(telemetry("house", NOW - timedelta(seconds=1))))
    later = Runner(engine, lambda: NOW + timedelta(minutes=2))
    later.catch_up(LANES)
    later.run(next(job for job in schedule(Cadence()) if job.name == "presence"))
    assert rows(connection, "SELECT status FROM ven_snapshots") == [("offline",)]
    assert differences(engine) == []


def test_nothing_stored_is_no_range(engine: Engine) -> None:
    with engine.connect() as connection:
        assert whole_range(connection, None, None) is None
        assert whole_range(connection, THREE, NOW) == TimeRange(THREE, NOW)
        half_past = timedelta(minutes=30)
        assert whole_range(connection, THREE + half_past, NOW - half_past) == TimeRange(THREE, NOW)


@pytest.mark.thorough
def test_while_everything_runs(
    store: Store, engine: Engine, database_url: str, connection: psycopg.Connection
) -> None:
    """Ingest, both lanes twice, rebuilds, all at once: no verification fails meanwhile or afterwards."""
    written = threading.Event()
    ingest(store, seed=1, messages=50)

    def work() -> None:
        own = engine_for(database_url, "jobs")
        runner = Runner(own, lambda: NOW)
        while not written.is_set():
            for lane in LANES:
                runner.run(lane)
        runner.catch_up(LANES)
        own.dispose()

    def look(doing: Callable[[Engine], object], expected: object) -> None:
        while not written.is_set():
            assert doing(engine) == expected

    with ThreadPoolExecutor(4) as pool:
        workers = [
            pool.submit(work),
            pool.submit(work),
            pool.submit(look, mend, 0),
            pool.submit(look, differences, []),
        ]
        try:
            ingest(store, seed=5, messages=500, at_once=15)
        finally:
            written.set()
        for worker in workers:
            worker.result(60)
    assert value(connection, PENDING) == 0
    assert differences(engine) == []


@pytest.mark.usefixtures("full")
def test_rows_to_replace_and_rows_to_delete_in_one_table(
    engine: Engine, connection: psycopg.Connection
) -> None:
    """Both go through the same temporary table: what had just been replaced was deleted with the rest."""
    connection.execute("UPDATE network_energy SET used_energy_kwh = -1")
    connection.execute(
        "INSERT INTO network_energy SELECT bucket + interval '1 day', 1, 1 FROM network_energy"
        " ON CONFLICT DO NOTHING"
    )
    within = everything(engine)
    assert mend(engine, within)
    assert differences(engine, within) == []


def run_jobs(database_url: str, *arguments: str) -> tuple[int, str]:
    """`python -m jobs` at a terminal: its exit code, and what it prints."""
    ran = subprocess.run(
        [sys.executable, "-m", "jobs", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "DATABASE_URL": database_url},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" not in ran.stderr
    return ran.returncode, ran.stdout


@pytest.mark.thorough
@pytest.mark.usefixtures("full")
def test_the_command_line(database_url: str, connection: psycopg.Connection) -> None:
    """Verify ends with 1 where something is wrong, rebuild mends it, and verify ends with 0."""
    connection.execute(
        "UPDATE network_history SET samples = 77 WHERE resolution_s = 300"
        " AND bucket = (SELECT max(bucket) FROM network_history"
        " WHERE resolution_s = 300 AND bucket < '2024-07-10')"
    )
    code, output = run_jobs(database_url, "verify", "--start", "2024-07-09", "--end", "2024-07-10")
    assert (code, *(word in output for word in ("network_history", "samples", "77"))) == (1, True, True, True)
    code, output = run_jobs(database_url, "rebuild", "--start", "2024-07-09", "--end", "2024-07-10")
    expected = "2024-07-09T00:00Z to 2024-07-10T00:00Z: 1 differences, corrected"
    assert (code, output.splitlines()[-1]) == (0, expected)
    assert run_jobs(database_url, "verify")[0] == 0


@pytest.mark.thorough
@pytest.mark.usefixtures("full")
@pytest.mark.parametrize(
    "options", [("--start", "soon"), ("--start", "2024-07-10", "--end", "2024-07-09"), ("--ven", "nobody")]
)
def test_options_that_cannot_be_meant(database_url: str, options: tuple[str, ...]) -> None:
    assert run_jobs(database_url, "verify", *options)[0] == 2
