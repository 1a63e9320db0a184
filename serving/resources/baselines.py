"""Baselines: the methods, and the series of one VEN or of an event."""

from falcon import Request, Response

from schemas.api.baselines import BaselineMethod
from schemas.api.performance import BaselinePoint, BaselineSeries
from serving.events.deliveries.baseline_series import BaselineSeriesReader
from serving.http.operations import LIST_MEDIA, Operation, ResponseSpec
from serving.http.parameters.events import (
    EVENT_BASELINE,
    VEN_BASELINE,
    baseline_name,
    baseline_window,
    ven_of_baseline,
)
from serving.http.parameters.ids import identifier
from serving.http.parameters.media import JSON
from serving.http.responses import answer, answer_entries, negotiate

SERIES = ResponseSpec("As JSON with the method; in columns the points alone.", BaselineSeries, LIST_MEDIA)


class BaselinesResource:
    def __init__(self, methods: list[BaselineMethod]) -> None:
        self._methods = methods

    @Operation(
        id="listBaselines",
        summary="The baselines, with their parameters and sources",
        tag="events",
        answers={200: ResponseSpec("All baselines that there are.", list[BaselineMethod])},
    )
    def on_get(self, _request: Request, response: Response) -> None:
        answer(response, self._methods)


class EventBaselineResource:
    def __init__(self, reader: BaselineSeriesReader) -> None:
        self._reader = reader

    @Operation(
        id="getEventBaseline",
        summary="What VENs would use without an event, by five minutes",
        tag="events",
        parameters=EVENT_BASELINE,
        answers={200: SERIES},
        problems=(404,),
    )
    def on_get(self, request: Request, response: Response, event_id: str) -> None:
        media_type = negotiate(request, response)
        ven_id, name = ven_of_baseline(request.params), baseline_name(request.params)
        series = self._reader.of_event(identifier("eventId", event_id), ven_id, name)
        answer_series(response, media_type, series)


class VenBaselineResource:
    def __init__(self, reader: BaselineSeriesReader) -> None:
        self._reader = reader

    @Operation(
        id="getVenBaseline",
        summary="What a VEN would use without events, by five minutes, also ahead of time",
        tag="vens",
        parameters=VEN_BASELINE,
        answers={200: SERIES},
        problems=(404,),
    )
    def on_get(self, request: Request, response: Response, ven_id: str) -> None:
        media_type = negotiate(request, response)
        name, (start, end) = baseline_name(request.params), baseline_window(request.params)
        series = self._reader.of_ven(identifier("venId", ven_id), start, end, name)
        answer_series(response, media_type, series)


def answer_series(response: Response, media_type: str, series: BaselineSeries) -> None:
    if media_type == JSON:
        answer(response, series)
    else:
        answer_entries(response, media_type, BaselinePoint, series.points)
