"""Archived days as lazy frames: Polars reads only the columns and row groups in use."""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import msgspec
import polars as pl
from sqlalchemy import Connection, Table

from analysis.arguments import choice
from analysis.ranges import TimeRangeUs
from schemas.archive.folder import ArchiveFolder
from schemas.archive.manifest import ArchivedFile, Manifest, manifest_path
from schemas.db.horizons import dropped_before
from schemas.db.queries import Query
from schemas.tables import FRAMES
from schemas.tables.history import RAW_S
from schemas.tables.raw import PARTITIONED
from schemas.times.instants import BEGINNING, from_microseconds, microseconds
from serving.history.archive import ArchiveView, archive_view
from serving.history.late_queries import late_rows

OPTIONS = {"region": "aws_region", "endpoint_override": "aws_endpoint_url"}
"""Of a URL, and their names for Polars."""


class ArchiveScans:
    """The files of an archive for `scan_parquet`: `file:///folder` or `s3://bucket/prefix?region=...`."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self.folder = ArchiveFolder(url)

    def rows(
        self, connection: Connection, table: Table, within: TimeRangeUs
    ) -> tuple[datetime, pl.LazyFrame | None]:
        """The end of the days that retention has dropped, and the rows of these days in a range.

        They are those of the files and, already in memory, the late rows that are new to the archive.

        Args:
            connection: in a transaction with one snapshot, in which no raw rows are dropped.
            table: a partitioned raw table.
            within: of device time.
        """
        dropped_until = connection.execute(dropped_before(RAW_S)).scalar_one_or_none()
        view = archive_view(connection, self.folder, is_counted=False)
        if dropped_until is None or view is None:
            return BEGINNING, None
        start_us = microseconds(BEGINNING) if within.start_us is None else within.start_us
        until_us = microseconds(dropped_until)
        end_us = until_us if within.end_us is None else min(within.end_us, until_us)
        if start_us >= end_us:
            return dropped_until, None
        start, end = from_microseconds(start_us), from_microseconds(end_us)
        archived = self.scan(table.name, view.files(table.name, start, end))
        within_range = archived.filter(pl.col("ts") >= start, pl.col("ts") < end)
        types = FRAMES[table.name].types()
        late = _late_rows(view, table, start_us, end_us)
        return dropped_until, pl.concat([within_range.select(list(types)), late.select(list(types)).lazy()])

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


def archived_rows(url: str, table: str, start: date, end: date) -> pl.LazyFrame:
    """The rows of an archive's days from `start` to before `end`, by the manifests in its folder, in UTC.

    It needs no database, but does not have what came since the manifests were written: `grid.raw` has.

    Raises:
        ValueError: the archive has none of these days, or there is no such table.
    """
    choice("table", table, [each.name for each in PARTITIONED])
    scans = ArchiveScans(url)
    days = (start + timedelta(days=number) for number in range((end - start).days))
    texts = (scans.folder.read(manifest_path(day)) for day in days)
    manifests = [msgspec.json.decode(text, type=Manifest) for text in texts if text is not None]
    if not manifests:
        raise ValueError(f"{url} has no manifest of a day from {start} to before {end}")
    return scans.scan(table, (file for each in manifests for file in each.of_table(table)))


def _late_rows(view: ArchiveView, table: Table, start_us: int, end_us: int) -> pl.DataFrame:
    """The rows of a range that came late and are new, with all columns."""
    types = FRAMES[table.name].types()
    values = view.late_values(start_us, end_us)
    if values is None:
        return pl.DataFrame(schema=dict(types))
    return view.unarchived(table.name, Query(tuple, late_rows(table, names=tuple(types)), values))
