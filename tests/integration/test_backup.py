"""A dump that is restored elsewhere is the same system: verified, and still counting nothing twice."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine

from local.postgres_binaries import embedded_binaries
from schemas.db.connections import engine_for
from tests.conftest import REPOSITORY
from tests.integration.whole_system import EVERYTHING, WholeSystem, check_history, check_latest
from tests.oracle.messages import random_traffic


def run(*command: str | Path, **settings: str) -> None:
    done = subprocess.run(
        command, cwd=REPOSITORY, env={**os.environ, **settings}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.thorough
def test_a_restored_dump_goes_on_where_the_backup_ended(
    engine: Engine, database_url: str, empty_database_url: str, tmp_path: Path
) -> None:
    system, traffic, dump = (
        WholeSystem(engine, database_url),
        random_traffic(5, 500),
        tmp_path / "gridgate.dump",
    )
    system.empty()
    system.ingest(traffic[:300])
    system.catch_up()
    system.ingest(traffic[300:400])  # still pending when the backup is made
    run(embedded_binaries().directory / "pg_dump", "-Fc", "-d", database_url, "-f", dump)
    run(embedded_binaries().directory / "pg_restore", "--no-owner", "-d", empty_database_url, dump)
    restored = WholeSystem(engine_for(empty_database_url, "tests"), empty_database_url)
    restored.open_store()
    restored.oracle = system.oracle
    restored.ingest(traffic)  # all of it once more, and what came after the backup
    restored.catch_up()
    check_latest(restored)
    check_history(restored, EVERYTHING, "5m", "sum")
    run(sys.executable, "-m", "jobs", "verify", DATABASE_URL=empty_database_url)
    system.close()
    restored.close()
    restored.engine.dispose()
