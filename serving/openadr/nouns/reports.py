"""Reports, each of one event: VENs make them, business logic reads them, ingest stores what they measure."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, or_

from schemas.openadr import ReportRequest
from schemas.tables.openadr import openadr_events, openadr_reports
from serving.errors import ConflictError
from serving.openadr import queries, report_inbox
from serving.openadr.objects import Context, OwnedObjects, Values


class Reports(OwnedObjects[ReportRequest]):
    object_type = "REPORT"
    table = openadr_reports
    noun = "report"

    def _values(self, context: Context, request: ReportRequest, before: Row[Any] | None) -> Values:
        granted = context.connection.execute(queries.granted_targets(context.client.client_id)).scalars()
        visible = [_may_be_seen(granted.all()) | queries.has_part(context.client.client_id)]
        event = context.connection.execute(queries.lock_event(request.event_id, visible)).one_or_none()
        if event is None:
            raise ConflictError(f"eventID: there is no event {request.event_id!r}.")
        owner = context.client.client_id if before is None else before.client_id
        columns = {
            "program_id": event.program_id,
            "event_id": request.event_id,
            "client_name": request.client_name,
        }
        return Values(owner, (), columns)

    def _after_change(
        self, context: Context, _before: Row[Any] | None, row: Row[Any], _request: ReportRequest
    ) -> None:
        """A report that was replaced is read again: what ingest has of it already is a duplicate there."""
        report_inbox.put(context.connection, row, context.now)


def _may_be_seen(granted: Sequence[str]) -> ColumnElement[bool]:
    return or_(queries.is_untargeted(openadr_events), queries.has_target(openadr_events, granted))
