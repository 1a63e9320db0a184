"""A real PostgreSQL for each test process; a freshly migrated database for each test.

Migrating takes a second, cloning the migrated template a few milliseconds.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine

from local.postgres import EmbeddedPostgres
from schemas.database import engine_for
from tests.examples import load_profile

load_profile()

REPOSITORY = Path(__file__).resolve().parent.parent
TEMPLATE = "gridgate_template"


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
    """What a run without failures leaves behind interests nobody."""
    if exitstatus == pytest.ExitCode.OK and not hasattr(session.config, "workerinput"):
        shutil.rmtree(session.config.option.basetemp, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("shared"), durable=False) as server:
        server.ensure_database(TEMPLATE)
        migrate(server.url(TEMPLATE))
        yield server


@pytest.fixture(scope="session")
def database_names() -> Iterator[str]:
    return (f"test_{number}" for number in count())


@pytest.fixture
def database_url(postgres: EmbeddedPostgres, database_names: Iterator[str]) -> Iterator[str]:
    """A database of its own, at head, for one test."""
    name = next(database_names)
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{TEMPLATE}" STRATEGY FILE_COPY')
        yield postgres.url(name)
        admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = engine_for(database_url, "tests")
    yield engine
    engine.dispose()


def migrate(database_url: str, target: str = "head", command: str = "upgrade") -> None:
    subprocess.run(
        [sys.executable, "-m", "alembic", command, target],
        cwd=REPOSITORY,
        env={**os.environ, "DATABASE_URL": database_url},
        check=True,
        capture_output=True,
        text=True,
    )
