"""schemathesis, a stranger with our OpenAPI document and all its checks, finds nothing to complain of.

Within the suite it has little time and no luck; with `--examples 200` it tries more of everything, at random.
"""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from ingest.storing.store import Store
from jobs.running.runner import Runner
from jobs.running.schedule import schedule
from jobs.settings import Cadence
from local.environment import REPOSITORY, inherited_environment
from local.ports import HOST, free_ports
from tests.integration.published import THREE, batch_of, telemetry
from tests.integration.schemathesis_runs import assert_nothing_found, serving

pytestmark = pytest.mark.thorough


@pytest.fixture
def some_vens(store: Store, engine: Engine) -> None:
    loads = [{"id": load_id, "type": "hvac", "currentPowerKw": 0.5} for load_id in ("hvac1", "pv1")]
    instants = (THREE + timedelta(minutes=minute) for minute in range(3))
    ven_ids = ("ven-0001", "ven-2", "ven-3")
    store.write(batch_of(*(telemetry(each, at, loads=loads) for at in instants for each in ven_ids)))
    Runner(engine, lambda: datetime.now(UTC)).catch_up(schedule(Cadence()))


@pytest.fixture
def service(database_url: str, some_vens: None) -> Iterator[dict[str, str]]:  # noqa: ARG001 - they are there
    """The program itself, and the environment that it runs in, with the key of an operator."""
    (port,) = free_ports(1)
    environment = inherited_environment(
        DATABASE_URL=database_url,
        HTTP_HOST=HOST,
        HTTP_PORT=str(port),
        HTTP_RATE_PER_S="0",
        READY_MAX_ROLLUP_AGE_S="86400",
        LOG_LEVEL="error",
    )
    key = _python("-m", "serving", "keys", "create", "tests", "--role", "operator", environment=environment)
    with serving(port, environment):
        yield environment | {"KEY": key.split()[-1], "URL": f"http://{HOST}:{port}"}


def _python(*arguments: str, environment: dict[str, str]) -> str:
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout


def test_schemathesis_finds_nothing(
    service: dict[str, str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    words = [f"{service['URL']}/openapi.json"]
    assert_nothing_found(request, tmp_path, "schemathesis", words, service)
