"""Many histories in one response, one after the other, read some at a time from one snapshot."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import chain, groupby
from typing import cast

from msgspec import Struct, structs
from sqlalchemy import Connection, Engine

from schemas.api.histories import (
    GroupEnergyRow,
    GroupPowerRow,
    LoadEnergyRow,
    LoadPowerRow,
    LoadTypeEnergyRow,
    LoadTypePowerRow,
    VenEnergyRow,
    VenPowerRow,
)
from schemas.archive.folder import ArchiveFolder
from schemas.devices.load_values import GONE_AFTER
from schemas.tables.history import SLOT_S
from serving.db.pending import constants_of_pending
from serving.db.reading import hold_raw, snapshot
from serving.events import queries as events
from serving.history import limits, points, selection
from serving.history.calendar import Columns, gathered
from serving.history.planner import Aggregate, HistoryRequest, shortfall
from serving.history.points import EventSpan, Point
from serving.history.queries import BucketRow
from serving.history.selection import Key, Selection, SelectionPart
from serving.history.service import (
    AGGREGATES,
    History,
    blocks_of,
    in_parts,
    points_at_most,
    query_of,
    resolutions_s_of,
    stored_us,
    suggesting_faster,
    with_horizons,
)

ROWS_AT_ONCE = 10_000
"""Most rows that one statement reads for several histories; a longer history is read by itself."""

HISTORIES_AT_ONCE = 500
COUNTED_PER_POINT = 10
"""Most buckets of the summary for each allowed point of a response, beyond which it is too long."""

Select = Callable[[Connection], Selection]


class RowShapes(Struct, frozen=True):
    """The types of rows with powers and with energies, and whether rows contain events."""

    power: type[Point]
    energy: type[Point]
    has_events: bool = False

    def of(self, aggregate: Aggregate) -> type[Point]:
        return self.energy if aggregate == "energy" else self.power


VENS = RowShapes(VenPowerRow, VenEnergyRow, has_events=True)
GROUPS = RowShapes(GroupPowerRow, GroupEnergyRow)
LOADS = RowShapes(LoadPowerRow, LoadEnergyRow)
LOAD_TYPES = RowShapes(LoadTypePowerRow, LoadTypeEnergyRow)


class BulkHistories:
    """Reads many histories. The iterator of a response holds a connection with one snapshot."""

    def __init__(
        self,
        engine: Engine,
        max_points: int = limits.MAX_POINTS,
        default_aggregate: Aggregate = "sum",
        time_zone: str = "UTC",
        *,
        gone_after: timedelta | None = GONE_AFTER,
        archive: ArchiveFolder | None = None,
    ) -> None:
        self.default_aggregate = default_aggregate
        self.time_zone = time_zone
        self._engine = engine
        self._max_points = max_points
        self._gone_after = gone_after
        self._archive = archive

    def vens(self, request: HistoryRequest, ven_ids: Sequence[str], group_id: str | None) -> History:
        """Return histories of VENs by id, of a group's members, or of all VENs, like single histories."""
        if ven_ids:
            return self._history(VENS, request, partial(selection.vens_by_id, ven_ids=ven_ids))
        if group_id is not None:
            of_group = partial(selection.vens_of_group, group_id=group_id, gone_after=self._gone_after)
            return self._history(VENS, request, of_group)
        return self._history(VENS, request, selection.all_vens)

    def groups(self, request: HistoryRequest, group_id: str | None) -> History:
        """Return the total history of one group, or of each."""
        totals = partial(selection.group_totals, group_id=group_id, gone_after=self._gone_after)
        return self._history(GROUPS, request, totals)

    def loads(self, request: HistoryRequest, types: Sequence[str]) -> History:
        """Return histories of the loads of some types, or of all, each like a single history."""
        return self._history(LOADS, request, partial(selection.loads_of_types, types=types))

    def load_types(self, request: HistoryRequest, types: Sequence[str]) -> History:
        """Return the total history of each of some load types, or of all types."""
        return self._history(LOAD_TYPES, request, partial(selection.type_totals, types=types))

    def _history(self, shapes: RowShapes, request: HistoryRequest, select: Select) -> History:
        return History(shapes.of(request.aggregate), partial(self._rows, shapes, request, select))

    def _rows(
        self,
        shapes: RowShapes,
        request: HistoryRequest,
        select: Select,
        warn: Callable[[str | None], None],
    ) -> Iterator[Point]:
        with snapshot(self._engine) as connection:
            hold_raw(connection)
            days = constants_of_pending(connection)
            selected = select(connection)
            with suggesting_faster(selected.series, request):
                planned = with_horizons(connection, request, self._archive)
                extent_us = self._require_few_points(connection, selected, planned, days)
                if extent_us is None:
                    return
                warn(shortfall(planned, resolutions_s_of(selected.series, request)))
                buckets = limits.buckets(*extent_us, request.granularity_s)
                for part in selected.parts(max(1, min(HISTORIES_AT_ONCE, ROWS_AT_ONCE // max(1, buckets)))):
                    pending = structs.replace(part, subject=part.subject.with_pending(days))
                    yield from _rows_of(connection, pending, planned, extent_us, shapes)

    def _require_few_points(
        self,
        connection: Connection,
        selected: Selection,
        request: HistoryRequest,
        days: Mapping[str, datetime],
    ) -> tuple[int, int] | None:
        """Return the first and the last instant to read; None if nothing is stored.

        Raises:
            TooManyPointsError: the response could exceed the limit of points.
        """
        if not selected.columns:
            return None
        histories = len(selected.columns)
        if limits.is_short(request, self._max_points // histories):
            return request.start_us or 0, (request.end_us or 0) - 1
        subjects = [part.subject.with_pending(days) for part in selected.parts(histories)]
        extent_us = limits.extent(request, stored_us(connection, subjects, request))
        if extent_us is None:
            return None
        most = histories * limits.answered_buckets(request, *extent_us)
        if most > self._max_points and request.calendar is None:
            stored = histories * limits.buckets(*extent_us, SLOT_S)
            if stored <= COUNTED_PER_POINT * self._max_points:
                most = min(most, sum(points_at_most(connection, each, request) for each in subjects))
        if most > self._max_points:
            raise limits.too_many_rows(request, *extent_us, most, self._max_points, histories)
        return extent_us


def _rows_of(
    connection: Connection,
    part: SelectionPart,
    request: HistoryRequest,
    extent_us: tuple[int, int],
    shapes: RowShapes,
) -> Iterator[Point]:
    """Yield the rows of a part's histories, one history after the other."""
    make, _ = AGGREGATES[request.aggregate]
    row: Callable[..., Point] = shapes.of(request.aggregate)
    spans = _spans(connection, part, request) if shapes.has_events else {}
    for key, blocks in _blocks_by_key(connection, part, request, extent_us):
        buckets = blocks if request.calendar is None else gathered(blocks, request.calendar)
        shape = partial(row, *part.columns[key])
        rows = chain.from_iterable(make(columns, shape) for columns in buckets)
        yield from points.with_events(rows, spans[key], request) if key in spans else rows


def _blocks_by_key(
    connection: Connection, part: SelectionPart, request: HistoryRequest, extent_us: tuple[int, int]
) -> Iterator[tuple[Key, Iterator[Columns]]]:
    """Yield blocks of columns, without the key, for each history of a part that has any."""
    if len(part.columns) == 1:  # it may be long
        [key] = part.columns
        yield key, blocks_of(in_parts(connection, part.subject, request, extent_us), len(key))
        return
    width = len(next(iter(part.columns)))
    rows = query_of(part.subject, request).all(connection)

    def key_of(row: BucketRow) -> Key:
        return cast("Key", row[-width:])

    for key, of_one in groupby(sorted(rows, key=key_of), key_of):
        yield key, blocks_of(of_one, width)


def _spans(
    connection: Connection, part: SelectionPart, request: HistoryRequest
) -> dict[Key, list[EventSpan]]:
    """Return when the VENs of a part took part in events."""
    ven_ids = [ven_id for [ven_id] in part.columns]
    spans: dict[Key, list[EventSpan]] = defaultdict(list)
    for row in events.participations_of(ven_ids, request.start_us, request.end_us).each(connection):
        spans[row.ven_id,].append(points.event_span(row))
    return dict(spans)
