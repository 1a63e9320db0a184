"""Runs the WSGI application under granian's ASGI interface, the only one with the raw path of a request.

Requests run in threads, as under a WSGI server. Responses that the fast path repeats are sent by the event
loop's own thread, and cost no WSGI environment.
"""

import asyncio
import sys
import threading
from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from queue import SimpleQueue
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes
from wsgiref.types import WSGIEnvironment

import structlog
from msgspec import Struct

from serving.http.representation import App, Scope, SentResponse

Result = TypeVar("Result")
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
WITHOUT_PREFIX = {b"content-type": "CONTENT_TYPE", b"content-length": "CONTENT_LENGTH"}
FIXED: Mapping[str, object] = {
    "SCRIPT_NAME": "",
    "wsgi.errors": sys.stderr,
    "wsgi.input_terminated": True,
    "wsgi.multiprocess": False,
    "wsgi.multithread": True,
    "wsgi.run_once": False,
    "wsgi.version": (1, 0),
}


class AsgiAdapter:
    """Calls a WSGI application for each request, in at most `most_threads` threads."""

    def __init__(self, application: App, most_threads: int) -> None:
        self._application = application
        self._fast_path = application.fast_path
        self._threads = Threads(most_threads)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = None if self._fast_path is None else self._fast_path.response_to(scope)
        if response is None:
            response = await self._process(scope, receive, send)
        if response is not None:
            await send(
                {"type": "http.response.start", "status": response.status, "headers": response.headers}
            )
            await send({"type": "http.response.body", "body": response.body})

    async def _process(self, scope: Scope, receive: Receive, send: Send) -> SentResponse | None:
        """Call the application in a thread; returns a complete response, and sends a streamed one."""
        exchange = Exchange(asyncio.get_running_loop(), receive, send)
        env = environment(scope, exchange)
        response = await exchange.in_thread(self._threads, lambda: exchange.run(self._application, env))
        if response is not None and self._fast_path is not None:
            self._fast_path.record(scope, response)
        return response


class Exchange:
    """One request and its response, between a thread and the event loop."""

    def __init__(self, loop: AbstractEventLoop, receive: Receive, send: Send) -> None:
        self._loop = loop
        self._receive = receive
        self._send = send
        self._status = 500
        self._headers: list[tuple[bytes, bytes]] = []
        self._is_gone = False
        self._received = bytearray()
        self._has_ended = False

    def start(
        self,
        status: str,
        headers: list[tuple[str, str]],
        _error: object = None,
    ) -> Callable[[bytes], object]:
        """WSGI's `start_response`."""
        self._status = int(status[:3])
        self._headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        return _write_nothing

    async def in_thread(
        self, threads: "Threads", call: Callable[[], SentResponse | None]
    ) -> SentResponse | None:
        done: asyncio.Future[SentResponse | None] = self._loop.create_future()
        threads.run(Call(call, self._loop, done))
        return await done

    def run(self, application: App, env: WSGIEnvironment) -> SentResponse | None:
        """Call the application; returns a complete response, and sends a streamed one."""
        body = application(env, self.start)
        if isinstance(body, list):
            return SentResponse(self._status, self._headers, b"".join(body))
        try:
            self._stream(body)
        finally:
            if close := getattr(body, "close", None):
                close()
        return None

    def _stream(self, blocks: Iterable[bytes]) -> None:
        """Send block by block with back-pressure; stops when the client disconnects."""
        self._loop.call_soon_threadsafe(self._watch_client)
        self._wait_for(
            self._send({"type": "http.response.start", "status": self._status, "headers": self._headers})
        )
        for block in blocks:
            if self._is_gone:
                return
            self._wait_for(self._send({"type": "http.response.body", "body": block, "more_body": True}))
        self._wait_for(self._send({"type": "http.response.body", "body": b""}))

    def _watch_client(self) -> None:
        self._watch = self._loop.create_task(self._note_when_gone())

    async def _note_when_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._is_gone = True

    def _wait_for(self, awaitable: Awaitable[Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(_of(awaitable), self._loop).result()

    # WSGI's `wsgi.input`

    def read(self, size: int = -1) -> bytes:
        while not self._has_ended and (size < 0 or len(self._received) < size):
            self._receive_more()
        end = len(self._received) if size < 0 else size
        content = bytes(self._received[:end])
        del self._received[:end]
        return content

    def readline(self, size: int = -1) -> bytes:
        while not self._has_ended and b"\n" not in self._received:
            self._receive_more()
        end = self._received.find(b"\n") + 1 or len(self._received)
        return self.read(end if size < 0 else min(end, size))

    def readlines(self, _hint: int = -1) -> list[bytes]:
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def _receive_more(self) -> None:
        message = self._wait_for(self._receive())
        self._received += message.get("body", b"")
        self._has_ended = not message.get("more_body", False)


async def _of(awaitable: Awaitable[Result]) -> Result:
    return await awaitable


def _write_nothing(_data: bytes) -> None:
    pass


class Call(Struct, frozen=True):
    """A call for a thread, and the event loop's future for its result."""

    function: Callable[[], SentResponse | None]
    loop: AbstractEventLoop
    done: "asyncio.Future[SentResponse | None]"


class Threads:
    """A thread pool that runs calls first in, first out; threads are started on demand, and kept.

    They are daemons: one that still waits for the database does not keep the process alive.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._started = 0
        self._idle = threading.Semaphore(0)
        self._calls: SimpleQueue[Call] = SimpleQueue()

    def run(self, call: Call) -> None:
        """Queue a call; from the event loop's thread only."""
        self._calls.put(call)
        if not self._idle.acquire(blocking=False) and self._started < self._most:
            self._started += 1
            threading.Thread(target=self._work, name=f"request-{self._started}", daemon=True).start()

    def _work(self) -> None:
        while True:
            _make(self._calls.get())
            if self._calls.empty():
                self._idle.release()


def _make(call: Call) -> None:
    try:
        result = call.function()
    except Exception as error:  # noqa: BLE001 - the event loop answers 500
        structlog.get_logger().exception("request_failed")
        call.loop.call_soon_threadsafe(_set_error, call.done, error)
    else:
        call.loop.call_soon_threadsafe(_set_result, call.done, result)


def _set_result(done: "asyncio.Future[SentResponse | None]", result: SentResponse | None) -> None:
    if not done.done():
        done.set_result(result)


def _set_error(done: "asyncio.Future[SentResponse | None]", error: Exception) -> None:
    if not done.done():
        done.set_exception(error)


def environment(scope: Scope, body: Exchange) -> WSGIEnvironment:
    """Return the WSGI environment of a request, with its raw path in `RAW_URI`."""
    raw_path, query = scope["raw_path"], scope["query_string"].decode("latin-1")
    path = raw_path.decode("latin-1")
    server, client = scope["server"] or ("", 0), scope["client"] or ("", 0)
    env: WSGIEnvironment = {
        **FIXED,
        "REQUEST_METHOD": scope["method"],
        "PATH_INFO": unquote_to_bytes(raw_path).decode("latin-1") if b"%" in raw_path else path,
        "RAW_URI": f"{path}?{query}" if query else path,
        "QUERY_STRING": query,
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": str(server[0]),
        "SERVER_PORT": str(server[1]),
        "REMOTE_ADDR": str(client[0]),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": body,
    }
    for name, value in scope["headers"]:
        key, text = _header_key(name), value.decode("latin-1")
        env[key] = f"{env[key]},{text}" if key in env else text
    return env


@lru_cache(maxsize=512)
def _header_key(name: bytes) -> str:
    """Return the WSGI key of a header; a name with `_` must not collide with one with `-`."""
    if name in WITHOUT_PREFIX:
        return WITHOUT_PREFIX[name]
    return "HTTP_" + name.decode("latin-1").upper().replace("_", "__").replace("-", "_")
