"""Groups of VENs."""

import falcon
from falcon import Request, Response
from falcon.uri import encode_value

from schemas.api.groups import Group, GroupCreate, GroupUpdate
from schemas.api.vens import Ven
from serving.fleet.reader import FleetReader
from serving.http.bodies import read_body
from serving.http.operations import LIST_MEDIA, Operation, ResponseSpec
from serving.http.parameters.ids import identifier
from serving.http.parameters.lists import PAGE, page
from serving.http.responses import AT_FIRST, answer, answer_entries, answer_list, link_next_page, negotiate
from serving.registry.groups import GroupReader, GroupWriter


class GroupsResource:
    def __init__(self, reader: GroupReader, writer: GroupWriter) -> None:
        self._reader = reader
        self._writer = writer

    @Operation(
        id="listGroups",
        summary="All groups of VENs, by id",
        tag="groups",
        parameters=PAGE,
        answers={200: ResponseSpec("All groups, or a page of them.", list[Group], headers=("Link",))},
    )
    def on_get(self, request: Request, response: Response) -> None:
        part = page(request.params)
        answer_list(response, link_next_page(request, response, part, self._reader.all(part)))

    @Operation(
        id="createGroup",
        summary="Create a group of VENs",
        tag="groups",
        takes=GroupCreate,
        answers={201: ResponseSpec("The group.", Group, headers=("Location",))},
        problems=(409,),
    )
    def on_post(self, request: Request, response: Response) -> None:
        group = self._writer.add(read_body(request, GroupCreate))
        response.status, response.location = falcon.HTTP_201, f"/api/groups/{encode_value(group.id)}"
        answer(response, group)


class OneGroupResource:
    def __init__(self, reader: GroupReader, writer: GroupWriter) -> None:
        self._reader = reader
        self._writer = writer

    @Operation(
        id="getGroup",
        summary="One group",
        tag="groups",
        answers={200: ResponseSpec("The group.", Group)},
        problems=(404,),
    )
    def on_get(self, _request: Request, response: Response, group_id: str) -> None:
        answer(response, self._reader.one(identifier("groupId", group_id)))

    @Operation(
        id="updateGroup",
        summary="Change a group; events that target it follow its members",
        tag="groups",
        takes=GroupUpdate,
        answers={200: ResponseSpec("The group as it is now.", Group)},
        problems=(404,),
    )
    def on_patch(self, request: Request, response: Response, group_id: str) -> None:
        group_id = identifier("groupId", group_id)
        answer(response, self._writer.change(group_id, read_body(request, GroupUpdate)))

    @Operation(
        id="deleteGroup",
        summary="Delete a group; its VENs stay",
        tag="groups",
        answers={204: ResponseSpec("It is deleted.")},
        problems=(404, 409),
    )
    def on_delete(self, _request: Request, response: Response, group_id: str) -> None:
        self._writer.remove(identifier("groupId", group_id))
        response.status = falcon.HTTP_204


class GroupVensResource:
    def __init__(self, reader: FleetReader) -> None:
        self._reader = reader

    @Operation(
        id="listGroupVens",
        summary="The VENs of a group with their loads, by id",
        tag="groups",
        parameters=PAGE,
        answers={200: ResponseSpec("Its VENs, or a page of them.", list[Ven], LIST_MEDIA, ("Link",))},
        problems=(404,),
    )
    def on_get(self, request: Request, response: Response, group_id: str) -> None:
        group_id = identifier("groupId", group_id)
        media_type, part = negotiate(request, response), page(request.params)
        vens = link_next_page(request, response, part, self._reader.vens(part, group_id))
        answer_entries(response, media_type, Ven, vens, self._reader.at_first(part, AT_FIRST, group_id))
