"""`.ci/run` installs what tests want of the machine, and demands it: there is no other way to skip a test."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
AUTOMATION = (REPOSITORY / ".ci" / "run").read_text()
WANTED = re.compile(r"apt-get install ([\w-]+)`|required_program\(\"[\w-]+\", \"([\w-]+)\"\)")
ON_DEMAND = {"erlang-base", "nats-server"}
"""Of `make brokers`, which automation does not run."""


def texts() -> dict[str, str]:
    files = (REPOSITORY / "tests").rglob("*.py")
    return {file.name: file.read_text() for file in files if file != Path(__file__)}


def test_automation_installs_what_tests_want() -> None:
    wanted = {one or other for text in texts().values() for one, other in WANTED.findall(text)}
    assert {"nginx-light", "nodejs", "npm", "mosquitto", "chromium"} <= wanted
    assert {
        package for package in wanted - ON_DEMAND if not re.search(rf"\b{package}\b", AUTOMATION)
    } == set()


def test_a_test_without_its_program_fails_where_none_may_be_missing() -> None:
    skips = {(name, reason) for name, text in texts().items() for reason in SKIP.findall(text)}
    assert {(name, reason) for name, reason in skips if not reason.startswith("this machine lets ")} == set()


SKIP = re.compile(r"pytest\.skip\(\"([^\"]*)\"")
