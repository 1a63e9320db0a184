"""The forecast of usage and shed capability by load type."""

from falcon import Request, Response

from schemas.api.forecasts import Forecast, ForecastPoint, LoadTypeForecastPoint, LoadTypeForecasts
from serving.fleet.forecasts import ForecastReader
from serving.http.operations import LIST_MEDIA, Operation, ResponseSpec
from serving.http.parameters.histories import FORECAST, forecast_types
from serving.http.parameters.media import JSON
from serving.http.parameters.times import period
from serving.http.responses import answer, answer_entries, negotiate

POWERS = {
    "usedP10Kw": 31.2,
    "usedP50Kw": 38.5,
    "usedP90Kw": 47.9,
    "usedDays": 29,
    "shedCapabilityP10Kw": 20.1,
    "shedCapabilityP50Kw": 25.4,
    "shedCapabilityP90Kw": 32.8,
    "shedCapabilityDays": 29,
}
POINT = {"timestamp": "2026-01-16T18:00:00Z", **POWERS}
HEAD = {"origin": "2026-01-15T12:30:00Z", "timeZone": "Europe/Berlin"}


class ForecastResource:
    def __init__(self, reader: ForecastReader) -> None:
        self._reader = reader

    @Operation(
        id="getForecast",
        summary="What loads will use, and could shed, by type and half hour, 48 hours ahead",
        tag="statistics",
        parameters=FORECAST,
        answers={
            200: ResponseSpec(
                "As JSON with its origin and a note; in columns the points alone.",
                (LoadTypeForecasts, Forecast),
                LIST_MEDIA,
                examples={
                    "type": {**HEAD, "points": [{"type": "ev", **POINT}]},
                    "total": {**HEAD, "points": [POINT]},
                },
            )
        },
        problems=(404,),
    )
    def on_get(self, request: Request, response: Response) -> None:
        media_type = negotiate(request, response)
        types, within = forecast_types(request.params), period(request.params)
        if types is None:
            answer_forecast(response, media_type, self._reader.total(within), ForecastPoint)
        else:
            forecasts = self._reader.by_type(types, within)
            answer_forecast(response, media_type, forecasts, LoadTypeForecastPoint)


def answer_forecast(
    response: Response,
    media_type: str,
    forecast: Forecast | LoadTypeForecasts,
    shape: type[ForecastPoint | LoadTypeForecastPoint],
) -> None:
    if media_type == JSON:
        answer(response, forecast)
    else:
        answer_entries(response, media_type, shape, forecast.points)
