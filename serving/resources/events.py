"""Demand response events."""

import falcon
from falcon import Request, Response
from falcon.uri import encode_value

from schemas.http import EventCreate, Stopping
from serving.answers import answer, answer_list
from serving.bodies import body
from serving.events import EventReader, EventWriter
from serving.paging import paged
from serving.parameters import identifier, page, period


class Events:
    def __init__(self, reader: EventReader, writer: EventWriter) -> None:
        self._reader = reader
        self._writer = writer

    def on_get(self, request: Request, response: Response) -> None:
        asked = page(request.params)
        answer_list(response, paged(request, response, asked, self._reader.all(asked)))

    def on_post(self, request: Request, response: Response) -> None:
        made = self._writer.create(body(request, EventCreate))
        response.status, response.location = falcon.HTTP_201, f"/api/events/{encode_value(made.id)}"
        answer(response, made)


class OneEvent:
    def __init__(self, reader: EventReader, writer: EventWriter) -> None:
        self._reader = reader
        self._writer = writer

    def on_get(self, _request: Request, response: Response, event_id: str) -> None:
        answer(response, self._reader.detail(identifier("eventId", event_id)))

    def on_delete(self, _request: Request, response: Response, event_id: str) -> None:
        self._writer.cancel(identifier("eventId", event_id))
        response.status = falcon.HTTP_204


class EventStop:
    def __init__(self, writer: EventWriter) -> None:
        self._writer = writer

    def on_post(self, _request: Request, response: Response, event_id: str) -> None:
        self._writer.stop(identifier("eventId", event_id))
        response.status = falcon.HTTP_202
        answer(response, Stopping(event_id))


class EventMetrics:
    def __init__(self, reader: EventReader) -> None:
        self._reader = reader

    def on_get(self, _request: Request, response: Response, event_id: str) -> None:
        answer(response, self._reader.metrics(identifier("eventId", event_id)))


class CurrentEvent:
    def __init__(self, reader: EventReader) -> None:
        self._reader = reader

    def on_get(self, _request: Request, response: Response) -> None:
        answer(response, self._reader.current())


class PastEvents:
    def __init__(self, reader: EventReader) -> None:
        self._reader = reader

    def on_get(self, request: Request, response: Response) -> None:
        answer_list(response, self._reader.past(*period(request.params)))
