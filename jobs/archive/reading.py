"""Days that PostgreSQL does not hold any more, as raw rows for `verify`."""

from collections.abc import Iterator, Sequence

import polars as pl
from msgspec import Struct
from sqlalchemy import Table

from jobs.summaries.ven_ranges import VenRange
from schemas.archive.folder import ArchiveFolder
from schemas.archive.manifest import ArchivedFile, Manifest
from schemas.archive.parquet import Filter, read_rows, vens_of_row_groups
from schemas.tables import Frame


class ArchivedDay(Struct, frozen=True):
    """The rows of a day that were counted before it was dropped: a `RawSource`."""

    folder: ArchiveFolder
    manifest: Manifest

    def rows(
        self, table: Table, model: type[Frame], vens: VenRange, ven_ids: Sequence[str] | None
    ) -> pl.DataFrame:
        files = (each for each in self._files if each.table == table.name)
        return model.checked(read_rows(self.folder, files, model.types(), list(_filters(vens, ven_ids))))

    def sizes(self) -> list[tuple[str, int]]:
        """VENs at which row groups begin, ascending, and how many rows these have."""
        return sorted(size for each in self._files for size in vens_of_row_groups(self.folder, each))

    @property
    def _files(self) -> list[ArchivedFile]:
        return [each for each in self.manifest.files if not each.is_late]


def _filters(vens: VenRange, ven_ids: Sequence[str] | None) -> Iterator[Filter]:
    if ven_ids is not None:
        yield ("ven_id", "in", list(ven_ids))
    if vens.first is not None:
        yield ("ven_id", ">=", vens.first)
    if vens.before is not None:
        yield ("ven_id", "<", vens.before)
