"""Reports of a VEN over time, for the newer user interface."""

from falcon import Request, Response

from schemas.api.reports import CircuitHistory, RejectedMessage, VenEvent
from serving.http.operations import Operation, ResponseSpec
from serving.http.parameters.ids import identifier
from serving.http.parameters.lists import CIRCUITS, REPORTS, newest_within, snapshot_load
from serving.http.responses import answer
from serving.reports.service import ReportReader


class CircuitHistoryResource:
    def __init__(self, reader: ReportReader) -> None:
        self._reader = reader

    @Operation(
        id="getCircuitHistory",
        summary="Samples of the loads of a VEN, oldest first",
        tag="vens",
        parameters=CIRCUITS,
        answers={200: ResponseSpec("The newest samples within the range.", CircuitHistory)},
        problems=(404,),
    )
    def on_get(self, request: Request, response: Response, ven_id: str) -> None:
        load_id, within = snapshot_load(request.params), newest_within(request.params)
        answer(response, self._reader.circuits(identifier("venId", ven_id), load_id, within))


class VenEventsResource:
    def __init__(self, reader: ReportReader) -> None:
        self._reader = reader

    @Operation(
        id="listVenEvents",
        summary="What a VEN has answered to commands, newest first",
        tag="vens",
        parameters=REPORTS,
        answers={200: ResponseSpec("The newest answers within the range.", list[VenEvent])},
        problems=(404,),
    )
    def on_get(self, request: Request, response: Response, ven_id: str) -> None:
        answer(response, self._reader.events(identifier("venId", ven_id), newest_within(request.params)))


class RejectedMessagesResource:
    def __init__(self, reader: ReportReader) -> None:
        self._reader = reader

    @Operation(
        id="listRejectedMessages",
        summary="Messages of a VEN that were refused, newest first",
        tag="vens",
        parameters=REPORTS,
        answers={200: ResponseSpec("The newest within the range, by receipt.", list[RejectedMessage])},
    )
    def on_get(self, request: Request, response: Response, ven_id: str) -> None:
        answer(response, self._reader.rejected(identifier("venId", ven_id), newest_within(request.params)))
