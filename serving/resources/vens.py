"""VENs, their loads, and the history of both."""

from falcon import Request, Response

from serving.answers import answer, answer_list, answer_points
from serving.paging import paged
from serving.parameters import identifier, page, window
from serving.reader import Reader


class Vens:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def on_get(self, request: Request, response: Response) -> None:
        asked = page(request.params)
        answer_list(response, paged(request, response, asked, self._reader.vens(asked)))


class VenSummaries:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def on_get(self, request: Request, response: Response) -> None:
        asked = page(request.params)
        answer_list(response, paged(request, response, asked, self._reader.ven_summaries(asked)))


class OneVen:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def on_get(self, _request: Request, response: Response, ven_id: str) -> None:
        answer(response, self._reader.ven(identifier("venId", ven_id)))


class Loads:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def on_get(self, request: Request, response: Response, ven_id: str) -> None:
        asked = page(request.params)
        loads = self._reader.loads(identifier("venId", ven_id), asked)
        answer_list(response, paged(request, response, asked, loads))


class OneLoad:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def on_get(self, _request: Request, response: Response, ven_id: str, load_id: str) -> None:
        load = self._reader.load(identifier("venId", ven_id), identifier("loadId", load_id))
        answer(response, load)


class VenHistory:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def on_get(self, request: Request, response: Response, ven_id: str) -> None:
        asked = window(request.params)
        answer_points(response, self._reader.ven_history(identifier("venId", ven_id), asked))


class LoadHistory:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def on_get(self, request: Request, response: Response, ven_id: str, load_id: str) -> None:
        asked = window(request.params)
        ven_id, load_id = identifier("venId", ven_id), identifier("loadId", load_id)
        answer_points(response, self._reader.load_history(ven_id, load_id, asked))
