"""schemathesis with the specification's own document, as a utility and as a VEN, finds nothing.

The document is not ours: `make conformance SPECIFICATION=path/openadr3.yaml` says where it is. What is
exempt, and why, stands in `schemathesis_specification.toml` and `schemathesis_specification_rules.py`.
"""

import os
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.integration.openadr_clients import Vtn
from tests.integration.schemathesis_runs import assert_nothing_found
from tests.integration.test_keys_program import administrate
from tests.integration.test_openadr_schemathesis import token_of, url

__all__ = ["url"]

pytestmark = pytest.mark.conformance

VARIABLE = "SPECIFICATION"


@pytest.fixture
def specification() -> Path:
    path = Path(os.environ.get(VARIABLE, ""))
    if not path.is_file():
        pytest.fail(f"{VARIABLE} must be the path of openadr3.yaml, not {str(path)!r}")
    return path.resolve()


@pytest.fixture(params=["bl", "ven"])
def environment(
    request: pytest.FixtureRequest, url: str, database_url: str, engine: Engine
) -> dict[str, str]:
    """The token of a client, and a program that is there."""
    secret = administrate(database_url, "clients", "create", "tests", "--role", request.param).strip()
    program = Vtn(engine).client("utility", "bl").make("/programs", programName="tou")
    return {"TOKEN": token_of(url, secret), "PROGRAM": program["id"]}


def test_schemathesis_finds_nothing(
    specification: Path,
    url: str,
    environment: dict[str, str],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    words = [str(specification), "--url", url]
    assert_nothing_found(request, tmp_path, "schemathesis_specification", words, environment)
