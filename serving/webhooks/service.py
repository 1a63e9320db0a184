"""Creates, changes, deletes and tests webhooks."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from msgspec import UNSET
from sqlalchemy import Connection, Engine

from schemas.api.webhooks import (
    MadeWebhook,
    Webhook,
    WebhookCreate,
    WebhookDelivery,
    WebhookTest,
    WebhookUpdate,
)
from schemas.webhooks import MOST_WEBHOOKS, Network, check_url, new_secret
from serving.db.reading import in_blocks, snapshot
from serving.errors import ConflictError, InvalidRequestError, NotFoundError
from serving.page import Page
from serving.webhooks import queries
from serving.webhooks.queries import DeliveryRow, WebhookRow

"""Most webhooks: each change is written once for each of them."""

FRESH = {"failures": 0, "failing_since": None, "retry_at": None, "disabled_at": None, "error": None}


class Webhooks:
    """The tables `webhooks` and `webhook_deliveries`, the outbox of the jobs."""

    def __init__(
        self, engine: Engine, clock: Callable[[], datetime], networks: Sequence[Network] = ()
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._networks = networks

    def all(self, page: Page) -> Iterator[Webhook]:
        """Return webhooks by id; the iterator holds a connection until it ends."""
        with snapshot(self._engine) as connection:
            yield from map(_webhook, in_blocks(connection, queries.all_webhooks(page)))

    def one(self, webhook_id: str) -> Webhook:
        """Return one webhook.

        Raises:
            NotFoundError: there is none with that id.
        """
        with self._engine.connect() as connection:
            return _found(connection, webhook_id)

    def add(self, request: WebhookCreate) -> MadeWebhook:
        """Create a webhook, with a secret that is shown only once.

        Raises:
            InvalidRequestError: nothing may be sent to its URL.
            ConflictError: the limit of webhooks is reached.
        """
        self._check(request.url)
        webhook_id, secret = f"wh-{uuid.uuid4().hex}", new_secret()
        values = {
            "webhook_id": webhook_id,
            "url": request.url,
            "kinds": sorted(set(request.kinds)),
            "secret": secret,
            "enabled": request.enabled is not False,
            "created_at": self._clock(),
        }
        with self._engine.begin() as connection:
            connection.execute(queries.COUNT_ALONE)
            if connection.execute(queries.count()).scalar_one() >= MOST_WEBHOOKS:
                raise ConflictError(f"There are {MOST_WEBHOOKS} webhooks, the most: delete one first.")
            connection.execute(queries.add(values))
            return MadeWebhook(_found(connection, webhook_id), secret)

    def change(self, webhook_id: str, request: WebhookUpdate) -> Webhook:
        """Change a webhook; enabling it, or changing its URL, resets its failures.

        Raises:
            NotFoundError: there is none with that id.
            InvalidRequestError: nothing may be sent to its URL.
        """
        values = {
            name: value
            for name in ("url", "kinds", "enabled")
            if (value := getattr(request, name)) is not UNSET
        }
        if "url" in values:
            self._check(values["url"])
        if "kinds" in values:
            values["kinds"] = sorted(set(values["kinds"]))
        with self._engine.begin() as connection:
            _lock(connection, webhook_id)
            shown = _found(connection, webhook_id)
            changes = {name: value for name, value in values.items() if getattr(shown, name) != value}
            if changes.get("enabled") or "url" in changes:
                changes |= FRESH
            if changes:
                connection.execute(queries.change(webhook_id, changes))
            return _found(connection, webhook_id)

    def remove(self, webhook_id: str) -> None:
        """Delete a webhook, with its pending deliveries.

        Raises:
            NotFoundError: there is none with that id.
        """
        with self._engine.begin() as connection:
            _lock(connection, webhook_id)
            connection.execute(queries.remove(webhook_id))
            connection.execute(queries.remove_deliveries(webhook_id))

    def test(self, webhook_id: str) -> WebhookTest:
        """Queue a delivery without content.

        Raises:
            NotFoundError: there is none with that id.
            ConflictError: it is disabled.
        """
        with self._engine.begin() as connection:
            if not _found(connection, webhook_id).enabled:
                raise ConflictError(
                    f'Webhook {webhook_id!r} is disabled: PATCH it with {{"enabled": true}} first.'
                )
            delivery_id = connection.execute(queries.add_test(webhook_id, self._clock())).scalar_one()
        return WebhookTest(str(delivery_id))

    def deliveries(self, webhook_id: str, page: Page) -> Iterator[WebhookDelivery]:
        """Return deliveries, newest first; the iterator holds a connection until it ends.

        Raises:
            NotFoundError: there is no such webhook.
        """
        with snapshot(self._engine) as connection:
            _found(connection, webhook_id)
            yield from map(_delivery, in_blocks(connection, queries.deliveries(webhook_id, page)))

    def _check(self, url: str) -> None:
        try:
            check_url(url, self._networks)
        except ValueError as error:
            raise InvalidRequestError(f"url {error}") from None


def _lock(connection: Connection, webhook_id: str) -> None:
    if connection.execute(queries.lock_webhook(webhook_id)).first() is None:
        raise NotFoundError(f"There is no webhook {webhook_id!r}.")


def _found(connection: Connection, webhook_id: str) -> Webhook:
    row = queries.webhook(webhook_id).first(connection)
    if row is None:
        raise NotFoundError(f"There is no webhook {webhook_id!r}.")
    return _webhook(row)


def _webhook(row: WebhookRow) -> Webhook:
    return Webhook(
        id=row.webhook_id,
        url=row.url,
        kinds=row.kinds,
        enabled=row.enabled,
        created_at=row.created_at,
        pending_deliveries=row.pending,
        succeeded_at=row.succeeded_at,
        failing_since=row.failing_since,
        retry_at=row.retry_at,
        disabled_at=row.disabled_at,
        error=row.error,
    )


def _delivery(row: DeliveryRow) -> WebhookDelivery:
    return WebhookDelivery(
        id=str(row.delivery_id),
        type=row.type,
        object_id=row.object_id,
        status=row.status,
        attempts=row.attempts,
        created_at=row.created_at,
        next_attempt_at=row.next_attempt_at if row.status == "pending" else None,
        closed_at=row.closed_at,
        response_status=row.response_status,
        error=row.error,
    )
