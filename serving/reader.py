"""Answers, read from the summary tables. Knows nothing of HTTP."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from itertools import groupby
from types import MappingProxyType
from typing import Any

from msgspec import structs
from sqlalchemy import Connection, Engine, Executable, Row, Select

from schemas.http import (
    Command,
    EnergyPoint,
    Load,
    LoadTypeStats,
    NetworkStats,
    PowerPoint,
    Ven,
    VenEnergyPoint,
    VenPowerPoint,
    VenSummary,
)
from schemas.instants import microseconds
from schemas.tables.history import SLOT_S
from serving import budget, shapes
from serving.occasions import Point, marked
from serving.queries import commands, events, fleet, history, prepared
from serving.queries.history import Series
from serving.queries.prepared import ask
from serving.windows import Page, Window, next_cut_us, shortfall

VENS_AT_ONCE = 500
SUMMARIES_AT_ONCE = 1_000
ROWS_AT_ONCE = 2_000
BUCKETS_AT_FIRST = 1_000
BUCKETS_AT_ONCE = 8_000
"""A history is read in parts, the first one short; where there are few points, the parts grow."""

Known = Mapping[str, Select[Any]]
"""What must have a row, else the answer is that there is no such thing: in these words."""

_NOTHING: Known = MappingProxyType({})


_HISTORIES: dict[str, tuple[Callable[..., Point], Callable[[Series, Window], Select[Any]]]] = {
    "sum": (shapes.sum_point, history.sums),
    "energy": (shapes.energy_point, history.energies),
    "mean": (shapes.mean_point, history.energies),
}
_VEN_SHAPES: dict[str, type[Point]] = {"sum": VenPowerPoint, "energy": VenEnergyPoint, "mean": VenPowerPoint}
_SHAPES: dict[str, type[Point]] = {"sum": PowerPoint, "energy": EnergyPoint, "mean": PowerPoint}


class Unknown(LookupError):  # noqa: N818 - a plain answer to a plain question
    """There is no such VEN or load."""


class History(Iterator[Point]):
    """Points of a shape; and, once one has been asked for, in how far they are not what was asked for."""

    def __init__(
        self, shape: type[Point], points: Callable[[Callable[[str | None], None]], Iterator[Point]]
    ) -> None:
        self.shape = shape
        self.warning: str | None = None
        self._points = points(self._warn)

    def __next__(self) -> Point:
        return next(self._points)

    def _warn(self, warning: str | None) -> None:
        self.warning = warning


class Reader:
    """Reads answers. Lists and histories are iterators that hold a connection, one snapshot, to their end."""

    def __init__(
        self, engine: Engine, clock: Callable[[], datetime], max_points: int = budget.MAX_POINTS
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._max_points = max_points

    def network(self) -> NetworkStats:
        with self._engine.connect() as connection:
            row = connection.execute(fleet.network()).one_or_none()
        return shapes.EMPTY_NETWORK if row is None else shapes.network_stats(row, self._clock())

    def version(self) -> Hashable:
        """Another one after each refresh of the totals, and each day."""
        with self._engine.connect() as connection:
            refreshed_at = connection.execute(fleet.refreshed_at()).scalar_one_or_none()
        return refreshed_at, self._clock().date()

    def load_types(self) -> list[LoadTypeStats]:
        return [shapes.load_type_stats(row) for row in self._rows(fleet.load_types())]

    def network_history(self, window: Window) -> History:
        return self._history(history.NETWORK, window, {})

    def ven_history(self, ven_id: str, window: Window) -> History:
        """Each point with the event that it lies in."""
        return self._history(
            history.of_ven(ven_id), window, _ven_exists(ven_id), events.occasions(ven_id, window)
        )

    def load_history(self, ven_id: str, load_id: str, window: Window) -> History:
        return self._history(history.of_load(ven_id, load_id), window, _load_exists(ven_id, load_id))

    def vens(self, page: Page) -> Iterator[Ven]:
        """Each with its loads, block by block."""
        return self._vens(page, {})

    def ven(self, ven_id: str) -> Ven:
        """As fresh as its last message, and so are its loads; lists are as old as the last cycle."""
        with self._snapshot({}) as connection:
            news = prepared.unread(connection)
            row = ask(connection, prepared.current_ven, news, ven_id=ven_id).one_or_none()
            if row is None:
                raise Unknown(no_ven(ven_id))
            return shapes.ven(row, ask(connection, prepared.loads_of_ven, news, ven_id=ven_id).all())

    def ven_summaries(self, page: Page) -> Iterator[VenSummary]:
        with self._snapshot({}) as connection:
            for block in _pages(connection, fleet.ven_summaries, page, SUMMARIES_AT_ONCE):
                yield from map(shapes.ven_summary, block)

    def loads(self, ven_id: str, page: Page) -> Iterator[Load]:
        with self._snapshot(_ven_exists(ven_id)) as connection:
            news, in_blocks = (
                prepared.unread(connection),
                connection.execution_options(yield_per=ROWS_AT_ONCE),
            )
            if page == Page():
                rows = ask(in_blocks, prepared.loads_of_ven, news, ven_id=ven_id)
            else:
                rows = in_blocks.execute(fleet.loads_of_ven(ven_id, news, page))
            yield from map(shapes.load, rows)

    def load(self, ven_id: str, load_id: str) -> Load:
        with self._snapshot(_ven_exists(ven_id)) as connection:
            news = prepared.unread(connection)
            row = ask(connection, prepared.load, news, ven_id=ven_id, load_id=load_id).one_or_none()
        if row is None:
            raise Unknown(no_load(ven_id, load_id))
        return shapes.load(row)

    def command(self, command_id: str) -> Command:
        rows = list(self._rows(commands.command(command_id)))
        if not rows:
            raise Unknown(f"There is no command {command_id!r}.")
        return shapes.command(rows[0])

    def commands(self, ven_id: str, page: Page) -> Iterator[Command]:
        """Those to one VEN, newest first."""
        return map(shapes.command, self._rows(commands.commands_of_ven(ven_id, page), _ven_exists(ven_id)))

    def _history(
        self, series: Series, window: Window, known: Known, occasions: Select[Any] | None = None
    ) -> History:
        shape = (_SHAPES if occasions is None else _VEN_SHAPES)[window.aggregate]
        return History(shape, partial(self._points, shape, series, window, known, occasions))

    def _points(
        self,
        shape: type[Point],
        series: Series,
        window: Window,
        known: Known,
        occasions: Select[Any] | None,
        warn: Callable[[str | None], None],
    ) -> Iterator[Point]:
        point, query = _HISTORIES[window.aggregate]
        with self._snapshot(known, history.HOLD_RAW) as connection:
            extent = self._require_few_points(connection, series, window)
            since = connection.execute(history.since()).all()
            asked = structs.replace(window, horizons_us={row[0]: microseconds(row[1]) for row in since})
            used_s = series.resolutions_s if window.aggregate == "sum" else [SLOT_S]
            warn(shortfall(asked, used_s))
            taken = [] if occasions is None else connection.execute(occasions).all()
            rows = _in_parts(connection, partial(query, series), asked, extent)
            points = map(partial(point, shape=shape), rows)
            yield from marked(points, map(shapes.occasion, taken), window) if taken else points

    def _require_few_points(self, connection: Connection, series: Series, window: Window) -> tuple[int, int]:
        """The first and the last instant to look at; asks for what is stored only where the range is not
        short enough in itself.
        """
        start_us, end_us = window.start_us, window.end_us
        if start_us is not None and end_us is not None and budget.is_short(window, self._max_points):
            return start_us, end_us - 1
        stored = connection.execute(history.extent(series)).one()
        extent = budget.extent(window, [None if at is None else microseconds(at) for at in stored])
        if extent is None:
            return window.start_us or 0, window.start_us or 0
        if budget.buckets(*extent, window.granularity_s) > self._max_points:
            points = connection.execute(history.points_at_most(series, window)).scalar_one()
            if points > self._max_points:
                raise budget.too_many_points(window, *extent, int(points), self._max_points)
        return extent

    def _vens(self, page: Page, known: Known) -> Iterator[Ven]:
        with self._snapshot(known) as connection:
            for block in _pages(connection, fleet.current_vens, page, VENS_AT_ONCE):
                loads = connection.execute(fleet.loads_between(block[0].ven_id, block[-1].ven_id)).all()
                by_ven = {ven_id: list(group) for ven_id, group in groupby(loads, lambda row: row.ven_id)}
                yield from (shapes.ven(row, by_ven.get(row.ven_id, [])) for row in block)

    def _rows(self, query: Select[Any], known: Known = _NOTHING) -> Iterator[Row[Any]]:
        with self._snapshot(known) as connection:
            yield from connection.execution_options(yield_per=ROWS_AT_ONCE).execute(query)

    @contextmanager
    def _snapshot(self, known: Known, first: Executable | None = None) -> Iterator[Connection]:
        with self._engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            if first is not None:
                connection.execute(first)
            for unless, query in known.items():
                if connection.execute(query).one_or_none() is None:
                    raise Unknown(unless)
            yield connection


def _in_parts(
    connection: Connection,
    query: Callable[[Window], Select[Any]],
    asked: Window,
    extent: tuple[int, int],
) -> Iterator[Row[Any]]:
    """The rows of a history, read in parts, so that the first do not wait for the last."""
    (at_us, last_us), buckets, part = extent, BUCKETS_AT_FIRST, asked
    while (cut_us := next_cut_us(at_us, asked.granularity_s, buckets)) <= last_us:
        points = 0
        for row in _in_blocks(connection, query(structs.replace(part, end_us=cut_us)), buckets):
            points += 1
            yield row
        at_us, part = cut_us, structs.replace(part, start_us=cut_us)
        buckets = BUCKETS_AT_ONCE if 4 * points > buckets else 8 * buckets
    yield from _in_blocks(connection, query(part), buckets)


def _in_blocks(connection: Connection, query: Select[Any], most: int) -> Iterable[Row[Any]]:
    """The rows, of many only some at a time."""
    if most <= BUCKETS_AT_ONCE:
        return connection.execute(query).all()
    return connection.execution_options(yield_per=ROWS_AT_ONCE).execute(query)


def _pages(
    connection: Connection, query: Callable[[Page], Select[Any]], page: Page, most: int
) -> Iterator[Sequence[Row[Any]]]:
    """A list by its ids, part by part: the first one does not wait for the last."""
    after, left = page.after, page.limit
    while left is None or left > 0:
        size = most if left is None else min(left, most)
        block = connection.execute(query(Page(size, after))).all()
        if block:
            yield block
        if len(block) < size:
            return
        after, left = block[-1].ven_id, None if left is None else left - size


def _ven_exists(ven_id: str) -> Known:
    return {no_ven(ven_id): fleet.known_ven(ven_id)}


def _load_exists(ven_id: str, load_id: str) -> Known:
    return {**_ven_exists(ven_id), no_load(ven_id, load_id): fleet.known_load(ven_id, load_id)}


def no_ven(ven_id: str) -> str:
    return f"There is no VEN {ven_id!r}."


def no_load(ven_id: str, load_id: str) -> str:
    return f"VEN {ven_id!r} has no load {load_id!r}."
