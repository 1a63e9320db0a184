"""Reads lists of VENs and totals, as of the last cycle of the snapshot lane."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from datetime import date, datetime, timedelta
from functools import partial
from itertools import groupby
from typing import TypeVar

from sqlalchemy import CTE, Connection, Engine

from schemas.api.statistics import LoadTypeStats, NetworkStats
from schemas.api.vens import Ven, VenSummary
from schemas.db.queries import Query
from schemas.devices.load_values import GONE_AFTER
from schemas.times.instants import from_microseconds
from schemas.times.local_days import local_day, midnight_us
from serving.db.reading import snapshot
from serving.errors import NotFoundError, no_group
from serving.fleet import group_queries, group_totals, queries, shapes
from serving.fleet.queries import Membership, Selection, TypedLoads, VenRow, VenSummaryRow
from serving.page import Page

VENS_AT_FIRST = 100
"""VENs of the first block, and VENs that are read before a response begins."""

VENS_AT_ONCE = 500
SUMMARIES_AT_ONCE = 1_000
VenT = TypeVar("VenT", VenRow, VenSummaryRow)


class FleetReader:
    """Reads lists and totals. Lists are iterators that hold a connection with one snapshot until they end."""

    def __init__(
        self,
        engine: Engine,
        clock: Callable[[], datetime],
        gone_after: timedelta | None = GONE_AFTER,
        time_zone: str = "UTC",
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._time_zone = time_zone
        self._gone_after = gone_after

    def network(self) -> NetworkStats:
        with self._engine.connect() as connection:
            row = queries.network().first(connection)
        return shapes.EMPTY_NETWORK if row is None else shapes.network_stats(row, self._today())

    def network_of(self, group_id: str) -> NetworkStats:
        """Return the totals of a group's members.

        Raises:
            NotFoundError: there is no such group.
        """
        with snapshot(self._engine) as connection:
            member = self._members(connection, group_id)
            vens = group_totals.ven_sums(self._gone_after, member).all(connection)
            loads = group_totals.load_sums(self._gone_after, member).all(connection)
            energy_kwh = connection.execute(group_totals.energy_since(self._midnight(), member)).scalar()
            percent = connection.execute(group_totals.efficiency_percent(member)).scalar()
        return group_totals.network_stats(vens, loads, energy_kwh, percent)

    def version(self) -> Hashable:
        """Return a version that changes with each refresh of the totals, and each day."""
        with self._engine.connect() as connection:
            refreshed_at = connection.execute(queries.refreshed_at()).scalar_one_or_none()
        return refreshed_at, self._today()

    def _today(self) -> date:
        return local_day(self._clock(), self._time_zone)

    def load_types(self) -> list[LoadTypeStats]:
        with snapshot(self._engine) as connection:
            return [shapes.load_type_stats(row) for row in queries.load_types().each(connection)]

    def load_types_of(self, group_id: str) -> list[LoadTypeStats]:
        """Return the totals of the loads of a group's members.

        Raises:
            NotFoundError: there is no such group.
        """
        with snapshot(self._engine) as connection:
            member = self._members(connection, group_id)
            loads = group_totals.load_sums(self._gone_after, member).all(connection)
        return group_totals.load_type_stats(loads)

    def vens(self, page: Page, group_id: str | None = None) -> Iterator[Ven]:
        """Yield VENs with their loads, block by block: all VENs, or a group's members.

        Raises:
            NotFoundError: there is no such group.
        """
        with snapshot(self._engine) as connection:
            current = partial(queries.current_vens, among=self._among(connection, group_id))
            for block in _pages(connection, current, page, VENS_AT_FIRST, VENS_AT_ONCE):
                of_block = queries.loads_of([row.ven_id for row in block], self._gone_after)
                loads = of_block.all(connection)
                by_ven = {ven_id: list(group) for ven_id, group in groupby(loads, lambda row: row.ven_id)}
                yield from (shapes.ven(row, by_ven.get(row.ven_id, [])) for row in block)

    def at_first(
        self, page: Page, short: int, group_id: str | None = None, load_types: Sequence[str] = ()
    ) -> int:
        """Return how many VENs of a page to read before the response begins: all if fewer than `short`."""
        with snapshot(self._engine) as connection:
            among = self._among(connection, group_id, load_types)
            vens = connection.execute(queries.vens_up_to(short, page, among)).scalar_one()
        return short if vens < short else VENS_AT_FIRST

    def ven_summaries(
        self, page: Page, group_id: str | None = None, load_types: Sequence[str] = ()
    ) -> Iterator[VenSummary]:
        """Yield summaries of VENs: of all, of a group's members, or of those with loads of some types.

        Raises:
            NotFoundError: there is no such group.
        """
        with snapshot(self._engine) as connection:
            among = self._among(connection, group_id, load_types)
            summaries = partial(queries.ven_summaries, gone_after=self._gone_after, among=among)
            for block in _pages(connection, summaries, page, VENS_AT_FIRST, SUMMARIES_AT_ONCE):
                yield from map(shapes.ven_summary, block)

    def _among(
        self, connection: Connection, group_id: str | None, load_types: Sequence[str] = ()
    ) -> list[Selection]:
        membership = self._membership(connection, group_id)
        of_group: list[Selection] = [] if membership is None else [membership]
        return [*of_group, TypedLoads(load_types, self._gone_after)] if load_types else of_group

    def _membership(self, connection: Connection, group_id: str | None) -> Membership | None:
        if group_id is None:
            return None
        if group_queries.group(group_id).first(connection) is None:
            raise NotFoundError(no_group(group_id))
        return Membership(group_id, self._gone_after)

    def _members(self, connection: Connection, group_id: str) -> CTE:
        membership = self._membership(connection, group_id)
        assert membership is not None  # noqa: S101 - of an id
        return membership.vens().cte("group_member")

    def _midnight(self) -> datetime:
        return from_microseconds(midnight_us(self._today(), self._time_zone))


def _pages(
    connection: Connection, query: Callable[[Page], Query[VenT]], page: Page, first: int, most: int
) -> Iterator[Sequence[VenT]]:
    """Yield a list in blocks by id, the first ones short, so that the response begins soon."""
    after, remaining, part = page.after, page.limit, first
    while remaining is None or remaining > 0:
        size = part if remaining is None else min(remaining, part)
        block = query(Page(size, after)).all(connection)
        if block:
            yield block
        if len(block) < size:
            return
        after, remaining = block[-1].ven_id, None if remaining is None else remaining - size
        part = min(2 * part, most)
