"""Who may do what: every path needs a key but for a few that are named here; changes need an operator's."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

import falcon
from falcon import Request, Response
from sqlalchemy.exc import SQLAlchemyError

from serving.keys import ANONYMOUS, Caller, Keyring
from serving.policy import Policy
from serving.proxies import address_of
from serving.rates import Grant, TokenBuckets
from serving.secrets import SESSION

OPEN = frozenset({"/", "/health", "/health/db-check", "/openapi.json", "/docs", "/favicon.ico"})
OPEN_BELOW = ("/assets/",)
"""What tells nothing of the fleet: is it up, how is it called, and pages that must load to ask for a key."""

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
METRICS_PATH = "/metrics"
SESSION_PATH = "/api/session"
COOKIE = "gridgate_session"
SESSION_COOKIE = re.compile(rf'(?:^|;)\s*{COOKIE}="?({SESSION}_\w+)"?\s*(?:;|$)', re.ASCII)
HOME_NAMES = frozenset({"localhost"})
PORT = re.compile(r":\d*$", re.ASCII)
REALM = 'Bearer realm="gridgate"'
RATE_HEADERS = ("ratelimit-policy", "ratelimit")
"""As Falcon writes them; they are of one request, whatever else an answer says."""

EXPOSED = [
    "ETag",
    "History-Warning",
    "Link",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "X-Request-Id",
]


def gate(
    keyring: Keyring, clock: Callable[[], datetime], allowed_origins: list[str], policy: Policy
) -> "Access | OwnPages":
    """The middleware that lets callers in, or not."""
    own_pages = OwnPages(allowed_origins, is_at_home=policy.is_at_home)
    if not policy.needs_keys:
        return own_pages
    buckets = TokenBuckets(policy.rate_per_s, policy.rate_burst) if policy.rate_per_s else None
    return Access(keyring, clock, buckets, own_pages)


def allow_origins(app: falcon.App[Request, Response], allowed_origins: list[str]) -> None:
    """Pages of these origins may call. Those that are named may also send the cookie; `*` names nobody."""
    if "*" in allowed_origins:
        app.add_middleware(falcon.CORSMiddleware(allow_origins="*", expose_headers=EXPOSED))
    elif allowed_origins:
        app.add_middleware(
            falcon.CORSMiddleware(
                allow_origins=allowed_origins, allow_credentials=allowed_origins, expose_headers=EXPOSED
            )
        )


def caller_of(request: Request) -> Caller:
    caller: Caller = getattr(request.context, "caller", ANONYMOUS)
    return caller


def require_operator(request: Request) -> None:
    """For what not even a viewer may read.

    Raises:
        falcon.HTTPForbidden: the caller is a viewer.
    """
    caller = caller_of(request)
    if caller.role != "operator":
        raise falcon.HTTPForbidden(
            description=f"{request.method} {request.path} needs a key with the role operator; "
            f"{caller.name!r} has the role {caller.role}."
        )


class Access:
    """Falcon middleware: asks for a key, bounds its rate, and holds it to its role."""

    def __init__(
        self,
        keyring: Keyring,
        clock: Callable[[], datetime],
        buckets: TokenBuckets | None,
        own_pages: "OwnPages",
    ) -> None:
        self._keyring = keyring
        self._clock = clock
        self._buckets = buckets
        self._own_pages = own_pages

    def process_request(self, request: Request, response: Response) -> None:
        # A browser asks by OPTIONS what it may send, before it sends a key.
        if request.method == "OPTIONS" or is_open(request.path):
            return
        caller = self._identify(request)
        request.context.caller = caller
        if self._buckets is not None:
            self._bound_rate(self._buckets, caller, response)
        if caller.is_session:
            # A browser sends its cookie whoever's page makes it call; a header, it sends only for ours.
            self._own_pages.require(request)
        _hold_to_role(request)

    def let_in(self, env: Mapping[str, Any]) -> list[tuple[str, str]] | None:
        """`process_request` for a GET of data, if nothing need be looked up or refused: what the answer tells
        of the rate. None if there is more to do; that it was asked costs the caller nothing.
        """
        shown = shown_in(env)
        caller = None if shown is None else self._keyring.caller_at_hand(shown)
        if caller is None or self._buckets is None:
            return None if caller is None else []
        grant = self._take(self._buckets, caller)
        told = self._buckets.policy, _rate_limit(grant)
        return list(zip(RATE_HEADERS, told, strict=True)) if grant.is_granted else None

    def process_response(
        self,
        request: Request,
        response: Response,
        _resource: object,
        _succeeded: bool,  # noqa: FBT001 - Falcon's
    ) -> None:
        """A stream lasts no longer than the key that opened it."""
        caller = caller_of(request)
        if caller.key_id is not None and isinstance(response.stream, Iterator):
            response.stream = _WhileValid(response.stream, caller, self._keyring)

    def _identify(self, request: Request) -> Caller:
        shown = shown_in(request.env)
        if shown is None:
            raise _unauthorized(
                "Send an API key as Authorization: Bearer KEY, or as X-API-Key; "
                "`python -m serving keys create` makes one.",
                REALM,
            )
        caller = self._caller(shown, request.path)
        if caller is None:
            detail = "This key is not known here, or it was revoked, or has expired: ask for a new one."
            raise _unauthorized(detail, f'{REALM}, error="invalid_token"')
        return caller

    def _caller(self, shown: str, path: str) -> Caller | None:
        try:
            return self._keyring.caller(shown)
        except SQLAlchemyError:
            # Whoever watches us must see that the database is away, and so not ask it.
            known = self._keyring.caller_last_known(shown) if path == METRICS_PATH else None
            if known is None:
                raise
            return known

    def _take(self, buckets: TokenBuckets, caller: Caller) -> Grant:
        return buckets.take(str(caller.key_id), self._clock().timestamp())

    def _bound_rate(self, buckets: TokenBuckets, caller: Caller, response: Response) -> None:
        grant = self._take(buckets, caller)
        response.set_header("RateLimit-Policy", buckets.policy)
        response.set_header("RateLimit", _rate_limit(grant))
        if not grant.is_granted:
            raise falcon.HTTPTooManyRequests(
                description=f"The key {caller.name!r} calls more often than it may ({buckets.policy}).",
                retry_after=math.ceil(grant.next_in_s),
            )


def is_open(path: str) -> bool:
    return path in OPEN or path.startswith(OPEN_BELOW)


def is_safe(method: str) -> bool:
    """Whether it only reads."""
    return method.upper() in SAFE


@lru_cache(maxsize=64)
def _is_home(host: str) -> bool:
    """Whether a `Host` is an address, or this machine's own name."""
    name = PORT.sub("", host).strip("[]").lower()
    return name in HOME_NAMES or address_of(name) is not None


def _rate_limit(grant: Grant) -> str:
    return f'"key";r={grant.remaining};t={math.ceil(grant.full_in_s)}'


def shown_in(env: Mapping[str, Any]) -> str | None:
    """The key of a header; else the cookie of a browser, whose EventSource cannot send headers."""
    scheme, _, key = env.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() == "bearer" and key:
        return str(key).strip()
    return env.get("HTTP_X_API_KEY") or _session_in(env.get("HTTP_COOKIE", ""))


def _session_in(cookies: str) -> str | None:
    """A cookie lends no more than a session: a key in it would be one that foreign pages may use."""
    match = SESSION_COOKIE.search(cookies)
    return None if match is None else match[1]


def _hold_to_role(request: Request) -> None:
    if not is_safe(request.method) and request.path != SESSION_PATH:
        require_operator(request)


def _unauthorized(detail: str, challenge: str) -> falcon.HTTPUnauthorized:
    return falcon.HTTPUnauthorized(description=detail, challenges=[challenge])


class _WhileValid:
    """A response's stream that ends early when its caller's key does."""

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


class OwnPages:
    """Falcon middleware where no keys are asked for: no foreign page may make a browser change something.

    A browser says with each change which page makes it. Other programs say nothing, and have no user whom
    a page could trick.
    """

    def __init__(self, allowed_origins: list[str], *, is_at_home: bool) -> None:
        self._allowed_origins = allowed_origins
        self._names = HOME_NAMES | {origin.partition("://")[2] for origin in allowed_origins}
        self._is_at_home = is_at_home

    def let_in(self, env: Mapping[str, Any]) -> list[tuple[str, str]] | None:
        """Whoever asks may read; None for those whom `process_request` refuses."""
        return [] if self._is_called_so(env.get("HTTP_HOST")) else None

    def process_request(self, request: Request, _response: Response) -> None:
        if not self._is_called_so(request.get_header("Host")):
            raise falcon.HTTPForbidden(
                description="Nobody is asked for a key here, so call this by its address or as localhost, "
                f"not as {request.host}: a page anywhere can let a name of its own lead here."
            )
        if request.get_header("Origin") is not None:
            self.require(request)

    def _is_called_so(self, host: str | None) -> bool:
        """Whether no foreign page can have made a browser call: one is bound to the name that it came from,
        and could have let that name lead to this machine.
        """
        return not self._is_at_home or host is None or host in self._names or _is_home(host)

    def require(self, request: Request) -> None:
        """Refuse a change that is not of one of our pages.

        Raises:
            falcon.HTTPForbidden: it is not.
        """
        origin = request.get_header("Origin", default="")
        if is_safe(request.method) or origin in self._allowed_origins:
            return
        if origin.partition("://")[2] != request.netloc:
            raise falcon.HTTPForbidden(
                description=f"Pages of {origin or 'nobody'} may change nothing at {request.netloc}: name the "
                "page's origin in CORS_ORIGINS if they may, or send a key as Authorization: Bearer KEY."
            )
