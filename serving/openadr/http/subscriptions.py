"""Subscriptions."""

from falcon import Request, Response

from schemas.openadr import OpenAdrSubscription, SubscriptionRequest
from schemas.tables.openadr import openadr_subscriptions
from serving.openadr.auth.access import MAY_READ_VEN_OBJECTS, WRITE_SUBSCRIPTIONS
from serving.openadr.http.nouns import Collection, OneObject, creation, deletion, reading, replacement, search
from serving.openadr.http.parameters import CLIENT_NAME, OBJECTS, PROGRAM, equals, texts
from serving.openadr.queries import overlaps

TAG = "subscriptions"
SHAPES = (SubscriptionRequest, OpenAdrSubscription)
MAY_WRITE = (WRITE_SUBSCRIPTIONS,)


class SubscriptionsResource(Collection[SubscriptionRequest]):
    takes = SubscriptionRequest

    @search(
        "searchSubscriptions",
        TAG,
        OpenAdrSubscription,
        MAY_READ_VEN_OBJECTS,
        (
            PROGRAM,
            CLIENT_NAME,
            OBJECTS,
        ),
    )
    def on_get(self, request: Request, response: Response) -> None:
        objects = texts(request.params, OBJECTS)
        self.answer_listed(
            request,
            response,
            [
                *equals(request.params, PROGRAM, openadr_subscriptions.c.program_id),
                *equals(request.params, CLIENT_NAME, openadr_subscriptions.c.client_name),
                *([] if objects is None else [overlaps(openadr_subscriptions.c.objects, objects)]),
            ],
        )

    @creation("createSubscription", TAG, SHAPES, MAY_WRITE)
    def on_post(self, request: Request, response: Response) -> None:
        super().on_post(request, response)


class OneSubscriptionResource(OneObject[SubscriptionRequest]):
    takes = SubscriptionRequest

    @reading("searchSubscriptionByID", TAG, OpenAdrSubscription, MAY_READ_VEN_OBJECTS)
    def on_get(self, request: Request, response: Response, object_id: str) -> None:
        super().on_get(request, response, object_id)

    @replacement("updateSubscription", TAG, SHAPES, MAY_WRITE)
    def on_put(self, request: Request, response: Response, object_id: str) -> None:
        super().on_put(request, response, object_id)

    @deletion("deleteSubscription", TAG, OpenAdrSubscription, MAY_WRITE)
    def on_delete(self, request: Request, response: Response, object_id: str) -> None:
        super().on_delete(request, response, object_id)
