"""A durable PostgreSQL, and databases at the head revision on it."""

import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest

from local.postgres import EmbeddedPostgres
from tests.conftest import TEMPLATE, migrate

MakeDatabase = Callable[[], str]


@pytest.fixture(scope="session")
def durable() -> Iterator[EmbeddedPostgres]:
    # Not below pytest's own directory, which another session of pytest closes to other users.
    with (
        tempfile.TemporaryDirectory(prefix="gridgate-bench-", ignore_cleanup_errors=True) as directory,
        EmbeddedPostgres(Path(directory), durable=True) as server,
    ):
        server.ensure_database(TEMPLATE)
        migrate(server.url(TEMPLATE))
        yield server


@pytest.fixture
def make_database(durable: EmbeddedPostgres) -> Iterator[MakeDatabase]:
    """Makes databases that are dropped after the test."""
    names: list[str] = []
    with psycopg.connect(durable.url("postgres"), autocommit=True) as admin:

        def make() -> str:
            names.append(f"bench_{next(_numbers)}")
            admin.execute(f'CREATE DATABASE "{names[-1]}" TEMPLATE "{TEMPLATE}" STRATEGY FILE_COPY'.encode())
            return durable.url(names[-1])

        yield make
        for name in names:
            admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


_numbers = count()
