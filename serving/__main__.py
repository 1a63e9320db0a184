"""`python -m serving`: summary tables to HTTP, under granian; who may call; and the API described."""

import argparse
import os
import pwd
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import falcon
import structlog
from falcon import Request, Response
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from schemas.channels import KEYS
from schemas.database import connect, engine_for
from schemas.logs import log_options
from schemas.settings import ProgramSettings, SettingsError
from serving.administration import add_commands, administrate
from serving.app import api_document, create_app
from serving.databases import Databases, timeout
from serving.keys import Keyring, KeyStore
from serving.metrics import METRICS_DIRECTORY, Metrics
from serving.openapi import as_yaml
from serving.present import Present
from serving.reader import Reader
from serving.server import serve
from serving.settings import ServingSettings
from serving.watching import SqlClock, Watch

MORE_CONNECTIONS = 10
"""Than requests at once: for long answers that slow clients hold, and for what works beside requests."""


def application(at_stop: ExitStack) -> falcon.App[Request, Response]:
    """What each worker process serves, and what it does first when it is asked to stop."""
    settings = ServingSettings.from_environment()
    structlog.configure(**log_options(settings.log_level, settings.log_format))
    engine = _engine(settings.database_url, settings)
    replica = settings.database_read_url and _engine(settings.database_read_url, settings)
    databases = Databases(
        engine, replica or None, settings.ready_max_rollup_age_s, settings.http_query_timeout_s
    )
    watch = Watch(Metrics(_shared_directory()), SqlClock())
    for each in {databases.primary, databases.to_read}:
        watch.sql_clock.watch(each)
    present = Present(engine, Reader(engine, _now), settings.stream_clients, settings.stream_heartbeat_s)
    keyring = Keyring(KeyStore(engine), _now)
    at_stop.callback(present.live.close)
    also = {KEYS: keyring.refresh} if settings.policy.needs_keys else {}
    present.listener(lambda: connect(settings.database_url, "listener"), also, _look(watch.metrics)).start()
    return create_app(
        engine,
        _now,
        settings.allowed_origins,
        event_rules=settings.event_rules,
        present=present,
        max_points=settings.http_max_points,
        policy=settings.policy,
        keyring=keyring,
        watch=watch,
        databases=databases,
    )


def _engine(database_url: str, settings: ServingSettings) -> Engine:
    """Who takes an answer slowly holds a connection, and a snapshot: the database does not wait for ever."""
    return engine_for(
        database_url,
        "serving",
        pool_size=settings.http_threads + MORE_CONNECTIONS,
        overflow=0,
        statement_timeout=timeout(settings.http_query_timeout_s),
        idle_in_transaction_session_timeout=f"{settings.slow_client_window_s * 1000:.0f}ms",
    )


def _shared_directory() -> Path | None:
    """Where the worker processes add up their metrics."""
    directory = os.environ.get(METRICS_DIRECTORY)
    return None if directory is None else Path(directory)


def _look(metrics: Metrics) -> Callable[[int, float], None]:
    return lambda clients, age_s: metrics.look(clients, time.time() - age_s)


def _now() -> datetime:
    return datetime.now(UTC)


def _user() -> str:
    """Who is at the terminal, by the name that the machine has for him; a container may have none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def main() -> None:
    options = _parser().parse_args()
    match options.command:
        case "openapi":
            sys.stdout.write(as_yaml(api_document()))
        case "keys" | "audit":
            database_url = ProgramSettings.from_environment().database_url
            administrate(options, engine_for(database_url, "administration"), _now(), _user())
        case _:
            _serve()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serving", description=__doc__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("serve", help="answer over HTTP (the default)")
    commands.add_parser("openapi", help="the API described, as YAML")
    add_commands(commands)
    return parser


def _serve() -> None:
    settings = ServingSettings.from_environment()
    _require_free_port(settings.http_host, settings.http_port)
    with tempfile.TemporaryDirectory(prefix="gridgate-serving-", ignore_cleanup_errors=True) as directory:
        os.environ[METRICS_DIRECTORY] = directory
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
    except SQLAlchemyError as error:
        sys.exit(f"The database failed: {str(error).strip()}")
