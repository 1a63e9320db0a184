"""Archived days as lazy frames: Polars reads only the columns and row groups in use."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time
from urllib.parse import parse_qs, urlsplit

import msgspec
import polars as pl

from schemas.archive.folder import ArchiveFolder
from schemas.archive.manifest import ArchivedFile, Manifest
from schemas.tables import FRAMES

OPTIONS = {"region": "aws_region", "endpoint_override": "aws_endpoint_url"}
"""Of a URL, and their names for Polars."""


class ArchiveScans:
    """The files of an archive for `scan_parquet`: `file:///folder` or `s3://bucket/prefix?region=...`."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self.folder = ArchiveFolder(url)

    def scan(self, table: str, files: Iterable[ArchivedFile]) -> pl.LazyFrame:
        """The rows of some files of a table, in the files' order."""
        paths = [self._path(each.path) for each in files]
        if not paths:
            return pl.LazyFrame(schema=FRAMES[table].types())
        return pl.scan_parquet(paths, storage_options=self._options or None, glob=False)

    def _path(self, path: str) -> str:
        folder = f"{self._parts.netloc}{self._parts.path}".rstrip("/")
        return f"{folder}/{path}" if self._parts.scheme == "file" else f"s3://{folder}/{path}"

    @property
    def _options(self) -> dict[str, str]:
        parameters = {name: values[0] for name, values in parse_qs(self._parts.query).items()}
        options = {ours: parameters[name] for name, ours in OPTIONS.items() if name in parameters}
        if "endpoint_override" in parameters:
            scheme = parameters.get("scheme", "https")
            options["aws_endpoint_url"] = f"{scheme}://{parameters['endpoint_override']}"
            options["aws_allow_http"] = str(scheme == "http").lower()
        return options


def manifest_of(text: str) -> Manifest:
    return msgspec.json.decode(text, type=Manifest)


def start_of(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
