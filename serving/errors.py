"""Errors are translated once, here: to problem+json (RFC 9457), and never with a trace."""

from http import HTTPStatus

import falcon
import msgspec
import psycopg
import structlog
from falcon import Request, Response
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from schemas.http import Problem
from serving.budget import TooManyPoints, TooSlow
from serving.databases import NotReady
from serving.event_rules import Conflict, Unfit
from serving.live import TooManyStreams
from serving.secrets import without_secrets
from serving.unknown import Unknown

RETRY_AFTER_S = 2
STREAM_RETRY_AFTER_S = 15
PROBLEM_JSON = "application/problem+json"


def add_error_handling(app: falcon.App[Request, Response]) -> None:
    app.set_error_serializer(_serialize)
    app.add_error_handler(Exception, _unexpected)
    app.add_error_handler(Unknown, _unknown)
    app.add_error_handler(TooManyStreams, _no_room)
    app.add_error_handler(NotReady, _not_ready)
    app.add_error_handler(Unfit, _unfit)
    app.add_error_handler(TooManyPoints, _unfit)
    app.add_error_handler(TooSlow, _unfit)
    app.add_error_handler(Conflict, _conflict)
    app.add_error_handler(DBAPIError, _database_away)
    app.add_error_handler(PoolTimeout, _database_away)
    app.add_error_handler(psycopg.Error, _database_away)


def _serialize(request: Request, response: Response, error: falcon.HTTPError) -> None:
    status = error.status_code
    title = falcon.code_to_http_status(status).partition(" ")[2]
    problem = Problem("about:blank", title, status, error.description or _advice(request, status) or title)
    response.data = msgspec.json.encode(problem)
    response.content_type = PROBLEM_JSON
    if "Accept" not in (response.get_header("Vary") or "").split(", "):
        response.append_header("Vary", "Accept")


def _advice(request: Request, status: int) -> str | None:
    """What Falcon's own errors do not say."""
    if status == HTTPStatus.NOT_FOUND:
        return f"There is nothing at {request.path}."
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return f"{request.method} is not offered at {request.path}; the header Allow says what is."
    return None


def _unknown(_request: Request, _response: Response, error: Unknown, _parameters: object) -> None:
    raise falcon.HTTPNotFound(description=str(error))


def _not_ready(_request: Request, _response: Response, error: NotReady, _parameters: object) -> None:
    raise falcon.HTTPServiceUnavailable(description=str(error), retry_after=5)


def _no_room(_request: Request, _response: Response, error: TooManyStreams, _parameters: object) -> None:
    raise falcon.HTTPServiceUnavailable(description=str(error), retry_after=STREAM_RETRY_AFTER_S)


def _unfit(
    _request: Request, _response: Response, error: Unfit | TooManyPoints | TooSlow, _parameters: object
) -> None:
    raise falcon.HTTPBadRequest(title="Bad request", description=str(error))


def _conflict(_request: Request, _response: Response, error: Conflict, _parameters: object) -> None:
    raise falcon.HTTPConflict(title="Conflict", description=str(error))


def _database_away(
    _request: Request,
    _response: Response,
    error: DBAPIError | PoolTimeout | psycopg.Error,
    _parameters: object,
) -> None:
    structlog.get_logger().error("database_failed", error=str(error).strip())
    detail = "The database cannot be reached."
    if isinstance(error, (ProgrammingError, psycopg.ProgrammingError)):
        detail = "The database lacks what this service needs: has it been migrated?"
    if isinstance(getattr(error, "orig", error), psycopg.errors.QueryCanceled):
        detail = "The database has not answered in time."
    raise falcon.HTTPServiceUnavailable(description=detail, retry_after=RETRY_AFTER_S)


def _unexpected(request: Request, _response: Response, _error: Exception, _parameters: object) -> None:
    structlog.get_logger().exception(
        "request_failed", method=request.method, path=without_secrets(request.path)
    )
    raise falcon.HTTPInternalServerError(description="This is our fault; it has been logged.")
