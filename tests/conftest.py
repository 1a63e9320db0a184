"""A real PostgreSQL for each test process; a freshly migrated database for each test.

Migrating takes a second, cloning the migrated template a few milliseconds.
"""

import os
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

REPOSITORY = Path(__file__).resolve().parent.parent
TEMPLATE = "gridgate_template"


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    # Not below pytest's own directory: another session of pytest closes that to other users, and as root
    # the server runs as one.
    with (
        tempfile.TemporaryDirectory(prefix="gridgate-tests-", ignore_cleanup_errors=True) as directory,
        EmbeddedPostgres(Path(directory), durable=False) as server,
    ):
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


def migrate(database_url: str, target: str = "head") -> None:
    command = "downgrade" if target == "base" else "upgrade"
    subprocess.run(
        [sys.executable, "-m", "alembic", command, target],
        cwd=REPOSITORY,
        env={**os.environ, "DATABASE_URL": database_url},
        check=True,
        capture_output=True,
        text=True,
    )
