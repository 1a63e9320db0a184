"""Up to when the archive has everything that PostgreSQL has."""

from datetime import UTC, datetime, time

from sqlalchemy import Connection

from jobs.queries import archive as queries
from jobs.storage.layout import BEGINNING


def archived_until(connection: Connection) -> datetime:
    """The midnight before which the archive has every committed row; `BEGINNING` without an archive.

    Whoever must rely on it longer than for a statement locks the raw tables first.
    """
    archive = queries.archive().first(connection)
    if archive is None or not connection.execute(queries.is_of_this_server()).scalar_one():
        return BEGINNING
    behind = connection.execute(queries.first_day_behind()).scalar_one()
    return archive.until if behind is None else datetime.combine(behind, time(), UTC)
