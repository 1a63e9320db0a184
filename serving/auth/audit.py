"""The audit log: every change has an entry.

The entry is committed before the responder runs, without the outcome; if that fails, the request is refused.
The outcome is added when the response is ready. So every change has its entry, in however many transactions
it is made; an entry without a status is a request whose outcome was not recorded.
"""

import re
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

import falcon
import msgspec
import structlog
from falcon import Request, Response
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from schemas.api.access import AuditEntry
from schemas.programs.redaction import without_secret_fields, without_secrets
from serving.auth import queries
from serving.auth.keys import Caller
from serving.auth.queries import AuditRow
from serving.db.reading import in_blocks, snapshot
from serving.http.bodies import read_bytes
from serving.page import Page
from serving.policy import Policy

STORED_BODY_BYTES = 8_192
"""Longest stored body; a longer one is truncated."""

STORED_PATH_LENGTH = 2_048
BODY_WAIT_S = 0.25
REQUEST_ID = re.compile(r"[\w.:/+=-]{1,128}", re.ASCII)


class AuditLog:
    """The table `audit_log`."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._clock = clock

    def begin(self, attempt: Mapping[str, object]) -> int:
        with self._engine.begin() as connection:
            return connection.execute(queries.begin_audit({"at": self._clock(), **attempt})).scalar_one()

    def finish(self, audit_id: int, status: int) -> None:
        try:
            with self._engine.begin() as connection:
                connection.execute(queries.finish_audit(audit_id, status, self._clock()))
        except SQLAlchemyError as error:
            # The client still needs the response, which tells whether the change was made.
            structlog.get_logger().error(
                "audit_unfinished", audit_id=audit_id, status=status, error=str(error).strip()
            )

    def entries(self, page: Page) -> Iterator[AuditEntry]:
        """Return entries, newest first; the iterator holds a connection until it ends."""
        with snapshot(self._engine) as connection:
            yield from map(_entry, in_blocks(connection, queries.audit_entries(page)))


class Auditor:
    """Writes the audit entry of each request that may change something."""

    def __init__(self, log: AuditLog, policy: Policy) -> None:
        self._log = log
        self._policy = policy
        self._bodies = threading.BoundedSemaphore(policy.bodies_at_once)

    def begin(self, request: Request, response: Response, caller: Caller, body_bytes: int = 0) -> None:
        """Commit the entry of a request, before its responder runs.

        `body_bytes`: the longest body, where it may be longer than the policy allows for others.

        Raises:
            falcon.HTTPServiceUnavailable: too many bodies are being received.
        """
        request_id = request_id_of(request)
        response.set_header("X-Request-Id", request_id)
        body = self.read_body(request, body_bytes)
        request.context.audit_id = self._log.begin(
            {
                "who": caller.name,
                "key_id": caller.key_id,
                "role": caller.role,
                "method": request.method,
                "path": _storable(without_secrets(request.relative_uri))[:STORED_PATH_LENGTH],
                "request_id": request_id,
                "client_address": request.remote_addr,
                "body": stored_body(body),
            }
        )

    def read_body(self, request: Request, body_bytes: int = 0) -> bytes:
        """Return the body of a request; the number of bodies received at once is limited.

        Raises:
            falcon.HTTPServiceUnavailable: the limit is reached.
        """
        if not self._bodies.acquire(timeout=BODY_WAIT_S):
            raise falcon.HTTPServiceUnavailable(
                description="Too many bodies are being received at once: try again.", retry_after=5
            )
        try:
            return read_bytes(request, max(self._policy.max_body_bytes, body_bytes))
        finally:
            self._bodies.release()

    def finish(self, request: Request, response: Response) -> None:
        """Complete the entry with the status of the response."""
        self._log.finish(request.context.audit_id, response.status_code)


def request_id_of(request: Request) -> str:
    """Return the request id of the client or a proxy; else a new one."""
    request_id = request.get_header("X-Request-Id", default="")
    return request_id if REQUEST_ID.fullmatch(request_id) else uuid.uuid4().hex


def stored_body(body: bytes) -> object:
    """Return the body as it is stored: JSON unchanged; of other and of long bodies, the beginning."""
    if not body:
        return None
    if len(body) <= STORED_BODY_BYTES:
        try:
            value: object = msgspec.json.decode(without_secret_fields(body.decode()).replace(r"\u0000", "�"))
        except (ValueError, RecursionError):
            pass
        else:
            return value
    start = _storable(without_secret_fields(body[:STORED_BODY_BYTES].decode(errors="replace")))
    return {"bytes": len(body), "start": start}


def _storable(text: str) -> str:
    """Replace U+0000, which PostgreSQL cannot store."""
    return text.replace("\0", "�")


def _entry(row: AuditRow) -> AuditEntry:
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
