"""The archive's folder, on a disk or in an object store, by pyarrow's file systems.

pyarrow is imported when a folder is first used: it takes 60 MB, which programs without an archive save.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyarrow import fs

CHUNK_BYTES = 8 * 1024 * 1024
SCHEMES = ("file://", "s3://")


class ArchiveError(Exception):
    """The archive's content is wrong, or belongs to another database."""


class ArchiveFolder:
    """Files by their path in a folder: `file:///folder`, `s3://bucket/prefix?region=...`."""

    def __init__(self, url: str) -> None:
        self._url = url

    @cached_property
    def _system(self) -> "tuple[fs.FileSystem, str]":
        from pyarrow import fs  # noqa: PLC0415 - see above

        system, root = fs.FileSystem.from_uri(self._url)
        return system, root.rstrip("/")

    def _path(self, path: str) -> str:
        return f"{self._system[1]}/{path}"

    @contextmanager
    def writing(self, path: str) -> Iterator[IO[bytes]]:
        """Open a file for writing; it appears atomically when the block succeeds, and durably on a disk."""
        if self._is_local:
            with _written_on_disk(Path(self._path(path))) as file:
                yield file
            return
        with self._system[0].open_output_stream(self._path(path)) as stream:
            yield stream

    @property
    def _is_local(self) -> bool:
        return str(self._system[0].type_name) == "local"

    def write(self, path: str, content: bytes) -> None:
        with self.writing(path) as file:
            file.write(content)

    @contextmanager
    def reading(self, path: str) -> Iterator[Any]:
        """Open a file of pyarrow with random access for reading.

        Raises:
            FileNotFoundError: it does not exist.
        """
        with self._system[0].open_input_file(self._path(path)) as file:
            yield file

    def read(self, path: str) -> bytes | None:
        """Return all bytes of a file; None if it does not exist."""
        try:
            with self.reading(path) as file:
                content: bytes = file.read()
                return content
        except FileNotFoundError:
            return None

    def digest(self, path: str) -> tuple[str, int]:
        """Return the SHA-256 and the size of a stored file."""
        sha256, size = hashlib.sha256(), 0
        with self.reading(path) as file:
            while chunk := file.read(CHUNK_BYTES):
                sha256.update(chunk)
                size += len(chunk)
        return sha256.hexdigest(), size

    def delete(self, path: str) -> None:
        """Delete a file, if it exists."""
        with suppress(FileNotFoundError):
            self._system[0].delete_file(self._path(path))


@contextmanager
def _written_on_disk(path: Path) -> Iterator[IO[bytes]]:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.part")
    with unfinished.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    for folder in (path.parent, path.parent.parent):
        _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    """Sync a folder, so that its names are durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
