"""Compares the archive's files with the manifests in the database: `python -m jobs archive --check`."""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time

from msgspec import Struct
from sqlalchemy import Connection

from jobs.queries.storage import archive as queries
from jobs.queries.storage.archive import manifest_of
from schemas.archive.folder import ArchiveFolder
from schemas.archive.manifest import ArchivedFile, Manifest, as_json, manifest_path
from schemas.db.horizons import dropped_before
from schemas.tables.history import RAW_S
from schemas.times.instants import BEGINNING


class Damage(Struct, frozen=True):
    """A file that is missing, or has changed since it was verified."""

    day: date
    path: str
    what: str


def damages(connection: Connection, folder: ArchiveFolder) -> Iterator[Damage]:
    """Read all files; yields the damaged ones."""
    for row in queries.archived().all(connection):
        manifest = manifest_of(row)
        if not _is_intact(folder, manifest):
            yield Damage(row.day, manifest_path(row.day), f"not the manifest of version {row.version}")
        for each in manifest.files:
            if damage := _damage(folder, each):
                yield Damage(row.day, each.path, damage)


def write_again(connection: Connection, days: Iterable[date]) -> date | None:
    """Mark days to be written again, from the first that PostgreSQL still has; returns it, None without any.

    Until they are written, nothing from there on is dropped.
    """
    dropped_until = connection.execute(dropped_before(RAW_S)).scalar_one_or_none() or BEGINNING
    stored_days = [day for day in days if datetime.combine(day, time(), UTC) >= dropped_until]
    if not stored_days:
        return None
    connection.execute(queries.go_back(datetime.combine(min(stored_days), time(), UTC)))
    return min(stored_days)


def _is_intact(folder: ArchiveFolder, manifest: Manifest) -> bool:
    return folder.read(manifest_path(manifest.day)) == as_json(manifest)


def _damage(folder: ArchiveFolder, file: ArchivedFile) -> str | None:
    try:
        sha256, size = folder.digest(file.path)
    except FileNotFoundError:
        return "missing"
    if size != file.bytes:
        return f"{size} bytes, not {file.bytes}"
    return None if sha256 == file.sha256 else f"SHA-256 {sha256}, not {file.sha256}"
