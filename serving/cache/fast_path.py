"""Fast path: repeats a response that Falcon gave before to an equal request, without Falcon.

It knows nothing of content negotiation, tags or headers: it records what Falcon sends, and sends that again.
Everything unusual goes to Falcon.
"""

from collections.abc import Mapping
from time import perf_counter

from serving.auth.middleware import RATE_HEADERS, AuthMiddleware
from serving.cache.response_cache import ResponseCache
from serving.http.monitoring import AccessLog
from serving.http.representation import Scope, SentResponse

CACHED_PATHS: Mapping[bytes, str] = {
    b"/api/stats/network": "network",
    b"/api/stats/loads": "load types",
    b"/api/vens/summary": "summaries",
}
"""The cached response of each path."""

MAX_VARIANTS = 64
"""The newest recorded variants of a response. Clients choose the headers, and must not fill our memory."""

Headers = Mapping[bytes, bytes]


class FastPath:
    """Serves `CACHED_PATHS` from the response cache."""

    def __init__(self, cache: ResponseCache, auth: AuthMiddleware, access_log: AccessLog) -> None:
        self._cache = cache
        self._auth = auth
        self._access_log = access_log

    def response_to(self, scope: Scope) -> SentResponse | None:
        """Return a recorded response, counted and logged; None if Falcon must process the request."""
        name = CACHED_PATHS.get(scope["raw_path"])
        if name is None:
            return None
        started_s = perf_counter()
        headers = _headers_of(scope)
        cached = None if headers is None else self._cache.peek(name)
        if headers is None or cached is None:
            return None
        sent = cached.sent.get(_variant(headers))
        rate_headers = None if sent is None else self._auth.admit(headers)
        if sent is None or rate_headers is None:
            return None
        self._cache.note_request(name)
        self._access_log.log_cached(scope["path"], sent.status, perf_counter() - started_s)
        return SentResponse(sent.status, sent.headers + rate_headers, sent.body) if rate_headers else sent

    def record(self, scope: Scope, response: SentResponse) -> None:
        """Keep a response of Falcon if its ETag is that of the cached one."""
        name = CACHED_PATHS.get(scope["raw_path"])
        if name is None:
            return
        headers, cached = _headers_of(scope), self._cache.peek(name)
        if headers is None or cached is None:
            return
        tag, _, _ = dict(response.headers).get(b"etag", b"").strip(b'"').partition(b"-")
        if tag == cached.tag.encode():
            if len(cached.sent) >= MAX_VARIANTS:
                del cached.sent[next(iter(cached.sent))]
            kept = [(name, value) for name, value in response.headers if name not in RATE_HEADERS]
            cached.sent[_variant(headers)] = SentResponse(response.status, kept, response.body)


def _headers_of(scope: Scope) -> Headers | None:
    """Return the headers of a GET without a query, an `Origin`, or a header that is sent twice; else None."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    is_usual = (
        scope["method"] == "GET"
        and not scope["query_string"]
        and b"origin" not in headers
        and len(headers) == len(scope["headers"])
    )
    return headers if is_usual else None


def _variant(headers: Headers) -> tuple[bytes | None, ...]:
    """Return the headers on which the response depends; requests with an `Origin` are Falcon's."""
    return headers.get(b"accept"), headers.get(b"accept-encoding"), headers.get(b"if-none-match")
