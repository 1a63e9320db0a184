"""Old rows are deleted once they are in the summary, and no answer becomes wrong."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial

import psycopg
import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from ingest.storing.store import Store
from jobs.running.runner import Runner
from jobs.running.schedule import schedule
from jobs.settings import Cadence
from jobs.storage.partitions import arrange_partitions
from jobs.storage.retention import (
    delete_raw_rows,
    drop_raw_days,
    forget_buckets,
    forget_oldest,
    preview,
    trim_events,
    trim_records,
)
from jobs.summaries.rebuild import rebuild, verify, whole_range
from schemas.db.connections import connect
from schemas.tables.raw import PARTITIONED, ven_statuses
from serving.db.pool import ConnectionPool
from serving.db.reading import hold_raw
from serving.history.planner import HistoryRequest as Asked
from serving.history.service import Histories
from tests.conftest import NEIGHBOURS_HAVE, NEIGHBOURS_ROWS
from tests.integration.published import NOW, batch_of, description, rows, telemetry, value
from tests.integration.whole_system import EVERYTHING, WholeSystem, check_history
from tests.oracle.messages import Published, Setting, Window, random_traffic

LANES = tuple(job for job in schedule(Cadence()) if job.has_backlog)
DAY = timedelta(days=1)
NOON = NOW.replace(hour=12)
WEEK = [NOON - number * DAY for number in range(7)]
PARTITIONS = (
    "SELECT count(*) FROM raw_partitions('ven_telemetry') WHERE NOT is_default AND name LIKE '%p________'"
)
DAYS = "SELECT ensure_raw_partitions(%s::date[])"
SUMS = "SELECT sum(samples) FROM {} WHERE resolution_s = 300"


@pytest.fixture
def days(connection: psycopg.Connection) -> None:
    """Partitions for each day of the week, as the jobs made them while these days were still to come."""
    connection.execute(DAYS, [[at.date() for at in WEEK]])


@pytest.fixture
def week(store: Store, runner: Runner, days: None) -> None:
    del days
    for at in WEEK:
        said = telemetry("a", at, loads=[{"id": "l", "currentPowerKw": 1.0}])
        store.write(batch_of(said, description("a", at, {"id": "l", "name": "L"})))
    runner.catch_up(LANES)


def drop(engine: Engine, days: int = 3, now: datetime = NOW) -> int:
    """Days of three tables each."""
    with engine.begin() as connection:
        return drop_raw_days(connection, now, {0: days * DAY}) // 3


def delete(engine: Engine, days: int = 3) -> int:
    with engine.begin() as connection:
        return delete_raw_rows(connection, NOW, {0: days * DAY})


def horizons(connection: psycopg.Connection) -> list[tuple[int, datetime]]:
    found = rows(connection, "SELECT * FROM horizons ORDER BY 1")
    return [(resolution_s, since) for resolution_s, since in found]


@pytest.mark.usefixtures("week")
def test_whole_days_go_and_their_summary_stays(engine: Engine, connection: psycopg.Connection) -> None:
    assert drop(engine) == 3
    midnight = datetime(2024, 7, 7, tzinfo=UTC)
    assert horizons(connection) == [(0, midnight)]
    assert value(connection, PARTITIONS) == 4
    for table in ("ven_telemetry", "ven_load_samples", "ven_load_descriptions"):
        assert value(connection, f"SELECT min(ts) FROM {table}") >= midnight
        assert value(connection, f"SELECT count(*) FROM {table}") == 4
    for table in ("network_history", "ven_history", "load_history"):
        assert value(connection, SUMS.format(table)) == 7
    assert drop(engine) == 0


@pytest.mark.usefixtures("week")
def test_nothing_is_dropped_unless_told(
    engine: Engine, runner: Runner, connection: psycopg.Connection
) -> None:
    for job in schedule(Cadence()):
        runner.run(job)
    assert horizons(connection) == []
    assert value(connection, "SELECT count(*) FROM ven_telemetry") == 7
    with engine.connect() as reading:
        assert list(preview(reading, NOW, {})) == []


@pytest.mark.usefixtures("days")
def test_a_day_that_a_lane_has_still_to_read_stays_and_all_after_it(
    store: Store, engine: Engine, runner: Runner, connection: psycopg.Connection
) -> None:
    for at in WEEK[4:]:
        store.write(batch_of(telemetry("a", at)))
    runner.catch_up(LANES)
    store.write(batch_of(telemetry("late", WEEK[5])))
    runner.run(LANES[1])
    assert drop(engine) == 1
    assert horizons(connection) == [(0, WEEK[5].replace(hour=0))]
    with engine.connect() as reading:
        notes = [line.note for line in preview(reading, NOW, {0: 3 * DAY})]
    assert notes == ["waits for history"] * 3 + [""] * 3
    runner.catch_up(LANES)
    assert drop(engine) == 2
    assert value(connection, SUMS.format("ven_history")) == 4


@pytest.mark.usefixtures("week")
def test_what_comes_for_a_dropped_day_counts_for_nobody(
    store: Store, engine: Engine, runner: Runner, connection: psycopg.Connection
) -> None:
    """It could be a redelivery of what was counted; its row comes and goes."""
    drop(engine)
    store.write(batch_of(telemetry("a", WEEK[6]), telemetry("a", WEEK[1] + timedelta(seconds=1))))
    runner.catch_up(LANES)
    for table in ("network_history", "ven_history"):
        assert value(connection, SUMS.format(table)) == 8
    assert drop(engine) == 0
    assert value(connection, "SELECT count(*) FROM ven_telemetry") == 4 + 2
    assert delete(engine) == 1
    assert delete(engine) == 0
    assert value(connection, "SELECT count(*) FROM ven_telemetry") == 4 + 1


@pytest.mark.usefixtures("week")
def test_dropping_gives_up_while_a_long_reader_reads(engine: Engine, connection: psycopg.Connection) -> None:
    with engine.connect() as reader:
        reader.exec_driver_sql("SELECT * FROM ven_telemetry").all()
        with pytest.raises(OperationalError, match="lock timeout"):
            drop(engine)
    assert horizons(connection) == []
    assert drop(engine) == 3


@pytest.mark.usefixtures("week")
def test_dropping_waits_for_a_writer_and_finds_what_it_wrote(
    engine: Engine, database_url: str, connection: psycopg.Connection
) -> None:
    """Its batch was not there when we looked first."""
    with connect(database_url, "ingest") as own, ThreadPoolExecutor(1) as pool:
        slow = Store(own, "slow")
        slow.write(batch_of(telemetry("b", NOON)))
        with own.transaction():
            slow.write(batch_of(telemetry("b", WEEK[6])))
            dropped = pool.submit(drop, engine)
            with pytest.raises(TimeoutError):
                dropped.result(0.3)
        assert dropped.result(10) == 0
    assert value(connection, PARTITIONS) == 7


@pytest.mark.usefixtures("week")
def test_verify_and_rebuild_keep_to_the_days_that_are_left(
    engine: Engine, connection: psycopg.Connection
) -> None:
    drop(engine)
    connection.execute("UPDATE ven_history SET samples = samples + 1")
    with engine.connect() as reading:
        within = whole_range(reading, WEEK[6], NOW)
    assert within is not None
    assert within.start == datetime(2024, 7, 7, tzinfo=UTC)
    assert sum(chunk.differences.height for chunk in rebuild(engine, within)) == 4
    assert [chunk.differences.rows() for chunk in verify(engine, within)] == [[]]
    assert value(connection, SUMS.format("ven_history")) == 7 + 3


@pytest.mark.usefixtures("week")
def test_resolutions_have_their_own_ages(engine: Engine, connection: psycopg.Connection) -> None:
    with engine.begin() as own:
        assert forget_buckets(own, NOW, {1: 2 * DAY, 300: 4 * DAY}) == 4 + 2 * 4
    left = "SELECT resolution_s, count(*) FROM network_history GROUP BY 1 ORDER BY 1"
    assert rows(connection, left) == [(1, 3), (60, 7), (300, 5), (3600, 7)]
    assert [
        value(connection, f"SELECT count(*) FROM {table}")
        for table in ("ven_history", "load_history", "network_energy")
    ] == [5, 5, 5]
    assert [resolution_s for resolution_s, _ in horizons(connection)] == [1, 300]


@pytest.mark.usefixtures("week")
def test_books_are_trimmed(engine: Engine, store: Store, connection: psycopg.Connection) -> None:
    connection.execute(
        "INSERT INTO job_runs (job, started_at, duration_s, rows) VALUES ('x', '2024-01-01', 1, 1)"
    )
    connection.execute("UPDATE ingest_batches SET received_at = first_ts")
    store.write(batch_of(telemetry("a", WEEK[2], used_kw=2.5)))
    drop(engine)
    with engine.begin() as own:
        assert trim_records(own, NOW, 30 * DAY) == 1 + 3
    assert rows(connection, "SELECT DISTINCT job FROM job_runs ORDER BY 1") == [("history",), ("snapshot",)]
    assert value(connection, "SELECT count(*) FROM ingest_batches") == 4


def test_commands_that_are_over_are_trimmed(engine: Engine, connection: psycopg.Connection) -> None:
    names = "ven_id, command_id, op, data, status, created_at, next_attempt_at, expires_at"
    for name, status, age in (("a", "acknowledged", 91), ("b", "acknowledged", 89), ("c", "pending", 91)):
        made_at = NOW - age * DAY
        values = ["v", name, "ping", "{}", status, made_at, made_at, made_at]
        places = ", ".join(["%s"] * len(values))
        connection.execute(f"INSERT INTO commands ({names}) VALUES ({places})".encode(), values)
    [job] = (job for job in schedule(Cadence()) if job.name == "trim")
    Runner(engine, lambda: NOW).run(job)
    assert rows(connection, "SELECT command_id FROM commands ORDER BY 1") == [("b",), ("c",)]


def test_what_vens_did_in_old_events_is_kept_unless_told_otherwise(
    engine: Engine, connection: psycopg.Connection
) -> None:
    for event_id, status, age in (
        ("old", "completed", 401),
        ("new", "cancelled", 399),
        ("on", "active", 401),
    ):
        ended_at = None if status == "active" else NOW - age * DAY
        connection.execute(
            "INSERT INTO events (event_id, status, start_time, end_time, requested_reduction_kw, notify_at,"
            " created_at, ended_at)"
            " VALUES (%(id)s, %(status)s, %(at)s, %(at)s, 1, %(at)s, %(at)s, %(ended)s)",
            {"id": event_id, "status": status, "at": NOW - age * DAY, "ended": ended_at},
        )
        connection.execute(
            "INSERT INTO event_participations (ven_id, event_id, status, available_kw,"
            " requested_reduction_kw) VALUES ('v', %s, 'finished', 1, 1)",
            [event_id],
        )
        figures = "requested_kw, coverage_percent, days_used, settled_at"
        for table, name, ven in (("event_settlements", "", ""), ("ven_settlements", "ven_id,", "'v',")):
            connection.execute(
                f"INSERT INTO {table} (event_id, revision, baseline, {name} {figures})"
                f" VALUES (%s, 1, '10-of-10', {ven} 1, 100, 10, now())".encode(),
                [event_id],
            )
    with engine.begin() as own:
        assert trim_events(own, NOW, None) == 0
        assert trim_events(own, NOW, 400 * DAY) == 2
    for table in ("event_participations", "ven_settlements"):
        assert rows(connection, f"SELECT event_id FROM {table} ORDER BY 1") == [("new",), ("on",)]
    assert value(connection, "SELECT count(*) FROM event_settlements") == 3


def test_the_archive_of_the_years_before_2020(
    store: Store, engine: Engine, runner: Runner, connection: psycopg.Connection
) -> None:
    store.write(batch_of(telemetry("a", datetime(2011, 1, 1, tzinfo=UTC)), telemetry("a", NOON)))
    runner.catch_up(LANES)
    with engine.connect() as reading:
        [line] = preview(reading, NOW, {0: DAY})
    assert line.what == "table public.ven_telemetry_before_2020"
    with engine.begin() as own:
        assert drop_raw_days(own, NOW, {0: DAY}) == 1
    assert rows(connection, "SELECT ts FROM ven_telemetry") == [(NOON,)]
    assert drop(engine) == 0


@pytest.mark.usefixtures("week")
def test_as_a_job_over_many_runs(engine: Engine, connection: psycopg.Connection) -> None:
    cadence = Cadence(RETENTION_RAW_DAYS=2, RETENTION_1S_DAYS=2, RETENTION_5M_DAYS=5)
    job = next(job for job in schedule(cadence) if job.name == "retention")
    for days in range(4):
        Runner(engine, partial(NOW.__add__, days * DAY)).run(job)
    assert horizons(connection) == [
        (0, datetime(2024, 7, 11, tzinfo=UTC)),
        (1, datetime(2024, 7, 11, tzinfo=UTC)),
        (60, datetime(2024, 7, 8, tzinfo=UTC)),
        (300, datetime(2024, 7, 8, tzinfo=UTC)),
    ]
    assert value(connection, "SELECT count(*) FROM ven_telemetry") == 0


@pytest.mark.thorough
def test_a_partition_of_many_days_loses_those_that_are_outdated(
    store: Store, engine: Engine, runner: Runner, connection: psycopg.Connection
) -> None:
    """To the day, whatever the partitions are: here one holds a year, and the default one what has none."""
    with engine.begin() as own:
        assert arrange_partitions(own, NOW) > 0
    later = datetime(2030, 5, 1, tzinfo=UTC)
    first, last = datetime(2021, 2, 27, tzinfo=UTC), datetime(2021, 3, 1, tzinfo=UTC)
    times = [first, last - timedelta.resolution, last, NOON, later]
    store.write(batch_of(*(telemetry("a", at, loads=[{"id": "l", "currentPowerKw": 1}]) for at in times)))
    runner.catch_up(LANES)
    kept = NOW - datetime(2021, 3, 1, 9, tzinfo=UTC)
    with engine.connect() as reading:
        lines = [(line.what, line.rows, line.bytes) for line in preview(reading, NOW, {0: kept})]
    whole = [line for line in lines if line[0].startswith("table")]
    assert {what for what, *_ in whole} == {f"table public.{table.name}_p2020" for table in PARTITIONED}
    assert [line for line in lines if line not in whole] == [
        ("rows of public.ven_telemetry_p2021", 2, None),
        ("rows of public.ven_load_samples_p2021", 2, None),
    ]
    with engine.begin() as own:
        assert drop_raw_days(own, NOW, {0: kept}) == 3
        assert delete_raw_rows(own, NOW, {0: kept}) == 4
    assert horizons(connection) == [(0, last)]
    assert [at for [at] in rows(connection, "SELECT ts FROM ven_telemetry ORDER BY ts")] == times[2:]
    with engine.connect() as reading:
        within = whole_range(reading, None, None)
    assert within is not None
    assert sum(chunk.differences.height for chunk in verify(engine, within)) == 0


def test_tables_of_others_stay(week: None, engine: Engine, connection: psycopg.Connection) -> None:
    """Retention took each partition in the database for ours, and dropped or emptied it."""
    del week
    theirs = rows(connection, NEIGHBOURS_ROWS)
    assert theirs == NEIGHBOURS_HAVE
    with engine.connect() as reading:
        named = [line.what for line in preview(reading, NOW, {0: 3 * DAY})]
    assert len(named) == 3 * 3
    assert all(name.startswith("table public.ven_") for name in named)
    for step in (drop_raw_days, delete_raw_rows, forget_buckets):
        with engine.begin() as own:
            step(own, NOW, {0: 3 * DAY})
    with engine.begin() as own:
        while arrange_partitions(own, NOW + 2000 * DAY, 3 * DAY):
            pass
    assert rows(connection, NEIGHBOURS_ROWS) == NEIGHBOURS_HAVE
    assert value(connection, "SELECT count(*) FROM ven_telemetry") == 4


# What is answered


KEPT = Cadence(RETENTION_RAW_DAYS=1, RETENTION_1S_DAYS=2, RETENTION_5M_DAYS=30, RETENTION_1H_DAYS=30)


def retain(engine: Engine, cadence: Cadence = KEPT) -> None:
    job = next(job for job in schedule(cadence) if job.name == "retention")
    while Runner(engine, lambda: NOW).run(job):
        pass


@pytest.mark.thorough
@pytest.mark.parametrize("aggregate", ["sum", "energy", "mean"])
def test_whole_buckets_over_dropped_days_are_exact(system: WholeSystem, aggregate: str) -> None:
    """The plain loop has every message; the system has the raw rows of one day."""
    system.ingest(random_traffic(11, 800, Setting(window=Window(outliers=False))))
    system.catch_up()
    retain(system.engine)
    for granularity, bounds in (
        ("5m", EVERYTHING),
        ("1h", EVERYTHING),
        ("15m", (NOW - 3 * DAY, NOW)),
        ("1h", (NOW - 2 * DAY, NOW - timedelta(hours=7, seconds=1.5))),
    ):
        check_history(system, bounds, granularity, aggregate)
    assert "warning" not in system.get("/stats/network/history")


def test_splinters_that_are_gone_are_answered_coarser_and_say_so(system: WholeSystem) -> None:
    at = NOON - 3 * DAY
    for seconds in (0, 10, 70, 400):
        message = telemetry("a", at + timedelta(seconds=seconds), 1.0 + seconds)
        system.ingest([Published(message.topic, message.payload)])
    system.catch_up()
    asked = {"start": (at + timedelta(seconds=5)).isoformat(), "end": (at + timedelta(hours=1)).isoformat()}
    exact = system.get("/vens/a/history", granularity="1m", **asked)
    assert [point["usedPowerKw"] for point in exact["points"]] == [11.0, 71.0, 401.0]
    retain(system.engine)
    coarser = system.get("/vens/a/history", granularity="1m", **asked)
    assert coarser["points"] == [
        {"timestamp": "2024-07-07T12:05:00Z", "usedPowerKw": 401.0, "shedPowerKw": 0.0}
    ]
    assert "300 s" in coarser["warning"]
    whole = system.get("/vens/a/history", granularity="5m")
    assert [point["usedPowerKw"] for point in whole["points"]] == [83.0, 401.0]
    assert "warning" not in whole


def test_a_message_for_a_dropped_day_never_shows(system: WholeSystem) -> None:
    """Neither while it is pending nor when it has been consumed."""
    old = telemetry("a", WEEK[5], 1.0)
    system.ingest([Published(old.topic, old.payload)])
    system.catch_up()
    retain(system.engine)
    system.store.write(batch_of(telemetry("a", WEEK[5] + timedelta(seconds=1), 50.0)))
    for aggregate in ("sum", "energy", "mean"):
        before = system.get("/stats/network/history", aggregate=aggregate)
        of_ven = system.get("/vens/a/history", aggregate=aggregate)
        assert [*before["points"][0].values()][1] < 2
        system.catch_up()
        assert system.get("/stats/network/history", aggregate=aggregate) == before
        assert system.get("/vens/a/history", aggregate=aggregate) == of_ven


def test_a_history_that_is_being_read_keeps_its_raw_rows(system: WholeSystem) -> None:
    """The reader has seen that they are there; they were dropped before it came to them."""
    message = telemetry("a", WEEK[5], 1.0)
    system.ingest([Published(message.topic, message.payload)])
    system.catch_up()
    histories = Histories(system.engine, ConnectionPool.for_engine(system.engine), lambda: NOW)
    points = histories.ven("a", Asked(None, None, 7))
    with system.engine.connect().execution_options(isolation_level="REPEATABLE READ") as reading:
        hold_raw(reading)
        with pytest.raises(OperationalError, match="lock timeout"):
            drop(system.engine)
    assert len(list(points)) == 1


THREE_STATUSES = (
    "INSERT INTO ven_statuses SELECT 'ven-' || n, %s, 'online', NULL, %s, 1 FROM generate_series(1, 3) n"
)


@pytest.mark.parametrize(("most", "left"), [(1, 6), (3, 6), (4, 3), (7, 0)])
def test_of_much_that_is_old_the_oldest_goes_first(
    most: int, left: int, engine: Engine, connection: psycopg.Connection
) -> None:
    """Three rows in each of three steps of time: whole steps go."""
    for step in (2, 0, 1):
        connection.execute(
            THREE_STATUSES,
            [NOW - DAY + step * timedelta(minutes=5, seconds=1), NOW],
        )
    with engine.begin() as own:
        forgotten = forget_oldest(own, ven_statuses, "ts", [ven_statuses.c.ts < NOW], most)
    kept = rows(connection, "SELECT DISTINCT ts FROM ven_statuses ORDER BY ts DESC")
    assert (forgotten, len(kept) * 3) == (9 - left, left)
    assert [at for [at] in kept] == [
        NOW - DAY + step * timedelta(minutes=5, seconds=1) for step in (2, 1, 0)[: left // 3]
    ]
