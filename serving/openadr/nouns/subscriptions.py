"""Subscriptions to changes of objects. They are stored; a notifier reads them from their table."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row

from schemas.openadr import SubscriptionRequest
from schemas.tables.openadr import openadr_subscriptions
from serving.errors import ConflictError
from serving.openadr import queries
from serving.openadr.access import Client
from serving.openadr.objects import Context, Object, OwnedObjects, Values


class Subscriptions(OwnedObjects[SubscriptionRequest]):
    object_type = "SUBSCRIPTION"
    table = openadr_subscriptions
    noun = "subscription"

    def _values(self, context: Context, request: SubscriptionRequest, before: Row[Any] | None) -> Values:
        program_id = request.program_id
        if program_id and context.connection.execute(queries.lock_program(program_id)).first() is None:
            raise ConflictError(f"programID: there is no program {program_id!r}.")
        owner = context.client.client_id if before is None else before.client_id
        columns = {
            "program_id": program_id,
            "client_name": request.client_name,
            "objects": sorted({each for part in request.object_operations for each in part.objects}),
        }
        return Values(owner, request.targets or (), columns)

    def _shown(self, row: Row[Any], client: Client, targets: Sequence[str] | None) -> Object:
        """The token of a webhook is a secret between its client and this service."""
        whole = super()._shown(row, client, targets)
        if row.client_id == client.client_id:
            return whole
        parts = whole["objectOperations"]
        hidden = [{name: each for name, each in part.items() if name != "bearerToken"} for part in parts]
        return {**whole, "objectOperations": hidden}
