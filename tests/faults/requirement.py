"""What a machine must offer for a fault to be injected."""

import os
from typing import NoReturn

import pytest


def be_without(what: str) -> NoReturn:
    """Skip the test, saying what is missing; where nothing may be missing, fail it."""
    if os.environ.get("GRIDGATE_REQUIRE_ALL") == "1":
        pytest.fail(f"{what}; GRIDGATE_REQUIRE_ALL=1 wants it")
    pytest.skip(what)
