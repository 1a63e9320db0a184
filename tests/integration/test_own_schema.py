"""A whole life in a schema of one's own, in a database that others share."""

import json
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from analysis import connect as analyze
from analysis.database_grid import DatabaseGrid
from ingest.storing.store import Store
from jobs.running.runner import Runner
from jobs.running.schedule import schedule
from jobs.settings import Cadence
from jobs.storage.retention import drop_raw_days
from schemas.db.connections import connect, engine_for
from schemas.tables import metadata
from tests.conftest import migrate
from tests.integration.published import NOW, batch_of, telemetry, value
from tests.integration.test_live_served import serving
from tests.servers import DatabaseServer

SCHEMA = "gridgate"


@pytest.fixture
def shared_url(postgres: DatabaseServer, request: pytest.FixtureRequest) -> Any:
    """A database whose `public` holds tables of others that are named as ours, each with a row."""
    name = "shared_" + "".join(filter(str.isalnum, request.node.name))
    postgres.ensure_database(name)
    url = postgres.url(name)
    with psycopg.connect(url, autocommit=True) as neighbour:
        neighbour.execute(f"CREATE SCHEMA {SCHEMA}".encode())
        for table in (*metadata.tables, "alembic_version", "ven_telemetry_p20240101"):
            neighbour.execute(f"CREATE TABLE public.{table} AS SELECT 'theirs' AS mine".encode())
    return url


def by_options(shared_url: str, _directory: Path) -> str:
    """With a space, which SQLAlchemy writes as `+`, and libpq reads as a plus."""
    separator = "&" if "?" in shared_url else "?"
    return f"{shared_url}{separator}options=-c%20search_path%3D{SCHEMA}%20-c%20work_mem%3D8MB"


def by_service(shared_url: str, directory: Path) -> str:
    """With a file of passwords in the URL; both paths have a space."""
    parameters = {**conninfo_to_dict(shared_url), "options": f"-c search_path={SCHEMA} -c work_mem=8MB"}
    lines = [f"{name}={value}" for name, value in parameters.items()]
    (directory / "pg service.conf").write_text("\n".join(["[shared]", *lines]) + "\n")
    (directory / "pass file").touch(mode=0o600)
    return f"postgresql:///?service=shared&passfile={directory}/pass%20file"


@pytest.mark.thorough
@pytest.mark.parametrize("url_of", [by_options, by_service])
def test_migrate_ingest_jobs_serve_retain(
    shared_url: str,
    url_of: Callable[[str, Path], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`options` of DATABASE_URL was overwritten in silence, and all of this happened in `public`."""
    services = str(tmp_path / "pg service.conf")
    monkeypatch.setenv("PGSERVICEFILE", services)
    url = url_of(shared_url, tmp_path)
    migrate(url)
    engine = engine_for(url, "jobs")
    with connect(url, "ingest") as connection:
        Store(connection, "tests").write(batch_of(telemetry("a", used_kw=1.5)))
    Runner(engine, lambda: NOW).catch_up(schedule(Cadence()))
    with serving(url, PGSERVICEFILE=services) as (port, _):
        path = f"http://127.0.0.1:{port}/api/vens/a"
        with urllib.request.urlopen(path, timeout=20) as answer:
            assert json.load(answer)["metrics"]["currentPowerKw"] == 1.5
    with connect(url, "tests") as connection:
        assert value(connection, "SELECT count(*) FROM ven_telemetry") == 1
        assert value(connection, "SHOW work_mem") == "8MB"
        assert value(connection, "SHOW lock_timeout") == "5s"
    analysis_agrees(url)
    with engine.begin() as retaining:
        assert drop_raw_days(retaining, NOW + timedelta(days=10), {0: timedelta(days=1)}) > 0
    engine.dispose()
    with psycopg.connect(shared_url, autocommit=True) as neighbour:
        for table in (*metadata.tables, "alembic_version", "ven_telemetry_p20240101"):
            assert value(neighbour, f"SELECT mine FROM public.{table}") == "theirs"
    migrate(url, "base", "downgrade")


def analysis_agrees(url: str) -> None:
    """By SQLAlchemy, by the connection pool, and by ADBC."""
    with analyze(url) as grid:
        assert isinstance(grid, DatabaseGrid)
        assert grid.raw.telemetry().collect().get_column("used_power_kw").to_list() == [1.5]
        assert grid.raw.table("vens").get_column("ven_id").to_list() == ["a"]
        assert grid.history("5m", ven_id="a").get_column("used_power_kw").to_list() == [1.5]
        assert grid.verify().is_empty()
