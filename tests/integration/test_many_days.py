"""One device sends thousands of days: other VENs are not delayed, and all answers are right."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Event

import psycopg
import pytest
from falcon import testing
from sqlalchemy import Connection, Engine, event

from analysis import connect as analyze
from analysis.database_grid import DatabaseGrid
from ingest.decoding.messages import Received
from ingest.storing.batch import Batch
from ingest.storing.store import Store
from jobs.running.runner import Runner
from jobs.running.schedule import schedule
from jobs.settings import Cadence
from jobs.storage.partitions import arrange_partitions
from jobs.summaries.ledger import claim
from jobs.summaries.models import VenSampleFrame
from schemas.db.connections import connect, driver_connection
from schemas.tables.raw import PARTITIONED, ven_telemetry
from schemas.times.instants import microseconds
from serving.app import create_app
from serving.db.pool import SESSION, ConnectionPool
from serving.fleet.latest import LatestReader
from serving.history.planner import HistoryRequest
from serving.history.service import Histories
from serving.page import NewestWithin, Page
from serving.reports.service import ReportReader
from tests.conftest import migrate
from tests.integration.published import batch_of, rows, telemetry, value
from tests.integration.test_partitions import LANES, arrange, assert_verified, in_default
from tests.integration.whole_system import NOW, WholeSystem, check_history, check_latest
from tests.oracle.messages import Published

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
LOCKED = """
SELECT count(DISTINCT relation) FROM pg_locks
JOIN raw_partitions('ven_telemetry') ON id = relation WHERE pid = pg_backend_pid()
"""


def report(ven_id: str, at: datetime, used_kw: float) -> Published:
    loads = [{"id": "heat", "type": "hvac", "currentPowerKw": used_kw / 2}]
    said = {"venId": ven_id, "timestamp": at.timestamp(), "usedPowerKw": used_kw, "loads": loads}
    return Published("volttron/metering", json.dumps(said).encode())


def archive(days: int, now: datetime = NOW) -> list[Published]:
    """A report of each of so many days, the newest first."""
    return [report("archive", now - (number + 1) * DAY, number % 7 + 0.5) for number in range(days)]


def others(number: int, now: datetime = NOW) -> list[Published]:
    at = now - timedelta(minutes=90) + number * timedelta(seconds=30)
    return [report(f"ven-{ven:02}", at, ven + number / 10) for ven in range(20)]


@pytest.mark.thorough
@pytest.mark.parametrize("before", ["arranged", "new"])
def test_784_days_in_one_batch(before: str, system: WholeSystem, connection: psycopg.Connection) -> None:
    """Each had three partitions: "out of shared memory", for ever, and nobody's telemetry was stored."""
    if before == "arranged":
        arrange(system.engine)
    system.ingest([*archive(784), *others(0)])
    assert value(connection, "SELECT count(*) FROM ingest_batches") == 1
    system.catch_up()
    check_latest(system)
    check_history(system, (None, None), "36h", "sum")
    arrange(system.engine)
    assert in_default(connection) == 0
    system.ingest([*archive(784), *others(1)])
    system.catch_up()
    check_latest(system)
    check_history(system, (None, None), "36h", "energy")
    assert_verified(system.engine)


@pytest.mark.thorough
def test_a_lane_reads_the_days_of_its_batches_and_not_those_between(
    store: Store, engine: Engine, connection: psycopg.Connection
) -> None:
    """A batch of two messages, of 2020 and of now, opened every partition between them."""
    for number in range(40, -1, -1):
        arrange(engine, NOW - number * 8 * DAY)
    assert len(rows(connection, "SELECT name FROM raw_partitions('ven_telemetry')")) > 40
    store.write(batch_of(telemetry("a", datetime(2020, 5, 1, tzinfo=UTC)), telemetry("a", NOW)))
    with engine.begin() as own:
        claimed = claim(own, "history")
        assert claimed is not None
        assert claimed.read(ven_telemetry, VenSampleFrame).height == 2
        assert own.exec_driver_sql(LOCKED).scalar_one() == 2


def test_a_batch_whose_days_nobody_wrote_down_is_read_all_the_same(
    store: Store, runner: Runner, connection: psycopg.Connection
) -> None:
    """A program of an older version writes the ledger without them."""
    store.write(batch_of(telemetry("a", NOW - 500 * DAY), telemetry("a", NOW)))
    connection.execute("UPDATE ingest_batches SET days = NULL")
    runner.catch_up(LANES)
    counted = "SELECT sum(samples) FROM ven_history WHERE resolution_s = 300"
    assert value(connection, counted) == 2


RAW_LOCKED = """
SELECT DISTINCT name FROM
    unnest('{ven_telemetry,ven_load_samples,ven_load_descriptions}'::regclass[]) AS parent,
    raw_partitions(parent) JOIN pg_locks ON relation = id WHERE pid = %s
"""
PARTITIONS_OF_DAYS = "SELECT ensure_raw_partitions(%s::date[])"
ARCHIVED = datetime(2020, 5, 1, 12, tzinfo=UTC)


class Watched:
    """Names of raw partitions that transactions of an engine, and of other connections, have locked."""

    def __init__(self, engine: Engine, connection: psycopg.Connection) -> None:
        self.names: set[str] = set()
        self._connection = connection
        event.listen(engine, "commit", self._look)
        event.listen(engine, "rollback", self._look)

    def _look(self, own: Connection) -> None:
        self.look(driver_connection(own))

    def look(self, own: psycopg.Connection) -> None:
        self.names |= {
            name for [name] in self._connection.execute(RAW_LOCKED.encode(), [own.info.backend_pid])
        }

    def of_days(self, *days: datetime) -> bool:
        """Whether those of these days were locked, and no other; then forget them."""
        names, self.names = self.names, set()
        self.last = names
        ending = tuple(f"_p{day:%Y%m%d}" for day in days)
        return bool(names) and all(name.endswith(ending) for name in names)


@pytest.fixture
def many_partitions(connection: psycopg.Connection) -> None:
    """One a day, as there were before they were merged: the archived day and now are two of them."""
    for first in range(0, 400, 20):
        days = [(ARCHIVED + (first + number) * 3 * DAY).date() for number in range(20)]
        connection.execute(PARTITIONS_OF_DAYS, [days])
    connection.execute(PARTITIONS_OF_DAYS, [[NOW.date()]])


@pytest.mark.thorough
@pytest.mark.usefixtures("many_partitions")
def test_only_the_days_that_are_pending_are_locked(
    engine: Engine, database_url: str, connection: psycopg.Connection
) -> None:
    """A generic plan, a span between two days, or an open range locked all days that there had ever been."""
    watched = Watched(engine, connection)
    messages = [*others(0), report("archive", ARCHIVED, 1.0), *others(1)]
    with connect(database_url, "ingest") as own, own.transaction():
        Store(own, "tests").write(Batch.of([Received(m.topic, m.payload, NOW) for m in messages], DAY))
        watched.look(own)
    assert watched.of_days(ARCHIVED, NOW)
    for _ in range(8):
        _read_all(engine, database_url, watched)
        assert watched.of_days(ARCHIVED, NOW), sorted(watched.last)
    for lane in LANES:
        Runner(engine, lambda: NOW).run(lane)
        assert watched.of_days(ARCHIVED, NOW), sorted(watched.last)
    for job in schedule(Cadence()):
        if job.name not in {"partitions", "retention"}:
            Runner(engine, lambda: NOW).run(job)
    of_today = {f"{table.name}_{ending}" for table in PARTITIONED for ending in ("default", f"p{NOW:%Y%m%d}")}
    assert watched.names <= of_today, "presence and forecast, of a day"


@pytest.mark.thorough
@pytest.mark.usefixtures("many_partitions")
def test_analysis_reads_a_day_at_a_time(store: Store, database_url: str, engine: Engine) -> None:
    """Also where a report's batch is no longer in the ledger, and of days without a partition."""
    times = [datetime(2019, 2, 3, 4, tzinfo=UTC), ARCHIVED, ARCHIVED + DAY, NOW - HOUR, NOW]
    for at in times:
        store.write(batch_of(telemetry("a", at, 1.0)))
    with engine.begin() as forgetting:
        forgetting.exec_driver_sql("DELETE FROM pending_batches")
        forgetting.exec_driver_sql("DELETE FROM ingest_batches WHERE batch_id < 3")
    with analyze(database_url) as grid:
        assert isinstance(grid, DatabaseGrid)
        assert grid.raw.telemetry().collect().get_column("ts").to_list() == times
        assert grid.raw.table("ven_telemetry").get_column("ts").to_list() == times
        within = grid.raw.telemetry(ARCHIVED + timedelta(seconds=1), NOW).collect()
        assert within.get_column("ts").to_list() == times[2:4]


def _read_all(engine: Engine, database_url: str, watched: Watched) -> None:
    """One VEN, its loads, and histories, short and long: a pool's connection is looked at before its end."""
    own = connect(database_url, "serving", monitor=None, **SESSION)
    own.autocommit = False
    pool = ConnectionPool(lambda: own, size=1)
    latest, histories = LatestReader(pool, lambda: NOW), Histories(engine, pool, lambda: NOW)
    assert latest.ven("archive").metrics.current_power_kw == 1.0
    assert len(latest.loads("ven-01", Page())) == 1
    latest.load("ven-01", "heat")
    for aggregate in ("sum", "energy", "mean"):
        for start, granularity_s in ((NOW - 2 * HOUR + timedelta(seconds=7), 300), (ARCHIVED - DAY, 129_600)):
            request = HistoryRequest(microseconds(start), microseconds(NOW), granularity_s, aggregate)
            for history in (
                histories.network(request),
                histories.ven("archive", request),
                histories.load("ven-01", "heat", request),
            ):
                list(history)
    assert len(
        ReportReader(engine).circuits("ven-01", None, NewestWithin(NOW - 2 * HOUR, NOW, 100)).snapshots
    )
    watched.look(own)
    own.close()


STORED_EACH_DAY = """
WITH report AS (
    INSERT INTO ven_telemetry (ven_id, ts, used_power_kw, shed_power_kw, payload, received_at, batch_id)
    SELECT 'old', day + interval '9 h', 1, 0, '{}', day, 0 FROM unnest(%(days)s::date[]) AS day
    RETURNING ven_id, ts, batch_id
), sample AS (
    INSERT INTO ven_load_samples (ven_id, load_id, ts, used_power_kw, batch_id)
    SELECT ven_id, 'heat', ts, 0.5, batch_id FROM report
)
INSERT INTO ven_load_descriptions (ven_id, load_id, ts, name, batch_id)
SELECT ven_id, 'heat', ts, 'Heat', batch_id FROM report
"""


@pytest.mark.faults
def test_1600_days_of_an_older_version_are_migrated(
    database_url: str, engine: Engine, connection: psycopg.Connection
) -> None:
    """With PostgreSQL's default settings, by which a statement cannot open all of them; and life goes on."""
    assert value(connection, "SHOW max_locks_per_transaction") == "64"
    migrate(database_url, "0009", "downgrade")
    connection.execute("SET timezone = 'UTC'")
    days = [NOW.date() - number * DAY for number in range(1600)]
    for first in range(0, 1600, 100):
        some = days[first : first + 100]
        connection.execute(PARTITIONS_OF_DAYS, [some])
        connection.execute(STORED_EACH_DAY.encode(), {"days": some})
    with pytest.raises(psycopg.errors.OutOfMemory):
        connection.execute("SELECT count(*) FROM ven_telemetry JOIN ven_load_samples USING (ven_id, ts)")
    migrate(database_url)
    assert _rows_each_year(connection) == [1600] * 3
    client = testing.TestClient(create_app(engine, lambda: NOW, []))
    with connect(database_url, "ingest") as own:
        store = Store(own, "tests")
        for number, at in enumerate((NOW, NOW - 1000 * DAY)):
            store.write(batch_of(telemetry("a", at, 1.0 + number)))
            assert client.simulate_get("/api/vens/a").json["metrics"]["currentPowerKw"] == 1.0
    for lane in LANES:
        assert Runner(engine, lambda: NOW).run(lane) > 0
    for _ in range(8):
        with engine.begin() as arranging:
            assert arrange_partitions(arranging, NOW) > 0
    assert _rows_each_year(connection) == [1602, 1600, 1600]


def _rows_each_year(connection: psycopg.Connection) -> list[int]:
    """Rows of each table, counted year by year: each takes a part of the lock table."""
    years = range(NOW.year - 5, NOW.year + 1)
    return [
        sum(
            value(
                connection,
                f"SELECT count(*) FROM {table.name} WHERE ts >= '{year}-01-01' AND ts < '{year + 1}-01-01'",
            )
            for year in years
        )
        for table in PARTITIONED
    ]


STORED = """
WITH batch AS (
    INSERT INTO ingest_batches (worker, received_at, messages, telemetry_rows, sample_rows, description_rows,
        status_rows, first_ts, last_ts, days)
    SELECT 'stored', min(day), count(*), count(*), count(*), 0, 0, min(day), max(day), array_agg(day::date)
    FROM generate_series(%(first)s::timestamptz, %(last)s::timestamptz, '1 day') day
    GROUP BY date_trunc('month', day) RETURNING batch_id, days
), report AS (
    INSERT INTO ven_telemetry (ven_id, ts, used_power_kw, shed_power_kw, payload, received_at, batch_id)
    SELECT 'ven-' || to_char(ven, 'FM00'), day + ven * interval '1 min', 1, 0, '{}', day, batch_id
    FROM batch, unnest(days) AS day, generate_series(0, 19) AS ven RETURNING ven_id, ts, batch_id
), sample AS (
    INSERT INTO ven_load_samples (ven_id, load_id, ts, used_power_kw, batch_id)
    SELECT ven_id, 'heat', ts, 0.5, batch_id FROM report
)
INSERT INTO pending_batches SELECT lane, batch_id FROM batch, unnest(ARRAY['snapshot', 'history']) AS lane
"""
LATE = datetime(2039, 12, 23, 9, tzinfo=UTC)


@pytest.fixture
def twenty_years(engine: Engine, connection: psycopg.Connection) -> Runner:
    """Days, months and years as they come about, each day with reports of 20 VENs, and all consumed."""
    for number in range(760, -1, -4):
        arrange(engine, LATE - number * DAY)
    connection.execute("SET timezone = 'UTC'")
    connection.execute(STORED.encode(), {"first": LATE - 20 * 365 * DAY, "last": LATE - DAY})
    runner = Runner(engine, lambda: LATE)
    runner.catch_up(LANES)
    return runner


@pytest.mark.faults
def test_4000_days_are_replayed_into_20_years_while_20_others_report(
    twenty_years: Runner, engine: Engine, database_url: str, connection: psycopg.Connection
) -> None:
    """In batches of some two hundred days each, which is what a connection brings, while partitions move."""
    partitions = len(rows(connection, "SELECT name FROM raw_partitions('ven_telemetry')"))
    quiet_s = [_timed(database_url, twenty_years, others(number, LATE)) for number in range(5)]
    replay, done = archive(4000, LATE), Event()
    with ThreadPoolExecutor(1) as pool:
        arranging = pool.submit(_arrange_until, engine, done)
        busy_s = [
            _timed(database_url, twenty_years, [*replay[number::20], *others(5 + number, LATE)])
            for number in range(20)
        ]
        done.set()
        arranging.result()
    assert_verified(engine)
    counted = "SELECT count(*), count(DISTINCT ts) FROM ven_telemetry WHERE ven_id = 'archive'"
    assert rows(connection, counted) == [(4000, 4000)]
    fresh = "SELECT min(ts) FROM ven_snapshots WHERE ven_id LIKE 'ven-%'"
    assert value(connection, fresh) == LATE - timedelta(minutes=90) + 24 * timedelta(seconds=30)
    print(
        f"\n{partitions} partitions; 20 reports from message to summary in {max(quiet_s):.2f} s at most,"
        f" beside 200 days of an archive in {max(busy_s):.2f} s"
    )
    assert partitions > 60
    assert max(busy_s) < 30


def _timed(database_url: str, runner: Runner, messages: list[Published]) -> float:
    """From the hand of the broker to both summaries, in one batch."""
    start = time.monotonic()
    with connect(database_url, "ingest") as own:
        arrived = [Received(message.topic, message.payload, LATE) for message in messages]
        Store(own, "tests").write(Batch.of(arrived, DAY))
    for lane in LANES:
        runner.run(lane)
    return time.monotonic() - start


def _arrange_until(engine: Engine, done: Event) -> None:
    number = 0
    while not done.is_set():
        number += 1
        with engine.begin() as connection:
            arrange_partitions(connection, LATE + number * DAY)
