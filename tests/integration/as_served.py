"""An application as the server calls it, cached responses included, for Falcon's test client."""

from urllib.parse import quote

from falcon import testing

from serving.asgi import AsgiAdapter, Message, Receive, Send
from serving.http.representation import App

THREADS = 4
THREAD_NAMES = "request-"
"""Prefix of the names of the threads in which requests are processed."""


def client_of(application: App) -> testing.TestClient:
    return testing.TestClient(_AsServed(application))


class _AsServed:
    """An ASGI application with the events of its life, which the test client sends, too."""

    def __init__(self, application: App) -> None:
        self._adapter = AsgiAdapter(application, THREADS)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for stage in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{stage}.complete"})
            return
        request = {
            **scope,
            "server": ("127.0.0.1", 80),
            "client": ("127.0.0.1", 1),
            "raw_path": quote(scope["path"]).encode(),
            "headers": [tuple(header) for header in scope["headers"]],  # Falcon passes iterators
        }
        await self._adapter(request, receive, send)
