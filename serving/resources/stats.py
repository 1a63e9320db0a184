"""Statistics of the whole network."""

from falcon import Request, Response

from schemas.http import LoadTypeStats, NetworkStats
from serving.answers import answer, answer_whole
from serving.description import FORMATS, HISTORY, JSON, Answer, Operation
from serving.formats import answer_entries, answer_history, negotiate
from serving.histories import Histories
from serving.hot import Hot
from serving.parameters import WINDOW, window
from serving.reader import Reader


class Network:
    def __init__(self, reader: Reader, hot: Hot) -> None:
        self._reader = reader
        self._hot = hot

    @Operation(
        id="getNetworkStats",
        summary="The whole network now",
        tag="statistics",
        answers={200: Answer("Totals over the latest values of all VENs.", NetworkStats)},
    )
    def on_get(self, _request: Request, response: Response) -> None:
        if whole := self._hot.get("network"):
            answer_whole(response, whole)
        else:
            answer(response, self._reader.network())


class LoadTypes:
    def __init__(self, reader: Reader, hot: Hot) -> None:
        self._reader = reader
        self._hot = hot

    @Operation(
        id="getLoadTypeStats",
        summary="Totals by type of load",
        tag="statistics",
        answers={200: Answer("One entry for each type, sorted by type.", list[LoadTypeStats], FORMATS)},
    )
    def on_get(self, request: Request, response: Response) -> None:
        media_type = negotiate(request, response)
        if media_type == JSON and (whole := self._hot.get("load types")):
            answer_whole(response, whole)
        else:
            answer_entries(response, media_type, LoadTypeStats, self._reader.load_types())


class NetworkHistory:
    def __init__(self, histories: Histories) -> None:
        self._histories = histories

    @Operation(
        id="getNetworkHistory",
        summary="History of the network",
        tag="statistics",
        parameters=WINDOW,
        answers={200: HISTORY},
    )
    def on_get(self, request: Request, response: Response) -> None:
        media_type, asked = negotiate(request, response), window(request.params)
        answer_history(response, media_type, self._histories.network(asked))
