"""Statistics of the whole network."""

from falcon import Request, Response

from schemas.http import LoadTypeStats, NetworkStats
from serving.cache.response_cache import ResponseCache
from serving.fleet.reader import FleetReader
from serving.history.service import Histories
from serving.http.openapi import HISTORY, LIST_MEDIA, Operation, ResponseSpec
from serving.http.parameters import HISTORY as HISTORY_PARAMETERS
from serving.http.parameters import (
    JSON,
    history_request,
)
from serving.http.responses import (
    answer,
    answer_cached,
    answer_entries,
    answer_history,
    negotiate,
)


class NetworkResource:
    def __init__(self, reader: FleetReader, cache: ResponseCache) -> None:
        self._reader = reader
        self._cache = cache

    @Operation(
        id="getNetworkStats",
        summary="The whole network now",
        tag="statistics",
        answers={200: ResponseSpec("Totals over the latest values of all VENs.", NetworkStats)},
    )
    def on_get(self, _request: Request, response: Response) -> None:
        if cached := self._cache.get("network"):
            answer_cached(response, cached)
        else:
            answer(response, self._reader.network())


class LoadTypesResource:
    def __init__(self, reader: FleetReader, cache: ResponseCache) -> None:
        self._reader = reader
        self._cache = cache

    @Operation(
        id="getLoadTypeStats",
        summary="Totals by type of load",
        tag="statistics",
        answers={
            200: ResponseSpec("One entry for each type, sorted by type.", list[LoadTypeStats], LIST_MEDIA)
        },
    )
    def on_get(self, request: Request, response: Response) -> None:
        media_type = negotiate(request, response)
        if media_type == JSON and (cached := self._cache.get("load types")):
            answer_cached(response, cached)
        else:
            answer_entries(response, media_type, LoadTypeStats, self._reader.load_types())


class NetworkHistoryResource:
    def __init__(self, histories: Histories) -> None:
        self._histories = histories

    @Operation(
        id="getNetworkHistory",
        summary="History of the network",
        tag="statistics",
        parameters=HISTORY_PARAMETERS,
        answers={200: HISTORY},
    )
    def on_get(self, request: Request, response: Response) -> None:
        media_type = negotiate(request, response)
        wanted = history_request(request.params, self._histories.default_aggregate, self._histories.time_zone)
        answer_history(response, media_type, self._histories.network(wanted))
