"""VENs, which are VENs of this service; with one goes what belongs to it."""

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Engine

from schemas.openadr import VenRequest
from schemas.openadr_objects import Object
from schemas.tables.openadr import openadr_vens
from serving.openadr import enrolment, queries
from serving.openadr.nouns.owners import owner_and_targets, without_access
from serving.openadr.nouns.resources import Resources
from serving.openadr.objects import Context, Listener, OwnedObjects, Values, ignore
from serving.openadr.queries import OpenAdrVenRow


class Vens(OwnedObjects[VenRequest, OpenAdrVenRow]):
    object_type = "VEN"
    table = openadr_vens
    row = OpenAdrVenRow
    noun = "VEN"

    def __init__(
        self,
        engine: Engine,
        clock: Callable[[], datetime],
        resources: Resources,
        listener: Listener = ignore,
    ) -> None:
        super().__init__(engine, clock, listener)
        self._resources = resources

    def _values(self, context: Context, request: VenRequest, before: OpenAdrVenRow | None) -> Values:
        owner, targets = owner_and_targets(context.client, request, before)
        columns: dict[str, object] = {"ven_name": request.ven_name}
        if before is None:
            is_new = enrolment.register_ven(context.connection, request, context.client, context.now)
            columns |= {"ven_id": request.ven_name, "is_registered_here": is_new}
        return Values(owner, targets, columns)

    def _body(self, request: VenRequest) -> Object:
        return without_access(request)

    def whole(self, row: OpenAdrVenRow) -> Object:
        return {**super().whole(row), **({"targets": row.targets} if row.targets else {})}

    def _after_change(
        self, context: Context, before: OpenAdrVenRow | None, row: OpenAdrVenRow, request: VenRequest
    ) -> None:
        if before is not None:
            enrolment.rename_ven(context.connection, row.ven_id, request)
            self._notify_former_owner(context, before)

    def _before_deletion(self, context: Context, row: OpenAdrVenRow) -> None:
        for resource in queries.resources_of_ven(row.object_id).all(context.connection):
            self._resources.delete_row(context, resource)
        enrolment.retire_ven(context.connection, row, context.now)
