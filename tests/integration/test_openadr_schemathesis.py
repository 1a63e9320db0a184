"""schemathesis with the OpenAPI document of our OpenADR routes, as a utility and as a VEN, finds nothing.

Exempt are answers of 400 in the words of `schemathesis_openadr_rules`.
"""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine

from local.environment import inherited_environment
from local.ports import HOST, free_ports
from tests.integration.openadr_clients import Vtn
from tests.integration.schemathesis_runs import assert_nothing_found, serving
from tests.integration.test_keys_program import administrate

pytestmark = pytest.mark.thorough


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
    with serving(port, environment):
        yield f"http://{HOST}:{port}/openadr3/3.1.1"


@pytest.mark.parametrize("role", ["bl", "ven"])
def test_schemathesis_finds_nothing(
    role: str, url: str, database_url: str, engine: Engine, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    secret = administrate(database_url, "clients", "create", "tests", "--role", role).strip()
    token = token_of(url, secret)
    program = Vtn(engine).client("utility", "bl").make("/programs", programName="tou")
    words = [f"{url}/openapi.json", "--url", url]
    environment = {"TOKEN": token, "PROGRAM": program["id"]}
    assert_nothing_found(request, tmp_path, "schemathesis_openadr", words, environment)


def token_of(url: str, secret: str) -> str:
    form = {"grant_type": "client_credentials", "client_id": "tests", "client_secret": secret}
    response = httpx.post(f"{url}/auth/token", data=form)
    token: str = response.json()["access_token"]
    return token
