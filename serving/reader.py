"""Answers, read from the summary tables. Knows nothing of HTTP."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Engine, Row, Select

from schemas.http import Command, LoadTypeStats, NetworkStats, Ven, VenSummary
from serving import shapes
from serving.blocks import AT_FIRST
from serving.queries import commands, fleet
from serving.unknown import Unknown, no_ven
from serving.windows import Page

VENS_AT_FIRST = 100
"""Also of their lines in the list view, and before either answer begins."""

VENS_AT_ONCE = 500
SUMMARIES_AT_ONCE = 1_000
ROWS_AT_ONCE = 2_000


class Reader:
    """Reads answers. Lists are iterators that hold a connection, with one snapshot, to their end."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._clock = clock

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

    def vens(self, page: Page) -> Iterator[Ven]:
        """Each with its loads, block by block."""
        with self._snapshot() as connection:
            for block in _pages(connection, fleet.current_vens, page, VENS_AT_FIRST, VENS_AT_ONCE):
                loads = connection.execute(fleet.loads_between(block[0].ven_id, block[-1].ven_id)).all()
                by_ven = {ven_id: list(group) for ven_id, group in groupby(loads, lambda row: row.ven_id)}
                yield from (shapes.ven(row, by_ven.get(row.ven_id, [])) for row in block)

    def at_first(self, page: Page) -> int:
        """How many VENs of a page to read before the answer begins: all if they are few, and some of many."""
        with self._snapshot() as connection:
            vens = connection.execute(fleet.vens_up_to(AT_FIRST, page)).scalar_one()
        return AT_FIRST if vens < AT_FIRST else VENS_AT_FIRST

    def ven_summaries(self, page: Page) -> Iterator[VenSummary]:
        with self._snapshot() as connection:
            for block in _pages(connection, fleet.ven_summaries, page, VENS_AT_FIRST, SUMMARIES_AT_ONCE):
                yield from map(shapes.ven_summary, block)

    def command(self, command_id: str) -> Command:
        rows = list(self._rows(commands.command(command_id)))
        if not rows:
            raise Unknown(f"There is no command {command_id!r}.")
        return shapes.command(rows[0])

    def commands(self, ven_id: str, page: Page) -> Iterator[Command]:
        """Those to one VEN, newest first."""
        with self._snapshot() as connection:
            if fleet.known_ven(ven_id).run(connection).one_or_none() is None:
                raise Unknown(no_ven(ven_id))
            yield from map(shapes.command, _in_blocks(connection, commands.commands_of_ven(ven_id, page)))

    def _rows(self, query: Select[Any]) -> Iterator[Row[Any]]:
        with self._snapshot() as connection:
            yield from _in_blocks(connection, query)

    @contextmanager
    def _snapshot(self) -> Iterator[Connection]:
        with self._engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            yield connection


def _in_blocks(connection: Connection, query: Select[Any]) -> Iterator[Row[Any]]:
    yield from connection.execution_options(yield_per=ROWS_AT_ONCE).execute(query)


def _pages(
    connection: Connection, query: Callable[[Page], Select[Any]], page: Page, first: int, most: int
) -> Iterator[Sequence[Row[Any]]]:
    """A list by its ids, part by part, the first ones short: they do not wait for the last."""
    after, left, part = page.after, page.limit, first
    while left is None or left > 0:
        size = part if left is None else min(left, part)
        block = connection.execute(query(Page(size, after))).all()
        if block:
            yield block
        if len(block) < size:
            return
        after, left = block[-1].ven_id, None if left is None else left - size
        part = min(2 * part, most)
