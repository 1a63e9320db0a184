"""What happens, as it happens."""

from falcon import Request, Response

from serving.live import Live
from serving.parameters import last_event_id


class Changes:
    """Server-sent events: `network`, `status`, `event`, and `reset` to who was away for too long."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def on_get(self, request: Request, response: Response) -> None:
        response.stream = self._live.open(last_event_id(request.get_header("Last-Event-ID"), request.params))
        response.content_type = "text/event-stream"
        response.set_header("X-Accel-Buffering", "no")  # or nginx would hold events back
