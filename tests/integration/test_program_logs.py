"""`LOG_FORMAT=json` holds for every line that any program writes, to stdout or stderr, until its end."""

import ctypes
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from local.environment import REPOSITORY, inherited_environment
from local.ports import HOST, free_ports
from schemas.programs.exits import TRY_AGAIN, WRONG_USAGE
from tests.integration.published import until

pytestmark = pytest.mark.thorough  # programs are started, and ended

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"
NO_BROKER = "mqtt://127.0.0.1:1"
ENDS_WITHIN_S = 60
ALEMBIC = ["alembic", "upgrade", "head"]


class Program:
    """A child whose stdout and stderr are one file."""

    def __init__(self, log: Path, arguments: list[str], **settings: str) -> None:
        self._log = log
        defaults = {"LOG_FORMAT": "json", "LOG_LEVEL": "debug", "MQTT_URL": NO_BROKER}
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                cwd=REPOSITORY,
                env=inherited_environment(**{**defaults, **settings}),
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def lines(self) -> list[str]:
        return self._log.read_text().splitlines()

    def events(self) -> list[dict[str, Any]]:
        """Every line, each a JSON object with the name of an event."""
        events = [json.loads(line) for line in self.lines()]
        assert all(event["event"] for event in events)
        return events

    def names(self) -> set[str]:
        return {event["event"] for event in self.events()}

    def wait(self) -> int:
        return self.process.wait(ENDS_WITHIN_S)


@contextmanager
def running(program: Program) -> Iterator[Program]:
    """Ended by SIGTERM, at the end of the block."""
    try:
        yield program
        program.process.terminate()
        program.wait()
    finally:
        program.process.kill()
        program.wait()


def test_ingest_and_its_dispatcher(tmp_path: Path, database_url: str) -> None:
    """The broker is away: the receiver and the dispatcher log that, again and again."""
    program = Program(tmp_path / "log", ["ingest"], DATABASE_URL=database_url, MQTT_CLIENT_ID="logs")
    with running(program):
        until(lambda: len(program.lines()) >= 3, ENDS_WITHIN_S)
    assert program.process.returncode == 0
    assert len(program.events()) >= 3


def test_jobs(tmp_path: Path, database_url: str) -> None:
    program = Program(tmp_path / "log", ["jobs"], DATABASE_URL=database_url)
    with running(program):
        until(lambda: any("scheduler_started" in line for line in program.lines()), ENDS_WITHIN_S)
    assert program.process.returncode == 0
    assert {"scheduler_started", "Scheduler started"} <= program.names()


def test_jobs_end_whichever_thread_gets_the_signal(tmp_path: Path, database_url: str) -> None:
    """A thread of Polars did, before the main thread waited for it; the process ended with -15."""
    program = Program(tmp_path / "log", ["jobs"], DATABASE_URL=database_url)
    with running(program):
        until(lambda: any("scheduler_started" in line for line in program.lines()), ENDS_WITHIN_S)
        pid = program.process.pid
        thread = next(tid for tid in other_threads(pid) if not blocks(pid, tid, signal.SIGTERM))
        assert ctypes.CDLL(None).tgkill(pid, thread, signal.SIGTERM) == 0
        assert program.wait() == 0


def other_threads(pid: int) -> list[int]:
    """The threads of a process but the main one."""
    tids = (int(path.name) for path in Path(f"/proc/{pid}/task").iterdir())
    return [tid for tid in tids if tid != pid]


def blocks(pid: int, tid: int, number: signal.Signals) -> bool:
    """Whether a thread never gets a signal."""
    status = Path(f"/proc/{pid}/task/{tid}/status").read_text()
    found = re.search(r"^SigBlk:\s*(\w+)$", status, re.MULTILINE)
    return found is not None and bool(int(found[1], 16) >> (number - 1) & 1)


def test_serving_with_two_workers(tmp_path: Path, database_url: str) -> None:
    """From the start over requests, also one that is no HTTP, to the end by SIGTERM."""
    [port] = free_ports(1)
    settings = {"DATABASE_URL": database_url, "HTTP_PORT": str(port), "HTTP_WORKERS": "2", "HTTP_AUTH": "off"}
    program = Program(tmp_path / "log", ["serving"], **settings)
    with running(program):
        until(lambda: both_workers_started(program), ENDS_WITHIN_S)
        for path in ("/api/stats/network", "/nothing"):
            connection = HTTPConnection(HOST, port, timeout=30)
            connection.request("GET", path)
            connection.getresponse().read()
            connection.close()
        with socket.create_connection((HOST, port), timeout=30) as plain:
            plain.sendall(b"no HTTP\r\n\r\n")
            plain.recv(1_000)
    assert program.process.returncode == 0
    names = program.names()
    assert "request" in names
    assert any("hutting down" in name for name in names), names


def both_workers_started(program: Program) -> bool:
    """SIGTERM ends a worker that has not, without a word."""
    log = "".join(program.lines())
    return all(f"Started worker-{number}" in log for number in (1, 2))


def test_a_worker_that_cannot_start(tmp_path: Path) -> None:
    """Multiprocessing printed the trace as it was."""
    script = (
        "from serving.server import serve; from serving.settings import ServingSettings;"
        " from tests.integration.test_program_logs import no_application;"
        " from schemas.programs.logs import configure_logs; configure_logs('info', 'json');"
        " serve(no_application, ServingSettings.from_environment())"
    )
    [port] = free_ports(1)
    module = tmp_path / "cannot_start.py"
    module.write_text(f"if __name__ == '__main__':\n    {script}\n")
    settings = {"DATABASE_URL": NOWHERE, "HTTP_PORT": str(port), "PYTHONPATH": f"{tmp_path}:{REPOSITORY}"}
    program = Program(tmp_path / "log", ["cannot_start"], **settings)
    with running(program):
        until(lambda: any("worker_failed" in line for line in program.lines()), ENDS_WITHIN_S)
    assert any("ValueError" in json.dumps(event) for event in program.events())


def no_application(_at_stop: object) -> Any:
    raise ValueError("no application")


def test_migrations(tmp_path: Path, empty_database_url: str) -> None:
    program = Program(tmp_path / "log", ALEMBIC, DATABASE_URL=empty_database_url)
    assert program.wait() == 0
    program.events()


def test_keys_and_audit_log(tmp_path: Path, database_url: str) -> None:
    def administrate(*words: str) -> tuple[int, list[dict[str, Any]]]:
        program = Program(tmp_path / "log", ["serving", *words], DATABASE_URL=database_url)
        return program.wait(), program.events()

    status, events = administrate("keys", "create", "ui", "--role", "viewer")
    [created] = [event for event in events if event["event"] == "key_created"]
    assert (status, created["name"], created["key"][:3]) == (0, "ui", "gg_")
    assert administrate("keys", "create", "ui", "--role", "viewer")[0] == 1
    status, [listed] = administrate("keys", "list")
    assert (listed["event"], listed["name"], listed["state"]) == ("key", "ui", "works")
    assert administrate("keys", "revoke", "ui")[1] == [{"event": "key_revoked", "name": "ui"}]
    status, entries = administrate("audit")
    assert [entry["path"] for entry in entries] == ["revoke ui", "create ui", "create ui"]


@pytest.mark.parametrize(
    ("arguments", "settings", "status"),
    [
        (["ingest"], {}, WRONG_USAGE),
        (["ingest", "rejected"], {"DATABASE_URL": NOWHERE}, TRY_AGAIN),
        (["jobs"], {"DATABASE_URL": "mysql://x"}, WRONG_USAGE),
        (["jobs", "catch-up"], {"DATABASE_URL": NOWHERE}, TRY_AGAIN),
        (["serving"], {"DATABASE_URL": NOWHERE, "HTTP_WORKERS": "none"}, WRONG_USAGE),
        (["serving", "keys", "list"], {"DATABASE_URL": NOWHERE}, TRY_AGAIN),
        (ALEMBIC, {}, WRONG_USAGE),
        (ALEMBIC, {"DATABASE_URL": NOWHERE}, TRY_AGAIN),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_programs_that_cannot_start(
    arguments: list[str], settings: dict[str, str], status: int, tmp_path: Path
) -> None:
    program = Program(tmp_path / "log", arguments, **settings)
    assert program.wait() == status
    assert program.events()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["jobs", "once"], "jobs: error: argument COMMAND: invalid choice: 'once'"),
        (["jobs", "verify", "--start", "soon"], "jobs verify: error: argument --start: "),
        (["ingest", "--once"], "ingest: error: unrecognized arguments: --once"),
        (["serving", "keys", "create"], "serving keys create: error: the following arguments are required"),
        (["local", "--fleet", "many"], "local: error: argument --fleet: "),
        (["local.fleet"], "local.fleet: error: the following arguments are required"),
        (["local.openadr", "run"], "local.openadr run: error: the following arguments are required"),
        (["local.fixtures"], "local.fixtures: error: the following arguments are required"),
        (["analysis.sample", "--days"], "analysis.sample: error: "),
        (["gridgate", "job"], "there is no command 'job'"),
        (["gridgate", "alembic", "upgrades"], "alembic: error: argument "),
        (["gridgate", "migrate", "--quick"], "migrate: error: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_arguments(arguments: list[str], reason: str, tmp_path: Path) -> None:
    """Its usage came from argparse its usage as plain text, over several lines."""
    program = Program(tmp_path / "log", arguments)
    assert program.wait() == WRONG_USAGE
    [event] = program.events()
    assert event["event"] == "program_failed"
    assert reason in event["error"]


@pytest.mark.parametrize(
    ("program", "setting"),
    [("ingest", "INGEST_HTTP_PORT"), ("jobs", "JOBS_HTTP_PORT"), ("serving", "HTTP_PORT")],
)
def test_a_port_that_is_in_use(program: str, setting: str, tmp_path: Path, database_url: str) -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:  # noqa: S104 - the port counts for every address
        port = str(taken.getsockname()[1])
        child = Program(
            tmp_path / "log",
            [program],
            **{"DATABASE_URL": database_url, "MQTT_CLIENT_ID": "x", setting: port},
        )
        assert child.wait() == TRY_AGAIN
    [failure] = [event for event in child.events() if event["event"] == "program_failed"]
    assert re.match(rf"(\w+, )?{setting}: \S+:{port} is in use", failure["error"])
