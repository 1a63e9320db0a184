"""The interface of the analysts' API, for the database and for a running service."""

import warnings
from abc import ABC, abstractmethod
from typing import Literal, Self

import polars as pl

from analysis.arguments import (
    checked_aggregate,
    checked_baseline,
    checked_by,
    checked_of,
    checked_revision,
    checked_type,
    checked_zone,
    expected,
)
from analysis.deliveries import deliveries
from analysis.entries import entries_frame
from analysis.frames import gather, in_zone
from analysis.ranges import Aggregate, Granularity, Instant, TimeRangeUs, granularity, time_range_us
from schemas.api.forecasts import Forecast, ForecastPoint, LoadTypeForecastPoint, LoadTypeForecasts
from schemas.api.performance import EventPerformance
from schemas.demand_response.baselines import BaselineName

SUMS = {"used_power_kw": "used_power_kw_sum", "shed_power_kw": "shed_power_kw_sum"}
"""A sum of samples is no power, so its column ends in `_sum`."""


class CoarserThanRequestedWarning(UserWarning):
    """Retention has deleted data that an exact result would need."""


class ForecastWarning(UserWarning):
    """A forecast is missing or old."""


class Grid(ABC):
    """A fleet's data in one time zone. Powers are kW, energies kWh; ranges end before their `end`."""

    def __init__(self, zone: str) -> None:
        self._zone = checked_zone(zone)
        self.zone = zone

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.where}, zone {self.zone}>"

    @property
    @abstractmethod
    def where(self) -> str:
        """The database or the service, without passwords and keys."""

    def history(
        self,
        every: str = "5m",
        *,
        start: Instant = None,
        end: Instant = None,
        aggregate: Aggregate = "mean",
        **of: str,
    ) -> pl.DataFrame:
        """The history of the network; with `ven_id`, of a VEN; with `load_id` as well, of a load.

        Args:
            every: `30s`, `15m`, `1h`: buckets aligned to the Unix epoch, as the API has them; or `1d`, `1w`,
                `1mo` by the calendar of the zone.
            start: the first instant, or date; without: all that is stored.
            end: the first instant that is not in the range any more.
            aggregate: `mean` power or `energy` by slots of five minutes; or the `sum` of the samples, in kW,
                which grows with how often VENs report.
            of: `ven_id`, `load_id`.

        Returns:
            `timestamp` (start of the bucket, in the zone), `used_power_kw` and `shed_power_kw`; for `energy`
            `used_energy_kwh` and `shed_energy_kwh`, for `sum` `used_power_kw_sum` and `shed_power_kw_sum`.
            Buckets without samples are missing.

        Raises:
            ValueError: the range, granularity or entity is invalid.
            LookupError: there is no such VEN or load.
        """
        aggregate, entity = checked_aggregate(aggregate), checked_of(of)
        buckets, within = granularity(every, aggregate), time_range_us(start, end, self._zone)
        points = self._points(entity, buckets.width_s, within, _queried_aggregate(aggregate, buckets))
        return self._by_calendar(points, buckets, aggregate)

    def vens_history(
        self, every: str = "5m", *, start: Instant = None, end: Instant = None, aggregate: Aggregate = "mean"
    ) -> pl.DataFrame:
        """The histories of all VENs, with a column `ven_id`."""
        aggregate = checked_aggregate(aggregate)
        buckets, within = granularity(every, aggregate), time_range_us(start, end, self._zone)
        points = self._points_by_ven(buckets.width_s, within, _queried_aggregate(aggregate, buckets))
        return self._by_calendar(points, buckets, aggregate)

    def network(self) -> pl.DataFrame:
        """One row: the present usage and flexibility of the network."""
        return self._latest("network")

    def load_types(self) -> pl.DataFrame:
        """A row for each type of load."""
        return self._latest("load_types")

    def vens(self) -> pl.DataFrame:
        """A row for each VEN: `id`, `name`, `status`, powers, `last_seen`."""
        return self._latest("vens")

    def loads(self) -> pl.DataFrame:
        """The latest values of every load of every VEN, with its `ven_id`."""
        return self._latest("loads")

    def forecast(
        self,
        load_type: str | None = None,
        *,
        by: Literal["type", "total"] = "type",
        start: Instant = None,
        end: Instant = None,
    ) -> pl.DataFrame:
        """The forecast of usage and shed capability, by half hour, up to 48 hours ahead.

        Args:
            load_type: one type of load, such as `ev`; without: all.
            by: each `type` on its own, or the `total` of all loads, whose quantiles are not sums of those.
            start: the first instant, or date; without: from the half hour in which the forecast was made.
            end: the first instant that is not in the range any more.

        Returns:
            `type` (not of the total), `timestamp` (start of the half hour, in the zone), `used_p10_kw`,
            `used_p50_kw`, `used_p90_kw`, `used_days` (similar days), and the same of `shed_capability`. Usage
            is negative where loads feed in. Null where too few similar days are known, with a
            `ForecastWarning`.

        Raises:
            ValueError: an argument is invalid.
            LookupError: there is no forecast of this type.
        """
        of_type, chosen = checked_type(load_type), checked_by(by, load_type)
        within = time_range_us(start, end, self._zone)
        rows = self._forecast(of_type, chosen, within)
        if rows.note:
            warnings.warn(rows.note, ForecastWarning, stacklevel=2)
        shape = ForecastPoint if isinstance(rows, Forecast) else LoadTypeForecastPoint
        frame = in_zone(entries_frame(shape, rows.points), self.zone)
        return frame.clear() if within.is_empty else frame

    def events(self) -> pl.DataFrame:
        """All events by start: `id`, `status`, `start_time`, `end_time`, requested and delivered kW."""
        return self._latest("events")

    def performance(
        self, event_id: str, *, baseline: BaselineName | None = None, revision: int | None = None
    ) -> pl.DataFrame:
        """What an event delivered: the portfolio's row, whose `ven_id` is null, then one for each VEN.

        Args:
            event_id: an event that has begun; before it is settled there is only a provisional portfolio.
            baseline: by which it is measured; without: the service's default.
            revision: which settlement; without: the newest.

        Raises:
            LookupError: there is no such event or revision.
            ValueError: nothing is measured yet, or not by this baseline.
        """
        by, number = checked_baseline(baseline), checked_revision(revision)
        try:
            performance = self._performance(event_id, by, number)
        except LookupError:
            self._require_event(event_id)
            raise
        return in_zone(deliveries(performance), self.zone)

    def _require_event(self, event_id: str) -> None:
        """Raises: LookupError: there is no such event; the message lists existing ones."""
        ids = self.events().get_column("id").to_list()
        if event_id not in ids:
            raise LookupError(f"There is no event {event_id!r}: {expected(event_id, ids)}")

    def _latest(self, what: str) -> pl.DataFrame:
        return in_zone(self._now(what), self.zone)

    def _by_calendar(self, points: pl.DataFrame, buckets: Granularity, aggregate: Aggregate) -> pl.DataFrame:
        if buckets.calendar is None:
            frame = in_zone(points, self.zone)
        else:
            frame = gather(points, buckets.calendar, self.zone, aggregate)
        return frame.rename(SUMS) if aggregate == "sum" else frame

    @abstractmethod
    def _points(
        self, of: dict[str, str], width_s: int, within: TimeRangeUs, aggregate: Aggregate
    ) -> pl.DataFrame: ...
    @abstractmethod
    def _points_by_ven(self, width_s: int, within: TimeRangeUs, aggregate: Aggregate) -> pl.DataFrame: ...
    @abstractmethod
    def _now(self, what: str) -> pl.DataFrame: ...
    @abstractmethod
    def _forecast(
        self, load_type: str | None, by: str, within: TimeRangeUs
    ) -> Forecast | LoadTypeForecasts: ...
    @abstractmethod
    def _performance(
        self, event_id: str, baseline: BaselineName | None, revision: int | None
    ) -> EventPerformance: ...
    @abstractmethod
    def close(self) -> None:
        """Close connections."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _queried_aggregate(aggregate: Aggregate, buckets: Granularity) -> Aggregate:
    """Calendar means are computed from energies: means of slots do not add up to the mean of a day."""
    return "energy" if buckets.calendar and aggregate == "mean" else aggregate
