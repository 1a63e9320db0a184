"""Histories: short ones in one round trip, long ones in parts, so that memory does not grow with them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from itertools import chain, islice
from types import MappingProxyType
from typing import Any

from msgspec import Struct, structs
from psycopg.errors import QueryCanceled
from sqlalchemy import Connection, Engine, Row
from sqlalchemy.exc import OperationalError

from schemas.http import EnergyPoint, PowerPoint, VenEnergyPoint, VenPowerPoint
from schemas.instants import microseconds
from schemas.tables.history import SLOT_S
from serving import budget, shapes
from serving.lines import Lines
from serving.occasions import Point, marked
from serving.queries import events, fleet, history
from serving.queries.events import Taken
from serving.queries.history import Series
from serving.queries.prepared import Query
from serving.unknown import Unknown, no_load, no_ven
from serving.windows import NO_HORIZONS, Window, next_cut_us, plan, shortfall

ROWS_AT_ONCE = 2_000
BUCKETS_AT_FIRST = 1_000
BUCKETS_AT_ONCE = 8_000
"""A long history is read in parts, the first one short; where there are few points, the parts grow."""

POINTS_AT_ONCE = 1_000

_MAKES: dict[
    str, tuple[Callable[..., Iterable[Point]], Callable[[Series, Window, Mapping[str, str]], Query]]
] = {
    "sum": (shapes.sum_points, history.sums),
    "energy": (shapes.energy_points, history.energies),
    "mean": (shapes.mean_points, history.energies),
}
_OF_VEN: dict[str, type[Point]] = {"sum": VenPowerPoint, "energy": VenEnergyPoint, "mean": VenPowerPoint}
_SHAPES: dict[str, type[Point]] = {"sum": PowerPoint, "energy": EnergyPoint, "mean": PowerPoint}
_SINCE = Query(history.since())


class Subject(Struct, frozen=True):
    """Whose history, and what must have a row, else there is no such thing: in these words."""

    series: Series
    key: Mapping[str, str] = history.NOBODY
    known: Mapping[str, Query] = MappingProxyType({})
    known_soon: Sequence[Query] = ()
    """Quicker than `known`: where these have rows, those have."""


class Found(Struct, frozen=True):
    """What the database has said: what was asked of it, knowing what it keeps, and what it has."""

    asked: Window
    blocks: Iterable[Sequence[Any]]
    """Of columns."""

    occasions: Sequence[Any]


class History(Iterable[Point]):
    """Points of a shape; and, once one has been asked for, in how far they are not what was asked for."""

    def __init__(
        self, shape: type[Point], points: Callable[[Callable[[str | None], None]], Iterator[Point]]
    ) -> None:
        self.shape = shape
        self._warnings: list[str] = []
        # The points must not refer to what refers to them: only a look for cycles would end them then.
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
    """Reads histories. Of a long one, the iterator holds a connection, with one snapshot, to its end."""

    def __init__(
        self,
        engine: Engine,
        lines: Lines,
        clock: Callable[[], datetime],
        max_points: int = budget.MAX_POINTS,
    ) -> None:
        self._engine = engine
        self._lines = lines
        self._clock = clock
        self._max_points = max_points
        self._horizons_us: Mapping[int, int] = NO_HORIZONS

    def network(self, window: Window) -> History:
        return self._history(Subject(history.NETWORK), window)

    def ven(self, ven_id: str, window: Window) -> History:
        """Each point with the event that it lies in."""
        known = fleet.known_ven(ven_id)
        subject = Subject(history.VEN, {"ven_id": ven_id}, {no_ven(ven_id): known}, [known])
        return self._history(subject, window, events.occasions(ven_id, window))

    def load(self, ven_id: str, load_id: str, window: Window) -> History:
        known_ven = fleet.known_ven(ven_id)
        subject = Subject(
            history.LOAD,
            {"ven_id": ven_id, "load_id": load_id},
            {no_ven(ven_id): known_ven, no_load(ven_id, load_id): fleet.known_load(ven_id, load_id)},
            [known_ven, fleet.snapshot_knows_load(ven_id, load_id)],
        )
        return self._history(subject, window)

    def _history(self, subject: Subject, window: Window, occasions: Query | None = None) -> History:
        shape = (_SHAPES if occasions is None else _OF_VEN)[window.aggregate]
        return History(shape, partial(self._points, shape, subject, window, occasions))

    def _points(
        self,
        shape: type[Point],
        subject: Subject,
        window: Window,
        occasions: Query | None,
        warn: Callable[[str | None], None],
    ) -> Iterator[Point]:
        make, _ = _MAKES[window.aggregate]
        with _in_time(subject.series, window), self._found(subject, window, occasions) as found:
            warn(shortfall(found.asked, _resolutions_s(subject.series, window)))
            points = chain.from_iterable(make(columns, shape) for columns in found.blocks)
            taken = map(shapes.occasion, found.occasions)
            yield from marked(points, taken, window) if found.occasions else points

    @contextmanager
    def _found(self, subject: Subject, window: Window, occasions: Query | None) -> Iterator[Found]:
        found = self._at_once(subject, window, occasions)
        if found is not None:
            yield found
            return
        with self._snapshot(subject.known) as connection:
            extent = self._require_few_points(connection, subject, window)
            asked = structs.replace(window, horizons_us=_horizons_us(_SINCE.run(connection)))
            taken = [] if occasions is None else occasions.run(connection).all()
            yield Found(asked, _blocks(_in_parts(connection, subject, asked, extent)), taken)

    def _at_once(self, subject: Subject, window: Window, occasions: Query | None) -> Found | None:
        """A short history in one statement; None if it may be long, or if nobody knows whose it is.

        What is kept is supposed to be what was kept last time, and asked for besides; where it has moved on
        since, the history is asked for again.
        """
        if not self._is_small(subject.series, window):
            return None
        also = [_SINCE, *subject.known_soon, *([] if occasions is None else [occasions])]
        while True:
            asked = structs.replace(window, horizons_us=self._horizons_us)
            points, since, *said = self._lines.columns(_query(subject, asked), *also)
            self._horizons_us = kept_us = _horizons_us(zip(*since, strict=True))
            if kept_us == asked.horizons_us:
                break
        if len(points[0]) > self._max_points or not all(known for [known] in said[: len(subject.known_soon)]):
            return None
        taken = [] if occasions is None else [Taken(*row) for row in zip(*said[-1], strict=True)]
        return Found(asked, [points], taken)

    def _is_small(self, series: Series, window: Window) -> bool:
        now_us = microseconds(self._clock())
        pieces = plan(window, _resolutions_s(series, window))
        return budget.is_small(window, pieces, now_us, series.raw_rows_per_s, self._max_points)

    def _require_few_points(
        self, connection: Connection, subject: Subject, window: Window
    ) -> tuple[int, int]:
        """The first and the last instant to look at; asks for what is stored only where the range is not
        short enough in itself.
        """
        start_us, end_us = window.start_us, window.end_us
        if start_us is not None and end_us is not None and budget.is_short(window, self._max_points):
            return start_us, end_us - 1
        stored = history.extent(subject.series, subject.key).run(connection).one()
        extent = budget.extent(window, [None if at is None else microseconds(at) for at in stored])
        if extent is None:
            return window.start_us or 0, window.start_us or 0
        if budget.buckets(*extent, window.granularity_s) > self._max_points:
            points = history.points_at_most(subject.series, window, subject.key).run(connection).scalar_one()
            if points > self._max_points:
                raise budget.too_many_points(window, *extent, int(points), self._max_points)
        return extent

    @contextmanager
    def _snapshot(self, known: Mapping[str, Query]) -> Iterator[Connection]:
        with self._engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            connection.execute(history.HOLD_RAW)
            for unless, query in known.items():
                if query.run(connection).one_or_none() is None:
                    raise Unknown(unless)
            yield connection


@contextmanager
def _in_time(series: Series, window: Window) -> Iterator[None]:
    """Says what would be quicker where the database was told to give up."""
    try:
        yield
    except (QueryCanceled, OperationalError) as error:
        instead = budget.too_slow(window, _resolutions_s(series, window))
        if instead is None or not isinstance(getattr(error, "orig", error), QueryCanceled):
            raise
        raise instead from error


def _query(subject: Subject, asked: Window) -> Query:
    _, query = _MAKES[asked.aggregate]
    return query(subject.series, asked, subject.key)


def _resolutions_s(series: Series, window: Window) -> Sequence[int]:
    return series.resolutions_s if window.aggregate == "sum" else (SLOT_S,)


def _horizons_us(since: Iterable[Any]) -> dict[int, int]:
    return {resolution_s: microseconds(first) for resolution_s, first in since}


def _in_parts(
    connection: Connection, subject: Subject, asked: Window, extent: tuple[int, int]
) -> Iterator[Row[Any]]:
    """The rows of a long history, read in parts, so that the first do not wait for the last."""
    (at_us, last_us), buckets, part = extent, BUCKETS_AT_FIRST, asked
    while (cut_us := next_cut_us(at_us, asked.granularity_s, buckets)) <= last_us:
        points = 0
        for row in _in_blocks(connection, _query(subject, structs.replace(part, end_us=cut_us)), buckets):
            points += 1
            yield row
        at_us, part = cut_us, structs.replace(part, start_us=cut_us)
        buckets = BUCKETS_AT_ONCE if 4 * points > buckets else 8 * buckets
    yield from _in_blocks(connection, _query(subject, part), buckets)


def _blocks(rows: Iterable[Any]) -> Iterator[Sequence[Any]]:
    remaining = iter(rows)
    while block := list(islice(remaining, POINTS_AT_ONCE)):
        yield list(zip(*block, strict=True))


def _in_blocks(connection: Connection, query: Query, most: int) -> Iterable[Row[Any]]:
    """The rows, of many only some at a time."""
    if most <= BUCKETS_AT_ONCE:
        return query.run(connection).all()
    return query.run(connection.execution_options(yield_per=ROWS_AT_ONCE))
