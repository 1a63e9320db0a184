"""Many histories in one response: of VENs, groups, loads and load types."""

from falcon import Request, Response

from schemas.api.histories import (
    GroupEnergyRows,
    GroupPowerRows,
    LoadEnergyRows,
    LoadPowerRows,
    LoadTypeEnergyRows,
    LoadTypePowerRows,
    VenEnergyRows,
    VenPowerRows,
)
from serving.history.bulk import BulkHistories
from serving.http.operations import Operation, bulk_history
from serving.http.parameters.histories import (
    BY_TYPE,
    LOAD_HISTORIES,
    LOAD_TYPES,
    VEN_HISTORIES,
    chosen_vens,
    history_request,
    is_by_group,
)
from serving.http.parameters.rules import checked, several
from serving.http.responses import answer_history, negotiate


class VenHistoriesResource:
    def __init__(self, histories: BulkHistories) -> None:
        self._histories = histories

    @Operation(
        id="getVenHistories",
        summary="Histories of many VENs, or totals by group",
        tag="vens",
        parameters=VEN_HISTORIES,
        answers={
            200: bulk_history(
                (VenPowerRows, VenEnergyRows, GroupPowerRows, GroupEnergyRows), {"venId": "ven-0001"}
            )
        },
        problems=(404,),
    )
    def on_get(self, request: Request, response: Response) -> None:
        media_type = negotiate(request, response)
        query = history_request(request.params, self._histories.default_aggregate, self._histories.time_zone)
        ven_ids, group_id = chosen_vens(request.params)
        if is_by_group(request.params):
            answer_history(response, media_type, self._histories.groups(query, group_id))
        else:
            answer_history(response, media_type, self._histories.vens(query, ven_ids, group_id))


class LoadHistoriesResource:
    def __init__(self, histories: BulkHistories) -> None:
        self._histories = histories

    @Operation(
        id="getLoadHistories",
        summary="Histories of many loads, or totals by type",
        tag="vens",
        parameters=LOAD_HISTORIES,
        answers={
            200: bulk_history(
                (LoadPowerRows, LoadEnergyRows, LoadTypePowerRows, LoadTypeEnergyRows),
                {"venId": "ven-0001", "loadId": "hvac1", "type": "hvac"},
            )
        },
        problems=(404,),
    )
    def on_get(self, request: Request, response: Response) -> None:
        media_type = negotiate(request, response)
        query = history_request(request.params, self._histories.default_aggregate, self._histories.time_zone)
        types = several(request.params, LOAD_TYPES)
        if checked(request.params, BY_TYPE) == "type":
            answer_history(response, media_type, self._histories.load_types(query, types))
        else:
            answer_history(response, media_type, self._histories.loads(query, types))
