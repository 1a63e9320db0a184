"""Late rows of days that PostgreSQL does not hold any more: weighed against the archive, added to it."""

from collections.abc import Iterator, Sequence
from datetime import datetime

import polars as pl
from msgspec.structs import replace
from sqlalchemy import Connection, Table

from jobs.queries import archive as queries
from jobs.queries import merging as merging_queries
from jobs.queries import pending as pending_queries
from jobs.summaries.rows import fetch, write
from jobs.transforms.late_rows import (
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
from schemas.tables.raw import ven_load_descriptions, ven_load_samples, ven_telemetry
from schemas.times.time_ranges import TimeRange

ENTRY_KEY = ("ven_id", "load_id", "ts")
REPORT_CONTENT = ("ven_id", "ts", "payload")


def late_files(
    connection: Connection,
    folder: ArchiveFolder,
    manifest: Manifest,
    within: TimeRange,
    *,
    snapshot: str,
    now: datetime,
) -> Iterator[ArchivedFile]:
    """Write what late batches brought for a dropped day, and refuse what contradicts the archive.

    Args:
        connection: in a transaction.
        folder: of the archive.
        manifest: the day's files so far.
        within: the day.
        snapshot: batches whose transactions are visible in it are in the archive.
        now: when conflicting rows are refused.

    Returns:
        The new files, each written when it is asked for.
    """
    batch_ids = connection.execute(queries.late_batches(within, snapshot)).scalars().all()
    if not batch_ids:
        return
    weighed = _weighed(connection, folder, manifest, within, batch_ids)
    for table, rows in weighed.items():
        _refuse(connection, table, rows.conflicting, now)
        path = file_path(table.name, manifest.day, manifest.version + 1)
        key = [column.name for column in table.primary_key]
        file = write_file(folder, path, str(table.name), [rows.new.sort(key)])
        if file is not None:
            yield replace(file, is_late=True)


def _weighed(
    connection: Connection,
    folder: ArchiveFolder,
    manifest: Manifest,
    within: TimeRange,
    batch_ids: Sequence[int],
) -> dict[Table, WeighedRows]:
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
    """Put rows among the refused messages, as ingest would have, and delete them."""
    if conflicting.is_empty():
        return
    refused = [_refusal(table, row, now) for row in conflicting.iter_rows(named=True)]
    connection.execute(queries.reject(refused))
    write(connection, conflicting, table, merging_queries.remove)


def _refusal(table: Table, row: dict[str, object], now: datetime) -> dict[str, object]:
    """The topic and the bytes of a load's entry are gone: then the row stands for it."""
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
