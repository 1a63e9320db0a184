"""Writes frames to Parquet files of the archive, verified by reading them back; reads rows of VENs."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

import polars as pl
from msgspec import Struct

from schemas.archive.folder import ArchiveError, ArchiveFolder
from schemas.archive.manifest import ArchivedFile, ColumnTotals, Totals, added_up
from schemas.db.frame_models import DataType

ZSTD_LEVEL = 9
PAGE_BYTES = 1024 * 1024


class RowGroup(Struct, frozen=True):
    """A written row group."""

    totals: Totals
    digest: bytes
    """Digest of all values in order; comparable within a process."""


def write_file(
    folder: ArchiveFolder, path: str, table: str, frames: Iterable[pl.DataFrame]
) -> ArchivedFile | None:
    """Write frames without common VENs, each as a row group, and verify the file.

    Without any row there is no file.

    Raises:
        ArchiveError: the file differs when it is read back.
    """
    filled = (frame for frame in frames if not frame.is_empty())
    first = next(filled, None)
    if first is None:
        return None
    groups = list(_written(folder, path, first, filled))
    _verify(folder, path, groups)
    sha256, size = folder.digest(path)
    return ArchivedFile(path, table, size, sha256, added_up([group.totals for group in groups]))


def _written(
    folder: ArchiveFolder, path: str, first: pl.DataFrame, others: Iterable[pl.DataFrame]
) -> Iterator[RowGroup]:
    from pyarrow import parquet  # noqa: PLC0415 - see schemas/archive/folder.py

    schema = first.to_arrow(compat_level=pl.CompatLevel.oldest()).schema
    texts = [name for name, kind in first.schema.items() if kind == pl.String and name != "payload"]
    deltas = {
        name: "DELTA_BINARY_PACKED"
        for name, kind in first.schema.items()
        if kind == pl.Int64 or isinstance(kind, pl.Datetime)
    }
    with (
        folder.writing(path) as file,
        parquet.ParquetWriter(
            file,
            schema,
            compression="zstd",
            compression_level=ZSTD_LEVEL,
            use_dictionary=[*texts, *(name for name, kind in first.schema.items() if kind == pl.Float64)],
            column_encoding=deltas,
            data_page_size=PAGE_BYTES,
            write_page_index=True,
        ) as writer,
    ):
        for frame in chain([first], others):
            rows = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
            writer.write_table(rows, row_group_size=frame.height)
            yield RowGroup(totals_of(frame), _digest(frame))


def _verify(folder: ArchiveFolder, path: str, groups: Sequence[RowGroup]) -> None:
    from pyarrow import parquet  # noqa: PLC0415

    with folder.reading(path) as source:
        file = parquet.ParquetFile(source)
        if file.num_row_groups != len(groups):
            raise ArchiveError(f"{path}: wrote {len(groups)} row groups, read {file.num_row_groups}")
        for number, group in enumerate(groups):
            if _digest(_as_frame(file.read_row_group(number))) != group.digest:
                raise ArchiveError(f"{path}: row group {number} is not what was written")


def _as_frame(rows: object) -> pl.DataFrame:
    frame = pl.from_arrow(rows)
    if not isinstance(frame, pl.DataFrame):
        raise TypeError(f"expected a table, not {type(frame).__name__}")
    return frame


def _digest(frame: pl.DataFrame) -> bytes:
    hashes = frame.hash_rows(seed=1).to_numpy().tobytes()
    return hashlib.sha256(f"{frame.schema}".encode() + hashes).digest()


def totals_of(frame: pl.DataFrame) -> Totals:
    """Return the totals of one or more rows of a raw table."""
    return Totals(
        frame.height,
        frame.get_column("ven_id").n_unique(),
        frame.get_column("ts").min(),  # type: ignore[arg-type]
        frame.get_column("ts").max(),  # type: ignore[arg-type]
        {column.name: _totals_of_column(column) for column in frame},
    )


def _totals_of_column(column: pl.Series) -> ColumnTotals:
    values = column.len() - column.null_count()
    return ColumnTotals(values, float(column.sum()) if column.dtype == pl.Float64 else None)


Filter = tuple[str, str, object]
"""A column, an operator, and a value or, for `in`, a list."""


def read_rows(
    folder: ArchiveFolder,
    files: Iterable[ArchivedFile],
    types: Mapping[str, DataType],
    filters: Sequence[Filter],
) -> pl.DataFrame:
    """Return columns of the rows that pass all filters; row groups of other VENs are skipped."""
    from pyarrow import parquet  # noqa: PLC0415

    parts = [pl.DataFrame(schema=dict(types))]
    is_empty = any(operator == "in" and not value for _, operator, value in filters)
    for each in [] if is_empty else files:
        with folder.reading(each.path) as source:
            rows = parquet.read_table(source, columns=list(types), filters=list(filters) or None)
        parts.append(_as_frame(rows).select(list(types)))
    return pl.concat(parts)


def vens_of_row_groups(folder: ArchiveFolder, file: ArchivedFile) -> Iterator[tuple[str, int]]:
    """Return the first VEN of each row group, and its number of rows."""
    from pyarrow import parquet  # noqa: PLC0415

    with folder.reading(file.path) as source:
        metadata = parquet.ParquetFile(source).metadata
        column = metadata.schema.names.index("ven_id")
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            yield group.column(column).statistics.min, group.num_rows
