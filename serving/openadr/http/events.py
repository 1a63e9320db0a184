"""Events."""

from falcon import Request, Response

from schemas.openadr import EventRequest, OpenAdrEvent
from serving.http.parameters.rules import checked
from serving.http.responses import answer_cached, answer_list
from serving.openadr.auth.access import MAY_READ_TARGETS, WRITE_EVENTS
from serving.openadr.auth.callers import client_of
from serving.openadr.http.nouns import Collection, OneObject, creation, deletion, reading, replacement, search
from serving.openadr.http.parameters import ACTIVE, PROGRAM, TARGETS, Given, object_page, texts
from serving.openadr.nouns.events import Events
from serving.openadr.page import EventFilter
from serving.openadr.polling.lists import EventLists

TAG = "events"
SHAPES = (EventRequest, OpenAdrEvent)
MAY_WRITE = (WRITE_EVENTS,)


class OpenAdrEventsResource(Collection[EventRequest]):
    takes = EventRequest

    def __init__(self, events: Events, lists: EventLists | None = None) -> None:
        super().__init__(events)
        self._events = events
        self._lists = lists

    @search(
        "searchAllEvents",
        TAG,
        OpenAdrEvent,
        MAY_READ_TARGETS,
        (
            PROGRAM,
            TARGETS,
            ACTIVE,
        ),
    )
    def on_get(self, request: Request, response: Response) -> None:
        client, wanted, now = client_of(request), _event_filter(request.params), self._events.now()
        polled = self._lists and self._lists.answer(client, request.query_string, wanted, now)
        if polled:
            answer_cached(response, polled)
        else:
            answer_list(response, self._events.filtered(client, wanted, now))

    @creation("createEvent", TAG, SHAPES, MAY_WRITE)
    def on_post(self, request: Request, response: Response) -> None:
        super().on_post(request, response)


def _event_filter(given: Given) -> EventFilter:
    """The events that are asked for.

    Raises:
        falcon.HTTPBadRequest: a parameter is not allowed.
    """
    targets = texts(given, TARGETS)
    return EventFilter(
        checked(given, PROGRAM),
        None if targets is None else tuple(targets),
        checked(given, ACTIVE) == "true",
        object_page(given),
    )


class OpenAdrOneEventResource(OneObject[EventRequest]):
    takes = EventRequest

    @reading("searchEventsByID", TAG, OpenAdrEvent, MAY_READ_TARGETS)
    def on_get(self, request: Request, response: Response, object_id: str) -> None:
        super().on_get(request, response, object_id)

    @replacement("updateEvent", TAG, SHAPES, MAY_WRITE)
    def on_put(self, request: Request, response: Response, object_id: str) -> None:
        super().on_put(request, response, object_id)

    @deletion("deleteEvent", TAG, OpenAdrEvent, MAY_WRITE)
    def on_delete(self, request: Request, response: Response, object_id: str) -> None:
        super().on_delete(request, response, object_id)
