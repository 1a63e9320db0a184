"""Starts and stops all services in order, writes the ready file, and prints URLs."""

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from rich.markup import escape

from local.broker import EmbeddedBroker
from local.data_dir import locked
from local.disk import require_space
from local.environment import REPOSITORY
from local.fleet.telemetry.disturbances import BROKEN
from local.guardian import Guardian
from local.mosquitto import MosquittoBroker, mosquitto_program
from local.options import Options
from local.ports import HOST, require_free
from local.postgres import EmbeddedPostgres, InstalledPostgres, PostgresServer
from local.programs import StackPrograms
from local.supervisor import Supervisor

DATABASE = "gridgate"
_EVENT_MINUTES = 10
_EVENT_KW_EACH = 0.5


class Stack:
    """Everything that `python -m local` runs."""

    def __init__(self, options: Options, announce: Callable[[str], None], root: Path = REPOSITORY) -> None:
        self._options = options
        self._announce = announce
        self._postgres = postgres_server(options)
        self._broker = broker(options)
        self._urls = {
            "http_url": f"http://{HOST}:{options.http_port}",
            "database_url": self._postgres.url(DATABASE),
            "mqtt_url": self._broker.mqtt_url,
            "mqtt5_url": self._broker.mqtt5_url,
        }
        self._programs = StackPrograms(options, self._urls, root)
        self._is_ready = False

    def run(self) -> None:
        """Start, watch, and stop it all; ends only by an exception.

        Raises:
            StartError: something does not come up; everything is stopped again.
        """
        with locked(self._options.data_dir) as lock:
            require_free(self._options.ports, self._options.command_with)
            require_space(self._options.data_dir, self._options.needed_mb)
            self._remove_ready_file()
            guardian = Guardian(lock)
            supervisor = Supervisor(guardian, self._announce, self._write_ready_file)
            try:
                self._start(supervisor)
                supervisor.watch()
            finally:
                self._remove_ready_file()
                supervisor.stop_all()
                guardian.dismiss()

    def _start(self, supervisor: Supervisor) -> None:
        self._announce(f"data and logs in {escape(str(self._options.data_dir))}")
        supervisor.start(self._postgres)
        self._postgres.ensure_database(DATABASE)
        self._announce(f"{escape(self._postgres.title)} runs; migrating")
        supervisor.run(self._programs.migration(), "the migration")
        supervisor.start(self._broker)
        self._announce(f"the broker is {escape(self._broker.title)}; starting ingest, jobs and serving")
        for program in (self._programs.ingest(), self._programs.jobs(), self._programs.serving()):
            supervisor.start(program)
        if self._options.fixtures:
            self._announce("loading the fixtures")
            supervisor.run(self._programs.fixtures(), "loading the fixtures")
        self._start_fleet(supervisor)
        self._is_ready = True
        self._write_ready_file(supervisor.pids())
        self._print_urls()

    def _start_fleet(self, supervisor: Supervisor) -> None:
        options = self._options
        if options.fleet and options.backfill:
            self._announce(f"sending the last {options.backfill:g} h of {options.fleet} VENs")
            supervisor.run(self._programs.backfill(), "the backfill")
        if options.fleet:
            supervisor.start(self._programs.fleet())
        if options.openadr_fleet:
            supervisor.run(self._programs.openadr_clients(), "making clients of OpenADR")
            supervisor.start(self._programs.openadr_fleet())

    def _write_ready_file(self, pids: dict[str, int]) -> None:
        """Write the ready file atomically, again when a process id changes."""
        ready_file = self._options.ready_file
        if self._is_ready and ready_file:
            temporary = ready_file.with_name(f"{ready_file.name}.new")
            temporary.write_text(json.dumps({**self._urls, "pids": pids}, indent=2) + "\n")
            temporary.replace(ready_file)

    def _remove_ready_file(self) -> None:
        self._is_ready = False
        if self._options.ready_file:
            self._options.ready_file.parent.mkdir(parents=True, exist_ok=True)
            self._options.ready_file.unlink(missing_ok=True)

    def _print_urls(self) -> None:
        api = self._urls["http_url"]
        self._announce("[bold green]ready[/]; Ctrl-C stops everything")
        self._announce(f"  {api}/ is the dashboard, {api}/docs the API to try")
        self._announce(f"  curl {api}/api/stats/network")
        self._announce(f"  curl '{api}/api/stats/network/history?granularity=5m'")
        if self._options.fixtures:
            self._announce(f"  curl {api}/api/vens/summary   # and docs/fixtures.md")
        if self._options.fleet:
            self._announce(f"  curl {api}/api/vens/ven-0001/loads")
        if self._options.openadr_fleet:
            self._announce(f"  curl {api}/api/vens/openadr-0001/loads   # speaks OpenADR: docs/openadr.md")
        if self._options.fleet or self._options.openadr_fleet:
            self._announce(f"an event, now and for {_EVENT_MINUTES} minutes:")
            self._announce(
                escape(f"  {event_command(api, self._options.fleet + self._options.openadr_fleet)}")
            )
            self._announce("and its progress:")
            self._announce(f"  curl {api}/api/events/current")
        if self._options.fleet:
            self._announce(
                f"the fleet breaks one report in {round(1 / BROKEN)}, and sends others late or twice,"
                " on purpose; rejected messages, by reason:"
            )
            self._announce(escape(f"  {rejected_command(self._urls['database_url'])}"))
        self._announce(f"  database  {self._urls['database_url']}")
        self._announce(f"  MQTT      {self._urls['mqtt_url']} (3.1.1), {self._urls['mqtt5_url']} (5)")
        self._announce(f"  logs      {self._options.data_dir.resolve() / 'logs'}")


def rejected_command(database_url: str) -> str:
    """Return a command line that lists rejected messages."""
    return f"DATABASE_URL={shlex.quote(database_url)} {shlex.quote(sys.executable)} -m ingest rejected"


def broker(options: Options) -> EmbeddedBroker | MosquittoBroker:
    """The broker that the options choose: `auto` is mosquitto where it is installed.

    Raises:
        UnusableError: mosquitto is wanted, and not installed.
    """
    is_mosquitto = options.broker == "mosquitto" or (options.broker == "auto" and mosquitto_program())
    service = MosquittoBroker if is_mosquitto else EmbeddedBroker
    return service(options.data_dir, mqtt_port=options.mqtt_port, mqtt5_port=options.mqtt5_port)


def postgres_server(options: Options) -> PostgresServer:
    """The PostgreSQL server that the options choose.

    Raises:
        UnusableError: there is none.
    """
    service = InstalledPostgres if options.postgres == "installed" else EmbeddedPostgres
    return service(options.data_dir)


def event_command(api: str, vens: int, platform: str = sys.platform) -> str:
    """Return a shell command that creates an event. `date` has two syntaxes for `in ten minutes`."""
    later = f"-v+{_EVENT_MINUTES}M" if platform == "darwin" else f"-d +{_EVENT_MINUTES}min"
    now, end = "$(date -u +%FT%TZ)", f"$(date -u {later} +%FT%TZ)"
    times = f'"startTime": "\'{now}\'", "endTime": "\'{end}\'"'
    body = f'{{{times}, "requestedReductionKw": {_EVENT_KW_EACH * vens:g}}}'
    return f"curl {api}/api/events -H 'Content-Type: application/json' -d '{body}'"
