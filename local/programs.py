"""Commands and settings of the three programs and the fleet, as services."""

import http.client
import sys
from functools import partial
from pathlib import Path

from local.child import ProcessSpec
from local.environment import MIGRATIONS, REPOSITORY, inherited_environment
from local.options import Options
from local.ports import HOST
from local.service import LocalProgram

_FAST_JOBS = {
    "JOBS_HISTORY_EVERY_S": "2",
    "JOBS_SETTLEMENT_EVERY_S": "2",
    "SETTLEMENT_GRACE_S": "10",  # reports are never late for long here
}

_EVENT_LIMITS = {
    "EVENTS_REST_S": "0",  # for trying one event after another
    "EVENTS_MOST_PER_DAY": "1000",
}
"""For jobs, which notify VENs, and serving, which counts VENs that an event passes over."""

# Ten years: the sites of the fixtures reported in 2024.
_FIXTURES_PRESENCE = {"PRESENCE_AT_LEAST_S": "315360000"}


class StackPrograms:
    """Makes each program's command for one database and one broker.

    `root` is the directory that holds the packages; tests put stand-ins there.
    """

    def __init__(self, options: Options, urls: dict[str, str], root: Path = REPOSITORY) -> None:
        self._options = options
        self._urls = urls
        self._root = root
        self._data_dir = options.data_dir.resolve()

    def migration(self) -> ProcessSpec:
        return self._command("migrations", ["alembic", "-c", str(MIGRATIONS), "upgrade", "head"])

    def ingest(self) -> LocalProgram:
        ready_file = self._data_dir / "ingest.ready"
        command = self._command(
            "ingest",
            ["ingest"],
            MQTT_URL=self._urls["mqtt5_url"],
            MQTT_PROTOCOL="5",
            INGEST_WORKERS="1",  # enough for a simulated fleet
            MQTT_MESSAGE_EXPIRY="off",  # rumqttd's listener for 3.1.1 ends at a message with properties
            INGEST_READY_FILE=str(ready_file),
            **self._openadr_mqtt(),
        )
        return LocalProgram("ingest", command, ready_file.exists, partial(ready_file.unlink, missing_ok=True))

    def jobs(self) -> LocalProgram:
        settings = _FAST_JOBS | _EVENT_LIMITS | self._openadr_mqtt()
        settings |= _FIXTURES_PRESENCE if self._options.fixtures else {}
        return LocalProgram("jobs", self._command("jobs", ["jobs"], **settings), _at_once)

    def serving(self) -> LocalProgram:
        port = self._options.http_port
        settings = {"HTTP_HOST": HOST, "HTTP_PORT": str(port), "HTTP_AUTH": "off", "HTTP_FINISH_S": "4"}
        settings |= {"HTTP_WORKERS": "1"}  # enough for some pages
        settings |= _EVENT_LIMITS | self._openadr_mqtt() | {"OPENADR_MQTT_AUTHENTICATION": "ANONYMOUS"}
        if self._options.cors_origins:
            settings["CORS_ORIGINS"] = ",".join(self._options.cors_origins)
        command = self._command("serving", ["serving"], **settings)
        return LocalProgram("serving", command, partial(is_healthy, port))

    def fleet(self) -> LocalProgram:
        truth = self._options.truth
        more = [] if truth is None else ["--truth", str(truth.resolve())]
        return LocalProgram(
            "fleet", self._fleet_command(self._data_dir / "logs" / "fleet.log", *more), _at_once
        )

    def openadr_clients(self) -> ProcessSpec:
        """The command that makes the clients of the OpenADR fleet in the database."""
        words = ["local.openadr", "prepare", *self._openadr_words()]
        return self._command("openadr-clients", words)

    def openadr_fleet(self) -> LocalProgram:
        options = self._options
        numbers = {"--interval": options.interval, "--seed": options.seed, "--backfill": options.backfill}
        numbers |= {"--opt-out": options.opt_out}
        words = [word for option, value in numbers.items() for word in (option, str(value))]
        words += ["--http-url", self._urls["http_url"], *self._flags()]
        argv = [sys.executable, "-m", "local.openadr", "run", *self._openadr_words(), *words]
        log = self._data_dir / "logs" / "openadr-fleet.log"
        command = ProcessSpec(argv=argv, env=inherited_environment(), cwd=REPOSITORY, log=log)
        return LocalProgram("openadr-fleet", command, _at_once)

    def _openadr_words(self) -> list[str]:
        credentials = self._data_dir / "openadr-clients.json"
        return ["--vens", str(self._options.openadr_fleet), "--credentials", str(credentials)]

    def _flags(self) -> list[str]:
        flags = {"--daily-events": self._options.daily_events, "--steady": self._options.steady}
        return [flag for flag, is_set in flags.items() if is_set]

    def backfill(self) -> ProcessSpec:
        """The command of the backfill, which prints its progress to the terminal."""
        return self._fleet_command(None, "--backfill", str(self._options.backfill), "--once")

    def fixtures(self) -> ProcessSpec:
        words = ["--mqtt-url", self._urls["mqtt_url"], "--http-url", self._urls["http_url"]]
        argv = [sys.executable, "-m", "local.fixtures", *words]
        return ProcessSpec(argv=argv, env=inherited_environment(), cwd=REPOSITORY)

    def _openadr_mqtt(self) -> dict[str, str]:
        """The broker of the stack has neither logins nor an access list."""
        return {"OPENADR_MQTT_URIS": self._urls["mqtt_url"]}

    def _command(self, name: str, arguments: list[str], **settings: str) -> ProcessSpec:
        return ProcessSpec(
            argv=[sys.executable, "-m", *arguments],
            env=inherited_environment(DATABASE_URL=self._urls["database_url"], **settings),
            cwd=self._root,
            log=self._data_dir / "logs" / f"{name}.log",
        )

    def _fleet_command(self, log: Path | None, *more: str) -> ProcessSpec:
        options = self._options
        numbers = {"--vens": options.fleet, "--interval": options.interval, "--seed": options.seed}
        numbers |= {"--opt-out": options.opt_out, "--mute": options.mute}
        words = [word for option, value in numbers.items() for word in (option, str(value))]
        words += self._flags()
        argv = [sys.executable, "-m", "local.fleet", "--mqtt-url", self._urls["mqtt_url"], *words, *more]
        return ProcessSpec(argv=argv, env=inherited_environment(), cwd=REPOSITORY, log=log)


def _at_once() -> bool:
    return True


def is_healthy(port: int) -> bool:
    """Whether serving on `port` answers, and its database answers it."""
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/health/db-check")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
