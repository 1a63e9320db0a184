"""Since when there are raw rows in PostgreSQL or in the archive, and up to when the archive has them all."""

from datetime import UTC, datetime, time

from sqlalchemy import Connection

from jobs.queries import archive as queries
from jobs.queries import retention as retention_queries
from jobs.storage.layout import BEGINNING
from schemas.archive.folder import ArchiveFolder
from schemas.tables.history import RAW_S


def archived_until(connection: Connection) -> datetime:
    """The midnight before which the archive has every committed row; `BEGINNING` without an archive.

    Whoever must rely on it longer than for a statement locks the raw tables first.
    """
    archive = queries.archive().first(connection)
    if archive is None or not connection.execute(queries.is_of_this_server()).scalar_one():
        return BEGINNING
    behind = connection.execute(queries.first_day_behind()).scalar_one()
    return archive.until if behind is None else datetime.combine(behind, time(), UTC)


def readable_since(connection: Connection, folder: ArchiveFolder | None) -> datetime | None:
    """Since when raw rows can be read, of PostgreSQL or of the archive in a folder; None since ever."""
    dropped_until: datetime | None = connection.execute(retention_queries.horizon(RAW_S)).scalar_one_or_none()
    archive = None if folder is None else queries.archive().first(connection)
    return dropped_until if dropped_until is None or archive is None else archive.since
