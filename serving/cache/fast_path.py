"""Fast path: repeats a response that Falcon gave before to an equal request, without Falcon.

It knows nothing of content negotiation, tags or headers: it records what Falcon sends, and sends that again.
Everything unusual goes to Falcon.
"""

from collections.abc import Callable, Iterable, Mapping
from time import perf_counter
from types import TracebackType
from wsgiref.types import StartResponse, WSGIEnvironment

import falcon

from serving.auth.middleware import RATE_HEADERS, AuthMiddleware
from serving.cache.response_cache import ResponseCache
from serving.http.monitoring import AccessLog
from serving.http.representation import CachedResponse, ResponseHead, WsgiApplication, requested_method

CACHED_PATHS: Mapping[str, str] = {
    "/api/stats/network": "network",
    "/api/stats/loads": "load types",
    "/api/vens/summary": "summaries",
}
"""The cached response of each path."""

MAX_VARIANTS = 64
"""Recorded heads of one response. Clients choose the request headers, and must not fill our memory."""

Variant = tuple[str | None, ...]
ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None] | None
"""What WSGI passes on of an exception."""


class FastPath:
    """Serves `CACHED_PATHS` from the response cache."""

    def __init__(self, cache: ResponseCache, auth: AuthMiddleware, access_log: AccessLog) -> None:
        self._cache = cache
        self._auth = auth
        self._access_log = access_log

    def __call__(
        self, env: WSGIEnvironment, start_response: StartResponse, falcon_app: WsgiApplication
    ) -> Iterable[bytes]:
        name = CACHED_PATHS.get(env["PATH_INFO"])
        if name is None or env["REQUEST_METHOD"] != "GET" or env["QUERY_STRING"] or "HTTP_ORIGIN" in env:
            return falcon_app(env, start_response)
        started_s = perf_counter()
        response = self._cache.peek(name)
        if response is None:
            return falcon_app(env, start_response)
        variant = env.get("HTTP_ACCEPT"), env.get("HTTP_ACCEPT_ENCODING"), env.get("HTTP_IF_NONE_MATCH")
        head = response.heads.get(variant)
        if head is None:
            return falcon_app(env, _HeadRecorder(response, variant, start_response))
        rate_headers = self._auth.admit(env)
        if rate_headers is None:
            return falcon_app(env, start_response)
        self._cache.note_request(name)
        start_response(head.status, [*head.headers, *rate_headers])
        duration_s = perf_counter() - started_s
        self._access_log.log_cached(requested_method(env), env["PATH_INFO"], head, duration_s)
        return [response.encoded(head.encoding)] if head.has_body else []


class _HeadRecorder:
    """A `start_response` that records the head if its ETag is that of the cached response."""

    def __init__(self, response: CachedResponse, variant: Variant, start_response: StartResponse) -> None:
        self._response = response
        self._variant = variant
        self._start_response = start_response

    def __call__(
        self,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: ExceptionInfo = None,
        /,
    ) -> Callable[[bytes], object]:
        tag, _, encoding = dict(headers).get("etag", "").strip('"').partition("-")
        heads = self._response.heads
        if tag == self._response.tag and len(heads) < MAX_VARIANTS:
            kept = [(name, value) for name, value in headers if name not in RATE_HEADERS]
            heads[self._variant] = ResponseHead(status, kept, encoding or None, status == falcon.HTTP_200)
        return self._start_response(status, headers, exc_info)
