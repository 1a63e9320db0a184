"""Frames read from the database with the planner and the queries of serving, and raw rows."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta

import polars as pl
from sqlalchemy import Connection, Engine

from analysis.arguments import without_password
from analysis.entries import entries_frame
from analysis.grid import CoarserThanRequestedWarning, Grid
from analysis.models import EnergiesFrame, SumsFrame, VenEnergiesFrame, VenSumsFrame
from analysis.ranges import Aggregate, Instant, TimeRangeUs, first_and_last_us, time_range_us
from analysis.raw_tables import RawTables
from jobs.archive.verifying import archived_range, verify_archived
from jobs.summaries.rebuild import verify, whole_range
from jobs.summaries.rows import fetch
from schemas.api.events import Event
from schemas.api.forecasts import Forecast, LoadTypeForecasts
from schemas.api.performance import EventPerformance
from schemas.api.statistics import LoadTypeStats, NetworkStats
from schemas.api.vens import Load, Ven, VenSummary
from schemas.archive.folder import ArchiveFolder
from schemas.db.connections import database_url_of
from schemas.demand_response.baselines import PRIMARY, BaselineName
from schemas.devices.load_values import GONE_AFTER
from schemas.tables import Frame
from schemas.tables.history import SLOT_S
from schemas.times.instants import from_microseconds
from serving.db.pending import constants_of_pending
from serving.db.pool import ConnectionPool
from serving.db.reading import hold_raw
from serving.errors import ConflictError
from serving.events.deliveries.performance import PerformanceReader
from serving.events.service import EventReader
from serving.fleet.forecasts import ForecastReader
from serving.fleet.latest import LatestReader
from serving.fleet.reader import FleetReader
from serving.history import queries as history
from serving.history.planner import HistoryRequest, shortfall
from serving.history.series import LOAD, NETWORK, NO_KEY, VEN, VENS, Series
from serving.history.service import with_horizons
from serving.page import Page

MODELS: dict[tuple[bool, bool], type[Frame]] = {
    (True, False): SumsFrame,
    (True, True): VenSumsFrame,
    (False, False): EnergiesFrame,
    (False, True): VenEnergiesFrame,
}
"""By (sums instead of energies, a row for each VEN)."""


class DatabaseGrid(Grid):
    """Reads the tables; `raw` gives the raw rows as lazy frames."""

    def __init__(
        self,
        engine: Engine,
        clock: Callable[[], datetime],
        zone: str = "UTC",
        gone_after: timedelta | None = GONE_AFTER,
        site_zone: str = "UTC",
        *,
        archive_url: str | None = None,
    ) -> None:
        """Args: as of `connect`; `site_zone`: whose day `total_house_power_today` is of, `TIME_ZONE`."""
        super().__init__(zone)
        self._engine = engine
        self._reader = FleetReader(engine, clock, gone_after, site_zone)
        self._forecasts = ForecastReader(engine, clock, site_zone)
        self._of_one = LatestReader(ConnectionPool.for_engine(engine), clock, gone_after)
        self.raw = RawTables(engine, zone, archive_url)
        self._archive = None if archive_url is None else ArchiveFolder(archive_url)

    @property
    def where(self) -> str:
        return without_password(database_url_of(self._engine))

    def close(self) -> None:
        self._engine.dispose()

    def verify(self, start: Instant = None, end: Instant = None) -> pl.DataFrame:
        """Compare the summary with the raw rows: a row for each difference, and none if all is well.

        `table`, `key`, `column`, `found`, `expected`, as text. The range is widened to whole hours; a day
        of a large fleet takes minutes. Days that retention has dropped are compared with the archive.
        """
        requested = time_range_us(start, end, self._zone)
        ends = [
            None if us is None else from_microseconds(us) for us in (requested.start_us, requested.end_us)
        ]
        with self._engine.connect() as connection:
            within = whole_range(connection, *ends)
            archived = None if self._archive is None else archived_range(connection, *ends)
        chunks = [] if within is None else list(verify(self._engine, within))
        if self._archive is not None and archived is not None:
            chunks = [*verify_archived(self._engine, self._archive, archived), *chunks]
        return pl.concat([each.differences for each in chunks]) if chunks else pl.DataFrame()

    def _points(
        self, of: dict[str, str], width_s: int, within: TimeRangeUs, aggregate: Aggregate
    ) -> pl.DataFrame:
        return self._read(self._series(of), of, width_s, within, aggregate)

    def _points_by_ven(self, width_s: int, within: TimeRangeUs, aggregate: Aggregate) -> pl.DataFrame:
        return self._read(VENS, NO_KEY, width_s, within, aggregate)

    def _series(self, of: dict[str, str]) -> Series:
        """Raises: serving.errors.NotFoundError, a LookupError: there is no such VEN or load."""
        match of:
            case {"ven_id": ven_id, "load_id": load_id}:
                self._of_one.load(ven_id, load_id)
                return LOAD
            case {"ven_id": ven_id}:
                self._of_one.ven(ven_id)
                return VEN
        return NETWORK

    def _read(
        self,
        series: Series,
        key: Mapping[str, object],
        width_s: int,
        within: TimeRangeUs,
        aggregate: Aggregate,
    ) -> pl.DataFrame:
        request = HistoryRequest(within.start_us, within.end_us, width_s, aggregate)
        query = history.sums if aggregate == "sum" else history.energies
        with self._snapshot() as connection:
            request = with_horizons(connection, request, self._archive)
            warning = shortfall(request, series.resolutions_s if aggregate == "sum" else [SLOT_S])
            model = MODELS[aggregate == "sum", bool(series.by)]
            values = {**key, **constants_of_pending(connection)}
            points = fetch(connection, query(series, request, values).bound(), model)
        if warning:
            warnings.warn(warning, CoarserThanRequestedWarning, stacklevel=5)
        return _values(points, aggregate)

    @contextmanager
    def _snapshot(self) -> Iterator[Connection]:
        """A connection in one REPEATABLE READ snapshot, in which no raw rows are dropped."""
        with self._engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            hold_raw(connection)
            yield connection

    def _now(self, what: str) -> pl.DataFrame:
        match what:
            case "network":
                return entries_frame(NetworkStats, [self._reader.network()])
            case "load_types":
                return entries_frame(LoadTypeStats, self._reader.load_types())
            case "vens":
                return entries_frame(VenSummary, list(self._reader.ven_summaries(Page())))
            case "events":
                return entries_frame(Event, list(EventReader(self._engine).all(Page())))
        return _loads(self._reader.vens(Page()))

    def _forecast(self, load_type: str | None, by: str, within: TimeRangeUs) -> Forecast | LoadTypeForecasts:
        start, end = (None if us is None else from_microseconds(us) for us in first_and_last_us(within))
        if by == "total":
            return self._forecasts.total((start, end))
        return self._forecasts.by_type([] if load_type is None else [load_type], (start, end))

    def _performance(
        self, event_id: str, baseline: BaselineName | None, revision: int | None
    ) -> EventPerformance:
        """Raises: LookupError, ValueError: as `Grid` says."""
        try:
            return PerformanceReader(self._engine, PRIMARY).performance(event_id, baseline, revision)
        except ConflictError as conflict:
            raise ValueError(str(conflict)) from None


def _values(points: pl.DataFrame, aggregate: Aggregate) -> pl.DataFrame:
    keys = ["ven_id"] if "ven_id" in points.columns else []
    frame = points.rename({"bucket": "timestamp"})
    if aggregate == "mean":
        powers = (
            (pl.col(f"{quantity}_energy_kwh") / pl.col("hours")).alias(f"{quantity}_power_kw")
            for quantity in ("used", "shed")
        )
        frame = frame.select(*keys, "timestamp", *powers)
    return frame.select(*keys, "timestamp", pl.col("^(used|shed)_.*$")).sort(*keys, "timestamp")


def _loads(vens: Iterable[Ven]) -> pl.DataFrame:
    rows = [(ven.id, load) for ven in vens for load in ven.loads]
    frame = entries_frame(Load, [load for _, load in rows])
    return frame.insert_column(0, pl.Series("ven_id", [ven_id for ven_id, _ in rows], dtype=pl.String))
