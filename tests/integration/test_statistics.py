"""Tables that grow fast are analyzed, and found by their BRIN indexes, before autovacuum comes."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Engine

from jobs.storage.statistics import FEWEST_ROWS, analyze_grown_tables, summarize_new_pages
from schemas.db.connections import connect, engine_for
from tests.integration.published import NOW, rows, value

TODAY = f"ven_load_samples_p{NOW:%Y%m%d}"
MANY = 4 * FEWEST_ROWS
ESTIMATE = "SELECT CAST(reltuples AS bigint) FROM pg_class WHERE oid = '{}'::regclass"
SUMMARIZE = (
    "SELECT sum(brin_summarize_new_values(indexrelid)) FROM pg_index JOIN pg_class ON oid = indexrelid"
)
OF_TODAY = (
    f"{SUMMARIZE} JOIN pg_am ON pg_am.oid = relam WHERE indrelid = '{TODAY}'::regclass AND amname = 'brin'"
)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = engine_for(database_url, "jobs")
    yield made
    made.dispose()


@pytest.fixture
def connection(connection: psycopg.Connection) -> psycopg.Connection:
    """Autovacuum would do what is to be seen here."""
    connection.execute("SELECT ensure_raw_partitions(%s::date[])", [[NOW.date()]])
    for table in (TODAY, "ven_load_samples_default", "load_snapshots"):
        off = sql.SQL("ALTER TABLE {} SET (autovacuum_enabled = off)").format(sql.Identifier(table))
        connection.execute(off)
    return connection


def add_samples(connection: psycopg.Connection, count: int, at: datetime = NOW, first: int = 1) -> None:
    connection.execute(
        "INSERT INTO ven_load_samples (ven_id, load_id, ts, batch_id)"
        " SELECT 'ven-' || n, 'l', %s::timestamptz, n / 100 FROM generate_series(%s::int, %s::int) AS n",
        [at, first, first + count - 1],
    )
    connection.execute("SELECT pg_stat_force_next_flush()")
    connection.execute("SELECT 1")


def analyze(engine: Engine) -> int:
    with engine.begin() as connection:
        return analyze_grown_tables(connection, NOW)


def summarize(engine: Engine) -> int:
    with engine.begin() as connection:
        return summarize_new_pages(connection, NOW)


def test_a_table_is_analyzed_each_time_it_has_doubled(engine: Engine, connection: psycopg.Connection) -> None:
    assert analyze(engine) == 0
    add_samples(connection, MANY)
    assert value(connection, ESTIMATE.format(TODAY)) < 0, "nobody has analyzed it"
    assert analyze(engine) == 1
    assert value(connection, ESTIMATE.format(TODAY)) == MANY
    assert analyze(engine) == 0
    connection.execute("UPDATE ven_load_samples SET used_power_kw = 1")  # many changes are no growth
    connection.execute("SELECT pg_stat_force_next_flush()")
    connection.execute("SELECT 1")
    assert analyze(engine) == 0
    add_samples(connection, 2 * MANY, first=MANY + 1)
    assert analyze(engine) == 1


def test_new_pages_are_summarized_once(engine: Engine, connection: psycopg.Connection) -> None:
    add_samples(connection, MANY)
    assert summarize(engine) > 2
    assert summarize(engine) == 0
    assert value(connection, OF_TODAY) == 0
    analyze(engine)
    plan = rows(connection, f"EXPLAIN SELECT * FROM {TODAY} WHERE batch_id BETWEEN 100 AND 101")
    assert any("_batch_id_idx" in line for [line] in plan)


def test_few_rows_and_the_default_partition_are_left_alone(
    engine: Engine, connection: psycopg.Connection
) -> None:
    """Ingest makes partitions under a lock of the default one, and waits for it only a moment."""
    add_samples(connection, FEWEST_ROWS // 2)
    add_samples(connection, MANY, NOW + timedelta(days=9999))
    assert value(connection, "SELECT count(*) FROM ven_load_samples_default") == MANY
    assert (analyze(engine), summarize(engine)) == (0, 0)


def test_a_table_that_is_being_vacuumed_waits_for_the_next_run(
    engine: Engine, connection: psycopg.Connection, database_url: str
) -> None:
    add_samples(connection, MANY)
    with connect(database_url, "vacuum") as other, other.transaction():
        other.execute(f"LOCK TABLE {TODAY} IN SHARE UPDATE EXCLUSIVE MODE".encode())
        analyze(engine)
        assert value(connection, ESTIMATE.format(TODAY)) < 0
        assert summarize(engine) == 0
    assert (analyze(engine), summarize(engine) > 2) == (1, True)
