"""Subscriptions to changes of objects, with their webhooks."""

from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import Engine

from schemas.openadr import SubscriptionRequest
from schemas.openadr_objects import Object
from schemas.tables.openadr import openadr_subscriptions
from schemas.webhooks import Network
from serving.errors import ConflictError
from serving.openadr import queries
from serving.openadr.auth.access import Client
from serving.openadr.notifications import webhooks as notifications
from serving.openadr.objects import Context, Listener, OwnedObjects, Values, ignore
from serving.openadr.queries import OpenAdrSubscriptionRow


class Subscriptions(OwnedObjects[SubscriptionRequest, OpenAdrSubscriptionRow]):
    object_type = "SUBSCRIPTION"
    table = openadr_subscriptions
    row = OpenAdrSubscriptionRow
    noun = "subscription"

    def __init__(
        self,
        engine: Engine,
        clock: Callable[[], datetime],
        listener: Listener = ignore,
        networks: Sequence[Network] = (),
    ) -> None:
        super().__init__(engine, clock, listener)
        self._networks = networks

    def _values(
        self, context: Context, request: SubscriptionRequest, before: OpenAdrSubscriptionRow | None
    ) -> Values:
        program_id = request.program_id
        if program_id and context.connection.execute(queries.lock_program(program_id)).first() is None:
            raise ConflictError(f"programID: there is no program {program_id!r}.")
        owner = context.client.client_id if before is None else before.client_id
        is_own = context.client.client_id == owner
        columns = {
            "reads_all": context.client.reads_all if before is None or is_own else before.reads_all,
            "program_id": program_id,
            "client_name": request.client_name,
            "objects": sorted({each for part in request.object_operations for each in part.objects}),
        }
        return Values(owner, request.targets or (), columns)

    def _after_change(
        self,
        context: Context,
        _before: OpenAdrSubscriptionRow | None,
        row: OpenAdrSubscriptionRow,
        _request: SubscriptionRequest,
    ) -> None:
        notifications.put_webhooks(context.connection, row, self._networks, context.now)

    def _before_deletion(self, context: Context, row: OpenAdrSubscriptionRow) -> None:
        notifications.remove_webhooks(context.connection, row.object_id)

    def _shown(self, row: OpenAdrSubscriptionRow, client: Client, targets: Sequence[str] | None) -> Object:
        """The token of a webhook is a secret between its client and this service."""
        whole = super()._shown(row, client, targets)
        if row.client_id == client.client_id:
            return whole
        parts = whole["objectOperations"]
        hidden = [{name: each for name, each in part.items() if name != "bearerToken"} for part in parts]
        return {**whole, "objectOperations": hidden}
