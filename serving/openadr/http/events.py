"""Events."""

from functools import partial

from falcon import Request, Response

from schemas.openadr import Event, EventRequest
from schemas.tables.openadr import openadr_events
from serving.cache.answer_cache import AnswerCache
from serving.http.parameters import checked
from serving.openadr.auth.access import MAY_READ_TARGETS, WRITE_EVENTS
from serving.openadr.http.nouns import Collection, OneObject, creation, deletion, reading, replacement, search
from serving.openadr.http.parameters import ACTIVE, PROGRAM, TARGETS, equals
from serving.openadr.nouns.events import Events

TAG = "events"
SHAPES = (EventRequest, Event)
MAY_WRITE = (WRITE_EVENTS,)


class OpenAdrEventsResource(Collection[EventRequest]):
    takes = EventRequest

    def __init__(self, events: Events, answers: AnswerCache | None = None) -> None:
        super().__init__(events, answers)
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
        is_active = checked(request.params, ACTIVE) == "true"
        now = self._events.now()
        active = self._events.active(now) if is_active else ()
        conditions = [*equals(request.params, PROGRAM, openadr_events.c.program_id), *active]
        self.answer_polled(
            request, response, conditions, partial(self._events.next_end, now) if is_active else _never
        )

    @creation("createEvent", TAG, SHAPES, MAY_WRITE)
    def on_post(self, request: Request, response: Response) -> None:
        super().on_post(request, response)


def _never() -> None:
    """A list of all events does not change by time alone."""


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
