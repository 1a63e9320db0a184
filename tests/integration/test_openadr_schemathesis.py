"""schemathesis with the OpenAPI document of our OpenADR routes, as a utility and as a VEN, finds nothing.

Exempt are answers of 400 in the words of `schemathesis_openadr_rules`.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine

from local.environment import REPOSITORY, inherited_environment
from local.ports import HOST, answers, free_ports
from tests.integration.openadr_clients import Vtn
from tests.integration.test_keys_program import administrate

pytestmark = pytest.mark.thorough

CONFIGURATION = Path(__file__).with_name("schemathesis_openadr.toml")
HOOKS = {"SCHEMATHESIS_HOOKS": "tests.integration.schemathesis_openadr_rules", "PYTHONPATH": str(REPOSITORY)}
WITHIN_S = 900


@pytest.fixture
def url(database_url: str) -> Iterator[str]:
    (port,) = free_ports(1)
    environment = inherited_environment(
        DATABASE_URL=database_url,
        HTTP_PORT=str(port),
        HTTP_RATE_PER_S="0",
        LOG_LEVEL="error",
        OPENADR_TOKEN_S="86400",  # noqa: S106 - seconds
    )
    with subprocess.Popen([sys.executable, "-m", "serving"], cwd=REPOSITORY, env=environment) as process:
        deadline = time.monotonic() + 60
        while not answers(port):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        yield f"http://{HOST}:{port}/openadr3/3.1.1"
        process.terminate()


@pytest.mark.parametrize("role", ["bl", "ven"])
def test_schemathesis_finds_nothing(
    role: str, url: str, database_url: str, engine: Engine, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    secret = administrate(database_url, "clients", "create", "tests", "--role", role).strip()
    token = _token(url, secret)
    program = Vtn(engine).client("utility", "bl").make("/programs", programName="tou")
    examples = request.config.getoption("--examples")
    tries = [str(examples)] if examples else ["3", "--generation-deterministic"]
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION)),
        *("run", f"{url}/openapi.json", "--url", url, "--max-examples", *tries),
    ]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | HOOKS | {"TOKEN": token, "PROGRAM": program["id"]},
        check=False,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    print(re.findall(r"^.*(?:generated|passed).*$", done.stdout, re.MULTILINE))


def _token(url: str, secret: str) -> str:
    form = {"grant_type": "client_credentials", "client_id": "tests", "client_secret": secret}
    response = httpx.post(f"{url}/auth/token", data=form)
    token: str = response.json()["access_token"]
    return token
