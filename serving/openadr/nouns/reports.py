"""Reports, each of one event: VENs make them, business logic reads them, ingest stores what they measure."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, or_

from schemas.openadr import ReportRequest
from schemas.tables.openadr import openadr_events, openadr_reports
from serving.errors import ConflictError
from serving.openadr import queries, report_inbox
from serving.openadr.objects import Context, OwnedObjects, Values
from serving.openadr.queries import OpenAdrReportRow


class Reports(OwnedObjects[ReportRequest, OpenAdrReportRow]):
    object_type = "REPORT"
    table = openadr_reports
    row = OpenAdrReportRow
    noun = "report"

    def _values(self, context: Context, request: ReportRequest, before: OpenAdrReportRow | None) -> Values:
        granted = context.connection.execute(queries.granted_targets(context.client.client_id)).scalars()
        visible = [_may_be_seen(granted.all()) | queries.has_part(context.client.client_id)]
        event = queries.lock_event(request.event_id, visible).first(context.connection)
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
        self,
        context: Context,
        _before: OpenAdrReportRow | None,
        row: OpenAdrReportRow,
        _request: ReportRequest,
    ) -> None:
        """A report that was replaced is read again: what ingest has of it already is a duplicate there."""
        report_inbox.put(context.connection, row, context.now)


def _may_be_seen(granted: Sequence[str]) -> ColumnElement[bool]:
    return or_(queries.is_untargeted(openadr_events), queries.has_target(openadr_events, granted))
