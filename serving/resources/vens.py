"""VENs, their loads, and the history of both."""

import falcon
from falcon import Request, Response
from falcon.uri import encode_value

from schemas.http import Load, LoadUpdate, Ven, VenCreate, VenSummary, VenUpdate
from serving.answers import answer, answer_whole
from serving.bodies import read_body
from serving.description import FORMATS, HISTORY, JSON, VEN_HISTORY, Answer, Operation
from serving.formats import answer_entries, answer_history, negotiate
from serving.histories import Histories
from serving.hot import Hot
from serving.latest import Latest
from serving.paging import paged
from serving.parameters import PAGE, WINDOW, identifier, page, window
from serving.reader import Reader
from serving.windows import Page
from serving.writer import Writer

EVERYTHING = Page()


class Vens:
    def __init__(self, reader: Reader, latest: Latest, writer: Writer) -> None:
        self._reader = reader
        self._latest = latest
        self._writer = writer

    @Operation(
        id="listVens",
        summary="All VENs with their loads, by id",
        tag="vens",
        parameters=PAGE,
        answers={200: Answer("All VENs, or a page of them.", list[Ven], FORMATS, ("Link",))},
    )
    def on_get(self, request: Request, response: Response) -> None:
        media_type, asked = negotiate(request, response), page(request.params)
        vens = paged(request, response, asked, self._reader.vens(asked))
        answer_entries(response, media_type, Ven, vens, self._reader.at_first(asked))

    @Operation(
        id="createVen",
        summary="Register a VEN, or bring a retired one back",
        tag="vens",
        takes=VenCreate,
        answers={201: Answer("The VEN.", Ven, headers=("Location",))},
        problems=(409,),
    )
    def on_post(self, request: Request, response: Response) -> None:
        ven_id = self._writer.add_ven(read_body(request, VenCreate))
        response.status, response.location = falcon.HTTP_201, f"/api/vens/{encode_value(ven_id)}"
        answer(response, self._latest.ven(ven_id))


class VenSummaries:
    def __init__(self, reader: Reader, hot: Hot) -> None:
        self._reader = reader
        self._hot = hot

    @Operation(
        id="listVenSummaries",
        summary="All VENs, one line each, by id",
        tag="vens",
        parameters=PAGE,
        answers={200: Answer("All VENs, or a page of them.", list[VenSummary], FORMATS, ("Link",))},
    )
    def on_get(self, request: Request, response: Response) -> None:
        media_type, asked = negotiate(request, response), page(request.params)
        if media_type == JSON and asked == EVERYTHING and (whole := self._hot.get("summaries")):
            answer_whole(response, whole)
            return
        summaries = paged(request, response, asked, self._reader.ven_summaries(asked))
        answer_entries(response, media_type, VenSummary, summaries, self._reader.at_first(asked))


class OneVen:
    def __init__(self, latest: Latest, writer: Writer) -> None:
        self._latest = latest
        self._writer = writer

    @Operation(
        id="getVen",
        summary="One VEN with its loads",
        tag="vens",
        answers={200: Answer("The VEN.", Ven)},
        problems=(404,),
    )
    def on_get(self, _request: Request, response: Response, ven_id: str) -> None:
        answer(response, self._latest.ven(identifier("venId", ven_id)))

    @Operation(
        id="updateVen",
        summary="Change what is registered of a VEN",
        tag="vens",
        takes=VenUpdate,
        answers={200: Answer("The VEN as it is now.", Ven)},
        problems=(404,),
    )
    def on_patch(self, request: Request, response: Response, ven_id: str) -> None:
        self._writer.change_ven(identifier("venId", ven_id), read_body(request, VenUpdate))
        answer(response, self._latest.ven(ven_id))

    @Operation(
        id="retireVen",
        summary="Take a VEN out of lists and totals; its history stays",
        tag="vens",
        answers={204: Answer("It is retired.")},
        problems=(404,),
    )
    def on_delete(self, _request: Request, response: Response, ven_id: str) -> None:
        self._writer.retire_ven(identifier("venId", ven_id))
        response.status = falcon.HTTP_204


class Loads:
    def __init__(self, latest: Latest) -> None:
        self._latest = latest

    @Operation(
        id="listLoads",
        summary="The latest of each load of a VEN, by id",
        tag="vens",
        parameters=PAGE,
        answers={
            200: Answer(
                "Its loads, or a page of them; none if it has reported none.", list[Load], FORMATS, ("Link",)
            )
        },
        problems=(404,),
    )
    def on_get(self, request: Request, response: Response, ven_id: str) -> None:
        media_type, asked = negotiate(request, response), page(request.params)
        loads = self._latest.loads(identifier("venId", ven_id), asked)
        answer_entries(response, media_type, Load, paged(request, response, asked, iter(loads)))


class OneLoad:
    def __init__(self, latest: Latest, writer: Writer) -> None:
        self._latest = latest
        self._writer = writer

    @Operation(
        id="getLoad",
        summary="The latest of one load",
        tag="vens",
        answers={200: Answer("The load.", Load)},
        problems=(404,),
    )
    def on_get(self, _request: Request, response: Response, ven_id: str, load_id: str) -> None:
        load = self._latest.load(identifier("venId", ven_id), identifier("loadId", load_id))
        answer(response, load)

    @Operation(
        id="updateLoad",
        summary="Set what people say of a load, and tell its VEN",
        tag="vens",
        takes=LoadUpdate,
        answers={200: Answer("The load as it is now.", Load)},
        problems=(404,),
    )
    def on_patch(self, request: Request, response: Response, ven_id: str, load_id: str) -> None:
        ven_id, load_id = identifier("venId", ven_id), identifier("loadId", load_id)
        self._writer.change_load(ven_id, load_id, read_body(request, LoadUpdate))
        answer(response, self._latest.load(ven_id, load_id))


class VenHistory:
    def __init__(self, histories: Histories) -> None:
        self._histories = histories

    @Operation(
        id="getVenHistory",
        summary="History of a VEN",
        tag="vens",
        parameters=WINDOW,
        answers={200: VEN_HISTORY},
        problems=(404,),
    )
    def on_get(self, request: Request, response: Response, ven_id: str) -> None:
        media_type, asked = negotiate(request, response), window(request.params)
        answer_history(response, media_type, self._histories.ven(identifier("venId", ven_id), asked))


class LoadHistory:
    def __init__(self, histories: Histories) -> None:
        self._histories = histories

    @Operation(
        id="getLoadHistory",
        summary="History of a load",
        tag="vens",
        parameters=WINDOW,
        answers={200: HISTORY},
        problems=(404,),
    )
    def on_get(self, request: Request, response: Response, ven_id: str, load_id: str) -> None:
        media_type, asked = negotiate(request, response), window(request.params)
        ven_id, load_id = identifier("venId", ven_id), identifier("loadId", load_id)
        answer_history(response, media_type, self._histories.load(ven_id, load_id, asked))
