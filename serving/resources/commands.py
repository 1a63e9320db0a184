"""Commands to VENs, and their status."""

import falcon
from falcon import Request, Response
from falcon.uri import encode_value

from schemas.api.commands import Command, ShedAccepted, ShedRequest
from serving.commands.service import CommandReader, CommandWriter
from serving.http.bodies import read_body
from serving.http.operations import Operation, ResponseSpec
from serving.http.parameters.ids import identifier
from serving.http.parameters.lists import PAGE, page
from serving.http.responses import (
    answer,
    answer_list,
    link_next_page,
)


class OneCommandResource:
    def __init__(self, reader: CommandReader) -> None:
        self._reader = reader

    @Operation(
        id="getCommand",
        summary="One command with its status",
        tag="commands",
        answers={200: ResponseSpec("The command.", Command)},
        problems=(404,),
    )
    def on_get(self, _request: Request, response: Response, command_id: str) -> None:
        answer(response, self._reader.command(identifier("commandId", command_id)))


class VenCommandsResource:
    def __init__(self, reader: CommandReader) -> None:
        self._reader = reader

    @Operation(
        id="listCommands",
        summary="The commands to a VEN, newest first",
        tag="commands",
        parameters=PAGE,
        answers={200: ResponseSpec("Its commands, or a page of them.", list[Command], headers=("Link",))},
        problems=(404,),
    )
    def on_get(self, request: Request, response: Response, ven_id: str) -> None:
        part = page(request.params)
        commands = self._reader.commands(identifier("venId", ven_id), part)
        answer_list(response, link_next_page(request, response, part, commands))


class ShedCommandsResource:
    def __init__(self, writer: CommandWriter) -> None:
        self._writer = writer

    @Operation(
        id="shedLoad",
        summary="Command a load to be shed",
        tag="commands",
        takes=ShedRequest,
        answers={
            202: ResponseSpec("The command is stored, and will be sent.", ShedAccepted, headers=("Location",))
        },
        problems=(404, 409),
    )
    def on_post(self, request: Request, response: Response, ven_id: str, load_id: str) -> None:
        ven_id, load_id = identifier("venId", ven_id), identifier("loadId", load_id)
        accepted = self._writer.shed(ven_id, load_id, read_body(request, ShedRequest))
        response.status = falcon.HTTP_202
        response.location = f"/api/commands/{encode_value(accepted.command_id)}"
        answer(response, accepted)
