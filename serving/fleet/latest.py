"""Reads the latest values of one VEN and its loads, in one statement and one round trip each."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from schemas.api.vens import Load, Ven
from schemas.db.queries import Query, RowT
from schemas.devices.load_values import GONE_AFTER
from serving.db.pending import PendingDays
from serving.db.pool import ConnectionPool
from serving.errors import NotFoundError, no_load, no_ven
from serving.fleet import queries, shapes
from serving.fleet.queries import LoadRow, VenRow, VenWithLoad
from serving.page import Page

_LOADS_FROM = 1
_VEN_FROM = _LOADS_FROM + len(LoadRow._fields)


class LatestReader:
    """Reads values including the last stored message; lists of all VENs are as old as the last cycle."""

    def __init__(
        self,
        pool: ConnectionPool,
        clock: Callable[[], datetime],
        gone_after: timedelta | None = GONE_AFTER,
    ) -> None:
        self._pool = pool
        self._gone_after = gone_after
        self._pending = PendingDays(pool.rows, clock)

    def ven(self, ven_id: str) -> Ven:
        ven, loads = self._of_ven(ven_id, queries.ven_with_loads(ven_id, self._gone_after))
        return shapes.ven(VenRow._make(ven), loads)

    def loads(self, ven_id: str, page: Page) -> list[Load]:
        _, loads = self._of_ven(ven_id, queries.loads_of_ven(ven_id, page, self._gone_after))
        return [shapes.load(row) for row in loads]

    def load(self, ven_id: str, load_id: str) -> Load:
        _, loads = self._of_ven(ven_id, queries.load(ven_id, load_id, self._gone_after))
        if not loads:
            raise NotFoundError(no_load(ven_id, load_id))
        return shapes.load(loads[0])

    def newest_ts(self, ven_id: str) -> datetime | None:
        """Return the newest device time of a VEN, consumed by a lane or pending; None without any."""
        [(_, ts)] = self._rows(queries.newest_ts(ven_id))
        return ts

    def _of_ven(self, ven_id: str, query: Query[VenWithLoad]) -> tuple[Sequence[object], list[LoadRow]]:
        """Return the columns of the VEN itself, and its loads.

        Raises:
            NotFoundError: there is no such VEN.
        """
        rows = self._rows(query)
        ven = rows[0][_VEN_FROM:]
        if ven[0] is None:
            raise NotFoundError(no_ven(ven_id))
        loads = (LoadRow._make(row[_LOADS_FROM:_VEN_FROM]) for row in rows)
        return ven, [load for load in loads if load.load_id is not None]

    def _rows(self, query: Query[RowT]) -> list[RowT]:
        """Run a query for the cached pending days; if they are not complete, reload them and run it again."""
        while True:
            rows = self._pool.rows(query.with_values(self._pending.values()))
            if rows[0][0]:  # all pending batches were read
                return rows
            self._pending.reload()
