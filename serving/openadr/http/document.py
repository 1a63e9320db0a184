"""The OpenAPI 3.1 document of the OpenADR routes, made from their operations and our own types."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from schemas.api.service import Problem
from schemas.openadr import TokenRequest
from schemas.programs.version import VERSION
from serving.http.openapi import Document, parameter_schema
from serving.http.operations import Method, Operation, operations
from serving.http.parameters.media import JSON
from serving.http.parameters.rules import Parameter
from serving.openadr.auth.access import SCOPES
from serving.openadr.http.authorization import FORM
from serving.openadr.http.parameters import PATH_ID

SCHEMA = "#/components/schemas/{name}"
PROBLEMS = {
    400: "A parameter, an id or a body that is not valid.",
    401: "There is no token, or it is not valid.",
    403: "The token lacks the scope, or its client may not do this.",
    404: "It does not exist, or the client may not know of it.",
    409: "A name is taken, or what is referred to does not exist.",
    412: "The object is not as the client has seen it.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    429: "The client calls more often than it may.",
    503: "The database is away, or lacks a migration.",
}
SECURITY = "oAuth2ClientCredentials"


def describe(resources: Mapping[str, object], base: str, version: str) -> Document:
    """The document of the resources of one version, by path below its base."""
    by_path = {path: operations(resource) for path, resource in resources.items()}
    every = [operation for methods in by_path.values() for operation in methods.values()]
    types = _types_of(every)
    references, schemas = _named_as_specified(msgspec.json.schema_components(types, ref_template=SCHEMA))
    by_type = dict(zip(types, references, strict=True))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"Gridgate: OpenADR {version}",
            "version": VERSION,
            "description": "What is supported, and what not, is in `docs/openadr.md`.",
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": base}],
        "paths": {
            path.replace("{object_id}", "{id}"): {
                method: _operation(path, method, operation, by_type) for method, operation in methods.items()
            }
            for path, methods in by_path.items()
        },
        "components": {
            "schemas": {name: schemas[name] for name in sorted(schemas)},
            "securitySchemes": {SECURITY: _security_scheme(base)},
        },
    }


def _named_as_specified(components: tuple[Any, ...]) -> Any:  # noqa: ANN401 - JSON, as msgspec types it
    """The specification's `Event` is our `OpenAdrEvent`, beside the `Event` of `schemas.api`."""
    return msgspec.json.decode(msgspec.json.encode(components).replace(b"OpenAdr", b""))


def _security_scheme(base: str) -> Document:
    flow = {"tokenUrl": f"{base}/auth/token", "scopes": dict.fromkeys(SCOPES, "As OpenADR has it.")}
    return {"type": "oauth2", "flows": {"clientCredentials": flow}}


def _operation(
    path: str, method: Method, operation: Operation, by_type: Mapping[object, Document]
) -> Document:
    has_id = "{object_id}" in path
    parameters = [*([PATH_ID] if has_id else []), *operation.parameters]
    document: Document = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "security": [{SECURITY: [scope]} for scope in operation.scopes],
        "responses": _responses(method, operation, by_type, has_input=bool(parameters)),
    }
    if parameters:
        document["parameters"] = [_parameter(parameter) for parameter in parameters]
    if operation.takes is not None:
        media = FORM if operation.takes is TokenRequest else JSON
        content = {media: {"schema": by_type[operation.takes]}}
        document["requestBody"] = {"required": True, "content": content}
    return document


def _responses(
    method: Method, operation: Operation, by_type: Mapping[object, Document], *, has_input: bool
) -> Document:
    problems = {*operation.problems, 429}
    problems |= {400} if has_input or operation.takes is not None else set()
    problems |= {401, 403} if operation.scopes else set()
    problems |= {413, 415} if operation.takes is not None else set()
    problems |= {503} if operation.needs_database else set()
    answers = {
        status: {
            "description": answer.description,
            "content": {JSON: {"schema": by_type[answer.shape]}},
        }
        for status, answer in operation.answers.items()
    }
    if method == "get":
        answers[304] = {"description": "The client has the answer already."}
    content = {JSON: {"schema": by_type[Problem]}}
    described = {status: {"description": PROBLEMS[status], "content": content} for status in problems}
    answers = described | answers
    return {str(status): answers[status] for status in sorted(answers)}


def _parameter(parameter: Parameter) -> Document:
    required = {"required": True} if parameter.where == "path" else {}
    schema = {"schema": parameter_schema(parameter)}
    return (
        {"name": parameter.name, "in": parameter.where, "description": parameter.description}
        | required
        | schema
    )


def _types_of(every: Iterable[Operation]) -> tuple[object, ...]:
    types: dict[object, None] = {Problem: None}
    for operation in every:
        types |= {answer.shape: None for answer in operation.answers.values()}
        types |= {} if operation.takes is None else {operation.takes: None}
    return tuple(types)
