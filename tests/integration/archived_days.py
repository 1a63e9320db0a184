"""Days of the traffic of tests that the archive has, and that PostgreSQL has dropped."""

from datetime import UTC, datetime, timedelta

from falcon import testing
from sqlalchemy import Engine, func, select

from jobs.archive.writing import archive_next_day
from jobs.storage.retention import delete_raw_rows, drop_raw_days
from schemas.archive.folder import ArchiveFolder
from schemas.tables.raw import ven_telemetry
from serving.app import create_app
from serving.routes import AppOptions
from tests.integration.whole_system import NOW, WholeSystem

DAY = timedelta(days=1)


def client_of(system: WholeSystem, folder: ArchiveFolder) -> testing.TestClient:
    options = AppOptions(loads_gone_after=None, archive=folder)
    return testing.TestClient(create_app(system.engine, lambda: NOW, [], options))


def archive(engine: Engine, folder: ArchiveFolder, now: datetime = NOW) -> None:
    handled = 1
    while handled:
        with engine.begin() as connection:
            handled = archive_next_day(connection, now, folder=folder, after=timedelta(0))


def drop(engine: Engine, *, is_archived: bool = True) -> None:
    """Let retention take all raw rows before 2024-07-09."""
    assert raw_rows_before_the_9th(engine) > 0
    with engine.begin() as connection:
        drop_raw_days(connection, NOW, {0: DAY}, is_archived=is_archived)
    delete(engine, is_archived=is_archived)
    assert raw_rows_before_the_9th(engine) == 0


def delete(engine: Engine, *, is_archived: bool = True) -> None:
    with engine.begin() as connection:
        delete_raw_rows(connection, NOW, {0: DAY}, is_archived=is_archived)


def raw_rows_before_the_9th(engine: Engine) -> int:
    count = select(func.count()).where(ven_telemetry.c.ts < datetime(2024, 7, 9, tzinfo=UTC))
    with engine.connect() as connection:
        return connection.execute(count).scalar_one()
