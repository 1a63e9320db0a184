"""Sends webhooks from the outbox: at least once, in order per object, with a thread for each receiver."""

import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import structlog
from msgspec import Struct
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from standardwebhooks import Webhook

from jobs.queries import webhooks as queries
from jobs.queries.webhooks import DueDelivery
from jobs.running.admission import admit
from jobs.webhooks.client import DeliveryError, ForbiddenAddressError, ReceiverAnswer, WebhookClient
from jobs.webhooks.policy import WebhookPolicy
from schemas.db.revisions import WrongRevisionError
from schemas.programs.version import VERSION

POLL_EVERY_S = 0.5
LONGEST_ERROR = 500
STOP_WITHIN_S = 5.0


class HeldWebhook(Struct, frozen=True):
    """A webhook that this program has leased, and its consecutive failures.

    That of an OpenADR subscription is sent OpenADR notifications, with its token.
    """

    webhook_id: str
    url: str
    secret: str
    failures: int
    failing_since: datetime | None
    subscription_id: str | None = None
    bearer_token: str | None = None


class WebhookSender:
    """A thread that polls for due deliveries, and at most `MOST_WEBHOOKS`, one for each receiver."""

    def __init__(  # noqa: PLR0913 - what it is made of
        self,
        engine: Engine,
        clock: Callable[[], datetime],
        holder: str,
        policy: WebhookPolicy,
        client: WebhookClient | None = None,
        *,
        draw: Callable[[], float] = random.random,
        count: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`count` is called with the outcome of each attempt."""
        self._engine = engine
        self._clock = clock
        self._holder = holder
        self._policy = policy
        self._client = client or WebhookClient(policy.networks, policy.timeout_s)
        self._draw = draw
        self._count = count
        self._stopping = threading.Event()
        self._receivers: dict[str, threading.Thread] = {}
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)
        self._log = structlog.get_logger()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Wait a few seconds for deliveries in progress; unsettled ones are sent again later."""
        self._stopping.set()
        ends_s = time.monotonic() + STOP_WITHIN_S
        for thread in [self._thread, *self._receivers.values()]:
            thread.join(max(0.0, ends_s - time.monotonic()))

    def _run(self) -> None:
        is_away = False
        while not self._stopping.wait(POLL_EVERY_S):
            try:
                self.look()
            except (SQLAlchemyError, WrongRevisionError) as error:
                if not is_away:
                    self._log.warning("webhooks_wait", error=str(error.__cause__ or error).strip())
                is_away = True
            else:
                is_away = False

    def look(self) -> None:
        """Start a thread for each webhook that has due deliveries and no thread."""
        self._receivers = {name: each for name, each in self._receivers.items() if each.is_alive()}
        with self._engine.begin() as connection:
            admit(connection)
            ids = connection.execute(queries.webhooks_with_work(self._clock(), self._holder)).scalars().all()
        for webhook_id in [each for each in ids if each not in self._receivers]:
            thread = threading.Thread(
                target=self.drain, args=(webhook_id,), name=f"webhook {webhook_id}", daemon=True
            )
            self._receivers[webhook_id] = thread
            thread.start()

    def drain(self, webhook_id: str) -> None:
        """Send to one receiver until nothing is due, it fails, or `stop` is called."""
        try:
            while not self._stopping.is_set() and self.send_next(webhook_id):
                pass
            with self._engine.begin() as connection:
                connection.execute(queries.release(webhook_id, self._holder))
        except (SQLAlchemyError, WrongRevisionError) as error:
            reason = str(error.__cause__ or error).strip()
            self._log.warning("webhook_waits", webhook=webhook_id, error=reason)

    def send_next(self, webhook_id: str) -> bool:
        """Send the next due delivery, and settle it by the response; returns whether there was one."""
        now = self._clock()
        with self._engine.begin() as connection:
            admit(connection)
            hold = queries.hold(webhook_id, self._holder, now, now + self._policy.lease)
            lease = connection.execute(hold).one_or_none()
            if lease is None:
                return False
            webhook = HeldWebhook(webhook_id, *lease)
            delivery = queries.next_delivery(webhook_id, now).first(connection)
        if delivery is None:
            return False
        status, error = self._send(webhook, delivery)
        self._settle(webhook, delivery, status, error)
        return True

    def _send(self, webhook: HeldWebhook, delivery: DueDelivery) -> tuple[int | None, str | None]:
        """Send a delivery; returns the response's status, and the error, None on success."""
        headers, body = message(webhook, delivery, self._clock().astimezone(UTC))
        try:
            answer = self._client.post(webhook.url, headers, body)
        except (ForbiddenAddressError, DeliveryError) as error:
            return None, str(error)[:LONGEST_ERROR]
        except Exception as error:  # noqa: BLE001 - any: must not end the thread, nor be retried at once
            self._log.error("webhook_fault", webhook=webhook.webhook_id, exc_info=error)
            return None, f"{type(error).__name__}: {error}"[:LONGEST_ERROR]
        return answer.status, None if answer.is_success else _refusal(answer)

    def _settle(
        self, webhook: HeldWebhook, delivery: DueDelivery, status: int | None, error: str | None
    ) -> None:
        now = self._clock()
        self._count("delivered" if error is None else "failed")
        outcome: dict[str, object] = {
            "attempts": delivery.attempts + 1,
            "response_status": status,
            "error": error,
        }
        if error is None:
            outcome |= {"status": "delivered", "closed_at": now}
            state: dict[str, object] = {
                "failures": 0,
                "failing_since": None,
                "retry_at": None,
                "error": None,
                "succeeded_at": now,
            }
        else:
            outcome |= self._after_failure(delivery, now)
            state = self._state_after_failure(webhook, error, now)
        with self._engine.begin() as connection:
            admit(connection)
            connection.execute(queries.settle_delivery(delivery.delivery_id, outcome))
            connection.execute(queries.settle_webhook(webhook.webhook_id, self._holder, state))

    def _after_failure(self, delivery: DueDelivery, now: datetime) -> dict[str, object]:
        if self._policy.is_over(delivery.created_at, now):
            return {"status": "failed", "closed_at": now}
        return {"next_attempt_at": now + self._policy.wait(delivery.attempts + 1, self._draw)}

    def _state_after_failure(self, webhook: HeldWebhook, error: str, now: datetime) -> dict[str, object]:
        """Return the webhook's state: all its deliveries back off, else each object would retry by itself."""
        failures, since = webhook.failures + 1, webhook.failing_since or now
        state = {"failures": failures, "failing_since": since, "error": error}
        if self._policy.is_over(since, now):
            self._log.error("webhook_disabled", webhook=webhook.webhook_id, failures=failures, error=error)
            return {**state, "enabled": False, "disabled_at": now, "retry_at": None}
        self._log.warning("webhook_fails", webhook=webhook.webhook_id, failures=failures, error=error)
        return {**state, "retry_at": now + self._policy.wait(failures, self._draw)}


def message(webhook: HeldWebhook, delivery: DueDelivery, now: datetime) -> tuple[dict[str, str], bytes]:
    """Return headers and body according to Standard Webhooks; the id stays the same when it is sent again.

    The body of an OpenADR notification is the notification itself.
    """
    at = f"{delivery.created_at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    body = f'{{"type":"{delivery.type}","timestamp":"{at}","data":{delivery.data}}}'
    if webhook.subscription_id is not None:
        body = delivery.data
    message_id = f"msg_{delivery.delivery_id}"
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"gridgate/{VERSION}",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(webhook.secret).sign(message_id, now, body),
        **({"Authorization": f"Bearer {webhook.bearer_token}"} if webhook.bearer_token else {}),
    }
    return headers, body.encode()


def _refusal(answer: ReceiverAnswer) -> str:
    if answer.is_redirect:
        return f"the receiver answered {answer.status}: redirects are not followed"
    return f"the receiver answered {answer.status}"
