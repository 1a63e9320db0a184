"""What the specification's document asks for that no answer can have, or leaves open. The service is right.

Loaded by schemathesis itself, through SCHEMATHESIS_HOOKS.
"""

import re
from http import HTTPStatus
from typing import Any

import schemathesis
from schemathesis.core.failures import AcceptedNegativeData
from schemathesis.openapi.checks import JsonSchemaError, RejectedPositiveData, UndefinedStatusCode

from tests.integration.schemathesis_openadr_rules import filter_failure as is_failure_by_our_document
from tests.integration.schemathesis_openadr_rules import map_body

__all__ = ["map_body"]

STATUSES = {
    HTTPStatus.UNAUTHORIZED: "left out at some operations that need a token, such as PUT of programs",
    HTTPStatus.FORBIDDEN: "left out at notifiers and their topics, which need a scope",
    HTTPStatus.CONFLICT: "left out at POST of vens, where a name may be taken as in other nouns",
    HTTPStatus.PRECONDITION_FAILED: "of If-Match, which the document does not know",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "a limit of ours",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "a body that is no JSON, or is missing: HTTP has this status for it",
    HTTPStatus.TOO_MANY_REQUESTS: "a limit of ours",
    HTTPStatus.SERVICE_UNAVAILABLE: "the database is away",
}
"""Statuses besides those that the document names, and why."""

CONTRADICTORY = ("VEN", "RESOURCE")
"""`objectType` of a ven or resource has to be this by objectMetadata, and BL_..._REQUEST by the request that
the same object is said to be as well: no answer is valid. Our own document checks these objects."""


@schemathesis.hook
def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Whether a failure is one."""
    if isinstance(failure, UndefinedStatusCode):
        return response.status_code not in STATUSES
    if isinstance(failure, JsonSchemaError):
        return failure.instance not in CONTRADICTORY
    if isinstance(failure, RejectedPositiveData) and (
        _lacks_body(case) or _is_untyped(response) or _names_nul(response)
    ):
        return False
    if isinstance(failure, AcceptedNegativeData) and _has_null(case.body):
        return False
    return bool(is_failure_by_our_document(context, failure, case, response))


def _lacks_body(case: Any) -> bool:
    """The document requires no body where there is nothing to store without one."""
    return case.method in ("POST", "PUT") and not isinstance(case.body, dict | list | str)


def _names_nul(response: Any) -> bool:
    """The document allows NUL in names, which PostgreSQL's text cannot have: the service says so."""
    return "none of them NUL" in response.text


def _is_untyped(response: Any) -> bool:
    """The document names fields of a program's description, but does not say that it is an object."""
    return bool(re.search(r"programDescriptions\[\d+\]: expected object, got ", response.text))


def _has_null(value: Any) -> bool:
    """Null stands for a field that is left out: clients send it also where the document has none."""
    if isinstance(value, dict):
        return any(_has_null(each) for each in value.values())
    return value is None or (isinstance(value, list) and any(_has_null(each) for each in value))
