"""The live stream."""

from falcon import Request, Response

from serving.http.openapi import Operation, ResponseSpec
from serving.http.parameters import (
    LAST_EVENT_ID,
    LAST_EVENT_ID_HEADER,
    last_event_id,
)
from serving.live.hub import LiveHub


class StreamResource:
    """Server-sent events: `network`, `status`, `event`, and `reset` to who was away for too long."""

    def __init__(self, hub: LiveHub) -> None:
        self._hub = hub

    @Operation(
        id="getStream",
        summary="What changes, as it changes",
        tag="statistics",
        answers={
            200: ResponseSpec("Server-sent events, without an end.", str, media=("text/event-stream",)),
        },
        parameters=(LAST_EVENT_ID, LAST_EVENT_ID_HEADER),
        is_tagged=False,
    )
    def on_get(self, request: Request, response: Response) -> None:
        response.stream = self._hub.open(last_event_id(request.get_header("Last-Event-ID"), request.params))
        response.content_type = "text/event-stream"
        response.set_header("X-Accel-Buffering", "no")  # or nginx would hold events back
