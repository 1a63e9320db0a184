"""Late rows of days that PostgreSQL has dropped: compared with the archive, and added to it."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import polars as pl
from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import Connection, Table

from jobs.archive.counting import count_rows, update_latest
from jobs.queries.storage import archive as queries
from jobs.queries.summaries import merging as merging_queries
from jobs.queries.summaries import pending as pending_queries
from jobs.summaries.rows import fetch, write
from jobs.transforms.summaries.late_rows import (
    ENTRY_CONTENT,
    WeighedRows,
    weighed_entries,
    weighed_reports,
    weighed_samples,
)
from schemas.archive.folder import ArchiveFolder
from schemas.archive.manifest import ArchivedFile, Manifest, file_path
from schemas.archive.parquet import read_rows, write_file
from schemas.tables import FRAMES
from schemas.tables.raw import PARTITIONED, ven_load_descriptions, ven_load_samples, ven_telemetry
from schemas.times.time_ranges import TimeRange

ENTRY_KEY = ("ven_id", "load_id", "ts")
REPORT_CONTENT = ("ven_id", "ts", "payload")

MOST_FILES = 8
"""Most files of a table and day; beyond it late rows are merged with all but the largest."""


class DayVersion(Struct, frozen=True):
    """The content of a new version of a day."""

    files: list[ArchivedFile]
    obsolete: list[str]
    """Files of the previous version that are not part of it."""


def add_late_rows(  # noqa: PLR0913 - what a step knows of its day
    connection: Connection,
    folder: ArchiveFolder,
    manifest: Manifest,
    within: TimeRange,
    *,
    snapshot: str,
    now: datetime,
    is_counted: bool,
) -> DayVersion:
    """Archive and count rows of late batches for a dropped day; reject rows that contradict the archive.

    Args:
        connection: in a transaction.
        folder: of the archive.
        manifest: the day's files so far.
        within: the day.
        snapshot: batches whose transactions are visible in it are in the archive.
        now: time of receipt of rejected rows.
        is_counted: whether the archive has had the day since before it was dropped.

    Returns:
        The day with the late rows.
    """
    batch_ids = connection.execute(queries.late_batches(within, snapshot)).scalars().all()
    if not batch_ids:
        return DayVersion(manifest.files, [])
    weighed = _weighed(connection, folder, manifest, within, batch_ids)
    for table, rows in weighed.items():
        _refuse(connection, table, rows.conflicting, now)
    update_latest(connection, *(weighed[table].new for table in PARTITIONED))
    if is_counted:
        count_rows(connection, weighed[ven_telemetry].new, weighed[ven_load_samples].new)
    tables = [_added(folder, manifest, table, rows.new) for table, rows in weighed.items()]
    files = (file for version in tables for file in version.files)
    return DayVersion(
        [replace(file, in_summary=is_counted) for file in files],
        [path for version in tables for path in version.obsolete],
    )


def _added(folder: ArchiveFolder, manifest: Manifest, table: Table, rows: pl.DataFrame) -> DayVersion:
    """Return a table's files of a day and one for new rows, into which many small ones are merged."""
    files = manifest.of_table(table.name)
    if rows.is_empty():
        return DayVersion(files, [])
    merged = sorted(files, key=lambda file: file.totals.rows)[:-1] if len(files) >= MOST_FILES else []
    path = file_path(table.name, manifest.day, manifest.version + 1)
    key = [column.name for column in table.primary_key]
    types = FRAMES[table.name].types()
    together = pl.concat([read_rows(folder, merged, types, []), rows.select(list(types))]).sort(key)
    file = write_file(folder, path, str(table.name), [together])
    unmerged = [each for each in files if each not in merged]
    return DayVersion([*unmerged, *([] if file is None else [file])], [each.path for each in merged])


def _weighed(
    connection: Connection,
    folder: ArchiveFolder,
    manifest: Manifest,
    within: TimeRange,
    batch_ids: Sequence[int],
) -> Mapping[Table, WeighedRows]:
    def late(table: Table) -> pl.DataFrame:
        model = FRAMES[table.name]
        query = pending_queries.rows_of_batches(table, model, batch_ids, [within])
        return fetch(connection, query, model)

    def archived(table: Table, columns: Sequence[str], rows: pl.DataFrame) -> pl.DataFrame:
        types = FRAMES[table.name].types()
        ven_ids = rows.get_column("ven_id").unique().to_list()
        files = manifest.of_table(table.name)
        return read_rows(folder, files, {name: types[name] for name in columns}, [("ven_id", "in", ven_ids)])

    reports, samples = late(ven_telemetry), late(ven_load_samples)
    descriptions = late(ven_load_descriptions)
    entry = (*ENTRY_KEY, *ENTRY_CONTENT)
    weighed = weighed_reports(reports, archived(ven_telemetry, REPORT_CONTENT, reports))
    return {
        ven_telemetry: weighed,
        ven_load_samples: weighed_samples(
            samples, archived(ven_load_samples, entry, samples), reports, weighed.new
        ),
        ven_load_descriptions: weighed_entries(
            descriptions, archived(ven_load_descriptions, entry, descriptions)
        ),
    }


def _refuse(connection: Connection, table: Table, conflicting: pl.DataFrame, now: datetime) -> None:
    """Move rows to the rejected messages, as ingest would have done."""
    if conflicting.is_empty():
        return
    refused = [_refusal(table, row, now) for row in conflicting.iter_rows(named=True)]
    connection.execute(queries.reject(refused))
    write(connection, conflicting, table, merging_queries.remove)


def _refusal(table: Table, row: dict[str, object], now: datetime) -> dict[str, object]:
    """Return a rejected message; a load's entry is built from its row, as its bytes are not stored."""
    is_report = table is ven_telemetry
    what = row["ven_id"] if is_report else f"{row['load_id']} of {row['ven_id']}"
    payload = row["payload"] if is_report else repr({name: row[name] for name in ENTRY_CONTENT})
    return {
        "topic": f"oadr/meter/{row['ven_id']}" if is_report else f"ven/loads/{row['ven_id']}",
        "payload": str(payload).encode(),
        "reason": "conflict" if is_report else "load_conflict",
        "detail": f"{what} at {row['ts']} is archived already with other content",
        "ven_id": row["ven_id"],
        "ts": row["ts"],
        "received_at": row["received_at"] if is_report else now,
    }
