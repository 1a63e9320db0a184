"""Query parameters that a route does not have, but whose names look like one that it has."""

import difflib

import falcon
from falcon import Request, Response

from serving.http.openapi import Operation
from serving.http.parameters import FORMAT

SIMILAR = 0.75
"""How alike two names are that one is taken for a misspelling of the other, of 1."""

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
"""What other services call these parameters."""


class MisspeltParameters:
    """Falcon middleware: a query parameter that looks like a misspelt one is a 400, not ignored.

    Names that resemble none of the route's, such as `_` against caches, are ignored.
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
    """The names of the query parameters of an operation."""
    names = [parameter.name for parameter in operation.parameters if parameter.where == "query"]
    return [*names, FORMAT.name] if operation.has_formats else names


def nearest_name(name: str, names: list[str]) -> str | None:
    """The one of some names that another name is most likely meant to be; None if it is like none."""
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
