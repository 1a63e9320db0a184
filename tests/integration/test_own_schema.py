"""A whole life in a schema of one's own, in a database that others share."""

import json
import urllib.request
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from ingest.store import Store
from jobs.retention import drop_raw_days
from jobs.runner import Runner
from jobs.schedule import schedule
from jobs.settings import Cadence
from local.postgres import EmbeddedPostgres
from schemas.database import connect, engine_for
from schemas.tables import metadata
from tests.conftest import migrate
from tests.integration.published import NOW, batch_of, telemetry, value
from tests.integration.test_live_served import serving

SCHEMA = "gridgate"


@pytest.fixture
def shared_url(postgres: EmbeddedPostgres, request: pytest.FixtureRequest) -> Any:
    """A database whose `public` holds tables of others that are named as ours, each with a row."""
    name = f"shared_{request.node.name}"
    postgres.ensure_database(name)
    url = postgres.url(name)
    with psycopg.connect(url, autocommit=True) as neighbour:
        neighbour.execute(f"CREATE SCHEMA {SCHEMA}".encode())
        for table in (*metadata.tables, "alembic_version", "ven_telemetry_p20240101"):
            neighbour.execute(f"CREATE TABLE public.{table} AS SELECT 'theirs' AS mine".encode())
    return url


@pytest.mark.thorough
def test_migrate_ingest_jobs_serve_retain(shared_url: str) -> None:
    """`options` of DATABASE_URL was overwritten in silence, and all of this happened in `public`."""
    url = f"{shared_url}{'&' if '?' in shared_url else '?'}options=-csearch_path%3D{SCHEMA}"
    migrate(url)
    engine = engine_for(url, "jobs")
    with connect(url, "ingest") as connection:
        Store(connection, "tests").write(batch_of(telemetry("a", used_kw=1.5)))
    Runner(engine, lambda: NOW).catch_up(schedule(Cadence()))
    with serving(url) as (port, _):
        path = f"http://127.0.0.1:{port}/api/vens/a"
        with urllib.request.urlopen(path, timeout=20) as answer:
            assert json.load(answer)["metrics"]["currentPowerKw"] == 1.5
    with connect(url, "tests") as connection:
        assert value(connection, "SELECT count(*) FROM ven_telemetry") == 1
    with engine.begin() as retaining:
        assert drop_raw_days(retaining, NOW + timedelta(days=10), {0: timedelta(days=1)}) > 0
    engine.dispose()
    with psycopg.connect(shared_url, autocommit=True) as neighbour:
        for table in (*metadata.tables, "alembic_version", "ven_telemetry_p20240101"):
            assert value(neighbour, f"SELECT mine FROM public.{table}") == "theirs"
    migrate(url, "base", "downgrade")
