"""Verifies and rebuilds the summary from raw rows, in chunks, while all programs run."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import chain

import polars as pl
from msgspec import Struct
from sqlalchemy import Connection, Engine

from jobs.queries.summaries import forecasts as forecast_queries
from jobs.queries.summaries import merging as merging_queries
from jobs.queries.summaries import summary as summary_queries
from jobs.queries.summaries.summary import Scope
from jobs.running.admission import admit
from jobs.summaries.models import SlotSizeFrame, VenSizeFrame
from jobs.summaries.recomputing import LANES, Comparison
from jobs.summaries.rows import fetch, write
from jobs.summaries.ven_ranges import ALL_VENS, VenRange, even_ven_ranges
from jobs.transforms.events.differences import differing, listed
from schemas.db import locks
from schemas.db.horizons import dropped_before
from schemas.tables.history import NETWORK_RESOLUTIONS_S, RAW_S
from schemas.times.instants import EPOCH, MICROSECOND
from schemas.times.time_ranges import TimeRange, days, even_parts, widened

MOST_ROWS = 500_000
"""Most raw rows in memory at once, some 100 MB of frames; a single VEN may have more in one slot."""

LONGEST_PAUSE_S = 60.0
"""Idle timeout between two statements of a rebuild: a lane is blocked until a frozen one loses its locks."""

COARSEST_S = max(NETWORK_RESOLUTIONS_S)


class Chunk(Struct, frozen=True):
    """A finished part of the range, and its differences."""

    within: TimeRange
    differences: pl.DataFrame
    """`table`, `key`, `column`, `found`, `expected`; as text."""


def whole_range(connection: Connection, start: datetime | None, end: datetime | None) -> TimeRange | None:
    """Return whole hours around a requested range; an open end is the first or the last that is stored, or
    that the summary covers, which is more only if it is wrong.

    Days whose raw rows retention has dropped cannot be verified, so the range begins after them. None if
    it is empty then.
    """
    since, stored = raw_since(connection), _stored(connection)
    if stored is not None and (start is None or end is None):
        covered = _with_strays(connection, stored, since)
        start, end = start or covered.start, end or covered.end
    if start is None or end is None:
        return None
    requested = widened(TimeRange(start, end), COARSEST_S)
    within = TimeRange(max(requested.start, since), requested.end)
    return within if within.start < within.end else None


def _stored(connection: Connection) -> TimeRange | None:
    first, last = connection.execute(summary_queries.stored()).one()
    return None if first is None or last is None else TimeRange(first, last + MICROSECOND)


def _with_strays(connection: Connection, stored: TimeRange, since: datetime) -> TimeRange:
    around = widened(stored, COARSEST_S)
    strays = [
        connection.execute(summary_queries.strays(at, around, since)).one() for at in summary_queries.DATED
    ]
    firsts = [first for first, _ in strays if first is not None]
    lasts = [last + MICROSECOND for _, last in strays if last is not None]
    return TimeRange(min([stored.start, *firsts]), max([stored.end, *lasts]))


def raw_since(connection: Connection) -> datetime:
    """Return the oldest day with all its raw rows; the epoch if none was ever dropped."""
    return connection.execute(dropped_before(RAW_S)).scalar_one_or_none() or EPOCH


def verify(
    engine: Engine,
    within: TimeRange,
    ven_ids: Sequence[str] | None = None,
    *,
    most_rows: int = MOST_ROWS,
) -> Iterator[Chunk]:
    """Compare the summary with the raw rows, each chunk in one snapshot of the database.

    Args:
        engine: of the database.
        within: on borders of hours.
        ven_ids: only these VENs and their loads; None for all, and the network's history.
        most_rows: most raw rows to read at once.
    """
    for part, rows in _parts(engine, within, ven_ids, most_rows):
        with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            scope = _scope(connection, part, ven_ids)
            ven_ranges = _ven_ranges(connection, scope, rows, most_rows)
            differences = compared(connection, scope, ven_ranges)
        yield Chunk(part, differences)


def compared(connection: Connection, scope: Scope, ven_ranges: Sequence[VenRange]) -> pl.DataFrame:
    """Return the differences of a scope in all tables of the summary, as `Chunk.differences`."""
    comparisons = chain.from_iterable(lane(connection, scope, ven_ranges) for lane in LANES.values())
    return pl.concat([_listed(each, _differences(each)) for each in comparisons])


def rebuild(
    engine: Engine,
    within: TimeRange,
    ven_ids: Sequence[str] | None = None,
    *,
    most_rows: int = MOST_ROWS,
) -> Iterator[Chunk]:
    """Correct differences; arguments as for `verify`. A lane waits while one chunk of its tables is read."""
    for part, rows in _parts(engine, within, ven_ids, most_rows):
        lines = [_rebuild_lane(engine, lane, part, ven_ids, rows, most_rows) for lane in LANES]
        yield Chunk(part, pl.concat(lines))


def _parts(
    engine: Engine, within: TimeRange, ven_ids: Sequence[str] | None, most_rows: int
) -> Iterator[tuple[TimeRange, int]]:
    with engine.connect() as connection:
        stored = _stored(connection) or within
    filled = TimeRange(max(within.start, stored.start), min(within.end, stored.end))
    return even_parts(within, _rows_by_slot(engine, filled, ven_ids), most_rows)


def _rows_by_slot(
    engine: Engine, within: TimeRange, ven_ids: Sequence[str] | None
) -> Iterator[tuple[datetime, int]]:
    """Count rows day by day, lazily: counting a long range at once would show no progress."""
    for day in days(within):
        with engine.connect() as connection:
            query = summary_queries.rows_by_slot(Scope(day, day.start, ven_ids))
            sizes = fetch(connection, query, SlotSizeFrame)
        yield from sizes.iter_rows()


def _ven_ranges(connection: Connection, scope: Scope, rows: int, most_rows: int) -> list[VenRange]:
    """Return one range of all VENs, or several if a single slot has too many rows."""
    if rows <= most_rows:
        return [ALL_VENS]
    sizes = fetch(connection, summary_queries.rows_by_ven(scope), VenSizeFrame)
    return list(even_ven_ranges(sizes.iter_rows(), most_rows))


def _scope(connection: Connection, part: TimeRange, ven_ids: Sequence[str] | None) -> Scope:
    """Lock the raw tables, so that no rows are dropped before the end of the transaction.

    LOCK takes no snapshot: later statements see what was dropped before.
    """
    connection.execute(summary_queries.HOLD_RAW)
    since = raw_since(connection)
    return Scope(TimeRange(max(part.start, since), max(part.end, since)), since, ven_ids)


def _rebuild_lane(
    engine: Engine, lane: str, part: TimeRange, ven_ids: Sequence[str] | None, rows: int, most_rows: int
) -> pl.DataFrame:
    with correcting(engine, lane) as connection:
        scope = _scope(connection, part, ven_ids)
        lines = corrected(connection, lane, scope, _ven_ranges(connection, scope, rows, most_rows))
        connection.execute(forecast_queries.mark_stale(scope.within))
        return lines


@contextmanager
def correcting(engine: Engine, lane: str) -> Iterator[Connection]:
    """Begin a transaction that blocks a lane."""
    with engine.begin() as connection:
        admit(connection, LONGEST_PAUSE_S)
        connection.execute(locks.exclusive(locks.lane(lane)))
        connection.execute(locks.exclusive(locks.ENERGY))
        yield connection


def corrected(
    connection: Connection, lane: str, scope: Scope, ven_ranges: Sequence[VenRange]
) -> pl.DataFrame:
    """Correct a lane's tables in a scope; returns the differences, as `Chunk.differences`."""
    return pl.concat([_correct(connection, each) for each in LANES[lane](connection, scope, ven_ranges)])


def _correct(connection: Connection, compared: Comparison) -> pl.DataFrame:
    """Replace differing rows, and delete rows without raw rows."""
    differences, keys = _differences(compared), compared.keys
    right = compared.expected.join(differences, on=keys, how="semi")
    surplus = compared.found.join(differences.filter(~pl.col("is_expected")), on=keys, how="semi")
    if not right.is_empty():
        write(connection, right, compared.table, merging_queries.replace)
    if not surplus.is_empty():
        write(connection, surplus, compared.table, merging_queries.remove)
    return _listed(compared, differences)


def _differences(compared: Comparison) -> pl.DataFrame:
    return differing(compared.found, compared.expected, compared.keys)


def _listed(compared: Comparison, differences: pl.DataFrame) -> pl.DataFrame:
    lines = listed(differences, compared.keys)
    return lines.select(pl.lit(compared.table.name).alias("table"), pl.all())
