"""Resources of VENs."""

from falcon import Request, Response

from schemas.openadr import OpenAdrResource, ResourceRequest
from schemas.tables.openadr import openadr_resources
from serving.openadr.auth.access import MAY_READ_VEN_OBJECTS, WRITE_VENS
from serving.openadr.http.nouns import Collection, OneObject, creation, deletion, reading, replacement, search
from serving.openadr.http.parameters import RESOURCE_NAME, TARGETS, VEN, equals

TAG = "resources"
SHAPES = (ResourceRequest, OpenAdrResource)
MAY_WRITE = (WRITE_VENS,)


class ResourcesResource(Collection[ResourceRequest]):
    takes = ResourceRequest

    @search(
        "searchVenResources",
        TAG,
        OpenAdrResource,
        MAY_READ_VEN_OBJECTS,
        (
            RESOURCE_NAME,
            VEN,
            TARGETS,
        ),
    )
    def on_get(self, request: Request, response: Response) -> None:
        self.answer_listed(
            request,
            response,
            [
                *equals(request.params, RESOURCE_NAME, openadr_resources.c.resource_name),
                *equals(request.params, VEN, openadr_resources.c.ven_object_id),
            ],
            has_targets=True,
        )

    @creation("createResource", TAG, SHAPES, MAY_WRITE)
    def on_post(self, request: Request, response: Response) -> None:
        super().on_post(request, response)


class OneResourceResource(OneObject[ResourceRequest]):
    takes = ResourceRequest

    @reading("searchVenResourceByID", TAG, OpenAdrResource, MAY_READ_VEN_OBJECTS)
    def on_get(self, request: Request, response: Response, object_id: str) -> None:
        super().on_get(request, response, object_id)

    @replacement("updateVenResource", TAG, SHAPES, MAY_WRITE)
    def on_put(self, request: Request, response: Response, object_id: str) -> None:
        super().on_put(request, response, object_id)

    @deletion("deleteVenResource", TAG, OpenAdrResource, MAY_WRITE)
    def on_delete(self, request: Request, response: Response, object_id: str) -> None:
        super().on_delete(request, response, object_id)
