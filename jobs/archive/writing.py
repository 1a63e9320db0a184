"""The job `archive`: writes closed days to the archive, and rewrites those to which batches have added rows.

Each step is a transaction that archives one day: files first, the row in `archived_days` last.
See docs/decisions/0060.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta

import msgspec
import polars as pl
import structlog
from sqlalchemy import Connection, Table

from jobs.archive.late import DayVersion, add_late_rows
from jobs.queries.storage import archive as queries
from jobs.queries.storage.archive import ArchiveRow, manifest_of
from jobs.queries.summaries import summary as summary_queries
from jobs.queries.summaries.summary import Scope
from jobs.storage.layout import overlap
from jobs.storage.partitions import partitions_of
from jobs.summaries.models import VenSizeFrame
from jobs.summaries.rows import fetch
from jobs.summaries.ven_ranges import VenRange, even_ven_ranges
from schemas.archive.folder import ArchiveError, ArchiveFolder
from schemas.archive.manifest import (
    IDENTITY,
    ArchivedFile,
    ArchiveIdentity,
    Manifest,
    as_json,
    file_path,
    manifest_path,
)
from schemas.archive.parquet import write_file
from schemas.db import locks
from schemas.db.horizons import dropped_before
from schemas.tables import FRAMES
from schemas.tables.history import RAW_S
from schemas.tables.raw import PARTITIONED
from schemas.times.instants import BEGINNING
from schemas.times.time_ranges import DAY_S, TimeRange, widened

MOST_ROWS = 100_000
"""Most rows of a row group's VENs, for all tables together; a single VEN may have more."""

DAY = timedelta(days=1)
LONGEST_READ = timedelta(hours=1)
"""How long a reader of a dropped day may use the manifest that it has read."""

_log = structlog.get_logger()


def archive_next_day(
    connection: Connection, now: datetime, *, folder: ArchiveFolder, after: timedelta
) -> int:
    """Archive the first day with missing rows, or the next closed day.

    Args:
        connection: in a transaction.
        now: a day is closed if it ended at least `after` before.
        folder: of the archive.
        after: time between a day's end and its first version.

    Returns:
        The number of rows written, plus one for the day; 0 if there was nothing to do.

    Raises:
        ArchiveError: the folder is not that of this database, or a file differs when it is read back.
        OSError: the folder cannot be read or written.
    """
    if not connection.execute(locks.try_exclusive(locks.ARCHIVE)).scalar_one():
        return 0
    archive = _opened(connection, folder)
    if archive is None:
        return 1
    _delete_obsolete(connection, folder, now)
    connection.execute(summary_queries.HOLD_RAW)
    snapshot = connection.execute(queries.current_snapshot()).scalar_one()
    closed_until = widened(TimeRange(now - after, now - after), DAY_S).start
    day = _next_day(connection, TimeRange(archive.until, closed_until))
    if day is None:
        connection.execute(queries.advance(closed_until))
        connection.execute(queries.catch_up(queries.oldest_of(snapshot)))
        return 0
    manifest = _archive(connection, folder, archive, day, snapshot=snapshot, now=now)
    connection.execute(queries.advance(_midnight(day) + DAY))
    return 1 + manifest.rows


def _opened(connection: Connection, folder: ArchiveFolder) -> ArchiveRow | None:
    """Return the archive, after checking its folder; None if it has just been created."""
    archive, identity = queries.archive().first(connection), _identity(folder)
    if archive is None:
        if identity is not None:
            raise ArchiveError(f"ARCHIVE_URL holds another archive, {identity}: choose an empty folder")
        connection.execute(queries.begin_archive(BEGINNING))
        return None
    if identity is None and queries.archived().all(connection):
        raise ArchiveError(
            f"ARCHIVE_URL does not hold the archive {archive.archive_id}: is it another folder?"
        )
    if identity is None:
        folder.write(IDENTITY, as_json(ArchiveIdentity(archive.archive_id)))
    elif identity != archive.archive_id:
        raise ArchiveError(f"ARCHIVE_URL holds the archive {identity}, not {archive.archive_id}")
    if not connection.execute(queries.is_of_this_server()).scalar_one():
        connection.execute(queries.begin_again(BEGINNING))
        connection.execute(queries.forget_snapshots())
        return None
    return archive


def _identity(folder: ArchiveFolder) -> str | None:
    content = folder.read(IDENTITY)
    return None if content is None else msgspec.json.decode(content, type=ArchiveIdentity).archive_id


def _delete_obsolete(connection: Connection, folder: ArchiveFolder, now: datetime) -> None:
    """Delete files that are part of no committed version, and that no reader of a dropped day uses."""
    for each in queries.with_obsolete_files(now - LONGEST_READ).all(connection):
        for path in each.obsolete:
            folder.delete(path)
        connection.execute(queries.forget_obsolete(each.day))


def _next_day(connection: Connection, closed: TimeRange) -> date | None:
    """Return the first archived day with missing rows; else the first day with rows in a range."""
    behind = connection.execute(queries.first_day_behind()).scalar_one()
    if behind is not None or closed.start >= closed.end:
        return behind
    firsts = [first for table in PARTITIONED for first in _firsts(connection, table, closed)]
    return min(firsts).date() if firsts else None


def _firsts(connection: Connection, table: Table, within: TimeRange) -> Iterator[datetime]:
    """Return the first instants with rows in a range: of the partitions by time, and of the default one."""
    is_found = False
    for each in partitions_of(connection, table):
        if not each.is_default and (is_found or not overlap(each.within, within)):
            continue
        first = connection.execute(queries.first_ts(each.name, within)).scalar_one()
        if first is not None:
            is_found = True
            yield first


def _archive(
    connection: Connection,
    folder: ArchiveFolder,
    archive: ArchiveRow,
    day: date,
    *,
    snapshot: str,
    now: datetime,
) -> Manifest:
    """Write the next version of a day, and record it."""
    row = queries.archived_day(day).first(connection)
    previous = Manifest(archive.archive_id, day, 0, []) if row is None else manifest_of(row)
    if _is_dropped(connection, day):
        read = queries.EMPTY_SNAPSHOT if row is None else row.snapshot
        within = TimeRange(_midnight(day), _midnight(day) + DAY)
        version = add_late_rows(
            connection,
            folder,
            previous,
            within,
            snapshot=read,
            now=now,
            is_counted=_midnight(day) >= archive.since,
        )
    else:
        version = DayVersion(
            list(_files(connection, folder, day, previous.version + 1)),
            [each.path for each in previous.files],
        )
    manifest = Manifest(archive.archive_id, day, previous.version + 1, version.files)
    folder.write(manifest_path(day), as_json(manifest))
    content = msgspec.to_builtins(manifest)
    obsolete = [*([] if row is None else row.obsolete), *version.obsolete]
    connection.execute(queries.record(manifest, content, snapshot, obsolete, now))
    _log.info(
        "day_archived", day=f"{day}", version=manifest.version, rows=manifest.rows, bytes=manifest.bytes
    )
    return manifest


def _is_dropped(connection: Connection, day: date) -> bool:
    """Return whether retention has dropped the day: its remaining rows came late."""
    since = connection.execute(dropped_before(RAW_S)).scalar_one_or_none()
    return since is not None and _midnight(day) < since


def _files(connection: Connection, folder: ArchiveFolder, day: date, version: int) -> Iterator[ArchivedFile]:
    """Write a file for each table that has rows of the day."""
    scope = Scope(TimeRange(_midnight(day), _midnight(day) + DAY), _midnight(day))
    sizes = fetch(connection, summary_queries.rows_by_ven(scope), VenSizeFrame)
    ven_ranges = list(even_ven_ranges(sizes.iter_rows(), MOST_ROWS))
    for table in PARTITIONED:
        frames = _frames(connection, table, scope, ven_ranges)
        file = write_file(folder, file_path(table.name, day, version), str(table.name), frames)
        if file is not None:
            yield file


def _frames(
    connection: Connection, table: Table, scope: Scope, ven_ranges: Sequence[VenRange]
) -> Iterator[pl.DataFrame]:
    """Yield the rows of each range of VENs, sorted by the table's key."""
    model, key = FRAMES[table.name], [column.name for column in table.primary_key]
    for each in ven_ranges:
        part = msgspec.structs.replace(scope, vens=each)
        yield fetch(connection, queries.rows(table, model, part), model).sort(key)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
