"""The hot statements find their rows by an index: their cost is what is asked for, not what is stored."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, Engine, Executable, Table

from jobs.queries.events import settlement as settlement_queries
from jobs.queries.summaries import pending as pending_queries
from jobs.summaries.models import LoadSampleFrame, ReportFrame, VenSampleFrame
from schemas.db.connections import engine_for
from schemas.devices.load_values import GONE_AFTER
from schemas.tables import Frame
from schemas.tables.raw import PARTITIONED, EntryFrame, ven_load_descriptions, ven_load_samples, ven_telemetry
from schemas.times.instants import microseconds
from schemas.times.time_ranges import TimeRange
from serving.db.pending import constants_of
from serving.db.statements import text_for
from serving.fleet import queries as fleet
from serving.history import late_queries
from serving.history import queries as history
from serving.history.extents import extent
from serving.history.planner import HistoryRequest
from serving.history.series import LISTED_LOADS, LISTED_VENS, LOAD, NETWORK, VEN, Series, group_series, listed
from serving.page import Page
from tests.conftest import TEMPLATE
from tests.servers import DatabaseServer, cloned_database

pytestmark = pytest.mark.xdist_group("explain")  # the database is dear: one process makes it

DAYS = 10
VENS = 200
FIRST = datetime(2024, 7, 1, tzinfo=UTC)
LAST = FIRST + timedelta(days=DAYS)
REPORTS = 1_000
"""For each VEN, evenly over the days; all VENs' reports of an instant are one batch."""

PENDING = 5

FILL = f"""
SELECT ensure_raw_partitions(array(
    SELECT generate_series(date '2024-07-01', date '2024-07-10', '1 day')::date));
INSERT INTO vens (ven_id, created_at) SELECT 'ven-' || v, now() FROM generate_series(1, {VENS}) v;
INSERT INTO ingest_batches (batch_id, worker, received_at, messages, telemetry_rows, sample_rows,
    description_rows, status_rows, first_ts, last_ts)
SELECT b, 'tests', ts, {VENS}, {VENS}, {VENS}, 0, 0, ts, ts
FROM generate_series(1, {REPORTS}) b, LATERAL (SELECT timestamptz '2024-07-01 00:00Z' + (b - 1) * interval
    '{DAYS * 86_400 // REPORTS} s' AS ts) t;
INSERT INTO ven_telemetry (ven_id, ts, used_power_kw, shed_power_kw, payload, received_at, batch_id)
SELECT 'ven-' || v, first_ts, v / 8.0, 0, '{{}}', received_at, batch_id
FROM ingest_batches, generate_series(1, {VENS}) v ORDER BY batch_id, v;
INSERT INTO ven_load_samples (ven_id, load_id, ts, used_power_kw, batch_id)
SELECT ven_id, 'hvac1', ts, used_power_kw, batch_id FROM ven_telemetry
ORDER BY batch_id, ven_id;
INSERT INTO groups (group_id, name, ven_ids, created_at)
SELECT 'ten', 'ten', array_agg('ven-' || 20 * v), now() FROM generate_series(1, 10) v;
INSERT INTO groups (group_id, name, regions, created_at)
SELECT 'g' || g, 'others', array['r' || g], now() FROM generate_series(1, 100) g;
UPDATE vens SET region = 'r' || (substr(ven_id, 5)::int % 20);
INSERT INTO pending_batches SELECT lane, b FROM unnest(array['snapshot', 'history']) lane,
    generate_series({REPORTS - PENDING + 1}, {REPORTS}) b;
INSERT INTO ven_history SELECT ven_id, 300, date_bin('300 s', ts, 'epoch'), used_power_kw, 0, 1, 1, 1
FROM ven_telemetry WHERE batch_id <= {REPORTS - PENDING};
INSERT INTO network_history SELECT s, date_bin(s * interval '1 s', ts, 'epoch'), sum(used_power_kw), 0,
    count(*), count(*), count(*)
FROM ven_telemetry, unnest(array[1, 60, 300, 3600]) s WHERE batch_id <= {REPORTS - PENDING} GROUP BY 1, 2;
"""


@pytest.fixture(scope="module")
def full(postgres: DatabaseServer) -> Iterator[Engine]:
    """Ten days of 200 VENs, analyzed; no test here writes."""
    with cloned_database(postgres, "explained", TEMPLATE) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(FILL.encode())
            connection.execute("VACUUM ANALYZE")
        engine = engine_for(url, "tests")
        yield engine
        engine.dispose()


@pytest.fixture(params=["auto", "force_generic_plan"])
def connection(full: Engine, request: pytest.FixtureRequest) -> Iterator[Connection]:
    """With the plan for these parameters, and with that for any, which a pooled connection ends up with."""
    with full.connect() as connection:
        connection.exec_driver_sql(f"SET plan_cache_mode = {request.param}")
        yield connection


NUMBERS = count()
"""Names of prepared statements: psycopg has its own on the connection, so all cannot be deallocated."""


def nodes(
    connection: Connection, statement: Executable, options: str = "FORMAT json"
) -> Iterator[dict[str, Any]]:
    """Every node of the statement's plan."""
    bound: Any = statement
    text = text_for(statement, bound.compile().params)
    values = text.arguments(text.constants)
    literals = ", ".join(_literal(connection, each) for each in values)
    name = f"asked_{next(NUMBERS)}"
    # psycopg's placeholders, should the text hold a `%`, are of no concern: there are no parameters.
    connection.exec_driver_sql(f"PREPARE {name} AS {text.sql}")
    call = f"{name}({literals})" if values else name
    [[answer]] = connection.exec_driver_sql(f"EXPLAIN ({options}) EXECUTE {call}").all()
    plans = answer if isinstance(answer, list) else json.loads(answer)
    yield from _walk(plans[0]["Plan"])


def rows_read(connection: Connection, statement: Executable) -> Counter[str]:
    """How many rows of each relation are read to run a statement, also those that a filter drops."""
    read = Counter[str]()
    for node in nodes(connection, statement, "ANALYZE, FORMAT json"):
        if (relation := node.get("Relation Name")) is not None:
            rows = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
            read[relation] += round(rows * node["Actual Loops"])
    return read


def _literal(connection: Connection, value: Any) -> str:
    driver: Any = connection.connection.driver_connection
    return str(psycopg.sql.Literal(value).as_string(driver))


def _walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", []):
        yield from _walk(child)


def assert_no_scan_of_raw_rows(connection: Connection, statement: Executable) -> None:
    """Of a partition that has rows; an empty one is read in no time."""
    filled = "SELECT relname FROM raw_partitions('{}') JOIN pg_class ON pg_class.oid = id WHERE reltuples > 0"
    partitions = {
        name
        for table in PARTITIONED
        for name in connection.exec_driver_sql(filled.format(table.name)).scalars()
    }
    assert len(partitions) == 2 * DAYS
    found = list(nodes(connection, statement))
    scanned = {node["Relation Name"] for node in found if node["Node Type"] == "Seq Scan"} & partitions
    assert not scanned, json.dumps(found[0], indent=1)


def window(start: datetime | None, end: datetime | None, granularity_s: int) -> HistoryRequest:
    return HistoryRequest(
        None if start is None else microseconds(start),
        None if end is None else microseconds(end),
        granularity_s,
    )


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("table", "model"),
    [
        (ven_telemetry, ReportFrame),
        (ven_telemetry, VenSampleFrame),
        (ven_load_samples, EntryFrame),
        (ven_load_samples, LoadSampleFrame),
        (ven_load_descriptions, EntryFrame),
    ],
    ids=str,
)
@pytest.mark.parametrize("oldest", [FIRST, LAST - timedelta(days=1)], ids=["late rows too", "new rows"])
@pytest.mark.parametrize("batches", [PENDING, 1])
def test_rows_of_batches(
    table: Table, model: type[Frame], oldest: datetime, batches: int, connection: Connection
) -> None:
    newest = list(range(REPORTS - batches + 1, REPORTS + 1))
    query = pending_queries.rows_of_batches(table, model, newest, [TimeRange(oldest, LAST)])
    assert_no_scan_of_raw_rows(connection, query)


KEY = {"ven_id": "ven-7", "load_id": "hvac1"}
DAYS_PENDING = constants_of([(LAST - timedelta(hours=2)).date()])
RANGES = {
    "everything": (None, None),
    "a day": (LAST - timedelta(days=1), LAST),
    "ragged": (FIRST + timedelta(hours=30, seconds=7.5), LAST - timedelta(seconds=100.25)),
    "since": (LAST - timedelta(hours=3, seconds=1), None),
}


@pytest.mark.parametrize("asked", RANGES)
@pytest.mark.parametrize("aggregate", ["sum", "energy"])
def test_the_history_of_a_ven_with_pending_batches(
    aggregate: str, asked: str, connection: Connection
) -> None:
    query = {"sum": history.sums, "energy": history.energies}[aggregate]
    for series in (VEN, LOAD):
        assert_no_scan_of_raw_rows(
            connection, query(series, window(*RANGES[asked], 900), {**KEY, **DAYS_PENDING}).bound()
        )


ARCHIVED_UNTIL_THE_9TH = """
INSERT INTO horizons (resolution_s, since) VALUES (0, '2024-07-09Z');
INSERT INTO archives (archive_id, since, until, caught_up_xact_id)
VALUES ('some', '0001-01-01Z', '2024-07-09Z', 0);
INSERT INTO archived_days (day, version, snapshot, manifest, obsolete, archived_at)
SELECT day, 1, pg_current_snapshot()::text, '{}', '{}', now()
FROM generate_series(date '2024-07-01', date '2024-07-08', '1 day') day;
"""


def test_without_late_rows_no_batch_is_read(connection: Connection) -> None:
    connection.exec_driver_sql(ARCHIVED_UNTIL_THE_9TH)
    connection.exec_driver_sql("SET plan_cache_mode = force_custom_plan")  # as readers of histories have it
    newest = connection.exec_driver_sql("SELECT max(xact_id) FROM ingest_batches").scalar_one()
    late = late_queries.late_batches().params(caught_up_xact_id=newest + 1)
    assert connection.execute(late).all() == []
    assert rows_read(connection, late)["ingest_batches"] == 0


def test_visible_batches_are_not_late(connection: Connection) -> None:
    connection.exec_driver_sql(ARCHIVED_UNTIL_THE_9TH)
    late = late_queries.late_batches().params(caught_up_xact_id=1)
    assert connection.execute(late).all() == []
    connection.exec_driver_sql("UPDATE archived_days SET snapshot = '1:1:' WHERE day = '2024-07-03'")
    [(day, batch_ids)] = connection.execute(late)
    assert (day, len(batch_ids)) == (date(2024, 7, 3), REPORTS // DAYS)


@pytest.mark.parametrize("series", [VEN, LOAD, LISTED_LOADS], ids=["ven", "load", "loads"])
def test_late_rows_are_found_by_batch_or_ven(series: Series, connection: Connection) -> None:
    late = {
        "late_batches": [REPORTS - 1, REPORTS],
        "late_since": LAST - timedelta(days=1),
        "late_until": LAST,
    }
    key = listed(series, [("ven-7", "hvac1")]) if series.members is not None else KEY
    rows = late_queries.late_rows(series.raw, series.of, series.by, series.members)
    assert_no_scan_of_raw_rows(connection, rows.params({**key, **late}))


GROUP = group_series(GONE_AFTER)
MEMBERS = 10


@pytest.mark.parametrize("asked", RANGES)
@pytest.mark.parametrize("aggregate", ["sum", "energy"])
@pytest.mark.parametrize("group_id", ["ten", "g7"])
def test_the_history_of_a_group_reads_the_rows_of_its_members(
    group_id: str, aggregate: str, asked: str, connection: Connection
) -> None:
    """Named, or by region: of ten VENs among all, and what is pending of the others at most."""
    query = {"sum": history.sums, "energy": history.energies}[aggregate]
    of_group = query(GROUP, window(*RANGES[asked], 900), {"group_id": group_id, **DAYS_PENDING}).bound()
    assert_no_scan_of_raw_rows(connection, of_group)
    of_members = MEMBERS * REPORTS
    found = rows_read(connection, of_group)
    assert 0 < found["ven_history"] <= of_members
    telemetry_rows = sum(rows for name, rows in found.items() if name.startswith("ven_telemetry"))
    assert telemetry_rows <= 2 * MEMBERS * PENDING + of_members / 10


def test_how_far_the_history_of_a_group_reaches(connection: Connection) -> None:
    """Its first and its last instant are those of a member's first and last bucket; points are counted."""
    key = {"group_id": "ten", **DAYS_PENDING}
    reach = rows_read(connection, extent(GROUP, key).bound())
    assert reach["ven_history"] <= 2 * MEMBERS
    of_points = history.points_at_most(GROUP, window(*RANGES["a day"], 7), key)
    assert rows_read(connection, of_points.bound())["ven_history"] <= MEMBERS * REPORTS


LISTED = [f"ven-{20 * number}" for number in range(1, MEMBERS + 1)]


@pytest.mark.parametrize("asked", RANGES)
@pytest.mark.parametrize("aggregate", ["sum", "energy"])
@pytest.mark.parametrize("series", [LISTED_VENS, LISTED_LOADS], ids=["vens", "loads"])
def test_listed_histories_read_the_rows_of_those_listed(
    series: Series, aggregate: str, asked: str, connection: Connection
) -> None:
    query = {"sum": history.sums, "energy": history.energies}[aggregate]
    keys = listed(series, [(ven_id, "hvac1")[: len(series.by)] for ven_id in LISTED])
    of_listed = query(series, window(*RANGES[asked], 900), {**keys, **DAYS_PENDING}).bound()
    assert_no_scan_of_raw_rows(connection, of_listed)
    found = rows_read(connection, of_listed)
    assert found["ven_history"] <= MEMBERS * REPORTS
    raw_rows = sum(rows for name, rows in found.items() if name.startswith(series.raw.name))
    assert raw_rows <= 2 * MEMBERS * PENDING + MEMBERS * REPORTS / 10


@pytest.mark.parametrize("asked", ["everything", "a day", "since"])
def test_the_history_of_the_network_with_pending_batches(asked: str, connection: Connection) -> None:
    query = history.sums(NETWORK, window(*RANGES[asked], 900), DAYS_PENDING)
    assert_no_scan_of_raw_rows(connection, query.bound())


@pytest.mark.parametrize(
    "series",
    [NETWORK, VEN, LOAD],
    ids=["network", "ven", "load"],
)
def test_how_far_a_history_reaches(series: Series, connection: Connection) -> None:
    key = {**{name: KEY[name] for name in series.of}, **DAYS_PENDING}
    for asked in (
        extent(series, key),
        history.points_at_most(series, window(*RANGES["a day"], 7), key),
    ):
        query = asked.bound()
        assert_no_scan_of_raw_rows(connection, query)
        scanned = {
            node["Relation Name"] for node in nodes(connection, query) if node["Node Type"] == "Seq Scan"
        }
        assert not scanned & {"network_history", "ven_history"}


SPANS = {
    "new": constants_of([(LAST - timedelta(hours=2)).date()]),
    "late ones too": constants_of([FIRST.date(), LAST.date()]),
}


@pytest.mark.parametrize("span", SPANS)
def test_the_latest_of_a_ven_with_pending_batches(span: str, connection: Connection) -> None:
    for query in (
        fleet.ven_with_loads("ven-7", GONE_AFTER),
        fleet.loads_of_ven("ven-7", Page(), GONE_AFTER),
        fleet.loads_of_ven("ven-7", Page(5, "a"), GONE_AFTER),
        fleet.load("ven-7", "hvac1", GONE_AFTER),
        fleet.newest_ts("ven-7"),
    ):
        assert_no_scan_of_raw_rows(connection, query.with_values(SPANS[span]).bound())


@pytest.mark.parametrize("granularity_s", [1, 900])
def test_a_second_of_raw_rows_of_the_network(granularity_s: int, connection: Connection) -> None:
    """The splinter before the first whole second of a range."""
    start = FIRST + timedelta(days=5, seconds=0.5)
    edge = window(start, start + timedelta(seconds=1), granularity_s)
    assert_no_scan_of_raw_rows(connection, history.sums(NETWORK, edge, DAYS_PENDING).bound())


def test_the_ragged_edges_of_the_network(connection: Connection) -> None:
    assert_no_scan_of_raw_rows(
        connection, history.sums(NETWORK, window(*RANGES["ragged"], 900), DAYS_PENDING).bound()
    )


def test_the_plans_are_of_the_right_tables(connection: Connection) -> None:
    """Else the absence of a scan would prove nothing."""
    query = history.sums(VEN, window(*RANGES["ragged"], 900), {**KEY, **DAYS_PENDING})
    found = list(nodes(connection, query.bound()))
    relations = {node["Relation Name"] for node in found if "Relation Name" in node}
    assert any(relation.startswith("ven_telemetry_p") for relation in relations)
    assert {"ven_history", "pending_batches", "ingest_batches"} <= relations
    assert len(PARTITIONED) == 3


def test_settlements_read_the_slots_of_their_vens_and_days(connection: Connection) -> None:
    """A quarter of the VENs, three hours of each day: neither is all of the history read, nor raw rows."""
    ven_ids = [f"ven-{number}" for number in range(1, VENS // 4)]
    days = [FIRST + timedelta(days=day, hours=16) for day in range(DAYS)]
    ranges = [TimeRange(day, day + timedelta(hours=3)) for day in days]
    for within in ranges:
        slots = settlement_queries.packed_slot_means(ven_ids, within)
        assert not [node for node in nodes(connection, slots) if node["Node Type"] == "Seq Scan"]
    minute = TimeRange(days[-1] + timedelta(minutes=1), days[-1] + timedelta(minutes=5))
    assert_no_scan_of_raw_rows(connection, settlement_queries.samples(ven_ids, [minute]))
