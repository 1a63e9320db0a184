"""The session of the caller, and the audit log.

Browsers need a session, since their EventSource sends a cookie but no key.
"""

from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus

from falcon import Request, Response

from schemas.api.access import AuditEntry, Session
from serving.auth.audit import AuditLog
from serving.auth.keys import Caller, KeyStore, caller_of, read_secret, require_operator
from serving.http.operations import Operation, ResponseSpec
from serving.http.parameters.lists import NUMBERED_PAGE, numbered_page
from serving.http.responses import (
    answer,
    answer_list,
    link_next_page,
)
from serving.policy import SESSION_COOKIE

COOKIE_PATH = "/api"


class CurrentSessionResource:
    """`POST` with a key opens a session; `DELETE` ends it."""

    def __init__(self, store: KeyStore, clock: Callable[[], datetime], *, is_https: bool) -> None:
        self._store = store
        self._clock = clock
        self._is_https = is_https

    @Operation(
        id="getSession",
        summary="The caller",
        tag="access",
        answers={200: ResponseSpec("The caller.", Session)},
    )
    def on_get(self, request: Request, response: Response) -> None:
        answer(response, _session(caller_of(request)))

    @Operation(
        id="createSession",
        summary="Open a session for this browser",
        tag="access",
        answers={
            200: ResponseSpec(
                "The caller; and a cookie that reads until then.", Session, headers=("Set-Cookie",)
            )
        },
    )
    def on_post(self, request: Request, response: Response) -> None:
        caller = caller_of(request)
        if caller.key_id is not None and not caller.is_session:
            caller = self._lend(caller, response)
        answer(response, _session(caller))

    @Operation(
        id="endSession",
        summary="End the session of this browser",
        tag="access",
        answers={204: ResponseSpec("The cookie reads no more.", headers=("Set-Cookie",))},
    )
    def on_delete(self, request: Request, response: Response) -> None:
        for cookie in request.get_cookie_values(SESSION_COOKIE) or []:
            secret = read_secret(cookie)
            if secret is not None:
                self._store.end_session(secret)
        response.unset_cookie(SESSION_COOKIE, path=COOKIE_PATH, same_site="Strict")
        response.status = HTTPStatus.NO_CONTENT

    def _lend(self, caller: Caller, response: Response) -> Caller:
        now = self._clock()
        text, expires_at = self._store.open_session(caller, now)
        response.set_cookie(
            SESSION_COOKIE,
            text,
            max_age=int((expires_at - now).total_seconds()),
            path=COOKIE_PATH,
            secure=self._is_https,
            http_only=True,
            same_site="Strict",
        )
        return Caller(caller.name, caller.role, caller.key_id, expires_at)


def _session(caller: Caller) -> Session:
    return Session(caller.name, caller.role, caller.expires_at)


class AuditTrailResource:
    """The newest first."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    @Operation(
        id="listAudit",
        summary="The audit log, newest first",
        tag="access",
        parameters=NUMBERED_PAGE,
        answers={200: ResponseSpec("All of it, or a page.", list[AuditEntry], headers=("Link",))},
        problems=(403,),
    )
    def on_get(self, request: Request, response: Response) -> None:
        require_operator(request)
        part = numbered_page(request.params)
        answer_list(response, link_next_page(request, response, part, self._log.entries(part)))
