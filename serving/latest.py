"""The latest of one VEN and its loads: each answer one statement, and one round trip."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from msgspec.structs import asdict, replace

from schemas.http import Load, Ven
from serving import shapes
from serving.lines import Lines
from serving.queries import fleet
from serving.queries.fleet import LoadRow, VenRow
from serving.queries.latest import Span
from serving.queries.prepared import Query
from serving.unknown import Unknown, no_load, no_ven
from serving.windows import Page

_LOADS_FROM = 2
_VEN_FROM = _LOADS_FROM + len(LoadRow._fields)


class Latest:
    """As fresh as the last message of the VEN; lists of all VENs are as old as the last cycle."""

    def __init__(self, lines: Lines, clock: Callable[[], datetime]) -> None:
        self._lines = lines
        self._clock = clock
        self._span: Span | None = None

    def ven(self, ven_id: str) -> Ven:
        ven, loads = self._of_ven(ven_id, fleet.ven_with_loads(ven_id))
        return shapes.ven(VenRow(*ven), loads)

    def loads(self, ven_id: str, page: Page) -> list[Load]:
        _, loads = self._of_ven(ven_id, fleet.loads_of_ven(ven_id, page))
        return [shapes.load(row) for row in loads]

    def load(self, ven_id: str, load_id: str) -> Load:
        _, loads = self._of_ven(ven_id, fleet.load(ven_id, load_id))
        if not loads:
            raise Unknown(no_load(ven_id, load_id))
        return shapes.load(loads[0])

    def _of_ven(self, ven_id: str, query: Query) -> tuple[Sequence[Any], list[LoadRow]]:
        """What is told of the VEN itself, and its loads.

        Raises:
            Unknown: there is no such VEN.
        """
        rows = self._rows(query)
        ven = rows[0][_VEN_FROM:]
        if ven[0] is None:
            raise Unknown(no_ven(ven_id))
        loads = (LoadRow(*row[_LOADS_FROM:_VEN_FROM]) for row in rows)
        return ven, [load for load in loads if load.load_id is not None]

    def _rows(self, query: Query) -> list[tuple[Any, ...]]:
        """Asks for what is pending of the days that it was of last, and again if it is of others now.

        PostgreSQL leaves the partitions of other days alone only if it is told the days beforehand.
        """
        span = self._span or Span.of_days(self._clock(), self._clock())
        while True:
            rows = self._lines.rows(replace(query, values={**query.values, **asdict(span)}))
            first, last = rows[0][:_LOADS_FROM]
            needed = span if first is None else Span.of_days(first, last)
            self._span = needed
            if span.covers(needed):
                return rows
            span = needed
