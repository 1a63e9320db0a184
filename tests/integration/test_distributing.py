"""`python -m jobs distribute`: tables over the workers of a Citus cluster, by VEN."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import date, timedelta

import psycopg
import pytest
from sqlalchemy import Engine

from ingest.storing.store import Store
from jobs.queries.storage.distributing import GROWING
from jobs.running.runner import Runner
from jobs.running.schedule import schedule
from jobs.settings import Cadence
from jobs.storage.distributing import CannotDistributeError, distribute
from jobs.summaries.rebuild import verify, whole_range
from local.environment import REPOSITORY, inherited_environment
from schemas.db.connections import connect, database_url_of, engine_for
from tests.conftest import migrate
from tests.integration.published import NOW, batch_of, rows, telemetry, value
from tests.servers import DatabaseServer, make_cluster

NAMES = [table.name for table in GROWING]
COUNTS = " UNION ALL ".join(f"SELECT '{name}', count(*) FROM {name}" for name in NAMES) + " ORDER BY 1"
DISTRIBUTED = "SELECT logicalrelid::text FROM pg_dist_partition ORDER BY 1"


@pytest.fixture
def local_engine(postgres: DatabaseServer, database_names: Iterator[str]) -> Iterator[Engine]:
    """A cluster's database in which nothing is distributed yet."""
    name = next(database_names)
    make_cluster(postgres, name)
    migrate(postgres.url(name))
    engine = engine_for(postgres.url(name), "tests")
    yield engine
    engine.dispose()


def fill(engine: Engine, url: str) -> None:
    with connect(url, "ingest") as connection:
        store = Store(connection, "tests")
        store.write(batch_of(*(telemetry(f"ven-{n}", loads=[{"id": "l"}]) for n in range(20))))
    Runner(engine, lambda: NOW).catch_up(tuple(job for job in schedule(Cadence()) if job.has_backlog))


def test_without_citus_the_command_says_what_to_do(empty_database_url: str) -> None:
    migrate(empty_database_url)
    engine = engine_for(empty_database_url, "tests")
    with pytest.raises(CannotDistributeError, match="CREATE EXTENSION citus"):
        distribute(engine)
    engine.dispose()


@pytest.mark.thorough
def test_the_command(empty_database_url: str) -> None:
    migrate(empty_database_url)
    ended = subprocess.run(
        [sys.executable, "-m", "jobs", "distribute"],
        cwd=REPOSITORY,
        env=inherited_environment(DATABASE_URL=empty_database_url),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "no extension citus" in ended.stderr


@pytest.mark.citus
def test_distributed_once(engine: Engine, connection: psycopg.Connection) -> None:
    """The template is distributed already; partitions that are made later are so with their parent."""
    assert distribute(engine) == []
    day = date(2031, 5, 6)
    connection.execute("SELECT ensure_raw_partitions(%s::date[])", [[day]])
    found = {name for [name] in rows(connection, DISTRIBUTED)}
    assert found >= {*NAMES, "ven_telemetry_p20310506", "ven_load_samples_p20310506"}
    assert value(connection, "SELECT stored_bytes('ven_telemetry_p20310506')") > 0


@pytest.mark.citus
def test_rows_in_the_way(local_engine: Engine) -> None:
    url = database_url_of(local_engine)
    fill(local_engine, url)
    with connect(url, "tests") as connection:
        before = rows(connection, COUNTS)
        assert [count for name, count in before if name == "ven_load_samples"] == [20]
        with pytest.raises(CannotDistributeError, match=r"rows in ven_telemetry.*--with-rows"):
            distribute(local_engine)
        assert rows(connection, DISTRIBUTED) == []
        assert distribute(local_engine, with_rows=True) == NAMES
        assert rows(connection, COUNTS) == before
    with local_engine.connect() as own:
        within = whole_range(own, None, None)
    assert within is not None
    assert all(chunk.differences.is_empty() for chunk in verify(local_engine, within))


@pytest.mark.citus
def test_a_table_that_is_distributed_otherwise(local_engine: Engine) -> None:
    url = database_url_of(local_engine)
    with connect(url, "tests") as connection:
        connection.execute("SELECT create_reference_table('ven_statuses')")
    with pytest.raises(CannotDistributeError, match=r"ven_statuses \(method n.*undistribute_table"):
        distribute(local_engine)


@pytest.mark.citus
def test_while_rows_are_moved(local_engine: Engine) -> None:
    url = database_url_of(local_engine)
    with connect(url, "tests") as connection:
        connection.execute(
            "INSERT INTO partition_moves VALUES ('ven_telemetry', 'ven_telemetry_p2023', %s, %s, %s, 1)",
            [NOW - timedelta(days=1), NOW, NOW],
        )
    with pytest.raises(CannotDistributeError, match="moved to ven_telemetry_p2023"):
        distribute(local_engine)
