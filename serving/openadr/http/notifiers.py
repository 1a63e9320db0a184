"""How clients may be notified."""

from falcon import Request, Response

from schemas.openadr import MqttBinding, Notifiers
from serving.http.operations import Operation, ResponseSpec
from serving.http.responses import answer
from serving.openadr.auth.access import MAY_READ

SENDS_WEBHOOKS = True
"""Those of subscriptions are called by the jobs."""


class NotifiersResource:
    """`mqtt`: where clients reach the broker, if they do."""

    def __init__(self, mqtt: MqttBinding | None = None) -> None:
        self._notifiers = Notifiers(SENDS_WEBHOOKS, mqtt)

    @Operation(
        id="listAllNotifiers",
        summary="How clients may be notified",
        tag="notifiers",
        answers={
            200: ResponseSpec(
                "Whether webhooks are called, and how to reach the broker, if it is used.", Notifiers
            )
        },
        needs_database=False,
        scopes=MAY_READ,
    )
    def on_get(self, _request: Request, response: Response) -> None:
        answer(response, self._notifiers)
