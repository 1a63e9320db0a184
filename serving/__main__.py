"""`python -m serving`: the HTTP API under granian, administrators' commands, and the OpenAPI document."""

import argparse
import os
import pwd
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from sqlalchemy import Engine, func, select

from schemas.archive.folder import ArchiveFolder
from schemas.db.answers import AnswerMonitor
from schemas.db.channels import KEYS
from schemas.db.clock import DatabaseClock, StepDetector
from schemas.db.connections import connect, engine_for
from schemas.db.watching import DatabaseWatch
from schemas.programs.command_line import print_warning, program_parser
from schemas.programs.exits import cannot_listen, run_program
from schemas.programs.logs import configure_logs
from schemas.programs.settings import CredentialSettings, ProgramSettings
from schemas.programs.variables import warn_of_unknown_variables
from serving.app import api_document, buckets_of, create_app
from serving.auth.keys import Keyring, KeyStore
from serving.cache.generation import ChangeCounter
from serving.cli import Output, add_commands, run_command
from serving.db.engines import Databases, timeout
from serving.fleet.reader import FleetReader
from serving.fleet_cli import add_fleet_commands, run_fleet_command
from serving.http.monitoring import METRICS_DIRECTORY, AccessLog, RequestMetrics, SqlClock
from serving.http.openapi import as_yaml
from serving.http.representation import App
from serving.live.places import StreamPlaces
from serving.openadr.auth.clients import ClientStore, RevokedClients
from serving.openadr.auth.outside_tokens import OutsideTokens
from serving.openadr.auth.tokens import SigningKeys, Tokens
from serving.routes import AppOptions
from serving.server import serve
from serving.settings import ServingSettings
from serving.worker_state import WorkerState

CHANGES_FILE, BUCKETS_FILE = "changes", "buckets"
FLEET_COMMANDS = ("vens", "credentials")


class AdministrationSettings(ProgramSettings, CredentialSettings):
    """Settings of commands at a terminal."""


def application(at_stop: ExitStack) -> App:
    """Return the application of a worker process; resources to close are pushed to the stack `at_stop`."""
    settings = ServingSettings.from_environment()
    configure_logs(settings.log_level, settings.log_format)
    clock, monitor = DatabaseClock(_now, time.monotonic), AnswerMonitor(time.monotonic)
    engine = _engine(settings.database_url, settings, monitor)
    replica = settings.database_read_url and _engine(
        settings.database_read_url, settings, AnswerMonitor(time.monotonic)
    )
    databases = Databases(
        engine, replica or None, settings.ready_max_rollup_age_s, settings.http_query_timeout_s
    )
    access_log = AccessLog(RequestMetrics(_shared_directory()), SqlClock())
    at_stop.callback(access_log.metrics.start_adding_up())
    for each in {databases.primary, databases.to_read}:
        access_log.sql_clock.listen_to(each)
    reader = FleetReader(engine, clock, settings.loads_gone_after(), settings.time_zone)
    places = StreamPlaces(settings.stream_clients, _shared_directory())
    state = WorkerState(
        engine, reader, places, settings.stream_heartbeat_s, ChangeCounter(_shared_file(CHANGES_FILE))
    )
    keyring = Keyring(KeyStore(engine), clock, state.hub.wake_streams)
    at_stop.callback(state.hub.close)
    other_channels = {KEYS: keyring.refresh} if settings.policy.needs_keys else {}
    listener = state.listener(
        lambda: connect(settings.database_url, "listener", monitor=monitor),
        other_channels,
        _report(access_log.metrics),
    )
    listener.start()
    # A listener of its own: its notifications must not wait until responses are built.
    state.openadr_changes.listener(
        lambda: connect(settings.database_url, "openadr-listener", monitor=monitor)
    ).start()
    watch = _watch(settings.database_url, clock, monitor)
    watch.start()
    at_stop.callback(watch.stop)
    return create_app(
        engine,
        clock,
        settings.allowed_origins,
        _options(settings),
        state=state,
        keyring=keyring,
        access_log=access_log,
        databases=databases,
        openadr_tokens=_openadr_tokens(engine, clock, settings),
        buckets=buckets_of(settings.policy, time.monotonic, _shared_file(BUCKETS_FILE)),
    )


def _openadr_tokens(engine: Engine, clock: DatabaseClock, settings: ServingSettings) -> Tokens:
    issuer = settings.outside_issuer
    return Tokens(
        SigningKeys(engine, clock),
        RevokedClients(ClientStore(engine), clock),
        clock,
        timedelta(seconds=settings.openadr_token_s),
        None if issuer is None else OutsideTokens(issuer, clock),
    )


def _options(settings: ServingSettings) -> AppOptions:
    return AppOptions(
        settings.event_rules,
        settings.http_max_points,
        settings.history_aggregate,
        settings.policy,
        settings.loads_gone_after(),
        settings.time_zone,
        settings.allowed_networks(),
        None if settings.archive_url is None else ArchiveFolder(settings.archive_url),
        settings.password_key(),
        settings.mqtt_binding,
        settings.share.short_queries,
    )


def _watch(database_url: str, clock: DatabaseClock, monitor: AnswerMonitor) -> DatabaseWatch:
    return DatabaseWatch(
        lambda: connect(database_url, "serving-watch", monitor=monitor),
        monitor,
        clock,
        StepDetector(_now, time.monotonic),
        structlog.get_logger().warning,
    )


def _engine(database_url: str, settings: ServingSettings, monitor: AnswerMonitor) -> Engine:
    """Return an engine with a time limit for queries."""
    return engine_for(
        database_url,
        "serving",
        pool_size=settings.share.pool_size,
        overflow=0,
        monitor=monitor,
        statement_timeout=timeout(settings.http_query_timeout_s),
    )


def _shared_directory() -> Path | None:
    """Return the directory in which the worker processes share metrics, changes, rates and live streams."""
    directory = os.environ.get(METRICS_DIRECTORY)
    return None if directory is None else Path(directory)


def _shared_file(name: str) -> Path | None:
    directory = _shared_directory()
    return None if directory is None else directory / name


def _report(metrics: RequestMetrics) -> Callable[[int, float], None]:
    return lambda clients, age_s: metrics.set_gauges(clients, time.time() - age_s)


def _now() -> datetime:
    return datetime.now(UTC)


def _user() -> str:
    """Return the name of the user at the terminal; a container may have none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def main() -> None:
    options = _parser().parse_args()
    match options.command:
        case "openapi":
            sys.stdout.write(as_yaml(api_document()))
        case "keys" | "clients" | "audit" | "vens" | "credentials":
            warn_of_unknown_variables(os.environ, print_warning)
            _administrate(options)
        case _:
            _serve()


def _administrate(options: argparse.Namespace) -> None:
    """Run a command at a terminal, by the database's clock, as the server does."""
    settings = AdministrationSettings.from_environment()
    engine = engine_for(settings.database_url, "administration")
    with engine.connect() as connection:
        now = connection.execute(select(func.clock_timestamp())).scalar_one()
    output = Output(settings.log_format)
    if options.command in FLEET_COMMANDS:
        run_fleet_command(options, engine, now, _user(), output, settings.password_key())
    else:
        run_command(options, engine, now, _user(), output)


def _parser() -> argparse.ArgumentParser:
    parser = program_parser(
        "serving",
        "Serve reports of VENs, events, their deliveries and commands over HTTP.",
        [ServingSettings],
        [
            "",
            "keys create control-room --role operator",
            "clients create utility --role bl",
            "vens import fleet.csv --dry-run",
            "credentials create house-1",
            "openapi > backend-api.yaml",
        ],
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("serve", help="answer over HTTP (the default)")
    commands.add_parser("openapi", help="the API described, as YAML")
    add_commands(commands)
    add_fleet_commands(commands)
    return parser


def _serve() -> None:
    settings = ServingSettings.from_environment()
    configure_logs(settings.log_level, settings.log_format)
    warn_of_unknown_variables(os.environ, structlog.get_logger().warning)
    _require_free_port(settings.http_host, settings.http_port)
    with tempfile.TemporaryDirectory(prefix="gridgate-serving-", ignore_cleanup_errors=True) as directory:
        os.environ[METRICS_DIRECTORY] = directory
        serve(application, settings)


def _require_free_port(host: str, port: int) -> None:
    """Fail if the port is in use; the server itself would share it with another service."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise cannot_listen("HTTP_HOST, HTTP_PORT", host, port, error) from None


if __name__ == "__main__":
    run_program(main)
