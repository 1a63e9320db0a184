"""Opt-outs of VENs from events."""

import falcon
from falcon import Request, Response
from falcon.uri import encode_value

from schemas.api.opt_outs import OptOut, OptOutCreate
from serving.http.bodies import read_body
from serving.http.operations import Operation, ResponseSpec
from serving.http.parameters.ids import identifier
from serving.http.responses import answer
from serving.registry.opt_outs import OptOuts


class OptOutsResource:
    def __init__(self, opt_outs: OptOuts) -> None:
        self._opt_outs = opt_outs

    @Operation(
        id="listOptOuts",
        summary="When a VEN is opted out of events, by start",
        tag="vens",
        answers={200: ResponseSpec("All its opt-outs, past ones as well.", list[OptOut])},
        problems=(404,),
    )
    def on_get(self, _request: Request, response: Response, ven_id: str) -> None:
        answer(response, self._opt_outs.all(identifier("venId", ven_id)))

    @Operation(
        id="createOptOut",
        summary="Opt a VEN out of events for a time",
        tag="vens",
        takes=OptOutCreate,
        answers={201: ResponseSpec("The opt-out.", OptOut, headers=("Location",))},
        problems=(404,),
    )
    def on_post(self, request: Request, response: Response, ven_id: str) -> None:
        opt_out = self._opt_outs.add(identifier("venId", ven_id), read_body(request, OptOutCreate))
        response.status = falcon.HTTP_201
        response.location = f"/api/vens/{encode_value(opt_out.ven_id)}/opt-outs/{opt_out.id}"
        answer(response, opt_out)


class OneOptOutResource:
    def __init__(self, opt_outs: OptOuts) -> None:
        self._opt_outs = opt_outs

    @Operation(
        id="getOptOut",
        summary="One opt-out",
        tag="vens",
        answers={200: ResponseSpec("The opt-out.", OptOut)},
        problems=(404,),
    )
    def on_get(self, _request: Request, response: Response, ven_id: str, opt_out_id: str) -> None:
        answer(response, self._opt_outs.one(identifier("venId", ven_id), identifier("optOutId", opt_out_id)))

    @Operation(
        id="deleteOptOut",
        summary="Delete an opt-out",
        tag="vens",
        answers={204: ResponseSpec("The VEN takes part in events again, also in running ones.")},
        problems=(404,),
    )
    def on_delete(self, _request: Request, response: Response, ven_id: str, opt_out_id: str) -> None:
        self._opt_outs.remove(identifier("venId", ven_id), identifier("optOutId", opt_out_id))
        response.status = falcon.HTTP_204
