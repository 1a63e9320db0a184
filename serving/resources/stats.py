"""Statistics of the whole network."""

from falcon import Request, Response

from serving.answers import answer, answer_points
from serving.parameters import window
from serving.reader import Reader


class Network:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def on_get(self, _request: Request, response: Response) -> None:
        answer(response, self._reader.network())


class LoadTypes:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def on_get(self, _request: Request, response: Response) -> None:
        answer(response, self._reader.load_types())


class NetworkHistory:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def on_get(self, request: Request, response: Response) -> None:
        answer_points(response, self._reader.network_history(window(request.params)))
