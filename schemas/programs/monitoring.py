"""`/metrics` and `/health` of programs without an HTTP API, for Prometheus and supervisors."""

import platform
import socket
import threading
from collections.abc import Callable, Iterator
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.metrics_core import InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from schemas.db.connections import SCHEMA_REVISION
from schemas.programs.version import VERSION

Trouble = Callable[[], str | None]
"""Returns the reason for being unhealthy; None while healthy."""


class BuildInfo(Collector):
    """`gridgate_build_info`: 1, with the program, its version, and the schema that it needs."""

    def __init__(self, program: str) -> None:
        self._program = program

    def collect(self) -> Iterator[Metric]:
        labels = {
            "program": self._program,
            "version": VERSION,
            "schema": SCHEMA_REVISION,
            "python": platform.python_version(),
        }
        yield InfoMetricFamily("gridgate_build", "Which version runs", labels)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Bind without the base class's lookup of the host name, which may take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:  # scrapes are too frequent to log
        """Do not log."""


def first_trouble(*troubles: Trouble) -> Trouble:
    """Return the first reason for being unhealthy, if any."""
    return lambda: next((words for trouble in troubles if (words := trouble())), None)


def serve_monitoring(
    registry: CollectorRegistry, trouble: Trouble, port: int, host: str = "127.0.0.1"
) -> None:
    """Serve `/metrics` and `/health` from a thread.

    `/health` is 503 with the reason while the program is unhealthy.

    Raises:
        OSError: it cannot listen on the address.
    """
    scrape = make_wsgi_app(registry)

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Any:  # noqa: ANN401
        if environ["PATH_INFO"] != "/health":
            return scrape(environ, start_response)
        words = trouble()
        status = "503 Service Unavailable" if words else "200 OK"
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [(words or "ok").encode()]

    server_class = _Server6 if ":" in host else _Server
    server = make_server(host, port, application, server_class=server_class, handler_class=_Quiet)
    threading.Thread(target=server.serve_forever, name="monitoring", daemon=True).start()
