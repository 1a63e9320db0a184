"""Reads raw rows of days that PostgreSQL has dropped, for `verify` and `rebuild`."""

from collections.abc import Iterator, Sequence

import polars as pl
from msgspec import Struct
from sqlalchemy import Connection, Table

from jobs.queries import archive as queries
from jobs.queries.archive import manifest_of
from jobs.summaries.ven_ranges import VenRange
from schemas.archive.folder import ArchiveFolder
from schemas.archive.manifest import ArchivedFile, Manifest
from schemas.archive.parquet import Filter, read_rows, vens_of_row_groups
from schemas.tables import FRAMES, Frame
from schemas.tables.raw import ven_telemetry
from schemas.times.time_ranges import TimeRange


class ArchivedDay(Struct, frozen=True):
    """The rows of a dropped day that the summary counts: a `RawSource`."""

    folder: ArchiveFolder
    manifest: Manifest

    def rows(
        self, table: Table, model: type[Frame], vens: VenRange, ven_ids: Sequence[str] | None
    ) -> pl.DataFrame:
        files = (each for each in self.files if each.table == table.name)
        return model.checked(read_rows(self.folder, files, model.types(), list(_filters(vens, ven_ids))))

    def sizes(self) -> list[tuple[str, int]]:
        """Return the VENs at which row groups begin, ascending, and the rows of each group."""
        return sorted(size for each in self.files for size in vens_of_row_groups(self.folder, each))

    @property
    def files(self) -> list[ArchivedFile]:
        return [each for each in self.manifest.files if each.in_summary]


def _filters(vens: VenRange, ven_ids: Sequence[str] | None) -> Iterator[Filter]:
    if ven_ids is not None:
        yield ("ven_id", "in", list(ven_ids))
    if vens.first is not None:
        yield ("ven_id", ">=", vens.first)
    if vens.before is not None:
        yield ("ven_id", "<", vens.before)


def archived_samples(
    connection: Connection, folder: ArchiveFolder, ven_ids: Sequence[str], within: TimeRange
) -> pl.DataFrame:
    """Return `ven_id`, `ts` and `used_power_kw` of VENs in a part of a dropped day."""
    table, types = ven_telemetry.name, FRAMES[ven_telemetry.name].types()
    row = queries.archived_day(within.start.date()).first(connection)
    files = [] if row is None else ArchivedDay(folder, manifest_of(row)).files
    filters: list[Filter] = [
        ("ts", ">=", within.start),
        ("ts", "<", within.end),
        ("ven_id", "in", list(ven_ids)),
    ]
    columns = {name: types[name] for name in ("ven_id", "ts", "used_power_kw")}
    return read_rows(folder, (each for each in files if each.table == table), columns, filters)
