"""Reads the last forecast by load type of the job `forecast`."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from msgspec import UNSET, Struct, UnsetType
from sqlalchemy import Connection, Engine

from schemas.api.forecasts import Forecast, ForecastPoint, LoadTypeForecastPoint, LoadTypeForecasts
from schemas.tables.forecasts import FEWEST_DAYS, TOTAL
from schemas.times.rounding import rounded
from serving.db.reading import snapshot
from serving.errors import NotFoundError
from serving.fleet import forecast_queries as queries
from serving.fleet.forecast_queries import ForecastRow

LATE = timedelta(hours=2)
"""Age from which a forecast gets a note; it is recomputed each half hour."""

NOT_YET = "There is no forecast yet: the job `forecast` makes it of whole half hours in which loads reported."
TOO_FEW = "Too few similar days for {types}: a forecast needs {days} on which loads reported it at that time."
OLD = "This forecast is of {origin}: the job `forecast` has not run since."
Period = tuple[datetime | None, datetime | None]
"""The first and the last instant, both inclusive; None is an open end."""

EVERYTHING: Period = (None, None)


class Selected(Struct, frozen=True):
    """The origin of the stored forecast, None without one, and the selected rows."""

    origin: datetime | None
    rows: Sequence[ForecastRow]


class ForecastReader:
    """Reads the stored forecast; `clock` decides whether it is outdated."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime], time_zone: str = "UTC") -> None:
        self._engine = engine
        self._clock = clock
        self._time_zone = time_zone

    def total(self, within: Period = EVERYTHING) -> Forecast:
        """Return the forecast of all loads together."""
        selected = self._read(lambda _connection: [TOTAL], within)
        points = [ForecastPoint(*_powers(row)) for row in selected.rows]
        return Forecast(selected.origin, self._time_zone, points, self._note(selected))

    def by_type(self, types: Sequence[str], within: Period = EVERYTHING) -> LoadTypeForecasts:
        """Return the forecast of some load types, or of all.

        Raises:
            NotFoundError: there is no forecast of one of the types, but of others.
        """
        selected = self._read(lambda connection: _chosen(connection, types), within)
        points = [LoadTypeForecastPoint(row.load_type, *_powers(row)) for row in selected.rows]
        return LoadTypeForecasts(selected.origin, self._time_zone, points, self._note(selected))

    def _read(
        self,
        choose: Callable[[Connection], Sequence[str]],
        within: Period,
    ) -> Selected:
        with snapshot(self._engine) as connection:
            origin = connection.execute(queries.origin()).scalar_one_or_none()
            rows = queries.half_hours(choose(connection), *within).all(connection)
        return Selected(origin, rows)

    def _note(self, selected: Selected) -> str | UnsetType:
        if selected.origin is None:
            return NOT_YET
        notes = [*_missing(selected.rows)]
        if self._clock() - selected.origin > LATE:
            notes.append(OLD.format(origin=f"{selected.origin:%Y-%m-%dT%H:%M:%SZ}"))
        return " ".join(notes) or UNSET


def _chosen(connection: Connection, types: Sequence[str]) -> Sequence[str]:
    present = [each for each in connection.execute(queries.types()).scalars() if each != TOTAL]
    missing = sorted({*types} - {*present})
    if missing and present:
        raise NotFoundError(f"There is no forecast of {missing[0]!r}; the types are {', '.join(present)}.")
    return [each for each in present if each in types] if types else present


class Powers(NamedTuple):
    """The values of a point after its type, in its order."""

    timestamp: datetime
    used_p10_kw: float | None
    used_p50_kw: float | None
    used_p90_kw: float | None
    used_days: int
    shed_p10_kw: float | None
    shed_p50_kw: float | None
    shed_p90_kw: float | None
    shed_days: int


def _powers(row: ForecastRow) -> Powers:
    return Powers(
        row.half_hour,
        rounded(row.used_p10_kw),
        rounded(row.used_p50_kw),
        rounded(row.used_p90_kw),
        row.used_days,
        rounded(row.shed_p10_kw),
        rounded(row.shed_p50_kw),
        rounded(row.shed_p90_kw),
        row.shed_days,
    )


def _missing(rows: Sequence[ForecastRow]) -> Iterator[str]:
    usage = {row.load_type or "all loads" for row in rows if row.used_p50_kw is None}
    shed = {row.load_type or "all loads" for row in rows if row.shed_p50_kw is None}
    if usage or shed:
        parts = [f"the usage of {', '.join(sorted(usage))}"] if usage else []
        parts += [f"the shed capability of {', '.join(sorted(shed))}"] if shed else []
        yield TOO_FEW.format(types=" and ".join(parts), days=FEWEST_DAYS)
