"""Converts errors to problem details (RFC 9457), in this one place, never with a stack trace."""

from http import HTTPStatus

import falcon
import msgspec
import psycopg
import structlog
from falcon import Request, Response
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from schemas.api.service import Problem
from schemas.programs.redaction import without_secrets
from serving.errors import (
    ConflictError,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    NotReadyError,
    TooManyStreamsError,
)
from serving.policy import is_openadr

RETRY_AFTER_S = 2
STREAM_RETRY_AFTER_S = 15
PROBLEM_JSON = "application/problem+json"


CAUSES = {
    "08": "The connection to the database was lost.",
    "25006": "The database is read-only: it is a replica, or is becoming the primary.",
    "42": "The database lacks what this service needs: has it been migrated?",
    "53": "The database lacks a resource: see its log.",
    "53100": "The disk of the database is full.",
    "53200": "The database is out of memory, or its lock table is full (max_locks_per_transaction).",
    "53300": "The database has no free connection (max_connections).",
    "55P03": "The database holds a lock on what this needs: try again.",
    "57014": "The database has not answered in time.",
    "57P01": "The database is shutting down.",
    "57P02": "The database has crashed, and is starting again.",
    "57P03": "The database is starting or shutting down.",
}
"""Causes by SQLSTATE or its class."""


def add_error_handling(app: falcon.App[Request, Response]) -> None:
    app.set_error_serializer(_serialize)
    app.add_error_handler(Exception, _unexpected)
    app.add_error_handler(NotFoundError, _not_found)
    app.add_error_handler(TooManyStreamsError, _too_many_streams)
    app.add_error_handler(NotReadyError, _not_ready)
    app.add_error_handler(InvalidRequestError, _invalid)
    app.add_error_handler(ConflictError, _conflict)
    app.add_error_handler(ForbiddenError, _forbidden)
    app.add_error_handler(DBAPIError, _database_away)
    app.add_error_handler(PoolTimeoutError, _database_away)
    app.add_error_handler(psycopg.Error, _database_away)


def _serialize(request: Request, response: Response, error: falcon.HTTPError) -> None:
    status = error.status_code
    title = falcon.code_to_http_status(status).partition(" ")[2]
    detail = without_secrets(error.description or _advice(request, status) or title)
    problem = Problem("about:blank", title, status, detail)
    response.data = msgspec.json.encode(problem)
    response.content_type = falcon.MEDIA_JSON if is_openadr(request.path) else PROBLEM_JSON
    if "Accept" not in (response.get_header("Vary") or "").split(", "):
        response.append_header("Vary", "Accept")


def _advice(request: Request, status: int) -> str | None:
    """Return the detail for errors of Falcon, which have none."""
    if status == HTTPStatus.NOT_FOUND:
        return f"There is nothing at {request.path}."
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return f"{request.method} is not offered at {request.path}; the header Allow says what is."
    return None


def _not_found(_request: Request, _response: Response, error: NotFoundError, _parameters: object) -> None:
    raise falcon.HTTPNotFound(description=str(error))


def _not_ready(_request: Request, _response: Response, error: NotReadyError, _parameters: object) -> None:
    raise falcon.HTTPServiceUnavailable(description=str(error), retry_after=5)


def _too_many_streams(
    _request: Request, _response: Response, error: TooManyStreamsError, _parameters: object
) -> None:
    raise falcon.HTTPServiceUnavailable(description=str(error), retry_after=STREAM_RETRY_AFTER_S)


def _invalid(_request: Request, _response: Response, error: InvalidRequestError, _parameters: object) -> None:
    raise falcon.HTTPBadRequest(title="Bad request", description=str(error))


def _conflict(_request: Request, _response: Response, error: ConflictError, _parameters: object) -> None:
    raise falcon.HTTPConflict(title="Conflict", description=str(error))


def _forbidden(_request: Request, _response: Response, error: ForbiddenError, _parameters: object) -> None:
    raise falcon.HTTPForbidden(description=str(error))


def _database_away(
    _request: Request,
    _response: Response,
    error: DBAPIError | PoolTimeoutError | psycopg.Error,
    _parameters: object,
) -> None:
    structlog.get_logger().error("database_failed", error=str(error).strip())
    raise falcon.HTTPServiceUnavailable(description=cause_of(error), retry_after=RETRY_AFTER_S)


def cause_of(error: DBAPIError | PoolTimeoutError | psycopg.Error) -> str:
    """Return the cause of a database error, for the client."""
    if isinstance(error, PoolTimeoutError):
        return "All connections to the database are in use: try again."
    cause = getattr(error, "orig", error)
    sqlstate = cause.sqlstate if isinstance(cause, psycopg.Error) else None
    if sqlstate is None:
        return "The database cannot be reached."
    return CAUSES.get(sqlstate) or CAUSES.get(sqlstate[:2]) or f"The database failed (SQLSTATE {sqlstate})."


def _unexpected(request: Request, _response: Response, _error: Exception, _parameters: object) -> None:
    structlog.get_logger().exception(
        "request_failed", method=request.method, path=without_secrets(request.path)
    )
    raise falcon.HTTPInternalServerError(description="An error of this service; it has been logged.")
