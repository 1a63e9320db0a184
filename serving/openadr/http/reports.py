"""Reports. They are data: none is audited."""

from falcon import Request, Response

from schemas.openadr import OpenAdrReport, ReportRequest
from schemas.tables.openadr import openadr_reports
from serving.openadr.auth.access import MAY_READ_VEN_OBJECTS, WRITE_REPORTS
from serving.openadr.http.nouns import Collection, OneObject, creation, deletion, reading, replacement, search
from serving.openadr.http.parameters import CLIENT_NAME, EVENT, PROGRAM, equals

TAG = "reports"
SHAPES = (ReportRequest, OpenAdrReport)
MAY_WRITE = (WRITE_REPORTS,)


class ReportsResource(Collection[ReportRequest]):
    takes = ReportRequest

    @search(
        "searchAllReports",
        TAG,
        OpenAdrReport,
        MAY_READ_VEN_OBJECTS,
        (
            PROGRAM,
            EVENT,
            CLIENT_NAME,
        ),
    )
    def on_get(self, request: Request, response: Response) -> None:
        self.answer_listed(
            request,
            response,
            [
                *equals(request.params, PROGRAM, openadr_reports.c.program_id),
                *equals(request.params, EVENT, openadr_reports.c.event_id),
                *equals(request.params, CLIENT_NAME, openadr_reports.c.client_name),
            ],
        )

    @creation("createReport", TAG, SHAPES, MAY_WRITE, is_change=False)
    def on_post(self, request: Request, response: Response) -> None:
        super().on_post(request, response)


class OneReportResource(OneObject[ReportRequest]):
    takes = ReportRequest

    @reading("searchReportsByReportID", TAG, OpenAdrReport, MAY_READ_VEN_OBJECTS)
    def on_get(self, request: Request, response: Response, object_id: str) -> None:
        super().on_get(request, response, object_id)

    @replacement("updateReport", TAG, SHAPES, MAY_WRITE, is_change=False)
    def on_put(self, request: Request, response: Response, object_id: str) -> None:
        super().on_put(request, response, object_id)

    @deletion("deleteReport", TAG, OpenAdrReport, MAY_WRITE, is_change=False)
    def on_delete(self, request: Request, response: Response, object_id: str) -> None:
        super().on_delete(request, response, object_id)
