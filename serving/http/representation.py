"""How a response is represented: its ETag, its compression, the headers of every response; and HEAD."""

import hashlib
import sys
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import lru_cache
from typing import Any, Protocol
from wsgiref.types import StartResponse, WSGIEnvironment

import falcon
from falcon import Request, Response
from msgspec import Struct

from serving.http.paths import RAW_PATH, mark_ids
from serving.policy import PAGE_POLICY, SAFE_METHODS, Policy

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GZIP_LEVEL = 5
ZSTD_LEVEL = 3
ENCODINGS = ("zstd", "gzip")
"""Content encodings that are offered, the better one first."""

NEVER_COMPRESSED = frozenset({"text/event-stream", "image/png", "application/vnd.apache.parquet"})
"""Media types that are compressed already, or whose events must not wait in a compressor."""

REVALIDATE = "no-cache"
"""Clients may keep a response, but must revalidate it before each use; with an ETag that costs a 304."""

HTML = "text/html"
A_YEAR_S = 31_536_000
REQUESTED_METHOD = "gridgate.requested_method"
"""In a WSGI environment: the method that the client sent, where another is made of it."""

_GZIP_WINDOW = 16 + zlib.MAX_WBITS


class ResponseHead(Struct, frozen=True):
    """A response as it was sent, without its body."""

    status: str
    headers: list[tuple[str, str]]
    encoding: str | None
    has_body: bool


class CachedResponse:
    """A whole body with its ETag and its compressed variants, each made once and shared by threads."""

    __slots__ = ("_encoded", "body", "heads", "tag")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.tag = hashlib.sha256(body).hexdigest()[:24]
        self.heads: dict[tuple[str | None, ...], ResponseHead] = {}
        """Heads that were sent with this body, by the request headers that they depend on."""
        self._encoded: dict[str, bytes] = {}

    def etag(self, encoding: str | None) -> str:
        """Each variant has an ETag of its own."""
        return self.tag if encoding is None else f"{self.tag}-{encoding}"

    def encoded(self, encoding: str | None) -> bytes:
        if encoding is None:
            return self.body
        if encoding not in self._encoded:
            self._encoded[encoding] = compress(encoding, self.body)
        return self._encoded[encoding]


class ConditionalRequests:
    """Falcon middleware: an ETag for each whole response to a GET, 304 where it matches, and compression.

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


WsgiApplication = Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]


FastPath = Callable[[WSGIEnvironment, StartResponse, WsgiApplication], Iterable[bytes]]


class _NotCachedError(Exception):
    """A response is not in the cache."""


def _process_in_full(_env: WSGIEnvironment, _start_response: StartResponse) -> Iterable[bytes]:
    raise _NotCachedError


class App(falcon.App[Request, Response]):
    """A Falcon application that answers HEAD with the head of a GET, and some paths by a fast path."""

    fast_path: FastPath | None = None
    fast_paths: Collection[str] = ()
    set_client_address: Callable[[WSGIEnvironment], None] | None = None
    """Replaces the address of a proxy by that of its client."""

    def __call__(self, env: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if env["REQUEST_METHOD"] == "HEAD":
            return self._head(env, start_response)
        if self.fast_path is not None and self._is_cached(env):
            return self.fast_path(env, start_response, self._call_falcon)
        return self._call_falcon(env, start_response)

    def _is_cached(self, env: WSGIEnvironment) -> bool:
        """An encoded slash makes another path of it."""
        return env["PATH_INFO"] in self.fast_paths and "%" not in env[RAW_PATH]

    def respond_from_cache(
        self, env: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes] | None:
        """A response without a look at the database; None if this request must be processed in full."""
        if self.fast_path is None or env["REQUEST_METHOD"] != "GET" or not self._is_cached(env):
            return None
        try:
            return self.fast_path(env, start_response, _process_in_full)
        except _NotCachedError:
            return None

    def _call_falcon(self, env: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if self.set_client_address is not None:
            self.set_client_address(env)
        mark_ids(env)
        return super().__call__(env, start_response)

    def _head(self, env: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """The head of a GET; a streamed body is closed before its next block is made."""
        blocks = self(env | {"REQUEST_METHOD": "GET", REQUESTED_METHOD: "HEAD"}, start_response)
        if close := getattr(blocks, "close", None):
            close()
        return []


def _allow_head(response: Response) -> None:
    """Falcon lists the methods that a resource has, and this service makes a HEAD of each GET."""
    allowed = response.get_header("Allow")
    if allowed and "GET" in (methods := allowed.split(", ")):
        response.set_header("Allow", ", ".join(sorted({*methods, "HEAD"})))


def requested_method(env: WSGIEnvironment) -> str:
    """The method that the client sent."""
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
    elif encoding is not None and cached.body:
        response.data = cached.encoded(encoding)
        response.set_header("Content-Encoding", encoding)


@lru_cache(maxsize=256)
def preferred_encoding(accepted: str) -> str | None:
    """The offered encoding that an `Accept-Encoding` weights most; None for no encoding."""
    weights = dict(map(_weight, accepted.lower().split(",")))
    wildcard = weights.get("*", 0.0)
    offered = {encoding: weights.get(encoding, wildcard) for encoding in ENCODINGS}
    best = max(ENCODINGS, key=lambda encoding: offered[encoding])
    return best if offered[best] > 0 and offered[best] >= weights.get("identity", 0.0) else None


def _weight(item: str) -> tuple[str, float]:
    name, _, parameter = item.partition(";")
    try:
        weight = float(parameter.strip().removeprefix("q=")) if parameter.strip() else 1.0
    except ValueError:
        weight = 0.0
    return name.strip(), weight


def compress(encoding: str, body: bytes) -> bytes:
    if encoding == "zstd":
        return zstd.compress(body, ZSTD_LEVEL)
    compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
    return compressor.compress(body) + compressor.flush()


class Compressor(Protocol):
    """Compresses block by block, and holds nothing back between blocks."""

    def add(self, data: bytes) -> bytes: ...
    def end(self) -> bytes: ...


class Gzip:
    def __init__(self) -> None:
        self._inner = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)

    def add(self, data: bytes) -> bytes:
        return self._inner.compress(data) + self._inner.flush(zlib.Z_SYNC_FLUSH)

    def end(self) -> bytes:
        return self._inner.flush()


class Zstd:
    def __init__(self) -> None:
        self._inner = zstd.ZstdCompressor(ZSTD_LEVEL)

    def add(self, data: bytes) -> bytes:
        return self._inner.compress(data, zstd.ZstdCompressor.FLUSH_BLOCK)

    def end(self) -> bytes:
        return self._inner.flush()


class CompressedStream:
    """A streamed body, compressed block by block; closing it closes the body."""

    def __init__(self, encoding: str, blocks: Iterable[bytes]) -> None:
        self._source = blocks
        self._compressed = _compressed(encoding, blocks)

    def __iter__(self) -> Iterator[bytes]:
        return self._compressed

    def close(self) -> None:
        # A generator that has not begun does not close what it reads from.
        for each in (self._compressed, self._source):
            if close := getattr(each, "close", None):
                close()


def _compressed(encoding: str, blocks: Iterable[bytes]) -> Iterator[bytes]:
    compressor: Compressor = Zstd() if encoding == "zstd" else Gzip()
    for block in blocks:
        if compressed := compressor.add(block):
            yield compressed
    yield compressor.end()
