"""The manifests of the archive's days. Pure."""

from collections.abc import Sequence
from datetime import date, datetime
from functools import reduce

import msgspec
from msgspec import Struct

FORMAT = 1
IDENTITY = "archive.json"


class ArchiveIdentity(Struct, frozen=True):
    """The content of `archive.json`, which identifies the archive."""

    archive_id: str
    format: int = FORMAT


class ColumnTotals(Struct, frozen=True):
    """The number of a column's non-null values, and the sum of numbers."""

    values: int
    sum: float | None = None


class Totals(Struct, frozen=True):
    """Totals of a table's rows, which any tool can compute from the file, too."""

    rows: int
    vens: int
    first_ts: datetime
    last_ts: datetime
    columns: dict[str, ColumnTotals]


class ArchivedFile(Struct, frozen=True):
    """A Parquet file with rows of a table and day; `path` is relative to the archive's folder.

    Rows outside the summary came late for a day that was dropped before there was an archive: it is unknown
    which of them had been counted.
    """

    path: str
    table: str
    bytes: int
    sha256: str
    totals: Totals
    in_summary: bool = True


class Manifest(Struct, frozen=True):
    """The manifest of a day: a table's files together have its rows of that day, each once."""

    archive_id: str
    day: date
    version: int
    files: list[ArchivedFile]
    format: int = FORMAT

    def of_table(self, table: str) -> list[ArchivedFile]:
        return [each for each in self.files if each.table == table]

    @property
    def rows(self) -> int:
        return sum(each.totals.rows for each in self.files)

    @property
    def bytes(self) -> int:
        return sum(each.bytes for each in self.files)


def as_json(document: Struct) -> bytes:
    """Return a document as readable JSON."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def manifest_path(day: date) -> str:
    return f"manifests/{day.isoformat()}.json"


def file_path(table: str, day: date, version: int) -> str:
    return f"{table}/{day.isoformat()}.{version}.parquet"


def added_up(parts: Sequence[Totals]) -> Totals:
    """Return the totals of one or more parts without common VENs."""
    return reduce(_both, parts)


def _both(one: Totals, other: Totals) -> Totals:
    return Totals(
        one.rows + other.rows,
        one.vens + other.vens,
        min(one.first_ts, other.first_ts),
        max(one.last_ts, other.last_ts),
        {name: _both_columns(totals, other.columns[name]) for name, totals in one.columns.items()},
    )


def _both_columns(one: ColumnTotals, other: ColumnTotals) -> ColumnTotals:
    total = None if one.sum is None or other.sum is None else one.sum + other.sum
    return ColumnTotals(one.values + other.values, total)
