"""The OpenAPI 3.1 document, made from the `Operation` of each responder and the types of `schemas.api`."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import msgspec
from falcon import Request, Response

from schemas.api.fields import ISO_INSTANT
from schemas.api.service import Problem
from schemas.programs.version import VERSION
from serving.http.operations import Method, Operation, ResponseSpec, operations
from serving.http.parameters.ids import PATH
from serving.http.parameters.media import ARROW, FORMAT, JSON, PARQUET
from serving.http.parameters.rules import Parameter
from serving.http.problems import PROBLEM_JSON
from serving.policy import SAFE_METHODS, SESSION_COOKIE, SESSION_PATH, is_open

Document = dict[str, Any]
Schemas = dict[str, Any]

INFO = {
    "title": "Gridgate",
    "version": VERSION,
    "summary": "Telemetry of fleets of homes: latest values and history.",
    "description": "What each number means, with worked examples, is in `docs/backend-api.md`. Powers are "
    "kW, energies kWh, rounded to three decimals; times are UTC.",
    "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
}
SERVERS = [
    {"url": "/", "description": "The server of this document."},
    {"url": "http://127.0.0.1:8000", "description": "Where `make demo` listens."},
]
TAGS = {
    "statistics": "The whole network.",
    "vens": "VENs and their loads.",
    "access": "Keys, sessions and the audit log.",
    "alarms": "What people on duty must know of.",
    "webhooks": "Changes, sent to URLs.",
    "credentials": "Logins of VENs at the broker.",
    "commands": "Commands to VENs and their status.",
    "groups": "Groups of VENs.",
    "events": "Demand response.",
    "health": "The service itself.",
    "description": "The description of this API, and pages.",
}
HEADERS: dict[str, Document] = {
    "ETag": {
        "description": "Changes with the answer. A streamed answer has none.",
        "schema": {"type": "string", "examples": ['"10faee936d98dbdc6a8dc98f"']},
    },
    "Link": {
        "description": "URL of the next page, with `rel=next`, if this one is full.",
        "schema": {"type": "string", "examples": ['</api/vens?limit=2&after=ven-0002>; rel="next"']},
    },
    "History-Warning": {
        "description": "The `warning` of a history in a columnar media type, which has no place for it.",
        "schema": {"type": "string"},
    },
    "Location": {"description": "URL of what was created.", "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}},
    "Set-Cookie": {"description": "The cookie `gridgate_session`.", "schema": {"type": "string"}},
    "WWW-Authenticate": {"description": "How to send a key.", "schema": {"type": "string"}},
}
PROBLEMS: dict[int, tuple[str, str, tuple[str, ...]]] = {
    400: ("BadRequest", "A parameter, an id or a body that is not valid.", ()),
    401: ("Unauthorized", "There is no key, or it is not valid.", ("WWW-Authenticate",)),
    403: ("Forbidden", "The key's role does not allow it; `detail` names the role that would.", ()),
    404: ("NotFound", "It does not exist.", ()),
    406: ("NotAcceptable", "`Accept` names no media type that is offered.", ()),
    409: ("Conflict", "The present state does not allow it.", ()),
    412: ("PreconditionFailed", "The resource is not as the client has seen it.", ()),
    413: ("TooLarge", "The body is too large.", ()),
    415: ("UnsupportedMediaType", "The body is not of the media type that is documented.", ()),
    429: ("TooManyRequests", "The key calls more often than it may.", ("Retry-After",)),
    503: ("Unavailable", "The database is away, or lacks a migration.", ("Retry-After",)),
}
"""Errors by status: the name of the component, what it means, its headers."""

SECURITY_SCHEMES: dict[str, Document] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key."},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": SESSION_COOKIE,
        "description": "A browser's session, of `POST /api/session`; changes need this service's `Origin`.",
    },
}

IF_NONE_MATCH = Parameter(
    name="If-None-Match", description="The ETag of the answer that the client has.", where="header"
)
IF_MATCH = Parameter(
    name="If-Match",
    description="The ETag of what is to be changed: if it has changed since, nothing is done.",
    where="header",
)
CONDITIONAL_CHANGES = ("patch", "delete")
NOT_MODIFIED = ResponseSpec("The client has the answer already.", headers=("ETag",))


def describe(resources: Mapping[str, object]) -> Document:
    """The document of the resources, by path as Falcon has it."""
    by_path = {path: operations(resource) for path, resource in resources.items()}
    every = [operation for methods in by_path.values() for operation in methods.values()]
    references, schemas = _schemas(_types_of(every))
    return {
        "openapi": "3.1.0",
        "info": INFO,
        "servers": SERVERS,
        "tags": [{"name": name, "description": description} for name, description in TAGS.items()],
        "paths": {
            public_path(path): _path_item(path, methods, references)
            for path, methods in by_path.items()
            if methods
        },
        "components": {
            "parameters": _parameters(every),
            "headers": HEADERS,
            "responses": {name: _problem(status) for status, (name, _, _) in PROBLEMS.items()},
            "schemas": schemas,
            "securitySchemes": SECURITY_SCHEMES,
        },
    }


def public_path(path: str) -> str:
    """The documented form of a path: `/api/vens/{venId}` for `/api/vens/{ven_id}`."""
    for name, parameter in PATH.items():
        path = path.replace(f"{{{name}}}", f"{{{parameter.name}}}")
    return path


def _path_item(
    path: str, methods: Mapping[Method, Operation], references: Mapping[object, Document]
) -> Document:
    ids = [parameter for name, parameter in PATH.items() if f"{{{name}}}" in path]
    shared = {"parameters": [_reference(parameter) for parameter in ids]} if ids else {}
    return shared | {
        method: _operation(
            method, _guarded(path, method, operation), has_ids=bool(ids), references=references
        )
        | {"security": _security(path)}
        for method, operation in methods.items()
    }


def _guarded(path: str, method: Method, operation: Operation) -> Operation:
    """An operation with the errors of access control, and of the body that the audit log reads."""
    if is_open(path):
        return operation
    problems = {*operation.problems, 401, 429}
    if method.upper() not in SAFE_METHODS:
        problems |= {413} if path == SESSION_PATH else {403, 413}
    return msgspec.structs.replace(operation, problems=tuple(problems))


def _security(path: str) -> list[Document]:
    return [] if is_open(path) else [{name: []} for name in SECURITY_SCHEMES]


def _operation(
    method: Method, operation: Operation, *, has_ids: bool, references: Mapping[object, Document]
) -> Document:
    document: Document = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
    }
    if parameters := _parameters_of(method, operation):
        document["parameters"] = [_reference(parameter) for parameter in parameters]
    if operation.takes is not None:
        content = {operation.takes_media: {"schema": references[operation.takes]}}
        document["requestBody"] = {"required": True, "content": content}
    document["responses"] = _responses(method, operation, has_ids=has_ids, references=references)
    return document


def _parameters_of(method: Method, operation: Operation) -> list[Parameter]:
    """The declared and the implied parameters."""
    implied = [FORMAT] if operation.has_formats else []
    if _is_tagged(method, operation):
        implied.append(IF_NONE_MATCH)
    if method in CONDITIONAL_CHANGES:
        implied.append(IF_MATCH)
    return [*operation.parameters, *implied]


def _responses(
    method: Method, operation: Operation, *, has_ids: bool, references: Mapping[object, Document]
) -> Document:
    answers = dict(operation.answers)
    if _is_tagged(method, operation):
        answers = {
            status: msgspec.structs.replace(answer, headers=("ETag", *answer.headers))
            for status, answer in answers.items()
        } | {304: NOT_MODIFIED}
    problems = set(operation.problems)
    problems |= {400} if has_ids or operation.has_input else set()
    problems |= {406} if operation.has_formats else set()
    problems |= {412} if method in CONDITIONAL_CHANGES else set()
    problems |= {413, 415} if operation.takes is not None else set()
    problems |= {503} if operation.needs_database else set()
    documents = {status: _answer(answer, references) for status, answer in answers.items()}
    documents |= {status: {"$ref": f"#/components/responses/{PROBLEMS[status][0]}"} for status in problems}
    return {str(status): documents[status] for status in sorted(documents)}


def _is_tagged(method: Method, operation: Operation) -> bool:
    return method == "get" and operation.is_tagged


def _answer(answer: ResponseSpec, references: Mapping[object, Document]) -> Document:
    document: Document = {"description": answer.description} | _headers(answer.headers)
    if answer.shape is None:
        return document
    shown = {name: {"value": value} for name, value in answer.examples.items()}
    as_json = {"schema": _schema_of(answer.shape, references)} | ({"examples": shown} if shown else {})
    document["content"] = {media: as_json if media == JSON else _other(media) for media in answer.media}
    return document


def _other(media: str) -> Document:
    """Bytes have no schema; what is no JSON is text."""
    return {} if media in {ARROW, PARQUET} else {"schema": {"type": "string"}}


def _headers(names: Sequence[str]) -> Document:
    return {"headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names}} if names else {}


def _schema_of(shape: object, references: Mapping[object, Document]) -> Document:
    shapes = _alternatives(shape)
    return references[shapes[0]] if len(shapes) == 1 else {"anyOf": [references[each] for each in shapes]}


def _alternatives(shape: object) -> tuple[object, ...]:
    return shape if isinstance(shape, tuple) else (shape,)


def _problem(status: int) -> Document:
    _name, description, headers = PROBLEMS[status]
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {"description": description} | _headers(headers) | {"content": {PROBLEM_JSON: schema}}


def _types_of(every: Iterable[Operation]) -> tuple[object, ...]:
    """Each type that operations take or answer, once."""
    types: dict[object, None] = {Problem: None}
    for operation in every:
        for answer in operation.answers.values():
            types |= dict.fromkeys(each for each in _alternatives(answer.shape) if each is not None)
        types |= {} if operation.takes is None else {operation.takes: None}
    return tuple(types)


@cache
def _schemas(types: tuple[object, ...]) -> tuple[dict[object, Document], Schemas]:
    """A reference to each type by the type, and the schemas by name."""
    references, schemas = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    for schema in schemas.values():
        _describe_defaults(schema)
    return dict(zip(types, references, strict=True)), {name: schemas[name] for name in sorted(schemas)}


def _describe_defaults(schema: Document) -> None:
    """Generators of clients take a field with a `default` for one that is always there, in bodies as well.

    A constant of an answer always is: its field has a default, and no description.
    """
    for name, field in schema.get("properties", {}).items():
        default = field.pop("default", None)
        if default in (None, ""):
            continue
        if "description" in field:
            field["description"] += f" {default} without it."
        else:
            schema["required"] = [*schema.get("required", []), name]


def _parameters(every: Iterable[Operation]) -> Document:
    used = {parameter for operation in every for parameter in operation.parameters}
    used |= {FORMAT, IF_NONE_MATCH, IF_MATCH, *PATH.values()}
    by_key = {_key(parameter): parameter for parameter in sorted(used, key=_key)}
    if len(by_key) < len(used):
        raise ValueError("two parameters share a name, and differ: let them share one definition")
    return {key: _parameter(parameter) for key, parameter in by_key.items()}


def _key(parameter: Parameter) -> str:
    name = parameter.key or parameter.name.replace("-", "")
    return name[0].upper() + name[1:]


def _reference(parameter: Parameter) -> Document:
    return {"$ref": f"#/components/parameters/{_key(parameter)}"}


def _parameter(parameter: Parameter) -> Document:
    document: Document = {"name": parameter.name, "in": parameter.where}
    if parameter.where == "path" or parameter.is_required:
        document["required"] = True
    return document | {"description": parameter.description, "schema": parameter_schema(parameter)}


def parameter_schema(parameter: Parameter) -> Document:
    """The schema of a parameter's values."""
    if parameter.is_instant:
        return {"type": "string"} | ISO_INSTANT | {"examples": list(parameter.examples)}
    is_number = parameter.maximum is not None
    schema = {
        "type": "integer" if is_number else "string",
        "pattern": None if parameter.pattern is None else f"^{parameter.pattern}$",
        "enum": list(parameter.choices) or None,
        "minimum": parameter.minimum,
        "maximum": parameter.maximum,
        "default": parameter.default,
        "examples": list(parameter.examples) or None,
    }
    schema = {key: value for key, value in schema.items() if value is not None}
    return {"type": "array", "items": schema} if parameter.is_list else schema


def as_yaml(document: Document) -> str:
    return msgspec.yaml.encode(document).decode()


class OpenApiResource:
    """Serves a document, which it gets once all routes have been described."""

    def __init__(self) -> None:
        self._document = b""

    def hold(self, document: Document) -> None:
        self._document = msgspec.json.encode(document)

    @Operation(
        id="getOpenApi",
        summary="This document",
        tag="description",
        answers={200: ResponseSpec("OpenAPI 3.1.", dict[str, Any])},
        needs_database=False,
    )
    def on_get(self, _request: Request, response: Response) -> None:
        response.data = self._document
