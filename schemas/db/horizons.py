"""The horizons of retention: the times before which rows are deleted."""

from datetime import datetime

from sqlalchemy import Select, select

from schemas.tables.archive import archives
from schemas.tables.history import RAW_S, horizons


def dropped_before(resolution_s: int) -> Select[datetime]:
    """Select the time before which retention has deleted a resolution; no row if it has deleted nothing."""
    return select(horizons.c.since).where(horizons.c.resolution_s == resolution_s)


def compared_before() -> Select[datetime]:
    """Select the time before which late rows have no effect until they are compared with the archive.

    It is the horizon of raw rows; no row without an archive.
    """
    return dropped_before(RAW_S).where(select(archives.c.archive_id).exists())
