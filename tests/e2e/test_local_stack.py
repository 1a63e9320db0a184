"""`python -m local` with stand-ins for the three programs: it starts, heals, and leaves nothing behind."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import psycopg
import pytest

from local.ports import free_ports
from local.programs import is_healthy
from schemas.programs.exits import TRY_AGAIN

pytestmark = [pytest.mark.xdist_group("local"), pytest.mark.thorough]

_REPOSITORY = Path(__file__).resolve().parents[2]

_INGEST = """
import os, pathlib, signal
pathlib.Path(os.environ["INGEST_READY_FILE"]).touch()
signal.pause()
"""
_JOBS = "import signal; signal.pause()"
_SERVING = f"""
import sys
sys.path.insert(0, {str(_REPOSITORY)!r})
from answer import app
from serving.server import serve
from serving.settings import ServingSettings

def make_application(_at_stop):
    return app

if __name__ == "__main__":
    serve(make_application, ServingSettings.from_environment())
"""
_ANSWER = """
class Answer:
    fast_path = None

    def __call__(self, environ, start_response):
        start_response("200 OK", [])
        return [b"ok"]


app = Answer()
"""


def wait_for(what: Callable[[], bool], within_s: float = 120) -> None:
    deadline = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


def running(data_dir: Path, ports: list[int]) -> list[str]:
    """Every process that still belongs to a stack, by its command line or its working directory."""
    marks = [str(data_dir), *(f":{port}" for port in ports)]
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "cwd", "status"]):
        words = " ".join(process.info["cmdline"] or []) + f" {process.info['cwd']}"
        if process.info["status"] != psutil.STATUS_ZOMBIE and any(mark in words for mark in marks):
            found.append(f"{process.info['pid']} {words}")
    return found


@dataclass
class Running:
    """One `python -m local`."""

    process: subprocess.Popen[str]
    data_dir: Path
    ports: list[int]
    ready_file: Path

    @property
    def ready(self) -> dict[str, object]:
        content: dict[str, object] = json.loads(self.ready_file.read_text())
        return content

    @property
    def pids(self) -> dict[str, int]:
        pids = self.ready["pids"]
        assert isinstance(pids, dict)
        return pids

    def descendants(self) -> list[psutil.Process]:
        children: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        return children

    def output(self) -> str:
        return self.process.communicate(timeout=60)[0]


Start = Callable[..., Running]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The programs' stand-ins; serving is the real server, for its workers, with another application."""
    root = tmp_path / "root"
    for path, text in {
        "ingest.py": _INGEST,
        "jobs.py": _JOBS,
        "serving.py": _SERVING,
        "answer.py": _ANSWER,
        "alembic.py": "",
    }.items():
        root.mkdir(exist_ok=True)
        (root / path).write_text(text)
    return root


@pytest.fixture
def start(tmp_path: Path, root: Path) -> Iterator[Start]:
    started: list[Running] = []

    def start_one(*more: str, ports: list[int] | None = None) -> Running:
        ports = ports or free_ports(3)
        ready_file = tmp_path / "ready.json"
        words = ["--data-dir", str(tmp_path / "data"), "--ready-file", str(ready_file)]
        words += ["--broker", "embedded"]
        for option, port in zip(("--http-port", "--mqtt-port", "--mqtt5-port"), ports, strict=True):
            words += [option, str(port)]
        where = f"root=pathlib.Path({str(root)!r})"
        call = f"import pathlib, sys; from local.__main__ import main; sys.exit(main({where}))"
        process = subprocess.Popen(
            [sys.executable, "-c", call, *words, *more],
            cwd=_REPOSITORY,
            env=os.environ | {"HTTP_PORT": "1", "DATABASE_URL": "a stray variable"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(Running(process, tmp_path / "data", ports, ready_file))
        return started[-1]

    yield start_one
    for each in started:
        each.process.kill()
        each.output()
    for each in started:
        wait_for(partial(_is_gone, each))


def _is_gone(stack: Running) -> bool:
    return running(stack.data_dir, stack.ports) == []


def said_until(stack: Running, text: str, within_s: float = 60) -> str:
    """Its output up to the line with this text."""
    assert stack.process.stdout is not None
    said = ""
    deadline = threading.Timer(within_s, stack.process.kill)  # the end of its output
    deadline.start()
    while text not in said:
        line = stack.process.stdout.readline()
        assert line, said
        said += line
    deadline.cancel()
    return said


def wait_ready(stack: Running) -> None:
    wait_for(lambda: stack.ready_file.exists() or stack.process.poll() is not None)
    assert stack.ready_file.exists(), stack.output()


def test_it_starts_says_where_to_look_and_stops_in_order(start: Start) -> None:
    stack = start("--fleet", "3", "--interval", "1", "--backfill", "1")
    wait_ready(stack)
    assert set(stack.pids) == {"postgres", "broker", "ingest", "jobs", "serving", "fleet"}
    assert is_healthy(stack.ports[0])
    with psycopg.connect(str(stack.ready["database_url"])) as connection:
        assert connection.execute("SELECT current_database(), current_setting('fsync')").fetchone() == (
            "gridgate",
            "on",
        )
    database_url = stack.ready["database_url"]
    stack.process.send_signal(signal.SIGINT)
    output = stack.output()
    assert stack.process.returncode == 0
    stops = [line.removeprefix("stopping ") for line in output.splitlines() if line.startswith("stopping ")]
    assert stops == ["fleet", "serving", "jobs", "ingest", "broker", "postgres"]
    assert "backfill: " in output
    announced = "the fleet breaks one report in 1000, and sends others late or twice, on purpose"
    _, _, behind = output.partition(announced)
    command = f"DATABASE_URL='{database_url}' {sys.executable} -m ingest rejected"
    assert behind.splitlines()[1].strip() == command
    assert str(stack.ready_file.parent) in output
    assert not stack.ready_file.exists()
    assert running(stack.data_dir, stack.ports) == []


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGKILL,
        signal.SIGTERM,
        signal.SIGHUP,
    ],
)
def test_it_leaves_nothing_running_however_it_dies(start: Start, number: signal.Signals) -> None:
    stack = start("--fleet", "3", "--interval", "1")
    wait_ready(stack)
    everything = stack.descendants()
    assert len(everything) > 12  # the six, PostgreSQL's and granian's workers, the guardian
    stack.process.send_signal(number)
    gone, alive = psutil.wait_procs(everything, timeout=30)
    assert [process.cmdline() for process in alive] == []
    assert len(gone) == len(everything)
    stack.output()


def test_the_kernel_ends_it_when_even_the_guardian_is_killed(start: Start) -> None:
    stack = start("--fleet", "3", "--interval", "1")
    wait_ready(stack)
    everything = stack.descendants()
    guardian = next(process for process in everything if "local.guardian" in process.cmdline())
    guardian.kill()
    stack.process.kill()
    assert [process.cmdline() for process in psutil.wait_procs(everything, timeout=30)[1]] == []
    stack.output()


def test_a_program_that_dies_by_force_takes_its_workers_along_and_comes_back(start: Start) -> None:
    """A granian worker outlives its parent's SIGKILL and keeps the port: the next one could not listen."""
    stack = start()
    wait_ready(stack)
    before = stack.pids
    workers = psutil.Process(before["serving"]).children(recursive=True)
    assert workers
    for name in ("serving", "jobs", "ingest", "broker", "postgres"):
        os.kill(before[name], signal.SIGKILL)
    wait_for(lambda: all(stack.pids[name] != pid for name, pid in before.items()))
    assert psutil.wait_procs(workers, timeout=5)[1] == []
    wait_for(lambda: _answers(stack))
    stack.process.send_signal(signal.SIGTERM)
    output = stack.output()
    for name in before:
        assert f"{name} died with signal 9" in output


def _answers(stack: Running) -> bool:
    try:
        psycopg.connect(str(stack.ready["database_url"])).close()
    except psycopg.OperationalError:
        return False
    return is_healthy(stack.ports[0])


def test_a_program_that_keeps_dying_is_restarted_ever_more_slowly_and_loudly(
    start: Start, root: Path
) -> None:
    stack = start()
    wait_ready(stack)
    (root / "jobs.py").write_text("raise SystemExit('no cheese')")
    os.kill(stack.pids["jobs"], signal.SIGKILL)
    killed_at = time.monotonic()
    output = said_until(stack, "restarting it in 2 s")
    assert time.monotonic() - killed_at > 0.5 + 1
    assert re.findall(r"jobs ran for .*; restarting it in (\S+) s", output) == ["0.5", "1", "2"]
    assert output.count("jobs died with exit code 1") == 2
    assert "no cheese" in output


def test_data_survive_and_a_successor_waits_for_the_remains(start: Start) -> None:
    first = start()
    wait_ready(first)
    with psycopg.connect(str(first.ready["database_url"]), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS value")
    first.process.kill()
    first.process.wait()
    first.ready_file.unlink()
    second = start(ports=first.ports)
    wait_ready(second)
    with psycopg.connect(str(second.ready["database_url"])) as connection:
        assert connection.execute("SELECT value FROM kept").fetchone() == (7,)


def test_a_second_instance_is_refused(start: Start) -> None:
    first = start()
    wait_ready(first)
    second = start()
    assert "in use by process" in second.output()
    assert second.process.returncode == TRY_AGAIN
    assert first.process.poll() is None


def test_a_busy_port_is_named_with_its_option(start: Start, tmp_path: Path) -> None:
    first = start()
    wait_ready(first)
    second = start("--data-dir", str(tmp_path / "other"), ports=first.ports)
    output = second.output()
    assert f"port {first.ports[0]} is in use by python" in output
    assert "--http-port" in output.splitlines()[-1]
    assert second.process.returncode == TRY_AGAIN


def test_a_migration_that_fails_stops_everything_and_shows_why(start: Start, root: Path) -> None:
    (root / "alembic.py").write_text("raise SystemExit('the migration is broken')")
    stack = start()
    output = stack.output()
    assert stack.process.returncode == 1
    assert "the migration is broken" in output
    assert running(stack.data_dir, stack.ports) == []
