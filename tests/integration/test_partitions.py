"""Raw rows move between partitions under load: each counts once, and waits are short."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from ingest.storing.store import Store
from jobs.running.runner import Runner
from jobs.running.schedule import schedule
from jobs.settings import Cadence
from jobs.storage.partitions import arrange_partitions
from jobs.storage.retention import delete_raw_rows, drop_raw_days
from jobs.summaries.rebuild import verify, whole_range
from schemas.db.connections import connect, engine_for
from schemas.tables.raw import PARTITIONED
from tests.conftest import NEIGHBOURS, NEIGHBOURS_HAVE, NEIGHBOURS_ROWS, migrate
from tests.integration.published import NOW, batch_of, description, rows, telemetry, until, value
from tests.servers import DatabaseServer

LANES = tuple(job for job in schedule(Cadence()) if job.has_backlog)
DAY = timedelta(days=1)
OLD = datetime(2023, 2, 3, 12, tzinfo=UTC)
"""In the view of July 2024, of a month that is to be one partition."""

DAYS = "SELECT ensure_raw_partitions(%s::date[])"
PARTITIONS = "SELECT name::text FROM raw_partitions('{}') WHERE NOT is_default ORDER BY since"
WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


def said(at: datetime, ven_id: str = "a") -> tuple[Any, ...]:
    load = {"id": "l", "currentPowerKw": 1.5}
    return telemetry(ven_id, at, float(at.minute + 1), loads=[load]), description(
        ven_id, at, {"id": "l", "name": "L"}
    )


def step(engine: Engine, now: datetime = NOW, **options: Any) -> int:
    with engine.begin() as connection:
        return arrange_partitions(connection, now, **options)


def arrange(engine: Engine, now: datetime = NOW) -> int:
    """Until nothing is left to do; the number of steps."""
    steps = 0
    while step(engine, now):
        steps += 1
        assert steps < 1000
    return steps


def partitions(connection: psycopg.Connection, table: str = "ven_telemetry") -> list[str]:
    return [name.removeprefix(f"{table}_") for [name] in rows(connection, PARTITIONS.format(table))]


def in_default(connection: psycopg.Connection) -> int:
    return sum(value(connection, f"SELECT count(*) FROM {table.name}_default") for table in PARTITIONED)


def stored(connection: psycopg.Connection) -> dict[str, list[tuple[Any, ...]]]:
    return {
        table.name: sorted(rows(connection, f"SELECT ven_id, ts, batch_id FROM {table.name}"))
        for table in PARTITIONED
    }


def assert_verified(engine: Engine) -> None:
    with engine.connect() as connection:
        within = whole_range(connection, None, None)
    assert within is not None
    assert [row for chunk in verify(engine, within) for row in chunk.differences.rows()] == []


def test_a_new_database_gets_partitions_for_all_times(engine: Engine, connection: psycopg.Connection) -> None:
    assert step(engine) == 3 * 9
    expected = ["before_2020", "p2020", "p2021", "p2022", "p2023", "p20240101_20240710"]
    expected += ["p20240710", "p20240711", "p20240712", "p20240713"]
    for table in PARTITIONED:
        assert partitions(connection, table.name) == expected
    assert step(engine) == 0
    assert step(engine, NOW + DAY) == 3


@pytest.fixture
def february(store: Store, runner: Runner, connection: psycopg.Connection) -> list[datetime]:
    """Rows on days of an old month, most of which have partitions, as databases have them from before."""
    times = [OLD + number * DAY + timedelta(minutes=7 * number) for number in range(20)]
    connection.execute(DAYS, [[at.date() for at in times[:15]]])
    for at in times:
        store.write(batch_of(*said(at), *said(at, "b")))
    runner.catch_up(LANES)
    return times


@pytest.mark.thorough
def test_days_become_a_year_and_every_row_stays(
    february: list[datetime], engine: Engine, connection: psycopg.Connection
) -> None:
    before = stored(connection)
    assert len(before["ven_telemetry"]) == 2 * len(february)
    assert in_default(connection) == 3 * 2 * 5
    arrange(engine)
    assert "p202302" in partitions(connection)
    assert not any(name.startswith("p202302") and len(name) == 9 for name in partitions(connection))
    assert in_default(connection) == 0
    assert stored(connection) == before
    arrange(engine, NOW + 1000 * DAY)
    assert "p2023" in partitions(connection)
    assert stored(connection) == before
    assert_verified(engine)
    assert value(connection, "SELECT count(*) FROM partition_moves") == 0
    names = "SELECT conname FROM pg_constraint WHERE conname = 'moved'"
    assert rows(connection, names) == []


@pytest.mark.thorough
@pytest.mark.usefixtures("february")
def test_late_rows_at_each_step_of_a_move(
    engine: Engine,
    store: Store,
    runner: Runner,
    database_url: str,
    connection: psycopg.Connection,
) -> None:
    """Also of batches that were under way before the copy began. Each step breaks off once before."""
    number, done = 0, False
    with connect(database_url, "ingest") as own:
        slow = Store(own, "slow")
        slow.write(batch_of(*said(OLD, "known")))
        while not done:
            number += 1
            with own.transaction():
                slow.write(batch_of(*said(OLD + timedelta(seconds=number), "slow")))
                store.write(batch_of(*said(OLD + number * timedelta(hours=7), "late")))
                if _copies(connection):
                    _break_off(engine)
                    step(engine)
            store.write(batch_of(*said(OLD + number * timedelta(hours=5), "later")))
            _break_off(engine)
            done = not step(engine)
    counts = dict(rows(connection, "SELECT ven_id, count(*) FROM ven_load_samples GROUP BY 1"))
    assert counts == {"a": 20, "b": 20, "known": 1, "slow": number, "late": number, "later": number}
    assert number > 4
    runner.catch_up(LANES)
    assert_verified(engine)
    assert value(connection, "SELECT sum(samples) FROM ven_history WHERE resolution_s = 300") == sum(
        counts.values()
    )
    assert in_default(connection) == 0


def _break_off(engine: Engine) -> None:
    """As a server does whose client was killed: nothing of the transaction stands."""
    with engine.connect() as connection:
        arrange_partitions(connection, NOW)
        connection.rollback()


def _copies(connection: psycopg.Connection) -> bool:
    """Whether the next step copies, for which it needs no lock that writers hold up."""
    moves = rows(connection, "SELECT copied_until < until FROM partition_moves")
    return not moves or moves[0][0]


def test_who_waits_for_a_move_sees_what_it_moved(
    february: list[datetime], engine: Engine, store: Store, runner: Runner, connection: psycopg.Connection
) -> None:
    """A lane's COPY took its snapshot, waited for the lock, and missed the rows that had come along last."""
    del february
    _copy_all(engine, connection)
    store.write(batch_of(*said(OLD + timedelta(hours=1), "late")))
    with ThreadPoolExecutor(1) as pool:
        with engine.begin() as moving:
            assert arrange_partitions(moving, NOW) == 2
            consumed = pool.submit(runner.catch_up, LANES)
            until(lambda: value(connection, WAITING) > 0)
        assert consumed.result(20) == 2 * 3
    assert_verified(engine)


@pytest.mark.usefixtures("february")
def test_a_batch_that_commits_while_a_move_waits_for_it(
    engine: Engine, runner: Runner, database_url: str, connection: psycopg.Connection
) -> None:
    """When the move looked for late rows first, this one was not to be seen."""
    _copy_all(engine, connection)
    with connect(database_url, "ingest") as own, ThreadPoolExecutor(1) as pool:
        with own.transaction():
            Store(own, "slow").write(batch_of(*said(OLD + timedelta(hours=1), "late")))
            moved = pool.submit(step, engine)
            until(lambda: value(connection, WAITING) > 0)
        assert moved.result(10) == 2
    assert value(connection, "SELECT count(*) FROM ven_telemetry WHERE ven_id = 'late'") == 1
    runner.catch_up(LANES)
    assert_verified(engine)


def _copy_all(engine: Engine, connection: psycopg.Connection) -> None:
    while not rows(connection, "SELECT * FROM partition_moves WHERE copied_until = until"):
        step(engine)


def test_a_move_that_retention_has_overtaken_is_given_up(
    february: list[datetime], engine: Engine, connection: psycopg.Connection
) -> None:
    while not rows(connection, "SELECT * FROM partition_moves"):
        step(engine)
    [[target]] = rows(connection, "SELECT target FROM partition_moves")
    connection.execute("INSERT INTO horizons VALUES (0, %s)", [february[3]])
    arrange(engine)
    assert value(connection, "SELECT count(*) FROM partition_moves") == 0
    assert value(connection, "SELECT count(*) FROM ven_telemetry") == 40
    assert target.startswith("public.ven_telemetry_p")


@pytest.mark.thorough
@pytest.mark.usefixtures("february")
def test_a_move_is_done_in_slices(engine: Engine, connection: psycopg.Connection) -> None:
    before = stored(connection)
    steps = 0
    while step(engine, slice_bytes=100_000):
        steps += 1
    assert steps > 3 * 5
    assert stored(connection) == before


@pytest.fixture
def held(database_url: str) -> Iterator[psycopg.Connection]:
    """Somebody analyzes a raw table by hand, and takes long."""
    with connect(database_url, "somebody", idle_in_transaction_session_timeout="0") as own:
        own.execute("BEGIN")
        own.execute("LOCK TABLE ven_load_samples IN SHARE UPDATE EXCLUSIVE MODE")
        yield own


@pytest.mark.thorough
def test_a_new_day_does_not_wait_for_an_analyze(
    held: psycopg.Connection, store: Store, engine: Engine, connection: psycopg.Connection
) -> None:
    """The first message of a day stalled ingest for as long as a manual ANALYZE of a raw table took."""
    with capture_logs() as logs:
        store.write(batch_of(*said(NOW)))
        store.write(batch_of(*said(NOW, "b")))
    attempts = [line for line in logs if line["event"] == "partition_not_made"]
    assert len(attempts) == 1, "nobody tries again for a minute"
    assert in_default(connection) == 2 * 3
    with pytest.raises(OperationalError, match="lock timeout"):
        step(engine)
    held.execute("ROLLBACK")
    arrange(engine)
    assert in_default(connection) == 0
    assert partitions(connection)[-1] == "p20240713"
    assert len(stored(connection)["ven_telemetry"]) == 2


def test_the_default_partition_is_made_again(store: Store, connection: psycopg.Connection) -> None:
    for table in PARTITIONED:
        connection.execute(f"DROP TABLE {table.name}_default".encode())
    store.write(batch_of(*said(OLD)))
    assert in_default(connection) == 3


def test_a_table_of_the_same_name_does_not_stop_ingest(store: Store, connection: psycopg.Connection) -> None:
    """A partition that somebody detached to keep it aside, or a table of his own."""
    connection.execute(f"CREATE TABLE ven_telemetry_p{NOW:%Y%m%d} (mine int)".encode())
    store.write(batch_of(*said(NOW)))
    assert len(stored(connection)["ven_telemetry"]) == 1


def test_a_table_of_the_same_name_does_not_stop_the_jobs(
    store: Store, engine: Engine, connection: psycopg.Connection
) -> None:
    """One detached partition made every run fail, and no day got a partition."""
    arrange(engine)
    connection.execute("ALTER TABLE ven_telemetry DETACH PARTITION ven_telemetry_p20240711")
    connection.execute("CREATE TABLE ven_telemetry_p20240711_2 (mine int)")
    connection.execute("DROP TABLE ven_load_samples_p20240712")
    store.write(batch_of(*said(NOW + DAY)))
    arrange(engine)
    assert partitions(connection)[-4:] == ["p20240710", "p20240711_3", "p20240712", "p20240713"]
    assert in_default(connection) == 0
    assert partitions(connection, "ven_load_samples")[-2:] == ["p20240712", "p20240713"]
    assert len(stored(connection)["ven_telemetry"]) == 1


@pytest.mark.thorough
def test_partitions_in_a_schema_of_our_own(postgres: DatabaseServer, database_names: Iterator[str]) -> None:
    """Tables of others have the names of ours, in a schema that is searched after ours."""
    name = next(database_names)
    postgres.ensure_database(name)
    url = postgres.url(name)
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(NEIGHBOURS.encode())
        for table in ("ven_telemetry_p2022", "ven_telemetry_p20240710", "ven_load_samples_p20240711"):
            admin.execute(f"CREATE TABLE neighbour.{table} (theirs int)".encode())
        theirs = "SELECT count(*) FROM pg_class WHERE relnamespace = 'neighbour'::regnamespace"
        before = value(admin, theirs)
        admin.execute("CREATE SCHEMA gridgate")
        admin.execute(
            f"ALTER DATABASE {admin.info.dbname} SET search_path = gridgate, neighbour, public".encode()
        )
        migrate(url)
        engine = engine_for(url, "tests")
        live_in_a_schema(engine, url)
        engine.dispose()
        assert value(admin, theirs) == before
        assert rows(admin, NEIGHBOURS_ROWS) == NEIGHBOURS_HAVE
        migrate(url, "base", "downgrade")
        assert value(admin, theirs) == before


def live_in_a_schema(engine: Engine, url: str) -> None:
    with connect(url, "ingest") as own:
        store = Store(own, "tests")
        for at in (NOW, OLD, NOW + DAY):
            store.write(batch_of(*said(at)))
        assert partitions(own) == ["before_2020", "p20240710", "p20240711"]
        arrange(engine)
        assert in_default(own) == 0
        assert {home for [home] in rows(own, "SELECT home FROM raw_partitions('ven_telemetry')")} == {
            "gridgate"
        }
        Runner(engine, lambda: NOW).catch_up(LANES)
        assert_verified(engine)
        for let_go in (drop_raw_days, delete_raw_rows):
            with engine.begin() as connection:
                assert let_go(connection, NOW, {0: 520 * DAY}) > 0
        assert [at for [at] in rows(own, "SELECT ts FROM ven_telemetry ORDER BY 1")] == [NOW, NOW + DAY]
