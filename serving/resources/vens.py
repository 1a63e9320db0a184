"""VENs, their loads, and the history of both."""

from falcon import Request, Response

from schemas.http import Load, Ven, VenSummary
from serving.answers import answer, answer_whole
from serving.description import FORMATS, HISTORY, JSON, Answer, Operation
from serving.formats import answer_entries, answer_history, negotiate
from serving.hot import Hot
from serving.paging import paged
from serving.parameters import PAGE, WINDOW, identifier, page, window
from serving.reader import Reader
from serving.windows import Page

EVERYTHING = Page()


class Vens:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

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
        answer_entries(response, media_type, Ven, vens)


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
        answer_entries(response, media_type, VenSummary, summaries)


class OneVen:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    @Operation(
        id="getVen",
        summary="One VEN with its loads",
        tag="vens",
        answers={200: Answer("The VEN.", Ven)},
        problems=(404,),
    )
    def on_get(self, _request: Request, response: Response, ven_id: str) -> None:
        answer(response, self._reader.ven(identifier("venId", ven_id)))


class Loads:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    @Operation(
        id="listLoads",
        summary="The latest of each load of a VEN, by id",
        tag="vens",
        parameters=PAGE,
        answers={
            200: Answer(
                "Its loads, or a page of them; none if it has reported none.", list[Load], headers=("Link",)
            )
        },
        problems=(404,),
    )
    def on_get(self, request: Request, response: Response, ven_id: str) -> None:
        media_type, asked = negotiate(request, response), page(request.params)
        loads = self._reader.loads(identifier("venId", ven_id), asked)
        answer_entries(response, media_type, Load, paged(request, response, asked, loads))


class OneLoad:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    @Operation(
        id="getLoad",
        summary="The latest of one load",
        tag="vens",
        answers={200: Answer("The load.", Load)},
        problems=(404,),
    )
    def on_get(self, _request: Request, response: Response, ven_id: str, load_id: str) -> None:
        load = self._reader.load(identifier("venId", ven_id), identifier("loadId", load_id))
        answer(response, load)


class VenHistory:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    @Operation(
        id="getVenHistory",
        summary="History of a VEN",
        tag="vens",
        parameters=WINDOW,
        answers={200: HISTORY},
        problems=(404,),
    )
    def on_get(self, request: Request, response: Response, ven_id: str) -> None:
        media_type, asked = negotiate(request, response), window(request.params)
        answer_history(response, media_type, self._reader.ven_history(identifier("venId", ven_id), asked))


class LoadHistory:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

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
        answer_history(response, media_type, self._reader.load_history(ven_id, load_id, asked))
