"""A real PostgreSQL for each test process; a freshly migrated database for each test.

Migrating takes a second, cloning the migrated template a few milliseconds.
"""

import logging
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg
import pytest
import structlog
from alembic import command
from alembic.config import Config
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Engine

from jobs.storage.distributing import distribute
from local.postgres import EmbeddedPostgres
from schemas.db.connections import engine_for
from tests.examples import load_profile
from tests.servers import DatabaseServer, GivenServer, cloned_database, is_citus, make_cluster

load_profile()

# Two processes more for each ingest that a test starts; those that are about them set it themselves.
os.environ.setdefault("INGEST_WORKERS", "1")

REPOSITORY = Path(__file__).resolve().parent.parent
TEMPLATE = "gridgate_template"
MEMORY = Path("/dev/shm")  # noqa: S108 - a directory of our own in it
ROOM_BYTES = 4 * 2**30
OURS_IN_MEMORY = "gridgate-tests-"

LONGEST = frozenset(
    {
        "test_archived_histories.py",
        "test_bulk_histories.py",
        "test_dashboard.py",
        "test_dashboard_vens.py",
        "test_demand_response.py",
        "test_duty_day.py",
        "test_exit_codes.py",
        "test_notebooks.py",
        "test_openadr_walk.py",
    }
)
"""Files that take minutes. They begin first: at the end of a run no process waits for another's long file."""

NEIGHBOURS = """
CREATE TABLE invoices (day date, amount int) PARTITION BY RANGE (day);
CREATE TABLE invoices_p20240101 PARTITION OF invoices FOR VALUES FROM ('2024-01-01') TO ('2024-01-02');
CREATE TABLE invoices_p2023 PARTITION OF invoices FOR VALUES FROM ('2023-01-01') TO ('2024-01-01');
CREATE TABLE invoices_before_2020 PARTITION OF invoices FOR VALUES FROM (MINVALUE) TO ('2020-01-01');
CREATE TABLE invoices_default PARTITION OF invoices DEFAULT;
INSERT INTO invoices VALUES ('2010-01-01', 1), ('2023-01-01', 2), ('2024-01-01', 4), ('2024-02-01', 8);
CREATE SCHEMA neighbour;
CREATE TABLE neighbour.ven_telemetry (ts timestamptz) PARTITION BY RANGE (ts);
CREATE TABLE neighbour.ven_telemetry_p20240704 PARTITION OF neighbour.ven_telemetry
    FOR VALUES FROM ('2024-07-04 00:00Z') TO ('2024-07-05 00:00Z');
CREATE TABLE neighbour.ven_telemetry_before_2020 PARTITION OF neighbour.ven_telemetry
    FOR VALUES FROM (MINVALUE) TO ('2020-01-01 00:00Z');
CREATE TABLE neighbour.ven_telemetry_default PARTITION OF neighbour.ven_telemetry DEFAULT;
INSERT INTO neighbour.ven_telemetry VALUES ('2011-01-01Z'), ('2024-07-04Z'), ('2024-07-10Z');
CREATE TABLE neighbour.ingest_batches AS SELECT 1 AS batch_id;
CREATE TABLE neighbour.alembic_version AS SELECT 'theirs' AS version_num
"""
"""Tables of others in our database, before ours: named like ours, and partitioned; one schema is not ours."""

NEIGHBOURS_ROWS = """
SELECT tableoid::regclass::text, count(*) FROM (
    SELECT tableoid FROM invoices UNION ALL SELECT tableoid FROM neighbour.ven_telemetry
    UNION ALL SELECT tableoid FROM neighbour.ingest_batches
    UNION ALL SELECT tableoid FROM neighbour.alembic_version
) AS theirs GROUP BY 1 ORDER BY 1
"""
NEIGHBOURS_HAVE = [
    ("invoices_before_2020", 1),
    ("invoices_default", 1),
    ("invoices_p2023", 1),
    ("invoices_p20240101", 1),
    ("neighbour.alembic_version", 1),
    ("neighbour.ingest_batches", 1),
    ("neighbour.ven_telemetry_before_2020", 1),
    ("neighbour.ven_telemetry_default", 1),
    ("neighbour.ven_telemetry_p20240704", 1),
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--examples", type=int, help="how often schemathesis tries each operation, at random")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """A directory of its own for each run.

    As root, PostgreSQL runs as another user, to whom each run of pytest closes the directory that they share.
    """
    if config.option.basetemp is None and not hasattr(config, "workerinput"):
        config.option.basetemp = Path(tempfile.mkdtemp(prefix="gridgate-tests-"))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Files of a run without failures are of no use."""
    if exitstatus == pytest.ExitCode.OK and not hasattr(session.config, "workerinput"):
        shutil.rmtree(session.config.option.basetemp, ignore_errors=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs a Citus cluster, or what cannot be on one; put the longest files first."""
    items.sort(key=lambda item: item.path.name not in LONGEST)
    url = os.environ.get("TEST_DATABASE_URL")
    mark = "not_on_citus" if url and is_citus(GivenServer(url)) else "citus"
    left_out = [item for item in items if item.get_closest_marker(mark)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def server_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """In memory, where there is room: to clone a database on a disk takes ten times as long."""
    if not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < ROOM_BYTES:
        yield tmp_path_factory.mktemp("shared")
        return
    for left in MEMORY.glob(f"{OURS_IN_MEMORY}*"):
        if not Path("/proc", left.name.split("-")[2]).exists():  # a run that was killed
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{OURS_IN_MEMORY}{os.getpid()}-", dir=MEMORY) as name:
        Path(name).chmod(0o711)  # as root, PostgreSQL runs as another user
        yield Path(name) / "shared"


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Iterator[DatabaseServer]:
    """The server that `TEST_DATABASE_URL` names, or an embedded one."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        given = GivenServer(url)
        try:
            _make_template(given)
            yield given
        finally:
            given.drop_all()
        return
    with EmbeddedPostgres(request.getfixturevalue("server_directory"), durable=False) as server:
        _make_template(server)
        yield server


def _make_template(server: DatabaseServer) -> None:
    if is_citus(server):
        make_cluster(server, TEMPLATE)
    else:
        server.ensure_database(TEMPLATE)
    with psycopg.connect(server.url(TEMPLATE), autocommit=True) as admin:
        admin.execute(NEIGHBOURS.encode())
    migrate(server.url(TEMPLATE))
    if is_citus(server):
        engine = engine_for(server.url(TEMPLATE), "tests")
        distribute(engine)
        engine.dispose()


@pytest.fixture(scope="session")
def database_names() -> Iterator[str]:
    return (f"test_{number}" for number in count())


@pytest.fixture
def database_url(postgres: DatabaseServer) -> Iterator[str]:
    """A database of its own, at head, for one test: always of the same name, so that engines can be kept."""
    with cloned_database(postgres, "test", TEMPLATE) as url:
        yield url


@pytest.fixture(scope="module")
def module_database_url(postgres: DatabaseServer, database_names: Iterator[str]) -> Iterator[str]:
    """A database for the tests of a file, which only read it, or are made from it by `cloned_database`."""
    with cloned_database(postgres, next(database_names), TEMPLATE) as url:
        yield url


@pytest.fixture(scope="session")
def test_engine(postgres: DatabaseServer) -> Engine:
    """The engine of every test's database, which keeps the statements that it has compiled."""
    return engine_for(postgres.url("test"), "tests")


@pytest.fixture
def engine(test_engine: Engine, database_url: str) -> Iterator[Engine]:
    """An engine with listeners and options of the test, on the cache of compiled statements of all tests."""
    assert str(test_engine.url.database) == conninfo_to_dict(database_url)["dbname"]
    engine = test_engine.execution_options()
    yield engine
    engine.dispose()


@contextmanager
def unchanged_logs() -> Iterator[None]:
    """The migrations configure the logs of their process, which is that of the tests here."""
    root, configuration = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.configure(**configuration)
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)


def migrate(database_url: str, target: str = "head", direction: str = "upgrade") -> None:
    """Bring a database to a revision, in this process: to import SQLAlchemy again takes longer than that."""
    configuration = Config(toml_file=REPOSITORY / "pyproject.toml")
    with pytest.MonkeyPatch.context() as process, unchanged_logs():
        process.setenv("DATABASE_URL", database_url)
        process.setattr(sys, "excepthook", sys.excepthook)
        process.setattr(threading, "excepthook", threading.excepthook)
        {"upgrade": command.upgrade, "downgrade": command.downgrade}[direction](configuration, target)
