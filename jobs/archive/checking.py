"""Whether the archive's files are those that the database knows: `python -m jobs archive --check`."""

from collections.abc import Iterator

from sqlalchemy import Connection

from jobs.archive.writing import manifest_of
from jobs.queries import archive as queries
from schemas.archive.folder import ArchiveFolder
from schemas.archive.manifest import ArchivedFile, Manifest, as_json, manifest_path


def damages(connection: Connection, folder: ArchiveFolder) -> Iterator[str]:
    """A line for each file that is missing, or is not what it was when it was verified."""
    for row in queries.archived().all(connection):
        manifest = manifest_of(row)
        if not _is_intact(folder, manifest):
            yield f"{manifest_path(row.day)}: not the manifest of version {row.version}"
        for each in manifest.files:
            if damage := _damage(folder, each):
                yield f"{each.path}: {damage}"


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
