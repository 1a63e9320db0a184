"""Statistics of the whole network."""

from falcon import Request, Response

from schemas.api.statistics import LoadTypeStats, NetworkStats
from serving.cache.response_cache import ResponseCache
from serving.fleet.reader import FleetReader
from serving.history.service import Histories
from serving.http.operations import HISTORY, LIST_MEDIA, Operation, ResponseSpec
from serving.http.parameters.histories import GROUP_HISTORY, history_request
from serving.http.parameters.lists import GROUP, group
from serving.http.parameters.media import JSON
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
        parameters=(GROUP,),
        answers={200: ResponseSpec("Totals over the latest values of all VENs.", NetworkStats)},
        problems=(404,),
    )
    def on_get(self, request: Request, response: Response) -> None:
        if group_id := group(request.params):
            answer(response, self._reader.network_of(group_id))
        elif cached := self._cache.get("network"):
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
        parameters=(GROUP,),
        problems=(404,),
        answers={
            200: ResponseSpec("One entry for each type, sorted by type.", list[LoadTypeStats], LIST_MEDIA)
        },
    )
    def on_get(self, request: Request, response: Response) -> None:
        media_type = negotiate(request, response)
        if group_id := group(request.params):
            answer_entries(response, media_type, LoadTypeStats, self._reader.load_types_of(group_id))
        elif media_type == JSON and (cached := self._cache.get("load types")):
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
        parameters=GROUP_HISTORY,
        answers={200: HISTORY},
        problems=(404,),
    )
    def on_get(self, request: Request, response: Response) -> None:
        media_type = negotiate(request, response)
        query = history_request(request.params, self._histories.default_aggregate, self._histories.time_zone)
        group_id = group(request.params)
        history = (
            self._histories.network(query) if group_id is None else self._histories.group(group_id, query)
        )
        answer_history(response, media_type, history)
