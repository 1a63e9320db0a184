"""Raw rows as lazy frames: ADBC fetches only the columns in use, a day at a time."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
from polars.io.plugins import register_io_source
from sqlalchemy import JSON, URL, Select, Table, Text, cast, func, select

from analysis.arguments import choice, without_password
from analysis.frames import in_zone
from analysis.ranges import Instant, TimeRangeUs, time_range_us
from schemas.instants import MICROSECOND, from_microseconds
from schemas.literals import sql_with_values
from schemas.tables import FRAMES, metadata
from schemas.tables.events import commands
from schemas.tables.ledger import ingest_batches, job_runs, rejected_messages
from schemas.tables.raw import ven_load_descriptions, ven_load_samples, ven_statuses, ven_telemetry

DAY = timedelta(days=1)


class RawTables:
    """Tables of messages of VENs and their processing, with all columns, in the zone of the grid.

    Ranges are of device time for what VENs sent, of time of receipt for the rest, and end before their `end`.
    """

    def __init__(self, url: URL, zone: str) -> None:
        self._url = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._zone = zone

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
        """Messages that were refused, with the reason and the bytes."""
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
        rows = _columns(table, list(FRAMES[table.name].types())).order_by(*table.primary_key)
        return in_zone(self._fetch(table, rows), self._zone)

    def _by_day(self, table: Table, start: Instant, end: Instant) -> pl.LazyFrame:
        days = partial(self._days, time_range_us(start, end, ZoneInfo(self._zone)))
        types = FRAMES[table.name].types()

        def source(
            columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, _at_once: int | None
        ) -> Iterator[pl.DataFrame]:
            query = _columns(table, columns or list(types))
            for first, last in days():
                frame = self._fetch(table, query.where(table.c.ts >= first, table.c.ts < last).limit(rows))
                rows = None if rows is None else rows - frame.height
                yield frame if predicate is None else frame.filter(predicate)

        instants = [name for name, kind in types.items() if isinstance(kind, pl.Datetime)]
        frame = register_io_source(source, schema=dict(types))
        return frame.with_columns(pl.col(instants).dt.convert_time_zone(self._zone))

    def _days(self, within: TimeRangeUs) -> Iterator[tuple[datetime, datetime]]:
        """The range, split at 00:00 UTC like the partitions; open ends are those of the stored rows."""
        ends = select(func.min(ingest_batches.c.first_ts), func.max(ingest_batches.c.last_ts))
        oldest, newest = self._fetch(ingest_batches, ends).row(0)
        if oldest is None:
            return
        first, end = oldest, newest + MICROSECOND
        if within.start_us is not None:
            first = max(first, from_microseconds(within.start_us))
        if within.end_us is not None:
            end = min(end, from_microseconds(within.end_us))
        while first < end:
            midnight = datetime(first.year, first.month, first.day, tzinfo=UTC) + DAY
            yield first, min(midnight, end)
            first = midnight

    def _fetch(self, table: Table, query: Select[Any]) -> pl.DataFrame:
        frame = pl.read_database_uri(sql_with_values(query), self._url, engine="adbc")
        types = FRAMES[table.name].types()
        return frame.with_columns(pl.col(name).cast(types[name]) for name in frame.columns if name in types)


def _columns(table: Table, names: list[str]) -> Select[Any]:
    """Select columns; JSON is read as text, because Polars does not support JSON columns."""
    columns = (table.c[name] for name in names)
    return select(
        *(cast(each, Text).label(each.name) if isinstance(each.type, JSON) else each for each in columns)
    )
