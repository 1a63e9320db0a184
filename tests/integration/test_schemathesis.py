"""schemathesis, a stranger with our OpenAPI document and all its checks, finds nothing to complain of.

Within the suite it has little time and no luck; with `--examples 200` it tries more of everything, at random.
"""

import os
import re
import subprocess
import sys
import time
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
from local.ports import HOST, answers, free_ports
from tests.integration.published import THREE, batch_of, telemetry

pytestmark = pytest.mark.thorough

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
HOOKS = {"SCHEMATHESIS_HOOKS": "tests.integration.schemathesis_rules", "PYTHONPATH": str(REPOSITORY)}
WITHIN_S = 900


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
    with subprocess.Popen([sys.executable, "-m", "serving"], cwd=REPOSITORY, env=environment) as process:
        deadline = time.monotonic() + 60
        while not answers(port):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        yield environment | {"KEY": key.split()[-1], "URL": f"http://{HOST}:{port}"}
        process.terminate()


def _python(*arguments: str, environment: dict[str, str]) -> str:
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout


def test_schemathesis_finds_nothing(
    service: dict[str, str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    examples = request.config.getoption("--examples")
    tries = [str(examples)] if examples else ["3", "--generation-deterministic"]
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION)),
        *("run", f"{service['URL']}/openapi.json"),
        *("--max-examples", *tries),
    ]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | service | HOOKS,
        check=False,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    print(re.findall(r"^.*(?:generated|passed).*$", done.stdout, re.MULTILINE))
