"""Webhooks. Their URLs may contain secrets, so only operators see them."""

import falcon
from falcon import Request, Response

from schemas.api.webhooks import (
    MadeWebhook,
    Webhook,
    WebhookCreate,
    WebhookDelivery,
    WebhookTest,
    WebhookUpdate,
)
from serving.auth.keys import require_operator
from serving.http.bodies import read_body
from serving.http.operations import Operation, ResponseSpec
from serving.http.parameters.ids import identifier
from serving.http.parameters.lists import NUMBERED_PAGE, PAGE, numbered_page, page
from serving.http.responses import answer, answer_list, link_next_page
from serving.webhooks.service import Webhooks


class WebhooksResource:
    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks = webhooks

    @Operation(
        id="listWebhooks",
        summary="All webhooks, by id",
        tag="webhooks",
        parameters=PAGE,
        answers={200: ResponseSpec("All webhooks, or a page of them.", list[Webhook], headers=("Link",))},
        problems=(403,),
    )
    def on_get(self, request: Request, response: Response) -> None:
        require_operator(request)
        part = page(request.params)
        answer_list(response, link_next_page(request, response, part, self._webhooks.all(part)))

    @Operation(
        id="createWebhook",
        summary="Create a webhook, which sends changes to a URL",
        tag="webhooks",
        takes=WebhookCreate,
        answers={201: ResponseSpec("The webhook and its secret.", MadeWebhook, headers=("Location",))},
        problems=(409,),
    )
    def on_post(self, request: Request, response: Response) -> None:
        webhook = self._webhooks.add(read_body(request, WebhookCreate))
        response.status, response.location = falcon.HTTP_201, f"/api/webhooks/{webhook.webhook.id}"
        answer(response, webhook)


class OneWebhookResource:
    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks = webhooks

    @Operation(
        id="getWebhook",
        summary="One webhook",
        tag="webhooks",
        answers={200: ResponseSpec("The webhook, without its secret.", Webhook)},
        problems=(403, 404),
    )
    def on_get(self, request: Request, response: Response, webhook_id: str) -> None:
        require_operator(request)
        answer(response, self._webhooks.one(identifier("webhookId", webhook_id)))

    @Operation(
        id="updateWebhook",
        summary="Change a webhook, enable or disable it",
        tag="webhooks",
        takes=WebhookUpdate,
        answers={200: ResponseSpec("The webhook as it is now.", Webhook)},
        problems=(404,),
    )
    def on_patch(self, request: Request, response: Response, webhook_id: str) -> None:
        webhook_id = identifier("webhookId", webhook_id)
        answer(response, self._webhooks.change(webhook_id, read_body(request, WebhookUpdate)))

    @Operation(
        id="deleteWebhook",
        summary="Delete a webhook, with its pending deliveries",
        tag="webhooks",
        answers={204: ResponseSpec("It is deleted.")},
        problems=(404,),
    )
    def on_delete(self, _request: Request, response: Response, webhook_id: str) -> None:
        self._webhooks.remove(identifier("webhookId", webhook_id))
        response.status = falcon.HTTP_204


class WebhookTestResource:
    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks = webhooks

    @Operation(
        id="testWebhook",
        summary="Send a test delivery",
        tag="webhooks",
        answers={202: ResponseSpec("The jobs send it within seconds.", WebhookTest)},
        problems=(404, 409),
    )
    def on_post(self, _request: Request, response: Response, webhook_id: str) -> None:
        response.status = falcon.HTTP_202
        answer(response, self._webhooks.test(identifier("webhookId", webhook_id)))


class WebhookDeliveriesResource:
    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks = webhooks

    @Operation(
        id="listWebhookDeliveries",
        summary="What was sent to a webhook, or is to be, newest first",
        tag="webhooks",
        parameters=NUMBERED_PAGE,
        answers={
            200: ResponseSpec("All that are kept, or a page.", list[WebhookDelivery], headers=("Link",))
        },
        problems=(403, 404),
    )
    def on_get(self, request: Request, response: Response, webhook_id: str) -> None:
        require_operator(request)
        part = numbered_page(request.params)
        deliveries = self._webhooks.deliveries(identifier("webhookId", webhook_id), part)
        answer_list(response, link_next_page(request, response, part, deliveries))
