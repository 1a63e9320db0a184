"""The upgrade as docs/operations.md has it: with data, from the schema that landed last, and its commands."""

import re
import shlex
import subprocess
import sys

import pytest

from local.environment import inherited_environment
from schemas.db.connections import SCHEMA_REVISION
from tests.conftest import REPOSITORY, migrate
from tests.integration.whole_system import WholeSystem, check_latest
from tests.oracle.messages import random_traffic

pytestmark = pytest.mark.thorough  # programs are started, and ended

LANDED = ("0018", "0025")
"""Schemas of versions that people may have."""

UNITS = {path.name.removesuffix(".service") for path in (REPOSITORY / "deploy" / "systemd").iterdir()}


def answers(system: WholeSystem) -> list[object]:
    histories = [system.get(path, granularity="15m", aggregate="mean") for path, _ in system.histories()]
    return [*histories, system.get("/stats/loads"), system.get("/vens"), system.get("/events")]


def check_heads(database_url: str) -> int:
    """The exit code of the question whether the schema fits."""
    return subprocess.run(
        [sys.executable, "-m", "alembic", "current", "--check-heads"],
        cwd=REPOSITORY,
        env=inherited_environment(DATABASE_URL=database_url),
        capture_output=True,
        check=False,
    ).returncode


@pytest.mark.parametrize("landed", LANDED)
def test_an_upgrade_keeps_all_data_and_answers(system: WholeSystem, landed: str) -> None:
    """With a fleet's traffic, some of it still pending."""
    traffic = random_traffic(5, 300)
    system.ingest(traffic[:200])
    system.catch_up()
    system.ingest(traffic[200:])
    before = answers(system)
    migrate(system.database_url, landed, "downgrade")
    assert (check_heads(system.database_url) == 0) == (landed == SCHEMA_REVISION)
    migrate(system.database_url)
    assert check_heads(system.database_url) == 0
    assert answers(system) == before
    system.catch_up()
    check_latest(system)


def guide() -> str:
    text = (REPOSITORY / "docs" / "operations.md").read_text()
    return text.partition("\n### Upgrade\n")[2].partition("\n**A new major version")[0]


def systemctl() -> list[list[str]]:
    lines = re.findall(r"^\$ sudo systemctl (.*)$", guide(), re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


def test_the_guide_names_units_that_there_are() -> None:
    units = [unit for _, *units in systemctl() for unit in units]
    assert len(units) == 10
    assert {re.sub("@.*", "@", unit) for unit in units} == UNITS


def test_the_guide_restarts_one_by_one_or_stops_migrates_and_starts() -> None:
    assert [verb for verb, *_ in systemctl()] == ["restart"] * 3 + ["stop", "restart", "start"]


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("User", "--uid={}"),
        ("WorkingDirectory", "--working-directory={}"),
        ("EnvironmentFile", "--property=EnvironmentFile={}"),
    ],
)
def test_the_guide_asks_as_the_units_run(name: str, option: str) -> None:
    unit = (REPOSITORY / "deploy" / "systemd" / "gridgate-migrate.service").read_text()
    [value] = re.findall(rf"^{name}=(.*)$", unit, re.MULTILINE)
    for command in re.findall(r"^\$ sudo systemd-run (.*)$", guide(), re.MULTILINE):
        assert option.format(value) in command
