"""The range for which raw rows can be read, and the time before which the archive is complete."""

from datetime import UTC, datetime, time

from sqlalchemy import Connection

from jobs.queries.storage import archive as queries
from schemas.archive.folder import ArchiveFolder
from schemas.db import horizons
from schemas.db.horizons import dropped_before
from schemas.tables.history import RAW_S
from schemas.times.instants import BEGINNING


def archived_until(connection: Connection) -> datetime:
    """Return the midnight before which the archive has every committed row; `BEGINNING` without an archive.

    A caller that relies on it for longer than one statement must lock the raw tables first.
    """
    archive = queries.archive().first(connection)
    if archive is None or not connection.execute(queries.is_of_this_server()).scalar_one():
        return BEGINNING
    behind = connection.execute(queries.first_day_behind()).scalar_one()
    return archive.until if behind is None else datetime.combine(behind, time(), UTC)


def readable_since(connection: Connection, folder: ArchiveFolder | None) -> datetime | None:
    """Return since when raw rows can be read, also from the archive; None if none were ever dropped."""
    dropped_until: datetime | None = connection.execute(dropped_before(RAW_S)).scalar_one_or_none()
    archive = None if folder is None else queries.archive().first(connection)
    return dropped_until if dropped_until is None or archive is None else archive.since


def compared_before(connection: Connection) -> datetime:
    """Return the time before which late rows have no effect until they are compared with the archive.

    It is `BEGINNING` while nothing was dropped, or without an archive.
    """
    return connection.execute(horizons.compared_before()).scalar_one_or_none() or BEGINNING
