"""VENs."""

from falcon import Request, Response

from schemas.openadr import OpenAdrVen, VenRequest
from schemas.tables.openadr import openadr_vens
from serving.openadr.auth.access import MAY_READ_VEN_OBJECTS, WRITE_VENS
from serving.openadr.http.nouns import Collection, OneObject, creation, deletion, reading, replacement, search
from serving.openadr.http.parameters import TARGETS, VEN_NAME, equals

TAG = "vens"
SHAPES = (VenRequest, OpenAdrVen)
MAY_WRITE = (WRITE_VENS,)


class OpenAdrVensResource(Collection[VenRequest]):
    takes = VenRequest

    @search(
        "searchVens",
        TAG,
        OpenAdrVen,
        MAY_READ_VEN_OBJECTS,
        (
            VEN_NAME,
            TARGETS,
        ),
    )
    def on_get(self, request: Request, response: Response) -> None:
        self.answer_listed(
            request, response, [*equals(request.params, VEN_NAME, openadr_vens.c.ven_name)], has_targets=True
        )

    @creation("createVen", TAG, SHAPES, MAY_WRITE)
    def on_post(self, request: Request, response: Response) -> None:
        super().on_post(request, response)


class OpenAdrOneVenResource(OneObject[VenRequest]):
    takes = VenRequest

    @reading("searchVenByID", TAG, OpenAdrVen, MAY_READ_VEN_OBJECTS)
    def on_get(self, request: Request, response: Response, object_id: str) -> None:
        super().on_get(request, response, object_id)

    @replacement("updateVen", TAG, SHAPES, MAY_WRITE)
    def on_put(self, request: Request, response: Response, object_id: str) -> None:
        super().on_put(request, response, object_id)

    @deletion("deleteVen", TAG, OpenAdrVen, MAY_WRITE)
    def on_delete(self, request: Request, response: Response, object_id: str) -> None:
        super().on_delete(request, response, object_id)
