"""Resources of VENs, which are loads here."""

from schemas.openadr import ResourceRequest
from schemas.openadr_objects import Object
from schemas.tables.openadr import openadr_resources, openadr_vens
from serving.errors import ConflictError, NotFoundError
from serving.openadr import enrolment, queries
from serving.openadr.nouns.owners import owner_and_targets, without_access
from serving.openadr.objects import Context, OwnedObjects, Values
from serving.openadr.queries import OpenAdrResourceRow, OpenAdrVenRow


class Resources(OwnedObjects[ResourceRequest, OpenAdrResourceRow]):
    object_type = "RESOURCE"
    table = openadr_resources
    row = OpenAdrResourceRow
    noun = "resource"

    def _values(
        self, context: Context, request: ResourceRequest, before: OpenAdrResourceRow | None
    ) -> Values:
        owner, targets = owner_and_targets(context.client, request, before)
        ven = self._ven(context, request.ven_id)
        if before is not None and before.ven_object_id != ven.object_id:
            raise ConflictError("venID: a resource stays with its VEN: delete it, and make another one.")
        load_id = request.resource_name if before is None else before.load_id
        enrolment.set_load(context.connection, ven.ven_id, load_id, request, context.now)
        columns = {
            "ven_object_id": ven.object_id,
            "resource_name": request.resource_name,
            "load_id": load_id,
        }
        return Values(owner, targets, columns)

    def _ven(self, context: Context, object_id: str) -> OpenAdrVenRow:
        client = context.client
        own = [] if client.is_business_logic else [openadr_vens.c.client_id == client.client_id]
        ven = queries.locked(openadr_vens, OpenAdrVenRow, object_id, own).first(context.connection)
        if ven is None:
            raise NotFoundError(f"venID: there is no VEN {object_id!r}.")
        return ven

    def _body(self, request: ResourceRequest) -> Object:
        return without_access(request)

    def whole(self, row: OpenAdrResourceRow) -> Object:
        return {**super().whole(row), **({"targets": row.targets} if row.targets else {})}

    def _after_change(
        self,
        context: Context,
        before: OpenAdrResourceRow | None,
        _row: OpenAdrResourceRow,
        _request: ResourceRequest,
    ) -> None:
        if before is not None:
            self._notify_former_owner(context, before)

    def _before_deletion(self, context: Context, row: OpenAdrResourceRow) -> None:
        ven = queries.one(openadr_vens, OpenAdrVenRow, row.ven_object_id).one(context.connection)
        enrolment.forget_load(context.connection, ven.ven_id, row.load_id, context.now)
