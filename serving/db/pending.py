"""The days of pending batches, by which statements prune partitions of the raw tables.

A statement needs them as constants for its plan. So a reader caches the days, the statement checks whether
they are still complete, and if not the reader reads them again.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, timedelta
from functools import cache

from sqlalchemy import (
    TIMESTAMP,
    ColumnElement,
    Connection,
    Select,
    Subquery,
    and_,
    cast,
    func,
    or_,
    select,
    true,
)

from schemas.db.ledger import DAYS_OF_BATCH
from schemas.db.queries import Query
from schemas.tables.ledger import ingest_batches, pending_batches
from schemas.times.time_ranges import ranges_of_days
from serving.db.statements import constant, constant_name

MOST_RANGES = 8
"""Most ranges of days in one statement; of more days, ranges also cover some in between."""

FORGET_AFTER = timedelta(minutes=1)
"""Pending days are read again after this time: most have been consumed since."""

_NAMES = [(f"pending_since_{number}", f"pending_until_{number}") for number in range(MOST_RANGES)]


class PendingDays:
    """A cache of the pending days, always with today, as values of a statement."""

    def __init__(
        self, read: Callable[[Query[tuple[date]]], Iterable[tuple[date]]], clock: Callable[[], datetime]
    ) -> None:
        self._read = read
        self._clock = clock
        now = clock()
        self._read_at, self._values = now, constants_of([now.date()])

    def values(self) -> Mapping[str, datetime]:
        if not timedelta(0) <= self._clock() - self._read_at <= FORGET_AFTER:
            self.reload()
        return self._values

    def reload(self) -> None:
        now = self._clock()
        days = [day for [day] in self._read(Query(tuple, days_pending()))]
        self._read_at, self._values = now, constants_of([*days, now.date()])


def constants_of_pending(connection: Connection) -> Mapping[str, datetime]:
    """Return the days that are pending in the snapshot of a transaction, as values of its statements."""
    return constants_of(connection.execute(days_pending()).scalars())


def constants_of(days: Iterable[date]) -> Mapping[str, datetime]:
    """Return ranges that contain the days; the last one is repeated to fill the fixed number."""
    ranges = ranges_of_days(days, MOST_RANGES) or ranges_of_days([date(1, 1, 1)], 1)
    each = [*ranges, *ranges[-1:] * (MOST_RANGES - len(ranges))]
    return {
        constant_name(name): at
        for names, part in zip(_NAMES, each, strict=True)
        for name, at in zip(names, (part.start, part.end), strict=True)
    }


def within_days_pending(instant: ColumnElement[datetime]) -> ColumnElement[bool]:
    """The condition that an instant lies in one of the days among a statement's values."""
    return or_(
        *(and_(instant >= constant(since), instant < constant(until)) for since, until in _NAMES),
    )


@cache
def days_pending() -> Select[date]:
    """Select the days of all pending batches of any lane."""
    return select(_days().c.day).distinct()


@cache
def covers_all_pending(lane: str) -> Select[bool]:
    """The condition that the days of a lane's pending batches are among the statement's values."""
    days = _days(lane)
    return select(~select(days.c.day).where(~within_days_pending(days.c.midnight)).exists())


def _days(lane: str | None = None) -> Subquery:
    day = func.unnest(DAYS_OF_BATCH).table_valued("day").render_derived().lateral()
    query = (
        select(day.c.day, func.timezone("UTC", cast(day.c.day, TIMESTAMP)).label("midnight"))
        .select_from(pending_batches)
        .join(ingest_batches, ingest_batches.c.batch_id == pending_batches.c.batch_id)
        .join(day, true())
    )
    return (query if lane is None else query.where(pending_batches.c.lane == lane)).subquery("pending_days")
