"""Reads raw rows of days that retention has dropped from the archive."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, Select, select

from schemas.archive.folder import ArchiveFolder
from schemas.archive.manifest import ArchivedFile, Manifest
from schemas.archive.parquet import Filter, read_rows
from schemas.tables import FRAMES
from schemas.tables.archive import archived_days, archives
from schemas.times.instants import from_microseconds, microseconds

BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
COLUMNS = ("ven_id", "load_id", "ts", "used_power_kw", "shed_power_kw")


class ArchiveView(Struct, frozen=True):
    """The archive as of a transaction: a `RawArchive`. Files are only added to dropped days."""

    connection: Connection
    folder: ArchiveFolder
    since_us: int | None

    def rows(
        self, table: str, start_us: int | None, end_us: int, key: Mapping[str, object]
    ) -> Mapping[str, list[object]]:
        types = {name: kind for name, kind in FRAMES[table].types().items() if name in COLUMNS}
        start, end = BEGINNING if start_us is None else from_microseconds(start_us), from_microseconds(end_us)
        within: list[Filter] = [("ts", ">=", start), ("ts", "<", end)]
        files = list(self._files(table, start, end))
        frame = read_rows(self.folder, files, types, [*within, *_filters(key)])
        return {column.name: column.to_list() for column in frame}

    def _files(self, table: str, start: datetime, end: datetime) -> Iterator[ArchivedFile]:
        """Return the files whose rows the summary counts, in this snapshot."""
        for content in self.connection.execute(_manifests(start, end)).scalars():
            manifest = msgspec.convert(content, Manifest)
            yield from (each for each in manifest.of_table(table) if each.in_summary)


def archive_view(connection: Connection, folder: ArchiveFolder | None) -> ArchiveView | None:
    """Return the archive in the snapshot of a transaction; None without one."""
    if folder is None:
        return None
    since = connection.execute(select(archives.c.since)).scalar_one_or_none()
    if since is None:
        return None
    return ArchiveView(connection, folder, None if since == BEGINNING else microseconds(since))


def _manifests(start: datetime, end: datetime) -> Select[object]:
    day, last = archived_days.c.day, end - timedelta.resolution
    days = select(archived_days.c.manifest).where(day.between(start.date(), last.date()))
    return days.order_by(day)


def _filters(key: Mapping[str, object]) -> Iterator[Filter]:
    for name in ("ven_id", "load_id"):
        if name in key:
            yield (name, "==", key[name])
    listed = key.get("ven_ids")
    if isinstance(listed, Sequence):
        yield ("ven_id", "in", list(listed))
