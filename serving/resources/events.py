"""Demand response events."""

import falcon
from falcon import Request, Response
from falcon.uri import encode_value

from schemas.api.events import Event, EventCreate, EventDetail, EventPreview, EventUpdate, EventWithMetrics
from schemas.api.events import EventMetrics as Metrics
from schemas.api.performance import EventPerformance as Performance
from schemas.api.performance import VenDelivery
from schemas.api.service import Stopping
from serving.events.deliveries.performance import PerformanceReader, deliveries
from serving.events.service import EventReader, EventWriter
from serving.http.bodies import read_body
from serving.http.operations import LIST_MEDIA, Operation, ResponseSpec
from serving.http.parameters.events import DRY_RUN, PERFORMANCE, is_dry_run, settlement
from serving.http.parameters.ids import identifier
from serving.http.parameters.lists import PAGE, page
from serving.http.parameters.media import JSON
from serving.http.parameters.times import PERIOD, period
from serving.http.responses import (
    answer,
    answer_entries,
    answer_list,
    link_next_page,
    negotiate,
)


class EventsResource:
    def __init__(self, reader: EventReader, writer: EventWriter) -> None:
        self._reader = reader
        self._writer = writer

    @Operation(
        id="listEvents",
        summary="All events, by start",
        tag="events",
        parameters=PAGE,
        answers={200: ResponseSpec("All events, or a page of them.", list[Event], headers=("Link",))},
    )
    def on_get(self, request: Request, response: Response) -> None:
        part = page(request.params)
        answer_list(response, link_next_page(request, response, part, self._reader.all(part)))

    @Operation(
        id="createEvent",
        summary="Create an event",
        tag="events",
        takes=EventCreate,
        parameters=(DRY_RUN,),
        answers={
            200: ResponseSpec("With `dryRun=1`: what it would do.", EventPreview),
            201: ResponseSpec("The event.", Event, headers=("Location",)),
        },
        problems=(409,),
    )
    def on_post(self, request: Request, response: Response) -> None:
        if is_dry_run(request.params):
            answer(response, self._writer.preview(read_body(request, EventCreate)))
            return
        event = self._writer.create(read_body(request, EventCreate))
        response.status, response.location = falcon.HTTP_201, f"/api/events/{encode_value(event.id)}"
        answer(response, event)


class OneEventResource:
    def __init__(self, reader: EventReader, writer: EventWriter) -> None:
        self._reader = reader
        self._writer = writer

    @Operation(
        id="getEvent",
        summary="One event with its progress and its participants",
        tag="events",
        answers={200: ResponseSpec("The event.", EventDetail)},
        problems=(404,),
    )
    def on_get(self, _request: Request, response: Response, event_id: str) -> None:
        answer(response, self._reader.detail(identifier("eventId", event_id)))

    @Operation(
        id="updateEvent",
        summary="Change an event, also while it runs",
        tag="events",
        takes=EventUpdate,
        answers={200: ResponseSpec("The event as it is now.", Event)},
        problems=(404, 409),
    )
    def on_patch(self, request: Request, response: Response, event_id: str) -> None:
        answer(
            response, self._writer.change(identifier("eventId", event_id), read_body(request, EventUpdate))
        )

    @Operation(
        id="cancelEvent",
        summary="Cancel an event",
        tag="events",
        answers={204: ResponseSpec("It is cancelled.")},
        problems=(404, 409),
    )
    def on_delete(self, _request: Request, response: Response, event_id: str) -> None:
        self._writer.cancel(identifier("eventId", event_id))
        response.status = falcon.HTTP_204


class EventStopResource:
    def __init__(self, writer: EventWriter) -> None:
        self._writer = writer

    @Operation(
        id="stopEvent",
        summary="End an event early: complete a running one, cancel a scheduled one",
        tag="events",
        answers={202: ResponseSpec("It will be over within a second, if it is not yet.", Stopping)},
        problems=(404,),
    )
    def on_post(self, _request: Request, response: Response, event_id: str) -> None:
        self._writer.stop(identifier("eventId", event_id))
        response.status = falcon.HTTP_202
        answer(response, Stopping(event_id))


class EventMetricsResource:
    def __init__(self, reader: EventReader) -> None:
        self._reader = reader

    @Operation(
        id="getEventMetrics",
        summary="Progress of an event",
        tag="events",
        answers={200: ResponseSpec("How it goes, or how it went.", Metrics)},
        problems=(404,),
    )
    def on_get(self, _request: Request, response: Response, event_id: str) -> None:
        answer(response, self._reader.metrics(identifier("eventId", event_id)))


class EventPerformanceResource:
    def __init__(self, reader: PerformanceReader) -> None:
        self._reader = reader

    @Operation(
        id="getEventPerformance",
        summary="What an event delivered",
        tag="events",
        parameters=PERFORMANCE,
        answers={
            200: ResponseSpec(
                "As settled; or so far, and provisional. In columns a row for each VEN, after one of the"
                " portfolio, whose `venId` is empty.",
                Performance,
                LIST_MEDIA,
            )
        },
        problems=(404, 409),
    )
    def on_get(self, request: Request, response: Response, event_id: str) -> None:
        media_type, (baseline, revision) = negotiate(request, response), settlement(request.params)
        performance = self._reader.performance(identifier("eventId", event_id), baseline, revision)
        if media_type == JSON:
            answer(response, performance)
        else:
            answer_entries(response, media_type, VenDelivery, deliveries(performance))


class CurrentEventResource:
    def __init__(self, reader: EventReader) -> None:
        self._reader = reader

    @Operation(
        id="getCurrentEvent",
        summary="The running event, else the next one",
        tag="events",
        answers={200: ResponseSpec("The event, or null.", EventWithMetrics | None)},
    )
    def on_get(self, _request: Request, response: Response) -> None:
        answer(response, self._reader.current())


class PastEventsResource:
    def __init__(self, reader: EventReader) -> None:
        self._reader = reader

    @Operation(
        id="listPastEvents",
        summary="Events that run or are over, newest first",
        tag="events",
        parameters=PERIOD,
        answers={
            200: ResponseSpec("All but those to come, and those cancelled before their start.", list[Event])
        },
    )
    def on_get(self, request: Request, response: Response) -> None:
        answer_list(response, self._reader.past(*period(request.params)))
