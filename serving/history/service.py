"""Reads histories: short ones in one round trip, long ones in parts, so that memory stays bounded."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from itertools import chain, islice
from types import MappingProxyType

from msgspec import Struct, structs
from psycopg.errors import QueryCanceled
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

from schemas.api.histories import EnergyPoint, PowerPoint, VenEnergyPoint, VenPowerPoint
from schemas.archive.folder import ArchiveFolder
from schemas.db.queries import Query
from schemas.devices.load_values import GONE_AFTER
from schemas.tables.history import SLOT_S
from schemas.times.instants import microseconds
from serving.db.pending import PendingDays, constants_of_pending, covers_all_pending
from serving.db.pool import ConnectionPool
from serving.db.reading import hold_raw, in_blocks, snapshot
from serving.errors import NotFoundError, no_group, no_load, no_ven
from serving.events import queries as events
from serving.events.queries import ParticipationRow
from serving.fleet import queries as fleet
from serving.history import extents, limits, points, queries
from serving.history.archive import archive_view
from serving.history.calendar import Columns, gathered
from serving.history.planner import (
    NO_HORIZONS,
    RAW_S,
    Aggregate,
    HistoryRequest,
    next_cut_us,
    plan,
    shortfall,
)
from serving.history.points import Point
from serving.history.queries import BucketRow
from serving.history.series import LOAD, NETWORK, NO_KEY, VEN, Series, group_series, known_group, since

BUCKETS_AT_FIRST = 1_000
BUCKETS_AT_ONCE = 8_000
"""Sizes of the parts of a long history: the first is short; with few points, parts grow."""

POINTS_AT_ONCE = 1_000

AGGREGATES: dict[
    str,
    tuple[
        Callable[..., Iterable[Point]],
        Callable[[Series, HistoryRequest, Mapping[str, object]], Query[BucketRow]],
    ],
] = {
    "sum": (points.sum_points, queries.sums),
    "energy": (points.energy_points, queries.energies),
    "mean": (points.mean_points, queries.energies),
}
_OF_VEN: dict[str, type[Point]] = {"sum": VenPowerPoint, "energy": VenEnergyPoint, "mean": VenPowerPoint}
_SHAPES: dict[str, type[Point]] = {"sum": PowerPoint, "energy": EnergyPoint, "mean": PowerPoint}
SINCE: Query[tuple[int, datetime]] = Query(tuple, since())


class HistorySubject(Struct, frozen=True):
    """A series, the parameters of its queries, and queries that prove that the entity exists.

    `required` maps the message of the error to a query that must have a row.
    """

    series: Series
    values: Mapping[str, object] = NO_KEY
    """The key of its entity, and the days of pending batches."""
    required: Mapping[str, Query[tuple[object]]] = MappingProxyType({})
    sufficient: Sequence[Query[tuple[object]]] = ()
    """Faster queries: if each has a row, so has each of `required`."""

    def with_pending(self, days: Mapping[str, datetime]) -> "HistorySubject":
        """Return the subject with the pending days."""
        return structs.replace(self, values={**self.values, **days})


class HistoryRows(Struct, frozen=True):
    """The result of reading: the request with horizons, blocks of columns, and participations."""

    request: HistoryRequest
    blocks: Iterable[Columns]
    participations: Sequence[ParticipationRow]


class History(Iterable[Point]):
    """Points of a shape, and, from the first point on, a warning if they are not exact."""

    def __init__(
        self, shape: type[Point], points: Callable[[Callable[[str | None], None]], Iterator[Point]]
    ) -> None:
        self.shape = shape
        self._warnings: list[str] = []
        # A reference cycle would be freed only by the cyclic garbage collector, and its connection with it.
        self._points = points(partial(_keep, self._warnings))

    def __iter__(self) -> Iterator[Point]:
        return self._points

    @property
    def warning(self) -> str | None:
        return self._warnings[-1] if self._warnings else None


def _keep(warnings: list[str], warning: str | None) -> None:
    if warning is not None:
        warnings.append(warning)


class Histories:
    """Reads histories. The iterator of a long one holds a connection, with one snapshot, until it ends."""

    def __init__(  # noqa: PLR0913 - what the site sets
        self,
        engine: Engine,
        pool: ConnectionPool,
        clock: Callable[[], datetime],
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
        self._pool = pool
        self._clock = clock
        self._max_points = max_points
        self._gone_after = gone_after
        self._horizons_us: Mapping[int, int] = NO_HORIZONS
        self._archive = archive
        self._pending = PendingDays(pool.rows, clock)

    def network(self, request: HistoryRequest) -> History:
        return self._history(HistorySubject(NETWORK), request)

    def group(self, group_id: str, request: HistoryRequest) -> History:
        """Return the history of a group's current members."""
        exists = known_group(group_id)
        series = group_series(self._gone_after)
        subject = HistorySubject(series, {"group_id": group_id}, {no_group(group_id): exists}, [exists])
        return self._history(subject, request)

    def ven(self, ven_id: str, request: HistoryRequest) -> History:
        """Return the history of a VEN, each point with its event."""
        registered = fleet.registered_ven(ven_id)
        subject = HistorySubject(VEN, {"ven_id": ven_id}, {no_ven(ven_id): registered}, [registered])
        return self._history(
            subject, request, events.participations(ven_id, request.start_us, request.end_us)
        )

    def load(self, ven_id: str, load_id: str, request: HistoryRequest) -> History:
        registered = fleet.registered_ven(ven_id)
        subject = HistorySubject(
            LOAD,
            {"ven_id": ven_id, "load_id": load_id},
            {no_ven(ven_id): registered, no_load(ven_id, load_id): fleet.reported_load(ven_id, load_id)},
            [registered, fleet.load_in_snapshot(ven_id, load_id)],
        )
        return self._history(subject, request)

    def _history(
        self,
        subject: HistorySubject,
        request: HistoryRequest,
        participations: Query[ParticipationRow] | None = None,
    ) -> History:
        shape = (_SHAPES if participations is None else _OF_VEN)[request.aggregate]
        return History(shape, partial(self._points, shape, subject, request, participations))

    def _points(
        self,
        shape: type[Point],
        subject: HistorySubject,
        request: HistoryRequest,
        participations: Query[ParticipationRow] | None,
        warn: Callable[[str | None], None],
    ) -> Iterator[Point]:
        make, _ = AGGREGATES[request.aggregate]
        with suggesting_faster(subject.series, request), self._read(subject, request, participations) as rows:
            warn(shortfall(rows.request, resolutions_s_of(subject.series, request)))
            blocks = rows.blocks if request.calendar is None else gathered(rows.blocks, request.calendar)
            all_points = chain.from_iterable(make(columns, shape) for columns in blocks)
            spans = map(points.event_span, rows.participations)
            yield from points.with_events(all_points, spans, request) if rows.participations else all_points

    @contextmanager
    def _read(
        self, subject: HistorySubject, request: HistoryRequest, participations: Query[ParticipationRow] | None
    ) -> Iterator[HistoryRows]:
        rows = self._read_short(subject, request, participations)
        if rows is not None:
            yield rows
            return
        with self._snapshot(subject) as (connection, present):
            planned = with_horizons(connection, request, self._archive)
            extent = self._require_few_points(connection, present, planned)
            participated = [] if participations is None else participations.all(connection)
            yield HistoryRows(
                planned, blocks_of(in_parts(connection, present, planned, extent)), participated
            )

    def _read_short(
        self, subject: HistorySubject, request: HistoryRequest, participations: Query[ParticipationRow] | None
    ) -> HistoryRows | None:
        """Read a short history in one statement; None if it may be long, or if the entity may not exist.

        The statement assumes the cached horizons and pending days, and checks whether they still hold; if
        not, it is run again.
        """
        if not self._is_small(subject.series, request):
            return None
        lane = "history" if request.aggregate != "sum" else subject.series.lane
        others: list[Query[tuple[object, ...]]] = [
            Query(tuple, covers_all_pending(lane)),
            SINCE,
            *subject.sufficient,
        ]
        others += [] if participations is None else [participations]
        while True:
            planned = structs.replace(request, horizons_us=self._horizons_us)
            if self._archive is not None and _reaches_back(planned):
                return None
            query = query_of(subject.with_pending(self._pending.values()), planned)
            columns, [[has_all_pending]], since, *answers = self._pool.columns(query, *others)
            self._horizons_us = kept_us = horizons_us_of(zip(*since, strict=True))
            if not has_all_pending:
                self._pending.reload()
            elif kept_us == planned.horizons_us:
                break
        if len(columns[0]) > self._max_points or not all(
            rows for [rows] in answers[: len(subject.sufficient)]
        ):
            return None
        buckets, *values = columns
        participated = (
            [] if participations is None else participations.typed_rows(zip(*answers[-1], strict=True))
        )
        return HistoryRows(planned, [Columns(buckets, values)], participated)

    def _is_small(self, series: Series, request: HistoryRequest) -> bool:
        now_us = microseconds(self._clock())
        pieces = plan(request, resolutions_s_of(series, request))
        return limits.is_small(request, pieces, now_us, series.raw_rows_per_s, self._max_points)

    def _require_few_points(
        self, connection: Connection, subject: HistorySubject, request: HistoryRequest
    ) -> tuple[int, int]:
        """Return the first and the last instant to read. The stored extent is read only if the range is not
        short.

        Raises:
            TooManyPointsError: the history could exceed the limit of points of a response.
        """
        start_us, end_us = request.start_us, request.end_us
        if start_us is not None and end_us is not None and limits.is_short(request, self._max_points):
            return start_us, end_us - 1
        extent = limits.extent(request, stored_us(connection, [subject], request))
        if extent is None:
            return request.start_us or 0, request.start_us or 0
        if request.calendar is None and limits.buckets(*extent, request.granularity_s) > self._max_points:
            points = points_at_most(connection, subject, request)
            if points > self._max_points:
                raise limits.too_many_points(request, *extent, points, self._max_points)
        return extent

    @contextmanager
    def _snapshot(self, subject: HistorySubject) -> Iterator[tuple[Connection, HistorySubject]]:
        """Return a connection with one snapshot, and the subject with the days that are pending in it."""
        with snapshot(self._engine) as connection:
            hold_raw(connection)
            days = constants_of_pending(connection)
            for message, query in subject.required.items():
                if query.with_values(days).first(connection) is None:
                    raise NotFoundError(message)
            yield connection, subject.with_pending(days)


@contextmanager
def suggesting_faster(series: Series, request: HistoryRequest) -> Iterator[None]:
    """Suggest a faster granularity if the query was cancelled by its time limit."""
    try:
        yield
    except (QueryCanceled, OperationalError) as error:
        too_slow = limits.too_slow(request, resolutions_s_of(series, request))
        if (
            too_slow is None
            or request.calendar is not None
            or not isinstance(getattr(error, "orig", error), QueryCanceled)
        ):
            raise
        raise too_slow from error


def query_of(subject: HistorySubject, request: HistoryRequest) -> Query[BucketRow]:
    _, query = AGGREGATES[request.aggregate]
    return query(subject.series, request, subject.values)


def resolutions_s_of(series: Series, request: HistoryRequest) -> Sequence[int]:
    return series.resolutions_s if request.aggregate == "sum" else (SLOT_S,)


def with_horizons(
    connection: Connection, request: HistoryRequest, archive: ArchiveFolder | None
) -> HistoryRequest:
    """Return a request with the horizons and, if it needs it, the archive, in a transaction's snapshot."""
    planned = structs.replace(request, horizons_us=horizons_us_of(SINCE.each(connection)))
    view = archive_view(connection, archive) if _reaches_back(planned) else None
    return structs.replace(planned, archive=view)


def stored_us(
    connection: Connection, subjects: Iterable[HistorySubject], request: HistoryRequest
) -> list[int | None]:
    """Return the first and the last instant at which rows of any subject may be stored."""
    ends = [ends for subject in subjects for ends in _extents(connection, subject, request)]
    first, last = ([microseconds(end) for end in each if end is not None] for each in zip(*ends, strict=True))
    return [min(first, default=None), max(last, default=None)]


def _extents(
    connection: Connection, subject: HistorySubject, request: HistoryRequest
) -> Iterator[tuple[datetime | None, datetime | None]]:
    """Yield the extents of what the summary and pending batches have, and of late rows."""
    yield extents.extent(subject.series, subject.values).one(connection)
    late = _late_extent(connection, subject, request)
    if late is not None:
        yield late[:2]


def points_at_most(connection: Connection, subject: HistorySubject, request: HistoryRequest) -> int:
    """Return an upper bound of a history's points."""
    [points] = queries.points_at_most(subject.series, request, subject.values).one(connection)
    late = _late_extent(connection, subject, request)
    return int(points) + (0 if late is None else late[2])


def _late_extent(
    connection: Connection, subject: HistorySubject, request: HistoryRequest
) -> tuple[datetime | None, datetime | None, int] | None:
    """Return the ends of a subject's late rows, and the most points that they add; None without any."""
    late = None if request.archive is None else request.archive.late_values(request.start_us, request.end_us)
    if late is None:
        return None
    return queries.late_extent(subject.series, request, late, subject.values).one(connection)


def _reaches_back(request: HistoryRequest) -> bool:
    """Return whether a request needs raw rows before their horizon."""
    since_us = request.horizons_us.get(RAW_S)
    return since_us is not None and (request.start_us is None or request.start_us < since_us)


def horizons_us_of(since: Iterable[tuple[int, datetime]]) -> dict[int, int]:
    return {resolution_s: microseconds(first) for resolution_s, first in since}


def in_parts(
    connection: Connection, subject: HistorySubject, request: HistoryRequest, extent: tuple[int, int]
) -> Iterator[BucketRow]:
    """Yield the rows of a long history, read in parts, so that the first do not wait for the last."""
    (at_us, last_us), buckets, part = extent, BUCKETS_AT_FIRST, request
    while (cut_us := next_cut_us(at_us, request.granularity_s, buckets)) <= last_us:
        points = 0
        for row in _in_blocks(connection, query_of(subject, structs.replace(part, end_us=cut_us)), buckets):
            points += 1
            yield row
        at_us, part = cut_us, structs.replace(part, start_us=cut_us)
        buckets = BUCKETS_AT_ONCE if 4 * points > buckets else 8 * buckets
    yield from _in_blocks(connection, query_of(subject, part), buckets)


def blocks_of(rows: Iterable[BucketRow], keys: int = 0) -> Iterator[Columns]:
    """Yield rows in blocks of columns, without their last `keys` columns."""
    remaining = iter(rows)
    while block := list(islice(remaining, POINTS_AT_ONCE)):
        buckets, *values = zip(*block, strict=True)
        yield Columns(buckets, values[: len(values) - keys])


def _in_blocks(connection: Connection, query: Query[BucketRow], most: int) -> Iterable[BucketRow]:
    """Yield rows in blocks, at most `most` at a time."""
    if most <= BUCKETS_AT_ONCE:
        return query.all(connection)
    return in_blocks(connection, query)
