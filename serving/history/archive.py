"""Reads raw rows of days that retention has dropped: from the archive, and late ones from PostgreSQL."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta

import msgspec
import polars as pl
from msgspec import Struct
from sqlalchemy import Connection, Select, select

from schemas.archive.folder import ArchiveFolder
from schemas.archive.manifest import ArchivedFile, Manifest
from schemas.archive.parquet import Filter, read_rows
from schemas.db.queries import Query, columns_of
from schemas.tables import FRAMES
from schemas.tables.archive import archived_days
from schemas.tables.raw import ven_telemetry
from schemas.times.instants import BEGINNING, from_microseconds, microseconds
from serving.history import late_queries
from serving.history.late_queries import COLUMNS

DAY = timedelta(days=1)
REPORT_KEY, ENTRY_KEY = ("ven_id", "ts"), ("ven_id", "load_id", "ts")

ARCHIVE: Query[tuple[datetime, int]] = Query(tuple, late_queries.archive())


class ArchiveView(Struct, frozen=True):
    """The archive as of a transaction: a `RawArchive`. Files are only added to dropped days."""

    connection: Connection
    folder: ArchiveFolder
    since_us: int | None
    late_batches: Mapping[date, Sequence[int]]
    """By day, batches that may have rows that the archive lacks."""
    is_counted: bool = True
    """Whether it has only rows that the summary counts, or will count."""

    def rows(
        self, table: str, start_us: int | None, end_us: int, key: Mapping[str, object]
    ) -> Mapping[str, str]:
        start, end = BEGINNING if start_us is None else from_microseconds(start_us), from_microseconds(end_us)
        within: list[Filter] = [("ts", ">=", start), ("ts", "<", end)]
        names = [name for name in FRAMES[table].types() if name in COLUMNS]
        return _as_arrays(self.archived(table, names, start, end, [*within, *_filters(key)]))

    @property
    def has_late(self) -> bool:
        return bool(self.late_batches)

    def late_values(self, start_us: int | None, end_us: int | None) -> Mapping[str, object] | None:
        batches: set[int] = set()
        days = [day for day in self.late_batches if _overlaps(day, start_us, end_us)]
        if not days:
            return None
        for day in days:
            batches.update(self.late_batches[day])
        since = _midnight(min(days)) if start_us is None else from_microseconds(start_us)
        until = _midnight(max(days)) + DAY if end_us is None else from_microseconds(end_us)
        return {
            "late_batches": sorted(batches),
            "late_since": max(since, _midnight(min(days))),
            "late_until": min(until, _midnight(max(days)) + DAY),
        }

    def new_rows(self, table: str, late: Query[tuple[object, ...]]) -> Mapping[str, str] | None:
        rows = self.unarchived(table, late)
        return None if rows.is_empty() else _as_arrays(rows)

    def unarchived(self, table: str, late: Query[tuple[object, ...]]) -> pl.DataFrame:
        """Return the late rows that are new: a sample with a report is if its report is, others by their key.

        Args:
            table: of the rows.
            late: selects them, with their key and `has_report`, as `late_queries.late_rows` does.
        """
        types = {**FRAMES[table].types(), "has_report": pl.Boolean}
        schema = {name: types[name] for name in columns_of(late.statement)}
        rows = pl.DataFrame(late.all(self.connection), schema=schema, orient="row")
        reported = self._unarchived(rows.filter("has_report"), ven_telemetry.name, REPORT_KEY)
        alone = self._unarchived(rows.filter(~pl.col("has_report")), table, ENTRY_KEY)
        return pl.concat([reported, alone]).drop("has_report")

    def _unarchived(self, late: pl.DataFrame, table: str, key: Sequence[str]) -> pl.DataFrame:
        """Return the rows whose keys a table of the archive does not have."""
        if late.is_empty():
            return late
        ven_ids = late.get_column("ven_id").unique().sort().to_list()
        first, last = late.select(first=pl.col("ts").min(), last=pl.col("ts").max()).row(0)
        filters: list[Filter] = [("ts", ">=", first), ("ts", "<=", last), ("ven_id", "in", ven_ids)]
        archived = self.archived(table, key, first, last + timedelta.resolution, filters)
        return late.join(archived, on=list(key), how="anti")

    def archived(
        self, table: str, names: Sequence[str], start: datetime, end: datetime, filters: Sequence[Filter]
    ) -> pl.DataFrame:
        """Return columns of the rows that pass all filters, from the files of the days of a range."""
        types = FRAMES[table].types()
        files = list(self.files(table, start, end))
        return read_rows(self.folder, files, {name: types[name] for name in names}, filters)

    def files(self, table: str, start: datetime, end: datetime) -> Iterator[ArchivedFile]:
        """Yield a table's files of the days of a range in this snapshot, oldest first."""
        for content in self.connection.execute(_manifests(start, end)).scalars():
            files = msgspec.convert(content, Manifest).of_table(table)
            yield from (each for each in files if each.in_summary or not self.is_counted)


def archive_view(
    connection: Connection, folder: ArchiveFolder | None, *, is_counted: bool = True
) -> ArchiveView | None:
    """Return the archive in the snapshot of a transaction; None without one.

    Args:
        connection: in a transaction with one snapshot.
        folder: of the archive.
        is_counted: only rows that the summary counts, or will count: not late ones of days that were dropped
            before there was an archive.
    """
    if folder is None:
        return None
    archive = ARCHIVE.first(connection)
    if archive is None:
        return None
    since, caught_up = archive
    batches = late_queries.late_batches(is_counted=is_counted)
    query: Query[tuple[date, Sequence[int]]] = Query(tuple, batches, {"caught_up_xact_id": caught_up})
    since_us = None if since == BEGINNING else microseconds(since)
    return ArchiveView(connection, folder, since_us, dict(query.each(connection)), is_counted)


def _manifests(start: datetime, end: datetime) -> Select[object]:
    day, last = archived_days.c.day, end - timedelta.resolution
    days = select(archived_days.c.manifest).where(day.between(start.date(), last.date()))
    return days.order_by(day)


def _as_arrays(frame: pl.DataFrame) -> Mapping[str, str]:
    """Return columns as PostgreSQL's arrays in text: of lists, psycopg would convert value by value."""
    texts = frame.select(_as_text(column).fill_null("NULL").alias(column.name) for column in frame)
    return {column.name: f"{{{','.join(column)}}}" for column in texts}


def _as_text(column: pl.Series) -> pl.Expr:
    if isinstance(column.dtype, pl.Datetime):
        return pl.col(column.name).dt.strftime("%Y-%m-%d %H:%M:%S%.6f+00")
    if column.dtype == pl.String:
        escaped = pl.col(column.name).str.replace_all(r'(["\\])', r"\$1")
        return pl.concat_str(pl.lit('"'), escaped, pl.lit('"'))
    return pl.col(column.name).cast(pl.String)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _overlaps(day: date, start_us: int | None, end_us: int | None) -> bool:
    midnight = _midnight(day)
    return (start_us is None or microseconds(midnight + DAY) > start_us) and (
        end_us is None or microseconds(midnight) < end_us
    )


def _filters(key: Mapping[str, object]) -> Iterator[Filter]:
    for name in ("ven_id", "load_id"):
        if name in key:
            yield (name, "==", key[name])
    listed = key.get("ven_ids")
    if isinstance(listed, Sequence):
        yield ("ven_id", "in", list(listed))
