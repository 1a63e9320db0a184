"""Skipping tests whose requirements this machine lacks."""

import os
import shutil
from typing import NoReturn

import pytest


def required_program(name: str, package: str) -> str:
    """The path of a program, also where Debian puts servers; without it, the test is skipped or fails."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    return shutil.which(name, path=path) or be_without(f"{name} is missing: `apt-get install {package}`")


def be_without(what: str) -> NoReturn:
    """Skip the test with the missing requirement as reason; fail it if `GRIDGATE_REQUIRE_ALL` is 1."""
    if os.environ.get("GRIDGATE_REQUIRE_ALL") == "1":
        pytest.fail(f"{what}; GRIDGATE_REQUIRE_ALL=1 wants it")
    pytest.skip(what)
