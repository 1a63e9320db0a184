"""Samples of loads of days that retention has dropped: of the archive, and new ones among late rows."""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta

import polars as pl
from msgspec import Struct
from sqlalchemy import Connection

from schemas.archive.folder import ArchiveFolder
from schemas.archive.parquet import Filter
from schemas.db.queries import Query
from schemas.tables import FRAMES
from schemas.tables.history import RAW_S, SLOT_S
from schemas.tables.raw import ven_load_samples
from schemas.times.instants import BEGINNING, MICROSECOND, from_microseconds, microseconds
from schemas.times.time_ranges import TimeRange, widened, without
from serving.history.archive import ArchiveView, archive_view
from serving.history.late_queries import late_rows
from serving.history.series import since
from serving.page import NewestWithin
from serving.reports import queries
from serving.reports.queries import SAMPLE_COLUMNS

DAY = timedelta(days=1)
TABLE = ven_load_samples.name
TYPES = {name: FRAMES[TABLE].types()[name] for name in SAMPLE_COLUMNS}


class DroppedSamples(Struct, frozen=True):
    """The samples of a VEN's loads, or of one of them, before the horizon of raw rows.

    The summary counts what the files have. So it names the days whose files are worth reading, and only slots
    that the range cuts, or that retention has deleted, are counted in files.
    """

    view: ArchiveView
    ven_id: str
    load_id: str | None
    within: TimeRange
    raw_since: datetime
    """The horizon of raw rows: at or after the range's end."""
    slots_since: datetime
    """The horizon of slots."""

    def newest(self, most: int) -> tuple[Mapping[str, list[object]], int]:
        """Return the columns of the newest samples, and the number of all."""
        late, counts = self._late(), self._counts()
        parts, rows = [late], 0
        for day in sorted(counts, reverse=True):
            if rows >= most:
                break
            parts.append(self._archived(self._part_of(day)))
            rows += counts[day]
        newest = pl.concat(parts).sort("ts", "load_id", descending=True).head(most)
        return {column.name: column.to_list() for column in newest}, late.height + counts.total()

    def _counts(self) -> Counter[date]:
        """Return the number of samples in files by UTC day."""
        slots = self._whole_slots()
        by_day = queries.samples_by_day(self.ven_id, self.load_id, slots).each(self.view.connection)
        counts = Counter({day: int(samples) for day, samples in by_day})
        for part in without([self.within], [slots]):
            counts.update(self._archived(part).get_column("ts").dt.date().to_list())
        return counts

    def _whole_slots(self) -> TimeRange:
        first = max(self.within.start, self.slots_since)
        start, end = (widened(TimeRange(at, at), SLOT_S) for at in (first, self.within.end))
        return TimeRange(start.end, max(start.end, end.start))

    def _part_of(self, day: date) -> TimeRange:
        midnight = datetime.combine(day, time(), UTC)
        return TimeRange(max(midnight, self.within.start), min(midnight + DAY, self.within.end))

    def _archived(self, part: TimeRange) -> pl.DataFrame:
        within: list[Filter] = [("ts", ">=", part.start), ("ts", "<", part.end)]
        filters = [*within, *((name, "==", value) for name, value in self._key.items())]
        return self.view.archived(TABLE, SAMPLE_COLUMNS, part.start, part.end, filters)

    def _late(self) -> pl.DataFrame:
        values = self.view.late_values(microseconds(self.within.start), microseconds(self.within.end))
        if values is None:
            return pl.DataFrame(schema=TYPES)
        rows = late_rows(ven_load_samples, tuple(self._key), names=("ven_id", *SAMPLE_COLUMNS))
        late = Query(tuple, rows, {**self._key, **values})
        return self.view.unarchived(TABLE, late).select(SAMPLE_COLUMNS)

    @property
    def _key(self) -> Mapping[str, str]:
        of_ven = {"ven_id": self.ven_id}
        return of_ven if self.load_id is None else {**of_ven, "load_id": self.load_id}


def dropped_samples(
    connection: Connection,
    folder: ArchiveFolder | None,
    ven_id: str,
    load_id: str | None,
    within: NewestWithin,
) -> DroppedSamples | None:
    """Return the samples of a range before the horizon of raw rows; None if there are none in an archive.

    Args:
        connection: in a transaction with one snapshot.
        folder: of the archive, if there is one.
        ven_id: of the loads.
        load_id: of one load; None: all of the VEN.
        within: the range.
    """
    horizons: dict[int, datetime] = dict(Query(tuple, since()).each(connection))
    raw_since = horizons.get(RAW_S)
    if raw_since is None or (within.start is not None and within.start >= raw_since):
        return None
    view = archive_view(connection, folder)
    if view is None:
        return None
    first = BEGINNING if view.since_us is None else from_microseconds(view.since_us)
    start = first if within.start is None else max(first, within.start)
    end = raw_since if within.end is None or within.end >= raw_since else within.end + MICROSECOND
    slots_since = horizons.get(SLOT_S, BEGINNING)
    return DroppedSamples(view, ven_id, load_id, TimeRange(start, max(start, end)), raw_since, slots_since)
