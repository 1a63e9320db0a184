"""Preconditions of changes: `If-Match` and `If-None-Match` on PATCH, PUT and DELETE (RFC 9110, 13.1)."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Protocol

import falcon
from falcon import Request, Response

from serving.http.representation import CachedResponse

CONDITIONS = ("If-Match", "If-None-Match")
METHODS = frozenset({"PATCH", "PUT", "DELETE"})

Hold = Callable[[str], AbstractContextManager[object]]
"""A lock by name, against other changes with a precondition; of all processes."""


class Readable(Protocol):
    """A resource that answers GET, among whatever Falcon finds for a path."""

    on_get: Callable[..., None]


class Preconditions:
    """Falcon middleware: 412 unless the resource is as the client has seen it.

    A lock is held until the change is committed: of two clients that saw the same, one succeeds.
    """

    def __init__(self, hold: Hold) -> None:
        self._hold = hold

    def process_resource(
        self,
        request: Request,
        _response: Response,
        resource: Readable,
        parameters: dict[str, object],
    ) -> None:
        has_condition = any(request.get_header(name) is not None for name in CONDITIONS)
        responders = (f"on_{request.method.lower()}", "on_get")
        is_change = request.method in METHODS and all(hasattr(resource, each) for each in responders)
        if not has_condition or not is_change:
            return
        match, none_match = request.if_match, request.if_none_match
        request.context.held = held = ExitStack()
        held.enter_context(self._hold(request.path))
        tag = _current_tag(request, resource, parameters)
        if request.get_header("If-Match") is not None and not _has(match or [], tag, is_strong=True):
            raise falcon.HTTPPreconditionFailed(
                description="If-Match: the resource has changed since; GET it again."
            )
        if none_match and _has(none_match, tag, is_strong=False):
            raise falcon.HTTPPreconditionFailed(description="If-None-Match: there is such a resource.")

    def process_response(
        self,
        request: Request,
        _response: Response,
        _resource: object,
        _succeeded: bool,  # noqa: FBT001 - Falcon's
    ) -> None:
        held: ExitStack | None = getattr(request.context, "held", None)
        if held is not None:
            held.close()


def _current_tag(request: Request, resource: Readable, parameters: dict[str, object]) -> str:
    response = Response(options=falcon.ResponseOptions())
    resource.on_get(request, response, **parameters)
    return CachedResponse(response.data or b"").tag


def _has(tags: Sequence[falcon.ETag | str], current: str, *, is_strong: bool) -> bool:
    """Whether a list of ETags has the current one, in any content encoding; `*` is any."""
    return any(
        tag == "*" or (tag.partition("-")[0] == current and not (is_strong and _is_weak(tag))) for tag in tags
    )


def _is_weak(tag: falcon.ETag | str) -> bool:
    return isinstance(tag, falcon.ETag) and tag.is_weak
