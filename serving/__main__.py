"""`python -m serving`: summary tables to HTTP, under granian; with `openapi`, the API described, as YAML."""

import socket
import sys
from contextlib import ExitStack
from datetime import UTC, datetime

import falcon
import structlog
from falcon import Request, Response

from schemas.channels import LIVE, TOTALS
from schemas.database import connect, engine_for
from schemas.logs import log_options
from schemas.settings import SettingsError
from serving.app import api_document, create_app
from serving.listening import Listener
from serving.live import Live
from serving.openapi import as_yaml
from serving.reader import Reader
from serving.server import serve
from serving.settings import ServingSettings

POLL_EVERY_S = 5.0
"""Behind NOTIFY, for what is missed."""


def application(at_stop: ExitStack) -> falcon.App[Request, Response]:
    """What each worker process serves, and what it does first when it is asked to stop."""
    settings = ServingSettings.from_environment()
    structlog.configure(**log_options(settings.log_level, settings.log_format))
    engine = engine_for(settings.database_url, "serving", pool_size=settings.http_threads)
    network = Reader(engine, _now).network
    live = Live(engine, network, settings.stream_clients, settings.stream_heartbeat_s)
    at_stop.callback(live.close)
    refreshes = {TOTALS: [live.refresh_network], LIVE: [live.refresh_changes]}
    Listener(lambda: connect(settings.database_url, "listener"), refreshes, POLL_EVERY_S).start()
    return create_app(engine, _now, settings.allowed_origins, settings.event_rules, live)


def _now() -> datetime:
    return datetime.now(UTC)


def main() -> None:
    if sys.argv[1:] == ["openapi"]:
        sys.stdout.write(as_yaml(api_document()))
        return
    settings = ServingSettings.from_environment()
    _require_free_port(settings.http_host, settings.http_port)
    serve(application, settings)


def _require_free_port(host: str, port: int) -> None:
    """The server shares its port with whoever else offers to; two services on one port help nobody."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise SettingsError(
                f"HTTP_HOST, HTTP_PORT: cannot listen on {host}:{port}: {error.strerror}"
            ) from None


if __name__ == "__main__":
    try:
        main()
    except SettingsError as error:
        sys.exit(str(error))
