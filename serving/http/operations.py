"""The declaration of a responder, for the document and for checks; the check of its query parameters."""

import difflib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, TypeVar

import falcon
from falcon import Request, Response
from msgspec import Struct, structs

from schemas.api.histories import EnergyHistory, PowerHistory, VenEnergyHistory, VenPowerHistory
from serving.http.parameters.media import FORMAT, JSON, MEDIA_TYPES
from serving.http.parameters.rules import Parameter

Responder = TypeVar("Responder", bound=Callable[..., None])

SIMILAR = 0.75
"""Similarity of two names, up to 1, from which one counts as a misspelling of the other."""

OTHER_WORDS = {
    "agg": "aggregate",
    "bucket": "granularity",
    "from": "start",
    "interval": "granularity",
    "resolution": "granularity",
    "since": "start",
    "to": "end",
    "tz": "timeZone",
    "until": "end",
    "venid": "ids",
    "venids": "ids",
    "zone": "timeZone",
}
"""Names of these parameters in other services."""


class ResponseSpec(Struct, frozen=True):
    """The response with one status: a description, a type, media types, headers."""

    description: str
    shape: object = None
    """A type of `schemas.api`, a list of one, or a union of several; None for no body."""
    media: tuple[str, ...] = (JSON,)
    headers: tuple[str, ...] = ()
    """Names of `serving.http.openapi.HEADERS`."""
    examples: Mapping[str, Any] = MappingProxyType({})


LIST_MEDIA = tuple(MEDIA_TYPES.values())
"""Media types of lists and histories. Such an operation takes the parameter `format`, and may answer 406."""

HISTORY = ResponseSpec(
    "Buckets with samples, oldest first.",
    (PowerHistory, EnergyHistory),
    LIST_MEDIA,
    ("History-Warning",),
    examples={
        "sum": {"points": [{"timestamp": "2026-01-15T12:00:00Z", "usedPowerKw": 12.0, "shedPowerKw": 3.0}]},
        "energy": {
            "points": [{"timestamp": "2026-01-15T12:00:00Z", "usedEnergyKwh": 0.75, "shedEnergyKwh": 0.208}]
        },
        "mean": {"points": [{"timestamp": "2026-01-15T12:00:00Z", "usedPowerKw": 4.5, "shedPowerKw": 1.25}]},
    },
)
"""The response of every history."""


VEN_HISTORY = structs.replace(HISTORY, shape=(VenPowerHistory, VenEnergyHistory))
"""The history of a VEN, with the events that it took part in."""


def bulk_history(shapes: tuple[type[Struct], ...], keys: Mapping[str, str]) -> ResponseSpec:
    """Return the response of a route with many histories: rows that begin with the keys of their history."""
    examples = {
        name: {"points": [{**keys, **point} for point in example["points"]]}
        for name, example in HISTORY.examples.items()
    }
    return ResponseSpec(
        "One history after the other, each oldest first.",
        shapes,
        LIST_MEDIA,
        ("History-Warning",),
        examples,
    )


class Operation(Struct, frozen=True, kw_only=True):
    """One method of one route; a decorator of its responder.

    The document adds what is implied: the ids in the path, `If-None-Match` and 304 for a GET,
    400 where there is input, 413 and 415 where there is a body, 503 where the database is needed.
    """

    id: str
    summary: str
    tag: str
    answers: Mapping[int, ResponseSpec]
    parameters: tuple[Parameter, ...] = ()
    takes: object = None
    """The type of the body."""
    takes_media: str = JSON
    """Its media type; for CSV the type is `str`."""
    body_bytes: int = 0
    """The longest body, if it may exceed the limit of the setting."""
    problems: tuple[int, ...] = ()
    """Statuses of errors, besides the implied ones; of `serving.http.openapi.PROBLEMS`."""
    needs_database: bool = True
    is_tagged: bool = True
    """Whether a GET has an ETag; not so for streams that never end."""
    scopes: tuple[str, ...] = ()
    """Scopes of OpenADR, of which a client needs one; without any, no token is needed."""
    is_change: bool = True
    """Whether an unsafe method changes data: it is audited, and cached responses are dropped."""

    @property
    def has_formats(self) -> bool:
        return any(answer.media == LIST_MEDIA for answer in self.answers.values())

    @property
    def has_input(self) -> bool:
        return self.has_formats or bool(self.parameters) or self.takes is not None

    def __call__(self, responder: Responder) -> Responder:
        responder.operation = self  # type: ignore[attr-defined]
        return responder


Method = Literal["get", "put", "post", "delete", "options", "head", "patch", "trace"]
METHODS: tuple[Method, ...] = ("get", "put", "post", "delete", "options", "head", "patch", "trace")


def operation_of(resource: object, method: str) -> Operation | None:
    """Return the operation of a method of a resource, if it has one."""
    operation: Operation | None = getattr(getattr(resource, f"on_{method.lower()}", None), "operation", None)
    return operation


def operations(resource: object) -> dict[Method, Operation]:
    """Return the operations of a resource, by method."""
    responders = {method: getattr(resource, f"on_{method}", None) for method in METHODS}
    declared = {method: getattr(responder, "operation", None) for method, responder in responders.items()}
    return {method: operation for method, operation in declared.items() if operation is not None}


class MisspeltParameters:
    """Falcon middleware: responds 400 to a query parameter that looks like a misspelling.

    Names that resemble none of the route's, such as the cache buster `_`, are ignored.
    """

    def process_resource(
        self,
        request: Request,
        _response: Response,
        resource: object,
        _parameters: dict[str, object],
    ) -> None:
        if not request.query_string:
            return
        responder = getattr(resource, f"on_{request.method.lower()}", None)
        operation: Operation | None = getattr(responder, "operation", None)
        if operation is not None:
            _require_no_misspelt(request, query_names(operation))


def query_names(operation: Operation) -> list[str]:
    """Return the names of the query parameters of an operation."""
    names = [parameter.name for parameter in operation.parameters if parameter.where == "query"]
    return [*names, FORMAT.name] if operation.has_formats else names


def nearest_name(name: str, names: list[str]) -> str | None:
    """Return the most similar of the names; None if none is similar."""
    by_letters = {_letters(each): each for each in names}
    if (other := OTHER_WORDS.get(name.lower())) in names:
        return other
    nearest = difflib.get_close_matches(_letters(name), by_letters, n=1, cutoff=SIMILAR)
    return by_letters[nearest[0]] if nearest else None


def _require_no_misspelt(request: Request, names: list[str]) -> None:
    for name in request.params:
        if name not in names and (nearest := nearest_name(name, names)):
            raise falcon.HTTPBadRequest(
                title="Bad request",
                description=f"{name[:40]} is unknown; did you mean {nearest}? There are {', '.join(names)}",
            )


def _letters(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")
