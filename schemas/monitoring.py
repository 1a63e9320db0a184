"""What Prometheus and supervisors ask a program without an HTTP API of its own: `/metrics` and `/health`."""

import threading
from collections.abc import Callable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app

Trouble = Callable[[], str | None]
"""What is wrong, in words; None while all is well."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:  # noqa: ANN401 - a scrape every few seconds is no event
        """Say nothing."""


def first_trouble(*troubles: Trouble) -> Trouble:
    """The first thing that is wrong, if anything is."""
    return lambda: next((words for trouble in troubles if (words := trouble())), None)


def serve_monitoring(registry: CollectorRegistry, trouble: Trouble, port: int) -> None:
    """Answer `/metrics` and `/health` on the loopback interface, from a thread.

    `/health` is 503 while there is trouble, with its words.

    Raises:
        OSError: it cannot listen on the port.
    """
    scrape = make_wsgi_app(registry)

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Any:  # noqa: ANN401
        if environ["PATH_INFO"] != "/health":
            return scrape(environ, start_response)
        words = trouble()
        status = "503 Service Unavailable" if words else "200 OK"
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [(words or "ok").encode()]

    server = make_server("127.0.0.1", port, application, server_class=_Server, handler_class=_Quiet)
    threading.Thread(target=server.serve_forever, name="monitoring", daemon=True).start()
