"""The live stream."""

from falcon import Request, Response

from serving.auth.keys import caller_of
from serving.http.operations import Operation, ResponseSpec
from serving.http.parameters.lists import LAST_EVENT_ID, LAST_EVENT_ID_HEADER, last_event_id
from serving.live.hub import LiveHub


class StreamResource:
    """Server-sent events: `network`, `status`, `event`, `alarm`; `reset` for clients too far behind."""

    def __init__(self, hub: LiveHub) -> None:
        self._hub = hub

    @Operation(
        id="getStream",
        summary="Live stream of changes",
        tag="statistics",
        answers={
            200: ResponseSpec("Server-sent events, without an end.", str, media=("text/event-stream",)),
        },
        parameters=(LAST_EVENT_ID, LAST_EVENT_ID_HEADER),
        is_tagged=False,
    )
    def on_get(self, request: Request, response: Response) -> None:
        last = last_event_id(request.get_header("Last-Event-ID"), request.params)
        response.stream = self._hub.open(last, caller_of(request).key_id)
        response.content_type = "text/event-stream"
        response.set_header("X-Accel-Buffering", "no")  # else nginx would buffer events
