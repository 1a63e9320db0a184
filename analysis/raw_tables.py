"""Raw rows as lazy frames: ADBC fetches only the columns in use, a day at a time."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from zoneinfo import ZoneInfo

import polars as pl
from adbc_driver_postgresql import dbapi  # type: ignore[import-untyped]
from polars.io.plugins import register_io_source
from sqlalchemy import JSON, Engine, Table, Text, cast, func, select

from analysis.archive import ArchiveScans
from analysis.arguments import choice, without_password
from analysis.frames import in_zone
from analysis.ranges import Instant, TimeRangeUs, time_range_us
from schemas.db.connections import database_url_of
from schemas.db.horizons import dropped_before
from schemas.db.literals import sql_with_values
from schemas.db.queries import Relation
from schemas.tables import FRAMES, metadata
from schemas.tables.events import commands
from schemas.tables.history import RAW_S, horizons
from schemas.tables.ledger import ingest_batches, job_runs, rejected_messages
from schemas.tables.raw import (
    PARTITIONED,
    ven_load_descriptions,
    ven_load_samples,
    ven_statuses,
    ven_telemetry,
)
from schemas.times.instants import BEGINNING, from_microseconds
from serving.db.reading import hold_raw, snapshot

DAY = timedelta(days=1)
END = datetime(9999, 12, 31, tzinfo=UTC)
_EDGES = (
    "SELECT DISTINCT edge FROM raw_partitions('{}'), unnest(ARRAY[since, until]) AS edge"
    " WHERE NOT is_default AND isfinite(edge) ORDER BY edge"
)


class RawTables:
    """Tables of messages of VENs and their processing, with all columns, in the zone of the grid.

    Ranges are of device time for what VENs sent, of time of receipt for the rest, and end before their `end`.
    With an archive, days that retention has dropped are read from its files, with the late rows that these do
    not have yet: a frame has the state of when it was made.
    """

    def __init__(self, engine: Engine, zone: str, archive_url: str | None = None) -> None:
        self._engine = engine
        self._url = database_url_of(engine)
        self._zone = zone
        self._archive = None if archive_url is None else ArchiveScans(archive_url)

    def telemetry(self, start: Instant = None, end: Instant = None) -> pl.LazyFrame:
        """Panel reports, with the original payload."""
        return self._by_day(ven_telemetry, start, end)

    def load_samples(self, start: Instant = None, end: Instant = None) -> pl.LazyFrame:
        return self._by_day(ven_load_samples, start, end)

    def load_descriptions(self, start: Instant = None, end: Instant = None) -> pl.LazyFrame:
        return self._by_day(ven_load_descriptions, start, end)

    def statuses(self) -> pl.DataFrame:
        return self._whole(ven_statuses)

    def rejected(self) -> pl.DataFrame:
        """Rejected messages, with the reason and the bytes."""
        return self._whole(rejected_messages)

    def batches(self) -> pl.DataFrame:
        """The batches: one row for each transaction of ingest."""
        return self._whole(ingest_batches)

    def job_runs(self) -> pl.DataFrame:
        return self._whole(job_runs)

    def commands(self) -> pl.DataFrame:
        """The outbox: commands to VENs, and their acknowledgements."""
        return self._whole(commands)

    def table(self, name: str) -> pl.DataFrame:
        """Any other table, with all stored rows: `ven_history`, `event_participations`, ..."""
        return self._whole(metadata.tables[choice("table", name, metadata.tables)])

    def __repr__(self) -> str:
        return (
            f"<RawTables of {without_password(self._url)}, zone {self._zone}: {', '.join(metadata.tables)}>"
        )

    def _whole(self, table: Table) -> pl.DataFrame:
        if table in PARTITIONED:
            return self._by_day(table, None, None).collect().sort([key.name for key in table.primary_key])
        rows = _columns(table, list(FRAMES[table.name].types())).order_by(*table.primary_key)
        return in_zone(self._fetch(table, rows), self._zone)

    def _by_day(self, table: Table, start: Instant, end: Instant) -> pl.LazyFrame:
        within = time_range_us(start, end, ZoneInfo(self._zone))
        days = partial(self._days, table, within)
        archived_until, archived = self._archived(table, within)
        types = FRAMES[table.name].types()

        def source(
            columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, _at_once: int | None
        ) -> Iterator[pl.DataFrame]:
            query = _columns(table, columns or list(types))
            with self._connected() as connection:
                for first, last in days(connection):
                    if first < archived_until:
                        continue
                    of_day = query.where(table.c.ts >= first, table.c.ts < last).limit(rows)
                    frame = _fetch_from(connection, table, of_day)
                    rows = None if rows is None else rows - frame.height
                    yield frame if predicate is None else frame.filter(predicate)
                if _dropped_until(connection) > archived_until and self._archive is not None:
                    raise RuntimeError("retention has dropped days since this frame was made: make it again")

        instants = [name for name, kind in types.items() if isinstance(kind, pl.Datetime)]
        frame = register_io_source(source, schema=dict(types))
        if archived is not None:
            frame = pl.concat([archived, frame])
        return frame.with_columns(pl.col(instants).dt.convert_time_zone(self._zone))

    def _archived(self, table: Table, within: TimeRangeUs) -> tuple[datetime, pl.LazyFrame | None]:
        """The end of the days that retention has dropped, and their rows in a range."""
        if self._archive is None:
            return BEGINNING, None
        with snapshot(self._engine) as connection:
            hold_raw(connection)
            return self._archive.rows(connection, table, within)

    def _days(
        self, table: Table, within: TimeRangeUs, connection: dbapi.Connection
    ) -> Iterator[tuple[datetime, datetime]]:
        """The range, cut at 00:00 UTC; only days between the first and the last row of a partition."""
        start = None if within.start_us is None else from_microseconds(within.start_us)
        end = None if within.end_us is None else from_microseconds(within.end_us)
        for midnight in sorted(set(_midnights(_extents(connection, table)))):
            first = midnight if start is None else max(midnight, start)
            last = midnight + DAY if end is None else min(midnight + DAY, end)
            if first < last:
                yield first, last

    def _fetch(self, table: Table, query: Relation) -> pl.DataFrame:
        with self._connected() as connection:
            return _fetch_from(connection, table, query)

    @contextmanager
    def _connected(self) -> Iterator[dbapi.Connection]:
        with dbapi.connect(self._url) as connection:
            yield connection


def _dropped_until(connection: dbapi.Connection) -> datetime:
    frame = _fetch_from(connection, horizons, dropped_before(RAW_S))
    since: datetime = BEGINNING if frame.is_empty() else frame.item()
    return since


def _extents(connection: dbapi.Connection, table: Table) -> Iterator[tuple[datetime, datetime]]:
    """The first and the last instant in each partition that has rows, and between partitions.

    Each is queried from the table by the partition's bounds, so that one partition is locked at a time, and
    rows that are moved meanwhile are still found.
    """
    edges = _read(connection, _EDGES.format(table.name))
    for start, end in pairwise([BEGINNING, *edges.get_column("edge"), END]):
        ends = select(func.min(table.c.ts), func.max(table.c.ts)).where(table.c.ts >= start, table.c.ts < end)
        first, last = _fetch_from(connection, table, ends).row(0)
        if first is not None:
            yield first, last


def _midnights(extents: Iterable[tuple[datetime, datetime]]) -> Iterator[datetime]:
    for first, last in extents:
        day = first.replace(hour=0, minute=0, second=0, microsecond=0)
        while day <= last:
            yield day
            day += DAY


def _fetch_from(connection: dbapi.Connection, table: Table, query: Relation) -> pl.DataFrame:
    """The rows of a query, in a transaction of its own.

    ADBC reads by COPY, which takes its snapshot before its locks: so the table is locked first, without its
    partitions, lest rows that move meanwhile are missed.
    """
    if table in PARTITIONED:
        with connection.cursor() as cursor:
            cursor.execute(f"LOCK TABLE ONLY {table.name} IN ACCESS SHARE MODE")
    frame = _read(connection, sql_with_values(query))
    types = FRAMES[table.name].types()
    return frame.with_columns(pl.col(name).cast(types[name]) for name in frame.columns if name in types)


def _read(connection: dbapi.Connection, sql: str) -> pl.DataFrame:
    try:
        return pl.read_database(sql, connection)
    finally:
        connection.rollback()


def _columns(table: Table, names: list[str]) -> Relation:
    """Select columns; JSON is read as text, because Polars does not support JSON columns."""
    columns = (table.c[name] for name in names)
    return select(
        *(cast(each, Text).label(each.name) if isinstance(each.type, JSON) else each for each in columns)
    )
