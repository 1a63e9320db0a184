"""The representation of responses: ETags and conditional requests (RFC 9110, 13), common headers, HEAD."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Protocol
from wsgiref.types import StartResponse, WSGIEnvironment

import falcon
from falcon import Request, Response
from msgspec import Struct

from serving.http.compression import CompressedStream, compress, preferred_encoding
from serving.http.paths import RAW_PATH, with_marked_ids
from serving.policy import PAGE_POLICY, SAFE_METHODS, Policy

NEVER_COMPRESSED = frozenset({"text/event-stream", "image/png", "application/vnd.apache.parquet"})
"""Media types that are already compressed, or whose events must not be delayed by a compressor."""

REVALIDATE = "no-cache"
"""Clients may keep a response, but must revalidate it before each use; with an ETag that costs a 304."""

HTML = "text/html"
A_YEAR_S = 31_536_000
REQUESTED_METHOD = "gridgate.requested_method"
"""WSGI key of the method that the client sent, if it is processed as another one."""

CONDITIONS = ("If-Match", "If-None-Match")
METHODS = frozenset({"PATCH", "PUT", "DELETE"})

Scope = Mapping[str, Any]
"""What ASGI passes on of a request."""

Hold = Callable[[str], AbstractContextManager[object]]
"""Takes a lock by name, across processes, against other changes with a precondition."""


class SentResponse(Struct, frozen=True):
    """A complete response, with the encoded headers that ASGI sends."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def tag_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:24]


class CachedResponse:
    """A complete body with its ETag and compressed variants, each computed once and shared by threads."""

    __slots__ = ("_body", "_encoded", "sent", "tag")

    def __init__(self, body: bytes, tag: str | None = None) -> None:
        self._body = body
        self.tag = tag_of(body) if tag is None else tag
        self.sent: dict[tuple[bytes | None, ...], SentResponse] = {}
        """Responses sent with this tag, by the request headers on which they depend."""
        self._encoded: dict[str, bytes] = {}

    @property
    def body(self) -> bytes:
        return self._body

    def etag(self, encoding: str | None) -> str:
        """Return the ETag of a variant."""
        return self.tag if encoding is None else f"{self.tag}-{encoding}"

    def encoded(self, encoding: str | None) -> bytes:
        if encoding is None:
            return self.body
        if encoding not in self._encoded:
            self._encoded[encoding] = compress(encoding, self.body)
        return self._encoded[encoding]


class ConditionalRequests:
    """Falcon middleware: an ETag for each complete response to a GET, 304 if it matches, and compression.

    `on_change` is called after each request that may have changed something.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change

    def process_response(
        self,
        request: Request,
        response: Response,
        _resource: object,
        succeeded: bool,  # noqa: FBT001 - Falcon's
    ) -> None:
        _allow_head(response)
        if request.method != "GET":
            if request.method not in SAFE_METHODS and getattr(request.context, "is_change", True):
                self._on_change()
            return
        if response.get_header("Cache-Control") is None:
            response.set_header("Cache-Control", REVALIDATE)
        if succeeded:
            _represent(request, response)


class Readable(Protocol):
    """A resource with a GET responder."""

    on_get: Callable[..., None]


class Preconditions:
    """Falcon middleware: 412 unless the resource still is as the client has seen it.

    A lock is held until the change is committed: of two clients that saw the same state, one succeeds.
    """

    def __init__(self, hold: Hold) -> None:
        self._hold = hold

    def process_resource(
        self,
        request: Request,
        _response: Response,
        resource: Readable,
        parameters: dict[str, object],
    ) -> None:
        has_condition = any(request.get_header(name) is not None for name in CONDITIONS)
        responders = (f"on_{request.method.lower()}", "on_get")
        is_change = request.method in METHODS and all(hasattr(resource, each) for each in responders)
        if not has_condition or not is_change:
            return
        match, none_match = request.if_match, request.if_none_match
        request.context.lock = lock = ExitStack()
        lock.enter_context(self._hold(request.path))
        tag = _current_tag(request, resource, parameters)
        if request.get_header("If-Match") is not None and not _has(match or [], tag, is_strong=True):
            raise falcon.HTTPPreconditionFailed(
                description="If-Match: the resource has changed since; GET it again."
            )
        if none_match and _has(none_match, tag, is_strong=False):
            raise falcon.HTTPPreconditionFailed(description="If-None-Match: there is such a resource.")

    def process_response(
        self,
        request: Request,
        _response: Response,
        _resource: object,
        _succeeded: bool,  # noqa: FBT001 - Falcon's
    ) -> None:
        lock: ExitStack | None = getattr(request.context, "lock", None)
        if lock is not None:
            lock.close()


class SecurityHeaders:
    """Falcon middleware: `nosniff` and HSTS for all responses, and the content security policy for pages."""

    def __init__(self, policy: Policy, *, varies_by_origin: bool) -> None:
        self._always = {"X-Content-Type-Options": "nosniff"}
        if policy.is_https:
            self._always["Strict-Transport-Security"] = f"max-age={A_YEAR_S}"
        self._page = {
            "Content-Security-Policy": policy.page_policy or PAGE_POLICY,
            "Referrer-Policy": "no-referrer",
            "X-Frame-Options": "DENY",
        }
        self._varies_by_origin = varies_by_origin
        self._overrides = policy.page_policy is not None

    def process_response(
        self,
        request: Request,
        response: Response,
        _resource: object,
        _succeeded: bool,  # noqa: FBT001 - Falcon's
    ) -> None:
        response.set_headers(self._always)
        if self._varies_by_origin or request.get_header("Origin") is not None:
            response.append_header("Vary", "Origin")
        if (response.content_type or "").startswith(HTML):
            self._set_page_headers(response)

    def _set_page_headers(self, response: Response) -> None:
        for name, value in self._page.items():
            if self._overrides or response.get_header(name) is None:
                response.set_header(name, value)


class RecordedResponses(Protocol):
    """Repeats responses that were sent before, without the application."""

    def response_to(self, scope: Scope) -> SentResponse | None:
        """Return the response to a request; None if the application must process it."""

    def record(self, scope: Scope, response: SentResponse) -> None:
        """Keep a response of the application for equal requests."""


class App(falcon.App[Request, Response]):
    """A Falcon application with HEAD for each GET."""

    fast_path: RecordedResponses | None = None
    """Asked first where a server calls the application."""

    set_client_address: Callable[[WSGIEnvironment], None] | None = None
    """Replaces a proxy's address by that of its client."""

    def __call__(self, env: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if env["REQUEST_METHOD"] == "HEAD":
            return self._head(env, start_response)
        if self.set_client_address is not None:
            self.set_client_address(env)
        path = env[RAW_PATH].partition("?")[0]
        if "%" in path:
            env["PATH_INFO"] = with_marked_ids(path)
        return super().__call__(env, start_response)

    def _head(self, env: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Respond with the head of a GET; a streamed body is closed before its next block is computed."""
        blocks = self(env | {"REQUEST_METHOD": "GET", REQUESTED_METHOD: "HEAD"}, start_response)
        if close := getattr(blocks, "close", None):
            close()
        return []


def _allow_head(response: Response) -> None:
    """Add HEAD to `Allow`: Falcon lists the methods of a resource, and this service derives HEAD from GET."""
    allowed = response.get_header("Allow")
    if allowed and "GET" in (methods := allowed.split(", ")):
        response.set_header("Allow", ", ".join(sorted({*methods, "HEAD"})))


def requested_method(env: WSGIEnvironment) -> str:
    """Return the method that the client sent."""
    return str(env.get(REQUESTED_METHOD, env["REQUEST_METHOD"]))


def _represent(request: Request, response: Response) -> None:
    accepted = request.get_header("Accept-Encoding")
    encoding = None
    if response.content_type not in NEVER_COMPRESSED:
        response.append_header("Vary", "Accept-Encoding")
        encoding = None if accepted is None else preferred_encoding(accepted)
    if response.data is not None:
        cached = getattr(response.context, "cached", None) or CachedResponse(response.data)
        _send_or_304(request, response, cached, encoding)
    elif encoding is not None and response.stream is not None:
        stream: Any = response.stream
        response.stream = CompressedStream(encoding, stream)
        response.set_header("Content-Encoding", encoding)


def _send_or_304(request: Request, response: Response, cached: CachedResponse, encoding: str | None) -> None:
    etag = cached.etag(encoding)
    response.set_header("ETag", f'"{etag}"')
    if request.get_header("If-None-Match") and any(
        each in {"*", etag} for each in request.if_none_match or []
    ):
        response.status = falcon.HTTP_304
        response.data = None
        response.delete_header("Content-Type")
        return
    response.data = cached.body
    if encoding is not None and response.data:
        response.data = cached.encoded(encoding)
        response.set_header("Content-Encoding", encoding)


def _current_tag(request: Request, resource: Readable, parameters: dict[str, object]) -> str:
    response = Response(options=falcon.ResponseOptions())
    resource.on_get(request, response, **parameters)
    cached: CachedResponse | None = getattr(response.context, "cached", None)
    return tag_of(response.data or b"") if cached is None else cached.tag


def _has(tags: Sequence[falcon.ETag | str], current: str, *, is_strong: bool) -> bool:
    """Return whether a list of ETags contains the current one, in any content encoding; `*` matches any."""
    return any(
        tag == "*" or (tag.partition("-")[0] == current and not (is_strong and _is_weak(tag))) for tag in tags
    )


def _is_weak(tag: falcon.ETag | str) -> bool:
    return isinstance(tag, falcon.ETag) and tag.is_weak
