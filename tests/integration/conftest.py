"""What most tests of one database want."""

from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import Engine

from ingest.storing.store import Store
from jobs.running.runner import Runner
from schemas.db.connections import connect
from tests.integration.published import NOW
from tests.integration.whole_system import WholeSystem
from tests.servers import DatabaseServer


@pytest.fixture
def empty_database_url(postgres: DatabaseServer, database_names: Iterator[str]) -> str:
    """A database without our tables."""
    name = next(database_names)
    postgres.ensure_database(name)
    return postgres.url(name)


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    with connect(database_url, "tests") as connection:
        yield connection


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with connect(database_url, "ingest") as connection:
        yield Store(connection, "tests")


@pytest.fixture
def runner(engine: Engine) -> Runner:
    return Runner(engine, lambda: NOW)


@pytest.fixture
def system(engine: Engine, database_url: str) -> Iterator[WholeSystem]:
    built = WholeSystem(engine, database_url)
    built.empty()
    yield built
    built.close()
