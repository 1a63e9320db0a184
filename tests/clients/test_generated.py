"""The artefacts of a release; the clients among them compile, and run against the service.

Run by `make clients`. npm and pip install the locked packages from their configured registries.
"""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from sqlalchemy import Engine

from deploy.release import CHECKSUMS, SDK, checksums
from ingest.storing.store import Store
from local.environment import REPOSITORY
from local.ports import HOST
from schemas.db.connections import connect
from schemas.programs.version import VERSION
from tests.faults.requirement import required_program
from tests.integration.catching_up import catch_up
from tests.integration.published import NOW, batch_of, telemetry
from tests.integration.test_live_served import serving

pytestmark = pytest.mark.clients

HERE = Path(__file__).parent
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


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "deploy.release", "--into", folder, directory=REPOSITORY)
    return folder


@pytest.fixture
def npm() -> str:
    required_program("node", "nodejs")
    return required_program("npm", "npm")


def test_the_typescript_client(npm: str, released: Path, tmp_path: Path, port: int) -> None:
    project = tmp_path / "typescript"
    shutil.copytree(HERE / "typescript", project, ignore=shutil.ignore_patterns("node_modules"))
    run(npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", directory=project)
    package = released / f"gridgate-client-{VERSION}.tgz"
    run(npm, "install", "--no-save", "--offline", "--no-audit", "--no-fund", package, directory=project)
    run(project / "node_modules" / ".bin" / "tsc", directory=project)
    assert_answered(run("node", "built/client.js", f"http://{HOST}:{port}", directory=project))


def test_the_python_client(released: Path, tmp_path: Path, port: int) -> None:
    wheel = released / f"gridgate_client-{VERSION}-py3-none-any.whl"
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*pip, "--no-deps", "--no-index", "--target", tmp_path, wheel, directory=tmp_path)
    run(sys.executable, "-m", "compileall", "-q", tmp_path / "gridgate_client", directory=tmp_path)
    shutil.copy(HERE / "generated.py", tmp_path)
    assert_answered(run(sys.executable, "generated.py", f"http://{HOST}:{port}", directory=tmp_path))


def test_the_python_client_needs_what_its_generator_says() -> None:
    described = tomllib.loads((SDK / "python" / "pyproject.toml").read_text())["project"]
    template = find_spec("openapi_python_client")
    assert template is not None
    assert template.origin is not None
    text = (Path(template.origin).parent / "templates" / "pyproject_uv.toml.jinja").read_text()
    assert described["dependencies"] == sorted(re.findall(r'^    "(.*)",$', text, re.MULTILINE))


def test_a_release_has_its_checksums(released: Path) -> None:
    assert {path.name for path in released.iterdir()} - {CHECKSUMS} == checksums(released).keys()
    assert len(checksums(released)) == (6 if shutil.which("npm") else 5)
    assert run("sha256sum", "-c", CHECKSUMS, directory=released).count(": OK\n") == len(checksums(released))


def test_the_bill_of_materials_is_the_lock(released: Path) -> None:
    text = (released / f"gridgate-{VERSION}.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = json.loads(text)
    assert (bill["metadata"]["component"]["name"], bill["metadata"]["component"]["version"]) == (
        "gridgate",
        VERSION,
    )
    locked = re.findall(
        r"^([\w.-]+)==([\w.]+)", (REPOSITORY / "requirements-run.lock").read_text(), re.MULTILINE
    )
    assert len(locked) > 40
    assert {(each["name"], each["version"]) for each in bill["components"]} == set(locked)
    places = [place for each in bill["components"] for place in each["externalReferences"]]
    assert all(place["url"].startswith("pkg:") and place["hashes"] for place in places)
    assert "distribution" not in json.dumps(bill["metadata"]["tools"])


@pytest.mark.parametrize("project", [HERE / "typescript", SDK / "typescript"])
def test_the_locks_name_no_host(project: Path) -> None:
    lock = json.loads((project / "package-lock.json").read_text())
    packages = [package for path, package in lock["packages"].items() if path]
    assert all("resolved" not in package and package["integrity"] for package in packages)
