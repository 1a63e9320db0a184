"""What the routes of all nouns share: five operations on one kind of object."""

from collections.abc import Sequence
from typing import Any, Generic

import falcon
from falcon import Request, Response

from serving.http.bodies import read_body
from serving.http.operations import Operation, ResponseSpec
from serving.http.parameters.rules import Parameter
from serving.http.responses import answer, answer_list
from serving.openadr.auth.callers import client_of
from serving.openadr.http.parameters import PAGE, TARGETS, object_page, path_id, texts
from serving.openadr.objects import Conditions, ObjectStore, Taken


class Collection(Generic[Taken]):
    """All objects of a noun."""

    takes: type[Taken]

    def __init__(self, objects: ObjectStore[Taken]) -> None:
        self._objects = objects

    def answer_listed(
        self, request: Request, response: Response, conditions: Conditions, *, has_targets: bool = False
    ) -> None:
        targets = texts(request.params, TARGETS) if has_targets else None
        page = object_page(request.params)
        answer_list(response, self._objects.listed(client_of(request), conditions, targets, page))

    def on_post(self, request: Request, response: Response) -> None:
        made = self._objects.create(client_of(request), read_body(request, self.takes))
        response.status = falcon.HTTP_201
        response.location = f"{request.path.rstrip('/')}/{made['id']}"
        answer(response, made)


class OneObject(Generic[Taken]):
    """One object, by its id."""

    takes: type[Taken]

    def __init__(self, objects: ObjectStore[Taken]) -> None:
        self._objects = objects

    def on_get(self, request: Request, response: Response, object_id: str) -> None:
        answer(response, self._objects.one(client_of(request), path_id(object_id)))

    def on_put(self, request: Request, response: Response, object_id: str) -> None:
        taken, client = read_body(request, self.takes), client_of(request)
        answer(response, self._objects.replace(client, path_id(object_id), taken))

    def on_delete(self, request: Request, response: Response, object_id: str) -> None:
        answer(response, self._objects.delete(client_of(request), path_id(object_id)))


def search(
    operation_id: str,
    tag: str,
    shape: Any,  # noqa: ANN401 - a type
    scopes: tuple[str, ...],
    parameters: Sequence[Parameter],
) -> Operation:
    """The operation of a list."""
    return Operation(
        id=operation_id,
        summary=f"Search {tag}",
        tag=tag,
        parameters=(*parameters, *PAGE),
        answers={200: ResponseSpec("In the order in which they were made.", list[shape])},
        scopes=scopes,
    )


def creation(
    operation_id: str,
    tag: str,
    shapes: tuple[object, object],
    scopes: tuple[str, ...],
    *,
    is_change: bool = True,
) -> Operation:
    """The operation that makes an object: of what is taken, what is answered."""
    takes, shape = shapes
    return Operation(
        id=operation_id,
        summary=f"Create one of {tag}",
        tag=tag,
        takes=takes,
        answers={201: ResponseSpec("As it is stored.", shape, headers=("Location",))},
        problems=(404, 409),
        scopes=scopes,
        is_change=is_change,
    )


def reading(operation_id: str, tag: str, shape: object, scopes: tuple[str, ...]) -> Operation:
    return Operation(
        id=operation_id,
        summary=f"One of {tag}",
        tag=tag,
        answers={200: ResponseSpec("The object.", shape)},
        problems=(404,),
        scopes=scopes,
    )


def replacement(
    operation_id: str,
    tag: str,
    shapes: tuple[object, object],
    scopes: tuple[str, ...],
    *,
    is_change: bool = True,
) -> Operation:
    takes, shape = shapes
    return Operation(
        id=operation_id,
        summary=f"Replace one of {tag}",
        tag=tag,
        takes=takes,
        answers={200: ResponseSpec("As it is stored now.", shape)},
        problems=(404, 409, 412),
        scopes=scopes,
        is_change=is_change,
    )


def deletion(
    operation_id: str,
    tag: str,
    shape: object,
    scopes: tuple[str, ...],
    *,
    is_change: bool = True,
) -> Operation:
    return Operation(
        id=operation_id,
        summary=f"Delete one of {tag}, and what belongs to it",
        tag=tag,
        answers={200: ResponseSpec("As it was.", shape)},
        problems=(404, 412),
        scopes=scopes,
        is_change=is_change,
    )
