"""The analysts' API by requests to a running service, as Arrow."""

import io
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

import msgspec
import polars as pl

from analysis.arguments import checked_service, without_password
from analysis.entries import entries_frame
from analysis.frames import pythonic
from analysis.grid import CoarserThanRequestedWarning, Grid
from analysis.ranges import Aggregate, TimeRangeUs, first_and_last_us
from schemas.api.events import Event
from schemas.api.forecasts import Forecast, LoadTypeForecasts
from schemas.api.performance import EventPerformance
from schemas.demand_response.baselines import BaselineName
from schemas.times.instants import from_microseconds

JSON = "application/json"
ARROW = "application/vnd.apache.arrow.stream"
AT_ONCE = 8
TIMEOUT_S = 60.0
NOT_FOUND = 404
NEEDS_KEY = {401, 403}
PROBLEM = "application/problem+json"

ROUTES = {
    "network": "/api/stats/network",
    "load_types": "/api/stats/loads",
    "vens": "/api/vens/summary",
}


class HttpGrid(Grid):
    """Data of a running service, without raw rows, which the HTTP API does not have."""

    def __init__(self, url: str, key: str | None = None, zone: str = "UTC") -> None:
        super().__init__(zone)
        self._url = checked_service(url)
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}

    @property
    def where(self) -> str:
        return without_password(self._url)

    def close(self) -> None:
        """Do nothing: there are no open connections."""

    def _points(
        self, of: dict[str, str], width_s: int, within: TimeRangeUs, aggregate: Aggregate
    ) -> pl.DataFrame:
        match of:
            case {"ven_id": ven_id, "load_id": load_id}:
                path = f"/api/vens/{_escaped(ven_id)}/loads/{_escaped(load_id)}/history"
            case {"ven_id": ven_id}:
                path = f"/api/vens/{_escaped(ven_id)}/history"
            case _:
                path = "/api/stats/network/history"
        points = self._arrow(f"{path}?{urlencode(list(_window(width_s, within, aggregate)))}")
        points = points.select("timestamp", pl.col("^(used|shed)_.*$"))  # those of a VEN have the event, too
        return points.clear() if within.is_empty else points

    def _points_by_ven(self, width_s: int, within: TimeRangeUs, aggregate: Aggregate) -> pl.DataFrame:
        path = f"/api/vens/history?{urlencode(list(_window(width_s, within, aggregate)))}"
        try:
            points = self._arrow(path)
        except ValueError:  # more points than one answer may have: those of one VEN may be few enough
            return self._points_of_each_ven(width_s, within, aggregate)
        points = points.select("ven_id", "timestamp", pl.col("^(used|shed)_.*$"))
        return points.clear() if within.is_empty else points

    def _points_of_each_ven(self, width_s: int, within: TimeRangeUs, aggregate: Aggregate) -> pl.DataFrame:
        ids = self._now("vens").get_column("id").to_list()
        with ThreadPoolExecutor(AT_ONCE) as threads:
            histories = list(
                threads.map(lambda ven_id: self._points({"ven_id": ven_id}, width_s, within, aggregate), ids)
            )
        frames = (
            points.select(pl.lit(ven_id).alias("ven_id"), pl.all())
            for ven_id, points in zip(ids, histories, strict=True)
        )
        return pl.concat(frames)

    def _now(self, what: str) -> pl.DataFrame:
        if what == "network":
            return pythonic(pl.read_json(io.BytesIO(self._get(ROUTES[what], JSON))))
        if what == "events":
            return entries_frame(Event, msgspec.json.decode(self._get("/api/events", JSON), type=list[Event]))
        if what == "loads":
            vens = self._arrow("/api/vens").select(pl.col("id").alias("ven_id"), "loads")
            return pythonic(vens.explode("loads").drop_nulls("loads").unnest("loads"))
        return self._arrow(ROUTES[what])

    def _forecast(self, load_type: str | None, by: str, within: TimeRangeUs) -> Forecast | LoadTypeForecasts:
        query = [("by", by)]
        # Given twice, a type may have commas.
        query += [] if load_type is None else [("type", load_type)] * 2
        for name, us in zip(("start", "end"), first_and_last_us(within), strict=True):
            query += [] if us is None else [(name, from_microseconds(us).isoformat())]
        body = self._get(f"/api/forecast?{urlencode(query)}", JSON)
        if by == "total":
            return msgspec.json.decode(body, type=Forecast)
        return msgspec.json.decode(body, type=LoadTypeForecasts)

    def _performance(
        self, event_id: str, baseline: BaselineName | None, revision: int | None
    ) -> EventPerformance:
        parameters = {"baseline": baseline, "revision": revision}
        query = urlencode({name: value for name, value in parameters.items() if value is not None})
        body = self._get(f"/api/events/{_escaped(event_id)}/performance?{query}", JSON)
        return msgspec.json.decode(body, type=EventPerformance)

    def _arrow(self, path: str) -> pl.DataFrame:
        return pythonic(pl.read_ipc_stream(io.BytesIO(self._get(path, ARROW))))

    def _get(self, path: str, media_type: str) -> bytes:
        request = Request(self._url + path, headers={"Accept": media_type, **self._headers})  # noqa: S310 - checked above
        try:
            with urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310
                if warning := response.headers.get("History-Warning"):
                    warnings.warn(warning, CoarserThanRequestedWarning, stacklevel=6)
                if not str(response.headers.get("Content-Type")).startswith(media_type):
                    raise self._no_gridgate(path, f"{response.status} {response.headers.get('Content-Type')}")
                return bytes(response.read())
        except HTTPError as error:
            if not str(error.headers.get("Content-Type")).startswith(PROBLEM):
                raise self._no_gridgate(path, f"{error.code} {error.headers.get('Content-Type')}") from None
            raise _translated(error) from None
        except OSError as error:  # refused, no such host, certificates, time-outs
            reason = getattr(error, "reason", error)
            raise ConnectionError(f"{self.where} cannot be reached: {reason}") from None

    def _no_gridgate(self, path: str, answer: str) -> ConnectionError:
        return ConnectionError(f"{self.where} is no service of Gridgate: {path} answered {answer}")


def _window(width_s: int, within: TimeRangeUs, aggregate: Aggregate) -> Iterator[tuple[str, str]]:
    """Query parameters; the API's `end` is inclusive, so an empty range has no exact equivalent."""
    yield "granularity", f"{width_s}s"
    yield "aggregate", aggregate
    if within.start_us is not None:
        yield "start", from_microseconds(within.start_us).isoformat()
    if within.end_us is not None:
        last_us = within.end_us if within.is_empty else within.end_us - 1
        yield "end", from_microseconds(last_us).isoformat()


def _translated(error: HTTPError) -> Exception:
    """The service's message, as the error that `DatabaseGrid` would raise."""
    try:
        detail = str(msgspec.json.decode(error.read())["detail"])
    except (msgspec.DecodeError, KeyError, TypeError):
        detail = f"the service answered {error.code}"
    if error.code in NEEDS_KEY:
        return PermissionError(f"{detail} In connect(), it is key=.")
    return LookupError(detail) if error.code == NOT_FOUND else ValueError(detail)


def _escaped(name: str) -> str:
    return quote(name, safe="")
