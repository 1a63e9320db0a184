"""What a route takes and answers, told beside its responder. `serving/openapi.py` makes a document of it."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from msgspec import Struct, structs

from schemas.http import EnergyHistory, PowerHistory, VenEnergyHistory, VenPowerHistory
from serving.parameters import Parameter

JSON = "application/json"
ARROW = "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"
CSV = "text/csv"
FORMATS = (JSON, ARROW, PARQUET, CSV)
"""In which lists and histories come. What comes in these takes the parameter `format`, and may answer 406."""

Responder = TypeVar("Responder", bound=Callable[..., None])


class Answer(Struct, frozen=True):
    """What comes with one status: in words, as a type, in which media types, with which headers."""

    description: str
    shape: Any = None
    """A type of `schemas.http`, a list of one, or several of which the answer is any; None for no body."""
    media: tuple[str, ...] = (JSON,)
    headers: tuple[str, ...] = ()
    """Names of `serving.openapi.HEADERS`."""
    examples: Mapping[str, Any] = MappingProxyType({})


HISTORY = Answer(
    "Buckets with samples, oldest first.",
    (PowerHistory, EnergyHistory),
    FORMATS,
    ("History-Warning",),
    examples={
        "sum": {"points": [{"timestamp": "2026-01-15T12:00:00Z", "usedPowerKw": 12.0, "shedPowerKw": 3.0}]},
        "energy": {
            "points": [{"timestamp": "2026-01-15T12:00:00Z", "usedEnergyKwh": 0.75, "shedEnergyKwh": 0.208}]
        },
        "mean": {"points": [{"timestamp": "2026-01-15T12:00:00Z", "usedPowerKw": 4.5, "shedPowerKw": 1.25}]},
    },
)
"""What every history answers."""


VEN_HISTORY = structs.replace(HISTORY, shape=(VenPowerHistory, VenEnergyHistory))
"""Of a VEN: with the events that it took part in."""


class Operation(Struct, frozen=True, kw_only=True):
    """One method of one route; a decorator of its responder.

    What goes without saying is added to the document: the ids in the path, `If-None-Match` and 304 for a GET,
    400 where anything can be said wrong, 413 and 415 where there is a body, 503 where the database is asked.
    """

    id: str
    summary: str
    tag: str
    answers: Mapping[int, Answer]
    parameters: tuple[Parameter, ...] = ()
    takes: Any = None
    """The type of the JSON body."""
    problems: tuple[int, ...] = ()
    """Statuses of errors, beside those that go without saying: of `serving.openapi.PROBLEMS`."""
    needs_database: bool = True
    is_tagged: bool = True
    """Whether a GET has an ETag; not so for streams that never end."""

    @property
    def has_formats(self) -> bool:
        return any(answer.media == FORMATS for answer in self.answers.values())

    @property
    def is_told_anything(self) -> bool:
        return self.has_formats or bool(self.parameters) or self.takes is not None

    def __call__(self, responder: Responder) -> Responder:
        responder.operation = self  # type: ignore[attr-defined]
        return responder


Method = Literal["get", "put", "post", "delete", "options", "head", "patch", "trace"]
METHODS: tuple[Method, ...] = ("get", "put", "post", "delete", "options", "head", "patch", "trace")


def operations(resource: object) -> dict[Method, Operation]:
    """What a resource says of its methods."""
    responders = {method: getattr(resource, f"on_{method}", None) for method in METHODS}
    told = {method: getattr(responder, "operation", None) for method, responder in responders.items()}
    return {method: operation for method, operation in told.items() if operation is not None}
