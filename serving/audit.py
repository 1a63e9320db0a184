"""The audit log: no change without its row.

The row is committed before the responder runs, with everything but the outcome; without it the request is
refused. The outcome follows when the answer is ready. So a change cannot lack its row, whatever it writes and
in however many transactions; a row without a status tells of an attempt whose end nobody saw.
"""

import re
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import falcon
import msgspec
import structlog
from falcon import Request, Response
from sqlalchemy import Engine, Row
from sqlalchemy.exc import SQLAlchemyError

from schemas.http import AuditEntry
from serving.access import caller_of, is_safe
from serving.bodies import take_body
from serving.policy import Policy
from serving.queries import access
from serving.secrets import without_secrets
from serving.windows import Page

KEPT_BYTES = 8_192
"""Of a body; of a longer one its beginning."""

KEPT_OF_PATH = 2_048
ENTRIES_AT_ONCE = 1_000
BODY_WAITS_S = 0.25
REQUEST_ID = re.compile(r"[\w.:/+=-]{1,128}", re.ASCII)


class AuditLog:
    """The table `audit_log`."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._clock = clock

    def begin(self, attempt: dict[str, Any]) -> int:
        with self._engine.begin() as connection:
            return int(connection.execute(access.begin_audit({"at": self._clock()} | attempt)).scalar_one())

    def finish(self, audit_id: int, status: int) -> None:
        try:
            with self._engine.begin() as connection:
                connection.execute(access.finish_audit(audit_id, status, self._clock()))
        except SQLAlchemyError as error:
            # The change has happened or not; the client must hear which.
            structlog.get_logger().error(
                "audit_unfinished", audit_id=audit_id, status=status, error=str(error).strip()
            )

    def entries(self, page: Page) -> Iterator[AuditEntry]:
        """The newest first; holds a connection to its end."""
        with self._engine.connect() as connection:
            in_blocks = connection.execution_options(yield_per=ENTRIES_AT_ONCE)
            yield from map(_entry, in_blocks.execute(access.audited(page)))


class Audit:
    """Falcon middleware: every request that may change something is written down before it does."""

    def __init__(self, log: AuditLog, policy: Policy) -> None:
        self._log = log
        self._policy = policy
        self._bodies = threading.BoundedSemaphore(policy.bodies_at_once)

    def process_resource(
        self, request: Request, response: Response, resource: object, _parameters: dict[str, Any]
    ) -> None:
        if is_safe(request.method) or not hasattr(resource, f"on_{request.method.lower()}"):
            return
        request_id = request_id_of(request)
        response.set_header("X-Request-Id", request_id)
        body = self._take_body(request)
        caller = caller_of(request)
        request.context.audit_id = self._log.begin(
            {
                "who": caller.name,
                "key_id": caller.key_id,
                "role": caller.role,
                "method": request.method,
                "path": _storable(without_secrets(request.relative_uri))[:KEPT_OF_PATH],
                "request_id": request_id,
                "client_address": request.remote_addr,
                "body": kept_of(body),
            }
        )

    def _take_body(self, request: Request) -> bytes:
        if not self._bodies.acquire(timeout=BODY_WAITS_S):
            raise falcon.HTTPServiceUnavailable(
                description="Too many bodies are being received, and slowly: try again.", retry_after=5
            )
        try:
            return take_body(request, self._policy.max_body_bytes)
        finally:
            self._bodies.release()

    def process_response(
        self,
        request: Request,
        response: Response,
        _resource: object,
        _succeeded: bool,  # noqa: FBT001 - Falcon's
    ) -> None:
        audit_id = getattr(request.context, "audit_id", None)
        if audit_id is not None:
            self._log.finish(audit_id, response.status_code)


def request_id_of(request: Request) -> str:
    """The id that the client or the proxy gave the request; else a new one."""
    given = request.get_header("X-Request-Id", default="")
    return given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def kept_of(body: bytes) -> Any:  # noqa: ANN401 - any JSON
    """The body as it is kept: JSON as it came; of anything else, and of what is long, the beginning."""
    if not body:
        return None
    if len(body) <= KEPT_BYTES:
        try:
            return msgspec.json.decode(without_secrets(body.decode()).replace(r"\u0000", "�"))
        except (ValueError, RecursionError):
            pass
    start = _storable(without_secrets(body[:KEPT_BYTES].decode(errors="replace")))
    return {"bytes": len(body), "start": start}


def _storable(text: str) -> str:
    """PostgreSQL has no U+0000 in texts."""
    return text.replace("\0", "�")


def _entry(row: Row[Any]) -> AuditEntry:
    return AuditEntry(
        id=str(row.audit_id),
        at=row.at,
        who=row.who,
        role=row.role,
        method=row.method,
        path=row.path,
        status=row.status,
        request_id=row.request_id,
        client_address=row.client_address,
        body=row.body,
    )
