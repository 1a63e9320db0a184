"""Tables that grow fast are analyzed, and found by their BRIN indexes, before autovacuum comes."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Connection, Engine, event

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
    flush_counts(connection)


def flush_counts(connection: psycopg.Connection) -> None:
    """Have PostgreSQL count what this session has written: at the end of the next statement."""
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
    flush_counts(connection)
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


@pytest.mark.parametrize("mode", ["SHARE UPDATE EXCLUSIVE", "ACCESS EXCLUSIVE"])
def test_a_table_that_is_being_vacuumed_or_moved_waits_for_the_next_run(
    mode: str, engine: Engine, connection: psycopg.Connection, database_url: str
) -> None:
    add_samples(connection, MANY)
    with connect(database_url, "vacuum") as other, other.transaction():
        other.execute(f"LOCK TABLE {TODAY} IN {mode} MODE".encode())
        analyze(engine)
        assert value(connection, ESTIMATE.format(TODAY)) < 0
        assert summarize(engine) == 0
    assert (analyze(engine), summarize(engine) > 2) == (1, True)


def test_ranges_before_the_last_summarized_one_are_not_looked_at(
    engine: Engine, connection: psycopg.Connection
) -> None:
    """A large table has a hundred thousand: each run took as long as the table was large."""
    add_samples(connection, MANY)
    summarize(engine)
    connection.execute(f"SELECT brin_desummarize_range('{TODAY}_batch_id_idx', 0)".encode())
    add_samples(connection, MANY, first=MANY + 1)
    assert summarize(engine) > 2
    assert value(connection, OF_TODAY) == 1


@pytest.mark.parametrize("step", [analyze_grown_tables, summarize_new_pages])
def test_a_table_that_is_dropped_meanwhile_is_skipped(
    step: Callable[[Connection, datetime], int],
    engine: Engine,
    connection: psycopg.Connection,
    database_url: str,
) -> None:
    """The job `partitions` drops those that it has merged, and `retention` old ones."""
    add_samples(connection, MANY)

    def drop_before(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("ANALYZE") or "brin_summarize" in statement:
            with connect(database_url, "partitions") as other:
                other.execute(f"DROP TABLE IF EXISTS {TODAY}".encode())

    event.listen(engine, "before_cursor_execute", drop_before)
    with engine.begin() as session:
        step(session, NOW)
        assert session.exec_driver_sql("SELECT 1").scalar_one() == 1
    assert value(connection, f"SELECT to_regclass('{TODAY}')") is None
