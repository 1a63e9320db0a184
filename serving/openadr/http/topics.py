"""Topics of the broker, for clients that are notified by MQTT."""

from collections.abc import Callable

from falcon import Request, Response

from schemas.openadr import Topics
from schemas.openadr_notifications import topics
from serving.errors import NotFoundError
from serving.http.operations import Operation, ResponseSpec
from serving.http.responses import answer
from serving.openadr.auth.access import MAY_READ_VEN_OBJECTS, READ_ALL
from serving.openadr.auth.callers import client_of
from serving.openadr.http.parameters import path_id
from serving.openadr.nouns.programs import Programs
from serving.openadr.nouns.vens import Vens

TAG = "MQTT_notifier"
NO_BROKER = "There are no notifications by MQTT here: use subscriptions."
ANSWERS = {200: ResponseSpec("The topic of each operation.", Topics)}


def topics_of_all(noun: str, operation_id: str, *, is_on: bool) -> object:
    """The resource of the topics of all objects of a noun."""

    class AllTopicsResource:
        @Operation(
            id=operation_id,
            summary=f"Topics of all {noun}",
            tag=TAG,
            answers=ANSWERS,
            problems=(404,),
            needs_database=False,
            scopes=(READ_ALL,),
        )
        def on_get(self, _request: Request, response: Response) -> None:
            _require(is_on=is_on)
            answer(response, Topics(topics.by_operation(topics.of_all(noun))))

    return AllTopicsResource()


def topics_of_program(programs: Programs, noun: str | None, operation_id: str, *, is_on: bool) -> object:
    """The resource of the topics of one program, or of its events."""
    stem: Callable[[str], str] = topics.of_program if noun is None else topics.of_program_events

    class ProgramTopicsResource:
        @Operation(
            id=operation_id,
            summary=f"Topics of {'a program' if noun is None else f'the {noun} of a program'}",
            tag=TAG,
            answers=ANSWERS,
            problems=(404,),
            scopes=(READ_ALL,),
        )
        def on_get(self, request: Request, response: Response, object_id: str) -> None:
            _require(is_on=is_on)
            program_id = programs.one(client_of(request), path_id(object_id))["id"]
            answer(response, Topics(topics.by_operation(stem(program_id), is_one_object=noun is None)))

    return ProgramTopicsResource()


def topics_of_ven(vens: Vens, noun: str | None, operation_id: str, *, is_on: bool) -> object:
    """The resource of the topics of one VEN, or of what its client may read of a noun."""

    class VenTopicsResource:
        @Operation(
            id=operation_id,
            summary=f"Topics of {'a VEN' if noun is None else f'the {noun} that a VEN may read'}",
            tag=TAG,
            answers=ANSWERS,
            problems=(404,),
            scopes=MAY_READ_VEN_OBJECTS,
        )
        def on_get(self, request: Request, response: Response, object_id: str) -> None:
            _require(is_on=is_on)
            ven = vens.one(client_of(request), path_id(object_id))
            if not topics.may_be_level(ven["clientID"]):
                raise NotFoundError("A client whose id has /, + or # has no topics: use subscriptions.")
            stem = topics.of_ven(ven["clientID"], ven["id"], noun)
            answer(response, Topics(topics.by_operation(stem, is_one_object=noun is None)))

    return VenTopicsResource()


def _require(*, is_on: bool) -> None:
    if not is_on:
        raise NotFoundError(NO_BROKER)
