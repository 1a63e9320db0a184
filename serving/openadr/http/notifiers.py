"""How clients may be notified."""

from falcon import Request, Response

from schemas.openadr import Notifiers
from serving.http.operations import Operation, ResponseSpec
from serving.http.responses import answer
from serving.openadr.access import MAY_READ

SENDS_WEBHOOKS = True
"""Those of subscriptions are called by the jobs."""


class NotifiersResource:
    @Operation(
        id="listAllNotifiers",
        summary="How clients may be notified",
        tag="notifiers",
        answers={200: ResponseSpec("Whether webhooks are called. There is no MQTT notifier.", Notifiers)},
        needs_database=False,
        scopes=MAY_READ,
    )
    def on_get(self, _request: Request, response: Response) -> None:
        answer(response, Notifiers(SENDS_WEBHOOKS))
