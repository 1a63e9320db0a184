"""VENs, their loads, and the history of both."""

import falcon
from falcon import Request, Response
from falcon.uri import encode_value

from schemas.api.vens import Load, LoadUpdate, Ven, VenCreate, VenSummary, VenUpdate
from serving.cache.response_cache import ResponseCache
from serving.fleet.latest import LatestReader
from serving.fleet.reader import FleetReader
from serving.history.service import Histories
from serving.http.bodies import read_body
from serving.http.operations import HISTORY, LIST_MEDIA, VEN_HISTORY, Operation, ResponseSpec
from serving.http.parameters.histories import HISTORY as HISTORY_PARAMETERS
from serving.http.parameters.histories import history_request
from serving.http.parameters.ids import identifier
from serving.http.parameters.lists import GROUP_PAGE, PAGE, TYPES_OF_LOADS, group, page
from serving.http.parameters.media import JSON
from serving.http.parameters.rules import several
from serving.http.responses import (
    AT_FIRST,
    answer,
    answer_cached,
    answer_entries,
    answer_history,
    link_next_page,
    negotiate,
)
from serving.page import Page
from serving.registry.writer import FleetWriter

EVERYTHING = Page()


class VensResource:
    def __init__(self, reader: FleetReader, latest: LatestReader, writer: FleetWriter) -> None:
        self._reader = reader
        self._latest = latest
        self._writer = writer

    @Operation(
        id="listVens",
        summary="All VENs with their loads, by id",
        tag="vens",
        parameters=GROUP_PAGE,
        answers={200: ResponseSpec("All VENs, or a page of them.", list[Ven], LIST_MEDIA, ("Link",))},
        problems=(404,),
    )
    def on_get(self, request: Request, response: Response) -> None:
        media_type, part = negotiate(request, response), page(request.params)
        group_id = group(request.params)
        vens = link_next_page(request, response, part, self._reader.vens(part, group_id))
        answer_entries(response, media_type, Ven, vens, self._reader.at_first(part, AT_FIRST, group_id))

    @Operation(
        id="createVen",
        summary="Register a VEN, or bring a retired one back",
        tag="vens",
        takes=VenCreate,
        answers={201: ResponseSpec("The VEN.", Ven, headers=("Location",))},
        problems=(409,),
    )
    def on_post(self, request: Request, response: Response) -> None:
        ven_id = self._writer.add_ven(read_body(request, VenCreate))
        response.status, response.location = falcon.HTTP_201, f"/api/vens/{encode_value(ven_id)}"
        answer(response, self._latest.ven(ven_id))


class VenSummariesResource:
    def __init__(self, reader: FleetReader, cache: ResponseCache) -> None:
        self._reader = reader
        self._cache = cache

    @Operation(
        id="listVenSummaries",
        summary="All VENs, one line each, by id",
        tag="vens",
        parameters=(*GROUP_PAGE, TYPES_OF_LOADS),
        answers={200: ResponseSpec("All VENs, or a page of them.", list[VenSummary], LIST_MEDIA, ("Link",))},
        problems=(404,),
    )
    def on_get(self, request: Request, response: Response) -> None:
        media_type, part = negotiate(request, response), page(request.params)
        group_id, load_types = group(request.params), several(request.params, TYPES_OF_LOADS)
        is_everything = media_type == JSON and part == EVERYTHING and group_id is None and not load_types
        if is_everything and (cached := self._cache.get("summaries")):
            answer_cached(response, cached)
            return
        summaries = link_next_page(
            request, response, part, self._reader.ven_summaries(part, group_id, load_types)
        )
        at_first = self._reader.at_first(part, AT_FIRST, group_id, load_types)
        answer_entries(response, media_type, VenSummary, summaries, at_first)


class OneVenResource:
    def __init__(self, latest: LatestReader, writer: FleetWriter) -> None:
        self._latest = latest
        self._writer = writer

    @Operation(
        id="getVen",
        summary="One VEN with its loads",
        tag="vens",
        answers={200: ResponseSpec("The VEN.", Ven)},
        problems=(404,),
    )
    def on_get(self, _request: Request, response: Response, ven_id: str) -> None:
        answer(response, self._latest.ven(identifier("venId", ven_id)))

    @Operation(
        id="updateVen",
        summary="Change what is registered of a VEN",
        tag="vens",
        takes=VenUpdate,
        answers={200: ResponseSpec("The VEN as it is now.", Ven)},
        problems=(404,),
    )
    def on_patch(self, request: Request, response: Response, ven_id: str) -> None:
        ven_id = identifier("venId", ven_id)
        self._writer.change_ven(ven_id, read_body(request, VenUpdate))
        answer(response, self._latest.ven(ven_id))

    @Operation(
        id="retireVen",
        summary="Take a VEN out of lists and totals; its history stays",
        tag="vens",
        answers={204: ResponseSpec("It is retired.")},
        problems=(404,),
    )
    def on_delete(self, _request: Request, response: Response, ven_id: str) -> None:
        self._writer.retire_ven(identifier("venId", ven_id))
        response.status = falcon.HTTP_204


class LoadsResource:
    def __init__(self, latest: LatestReader) -> None:
        self._latest = latest

    @Operation(
        id="listLoads",
        summary="The latest of each load of a VEN, by id",
        tag="vens",
        parameters=PAGE,
        answers={
            200: ResponseSpec(
                "Its loads, or a page of them; none if it has reported none.",
                list[Load],
                LIST_MEDIA,
                ("Link",),
            )
        },
        problems=(404,),
    )
    def on_get(self, request: Request, response: Response, ven_id: str) -> None:
        media_type, part = negotiate(request, response), page(request.params)
        loads = self._latest.loads(identifier("venId", ven_id), part)
        answer_entries(response, media_type, Load, link_next_page(request, response, part, iter(loads)))


class OneLoadResource:
    def __init__(self, latest: LatestReader, writer: FleetWriter) -> None:
        self._latest = latest
        self._writer = writer

    @Operation(
        id="getLoad",
        summary="The latest of one load",
        tag="vens",
        answers={200: ResponseSpec("The load.", Load)},
        problems=(404,),
    )
    def on_get(self, _request: Request, response: Response, ven_id: str, load_id: str) -> None:
        load = self._latest.load(identifier("venId", ven_id), identifier("loadId", load_id))
        answer(response, load)

    @Operation(
        id="updateLoad",
        summary="Change the settings of a load, and send them to its VEN",
        tag="vens",
        takes=LoadUpdate,
        answers={200: ResponseSpec("The load as it is now.", Load)},
        problems=(404,),
    )
    def on_patch(self, request: Request, response: Response, ven_id: str, load_id: str) -> None:
        ven_id, load_id = identifier("venId", ven_id), identifier("loadId", load_id)
        self._writer.change_load(ven_id, load_id, read_body(request, LoadUpdate))
        answer(response, self._latest.load(ven_id, load_id))

    @Operation(
        id="removeLoad",
        summary="Take a load out of latest values and totals, until its next sample; its history stays",
        tag="vens",
        answers={204: ResponseSpec("It is removed.")},
        problems=(404,),
    )
    def on_delete(self, _request: Request, response: Response, ven_id: str, load_id: str) -> None:
        self._writer.remove_load(identifier("venId", ven_id), identifier("loadId", load_id))
        response.status = falcon.HTTP_204


class VenHistoryResource:
    def __init__(self, histories: Histories) -> None:
        self._histories = histories

    @Operation(
        id="getVenHistory",
        summary="History of a VEN",
        tag="vens",
        parameters=HISTORY_PARAMETERS,
        answers={200: VEN_HISTORY},
        problems=(404,),
    )
    def on_get(self, request: Request, response: Response, ven_id: str) -> None:
        media_type = negotiate(request, response)
        query = history_request(request.params, self._histories.default_aggregate, self._histories.time_zone)
        answer_history(response, media_type, self._histories.ven(identifier("venId", ven_id), query))


class LoadHistoryResource:
    def __init__(self, histories: Histories) -> None:
        self._histories = histories

    @Operation(
        id="getLoadHistory",
        summary="History of a load",
        tag="vens",
        parameters=HISTORY_PARAMETERS,
        answers={200: HISTORY},
        problems=(404,),
    )
    def on_get(self, request: Request, response: Response, ven_id: str, load_id: str) -> None:
        media_type = negotiate(request, response)
        query = history_request(request.params, self._histories.default_aggregate, self._histories.time_zone)
        ven_id, load_id = identifier("venId", ven_id), identifier("loadId", load_id)
        answer_history(response, media_type, self._histories.load(ven_id, load_id, query))
