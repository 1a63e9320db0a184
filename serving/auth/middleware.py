"""Falcon middleware: authentication, rate limit, role, and the audit of changes."""

import math
import re
from collections.abc import Callable, Iterator, Mapping

import falcon
from falcon import Request, Response
from sqlalchemy.exc import SQLAlchemyError

from serving.auth.audit import Auditor
from serving.auth.keys import ANONYMOUS, SESSION, Caller, Keyring, caller_of, require_operator
from serving.auth.rate_limit import Grant, TokenBuckets
from serving.auth.same_origin import SameOrigin
from serving.http.operations import operation_of
from serving.policy import METRICS_PATH, SAFE_METHODS, SESSION_COOKIE, SESSION_PATH, is_open, is_openadr

SESSION_IN_COOKIES = re.compile(rf'(?:^|;)\s*{SESSION_COOKIE}="?({SESSION}_\w+)"?\s*(?:;|$)', re.ASCII)
REALM = 'Bearer realm="gridgate"'
RATE_HEADERS = (b"ratelimit-policy", b"ratelimit")
"""As ASGI sends them; they belong to one request, and are never cached."""

SECRET_HEADERS = (b"authorization", b"x-api-key", b"cookie")
"""Request headers that may have a key or a session."""

Authorize = Callable[[Request, Response, object], None]
"""Authorizes a request to a resource, or raises an HTTP error."""


class AuthMiddleware:
    """Authenticates the key, limits its rate, checks role and origin, and audits changes.

    Without a keyring every caller is anonymous, and only the host and the origin are checked. Requests to
    OpenADR have tokens of its own, which `authorize_openadr` checks.
    """

    def __init__(
        self,
        keyring: Keyring | None,
        buckets: TokenBuckets | None,
        same_origin: SameOrigin,
        auditor: Auditor,
        authorize_openadr: Authorize,
    ) -> None:
        self._keyring = keyring
        self._buckets = buckets
        self._same_origin = same_origin
        self._auditor = auditor
        self._authorize_openadr = authorize_openadr

    def process_request(self, request: Request, response: Response) -> None:
        if self._keyring is None:
            if self._same_origin.is_local_only or request.get_header("Origin") is not None:
                self._same_origin.check(request)
        # A browser's preflight request (OPTIONS) has no key yet.
        elif request.method != "OPTIONS" and not (is_open(request.path) or is_openadr(request.path)):
            self._require_key(self._keyring, request, response)

    def process_resource(
        self, request: Request, response: Response, resource: object, _parameters: dict[str, object]
    ) -> None:
        if is_openadr(request.path):
            self._authorize_openadr(request, response, resource)
        if request.method in SAFE_METHODS or not hasattr(resource, f"on_{request.method.lower()}"):
            return
        operation = operation_of(resource, request.method)
        if operation is not None and not operation.is_change:
            request.context.is_change = False
            self._auditor.read_body(request)
        else:
            caller = getattr(request.context, "caller", ANONYMOUS)
            body_bytes = 0 if operation is None else operation.body_bytes
            self._auditor.begin(request, response, caller, body_bytes)

    def process_response(
        self,
        request: Request,
        response: Response,
        _resource: object,
        _succeeded: bool,  # noqa: FBT001 - Falcon's
    ) -> None:
        """Complete the audit entry, and bind a stream to the validity of its key."""
        if hasattr(request.context, "audit_id"):
            self._auditor.finish(request, response)
        if self._keyring is not None and isinstance(response.stream, Iterator):
            caller = caller_of(request)
            if caller.key_id is not None:
                response.stream = _StreamWhileValid(response.stream, caller, self._keyring)

    def admit(self, headers: Mapping[bytes, bytes]) -> list[tuple[bytes, bytes]] | None:
        """Do `process_request` for a GET without a query; returns the rate limit headers of the response.

        None if the request must take the slow path, also to be refused; that consumes no token.
        """
        if self._keyring is None:
            return [] if self._same_origin.is_own_host(_text(headers.get(b"host"))) else None
        secret = secret_in(*[_text(headers.get(name)) for name in SECRET_HEADERS])
        caller = None if secret is None else self._keyring.caller_in_memory(secret)
        if caller is None or self._buckets is None:
            return None if caller is None else []
        grant = self._buckets.take(str(caller.key_id))
        values = (self._buckets.policy.encode(), _rate_limit(grant).encode())
        return list(zip(RATE_HEADERS, values, strict=True)) if grant.is_granted else None

    def _require_key(self, keyring: Keyring, request: Request, response: Response) -> None:
        caller = _identify(keyring, request)
        request.context.caller = caller
        if self._buckets is not None:
            self._limit_rate(self._buckets, caller, response)
        if caller.is_session:
            # A browser sends the cookie with requests of any page (CSRF), but a header only for our pages.
            self._same_origin.require(request)
        if request.method not in SAFE_METHODS and request.path != SESSION_PATH:
            require_operator(request)

    def _limit_rate(self, buckets: TokenBuckets, caller: Caller, response: Response) -> None:
        grant = buckets.take(str(caller.key_id))
        response.set_header("RateLimit-Policy", buckets.policy)
        response.set_header("RateLimit", _rate_limit(grant))
        if not grant.is_granted:
            raise falcon.HTTPTooManyRequests(
                description=f"The key {caller.name!r} calls more often than it may ({buckets.policy}).",
                retry_after=math.ceil(grant.next_in_s),
            )


def secret_in(authorization: str | None, api_key: str | None, cookies: str | None) -> str | None:
    """Return the key in a header; else the session in the cookie, as EventSource sends no header."""
    scheme, _, key = (authorization or "").partition(" ")
    if scheme.lower() == "bearer" and key:
        return key.strip()
    return api_key or _session_in(cookies or "")


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def _session_in(cookies: str) -> str | None:
    """Return the session in a cookie, never a key: foreign pages could use it (CSRF)."""
    match = SESSION_IN_COOKIES.search(cookies)
    return None if match is None else match[1]


def _identify(keyring: Keyring, request: Request) -> Caller:
    secret = secret_in(*[request.get_header(name.decode()) for name in SECRET_HEADERS])
    if secret is None:
        raise _unauthorized(
            "Send an API key as Authorization: Bearer KEY, or as X-API-Key; "
            "`python -m serving keys create NAME --role viewer` makes one.",
            REALM,
        )
    caller = _caller(keyring, secret, request.path)
    if caller is None:
        detail = "This key is unknown, was revoked, or has expired: request a new one."
        raise _unauthorized(detail, f'{REALM}, error="invalid_token"')
    return caller


def _caller(keyring: Keyring, secret: str, path: str) -> Caller | None:
    try:
        return keyring.caller(secret)
    except SQLAlchemyError:
        # Prometheus must be able to see that the database is down: the cached keys suffice.
        caller = keyring.caller_last_read(secret) if path == METRICS_PATH else None
        if caller is None:
            raise
        return caller


def _rate_limit(grant: Grant) -> str:
    return f'"key";r={grant.remaining};t={math.ceil(grant.full_in_s)}'


def _unauthorized(detail: str, challenge: str) -> falcon.HTTPUnauthorized:
    return falcon.HTTPUnauthorized(description=detail, challenges=[challenge])


class _StreamWhileValid:
    """A response's stream that ends when its caller's key is no longer valid."""

    def __init__(self, stream: Iterator[bytes], caller: Caller, keyring: Keyring) -> None:
        self._stream = stream
        self._caller = caller
        self._keyring = keyring

    def __iter__(self) -> Iterator[bytes]:
        for block in self._stream:
            if not self._keyring.is_valid(self._caller):
                return
            yield block

    def close(self) -> None:
        close = getattr(self._stream, "close", None)
        if close is not None:
            close()
