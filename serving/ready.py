"""Before Falcon: what is ready, and was asked for in the same words before, is sent as Falcon sent it then.

Whatever is out of the ordinary goes to Falcon, and so does the first request in any words: nothing of how
an answer is negotiated, tagged or headed is known here.
"""

from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import falcon
from falcon import Request, Response

from serving.access import RATE_HEADERS, Access, OwnPages
from serving.hot import Hot
from serving.proxies import Proxies
from serving.watching import ASKED, Watch
from serving.whole import Sent, Whole

PATHS = {"/api/stats/network": "network", "/api/stats/loads": "load types", "/api/vens/summary": "summaries"}
"""Where what is ready can be had, and how it is called."""

MOST_WORDINGS = 64
"""Of requests for one answer; clients choose them, and must not fill our memory."""

WSGI = Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]


class Ready:
    """Answers that Falcon has given, for as long as what they tell stands."""

    def __init__(self, hot: Hot, door: Access | OwnPages, watch: Watch) -> None:
        self._hot = hot
        self._door = door
        self._watch = watch

    def answer(
        self, env: WSGIEnvironment, start_response: StartResponse, ask_falcon: WSGI
    ) -> Iterable[bytes]:
        name = PATHS.get(env["PATH_INFO"])
        if name is None or env["REQUEST_METHOD"] != "GET" or env["QUERY_STRING"] or "HTTP_ORIGIN" in env:
            return ask_falcon(env, start_response)
        started_s = perf_counter()
        whole = self._hot.peek(name)
        if whole is None:
            return ask_falcon(env, start_response)
        words = env.get("HTTP_ACCEPT"), env.get("HTTP_ACCEPT_ENCODING"), env.get("HTTP_IF_NONE_MATCH")
        sent = whole.sent.get(words)
        if sent is None:
            return ask_falcon(env, _Noted(whole, words, start_response))
        rate = self._door.let_in(env)
        if rate is None:
            return ask_falcon(env, start_response)
        self._hot.want(name)
        start_response(sent.status, [*sent.headers, *rate])
        self._watch.tell_of_ready(env.get(ASKED, "GET"), env["PATH_INFO"], sent, perf_counter() - started_s)
        return [whole.packed(sent.encoding)] if sent.has_body else []


class _Noted:
    """A `start_response` that keeps what is said if it is said of this answer: the tag tells."""

    def __init__(self, whole: Whole, words: tuple[str | None, ...], start_response: StartResponse) -> None:
        self._whole = whole
        self._words = words
        self._start_response = start_response

    def __call__(
        self,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: Any = None,  # noqa: ANN401 - WSGI's
        /,
    ) -> Callable[[bytes], object]:
        said = dict(headers)
        tag, _, encoding = said.get("etag", "").strip('"').partition("-")
        if tag == self._whole.tag and len(self._whole.sent) < MOST_WORDINGS:
            kept = [(name, value) for name, value in headers if name not in RATE_HEADERS]
            self._whole.sent[self._words] = Sent(status, kept, encoding or None, status == falcon.HTTP_200)
        return self._start_response(status, headers, exc_info)


class App(falcon.App[Request, Response]):
    """Falcon's, with what is ready before it; and what can be had by GET, HEAD is told of."""

    ready: Ready | None = None
    proxies = Proxies()

    def __call__(self, env: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if env["REQUEST_METHOD"] == "HEAD":
            return self._head(env, start_response)
        if self.ready is None:
            return self._ask_falcon(env, start_response)
        return self.ready.answer(env, start_response, self._ask_falcon)

    def _ask_falcon(self, env: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return super().__call__(self.proxies.name_client(env), start_response)

    def _head(self, env: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """All of a GET but the body, of which nothing is made that is not made before it is sent."""
        blocks = self(env | {"REQUEST_METHOD": "GET", ASKED: "HEAD"}, start_response)
        if close := getattr(blocks, "close", None):
            close()
        return []
