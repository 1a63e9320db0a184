"""Events."""

from falcon import Request, Response

from schemas.openadr import Event, EventRequest
from schemas.tables.openadr import openadr_events
from serving.http.parameters import checked
from serving.openadr.access import MAY_READ_TARGETS, WRITE_EVENTS
from serving.openadr.http.nouns import Collection, OneObject, creation, deletion, reading, replacement, search
from serving.openadr.http.parameters import ACTIVE, PROGRAM, TARGETS, equals
from serving.openadr.nouns.events import Events

TAG = "events"
SHAPES = (EventRequest, Event)
MAY_WRITE = (WRITE_EVENTS,)


class OpenAdrEventsResource(Collection[EventRequest]):
    takes = EventRequest

    def __init__(self, events: Events) -> None:
        super().__init__(events)
        self._events = events

    @search(
        "searchAllEvents",
        TAG,
        Event,
        MAY_READ_TARGETS,
        (
            PROGRAM,
            TARGETS,
            ACTIVE,
        ),
    )
    def on_get(self, request: Request, response: Response) -> None:
        active = self._events.active() if checked(request.params, ACTIVE) == "true" else ()
        self.answer_listed(
            request,
            response,
            [*equals(request.params, PROGRAM, openadr_events.c.program_id), *active],
            has_targets=True,
        )

    @creation("createEvent", TAG, SHAPES, MAY_WRITE)
    def on_post(self, request: Request, response: Response) -> None:
        super().on_post(request, response)


class OpenAdrOneEventResource(OneObject[EventRequest]):
    takes = EventRequest

    @reading("searchEventsByID", TAG, Event, MAY_READ_TARGETS)
    def on_get(self, request: Request, response: Response, object_id: str) -> None:
        super().on_get(request, response, object_id)

    @replacement("updateEvent", TAG, SHAPES, MAY_WRITE)
    def on_put(self, request: Request, response: Response, object_id: str) -> None:
        super().on_put(request, response, object_id)

    @deletion("deleteEvent", TAG, Event, MAY_WRITE)
    def on_delete(self, request: Request, response: Response, object_id: str) -> None:
        super().on_delete(request, response, object_id)
