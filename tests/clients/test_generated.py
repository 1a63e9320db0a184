"""Clients generated from docs/backend-api.yaml compile, and run against the service.

Run by `make clients`. npm and pip install the locked packages from their configured registries.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from ingest.store import Store
from local.environment import REPOSITORY
from local.ports import HOST
from schemas.database import connect
from tests.faults.requirement import required_program
from tests.integration.catching_up import catch_up
from tests.integration.published import NOW, batch_of, telemetry
from tests.integration.test_live_served import serving

pytestmark = pytest.mark.clients

HERE = Path(__file__).parent
DOCUMENT = REPOSITORY / "docs" / "backend-api.yaml"
GENERATED_WITHIN_S = 300


def run(*command: str | Path, directory: Path) -> str:
    """Run a program, and return its output; a failure raises with output and errors."""
    done = subprocess.run(
        command, cwd=directory, capture_output=True, text=True, check=False, timeout=GENERATED_WITHIN_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def port(database_url: str, engine: Engine) -> Iterator[int]:
    """The port of a service with `house`, which has telemetry, and `quiet`, without telemetry or location."""
    load = {"id": "heater", "currentPowerKw": 1.0}
    with connect(database_url, "tests") as connection:
        Store(connection, "tests").write(batch_of(telemetry("house", NOW, 2.0, loads=[load])))
        connection.execute("INSERT INTO vens (ven_id, created_at) VALUES ('quiet', now())")
        connection.execute(
            "INSERT INTO commands (ven_id, command_id, op, event_id, data, status, created_at,"
            " next_attempt_at, expires_at, acknowledged_at, acknowledgement)"
            " VALUES ('house', 'c', 'event', 'e', '{}', 'acknowledged', %(at)s, %(at)s, %(at)s, %(at)s,"
            """ '{"circuits_curtailed": [{"name": "heater", "shed_kw": 1}, "no object"]}')""",
            {"at": NOW + timedelta(seconds=1)},
        )
    catch_up(engine)
    with serving(database_url) as (port, _):
        yield port


EXPECTED = {
    "venCount": 2,
    "numbers": [[0, 0, 2, 0], [0, 0, 0, 0]],
    "words": [["heater", "heater", "unknown"]],
    "responseTimes": [0, 0],
    "points": 1,
    "circuits": 1,
    "curtailed": [["name", "shed_kw"]],
    "isSame": True,
    "progress": 0,
    "stopping": "stopping",
    "current": None,
    "problem": 404,
}


def assert_answered(answers: str) -> None:
    values = json.loads(answers)
    notes = dict(values.pop("notes"))
    assert sum(notes.values()) == EXPECTED["venCount"], notes
    assert values == EXPECTED


@pytest.fixture
def npm() -> str:
    required_program("node", "nodejs")
    return required_program("npm", "npm")


def test_openapi_typescript(tmp_path: Path, npm: str, port: int) -> None:
    project = tmp_path / "typescript"
    shutil.copytree(HERE / "typescript", project, ignore=shutil.ignore_patterns("node_modules"))
    run(npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", directory=project)
    programs = project / "node_modules" / ".bin"
    run(programs / "openapi-typescript", DOCUMENT, "-o", "api.d.ts", directory=project)
    run(programs / "tsc", directory=project)
    assert_answered(run("node", "built/client.js", f"http://{HOST}:{port}", directory=project))


def test_openapi_python_client(tmp_path: Path, port: int) -> None:
    program = Path(sys.executable).with_name("openapi-python-client")
    package = tmp_path / "gridgate_client"
    words = ("generate", "--path", DOCUMENT, "--meta", "none", "--output-path", package, "--fail-on-warning")
    (tmp_path / "config.yaml").write_text("post_hooks: []\n")
    run(program, *words, "--config", tmp_path / "config.yaml", directory=tmp_path)
    run(sys.executable, "-m", "compileall", "-q", package, directory=tmp_path)
    shutil.copy(HERE / "generated.py", tmp_path)
    assert_answered(run(sys.executable, "generated.py", f"http://{HOST}:{port}", directory=tmp_path))


def test_the_lock_names_no_host() -> None:
    lock = json.loads((HERE / "typescript" / "package-lock.json").read_text())
    packages = [package for path, package in lock["packages"].items() if path]
    assert all("resolved" not in package and package["integrity"] for package in packages)
