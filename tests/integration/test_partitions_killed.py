"""`kill -9` of the jobs while rows move: nothing is lost and nothing doubled."""

import subprocess
import sys
from contextlib import suppress
from random import Random

import psycopg
import pytest
from sqlalchemy import Engine

from ingest.storing.store import Store
from jobs.running.runner import Runner
from tests.conftest import REPOSITORY
from tests.integration.published import batch_of, rows, value
from tests.integration.test_partitions import (
    DAY,
    DAYS,
    LANES,
    OLD,
    arrange,
    assert_verified,
    in_default,
    said,
)

pytestmark = pytest.mark.faults

KILLS = 25
ARRANGE = """
import sys
from datetime import UTC, datetime
from jobs.storage.partitions import arrange_partitions
from schemas.db.connections import engine_for
engine, now, handled = engine_for(sys.argv[1], "jobs"), datetime(2024, 7, 10, 18, tzinfo=UTC), 1
print(flush=True)
while handled:
    with engine.begin() as connection:
        handled = arrange_partitions(connection, now, slice_bytes=100_000)
"""


def test_kills_at_any_time(
    engine: Engine, store: Store, runner: Runner, database_url: str, connection: psycopg.Connection
) -> None:
    """Late rows come between the kills, of days that are moving and of others."""
    times = [OLD + number * 4 * DAY for number in range(75)]
    connection.execute(DAYS, [[at.date() for at in times[:60]]])
    written = moving = 0
    for at in times:
        batch = batch_of(*(message for number in range(60) for message in said(at, f"ven-{number}")))
        store.write(batch)
        written += 60
    dice = Random(7)
    for number in range(KILLS):
        with _jobs(database_url) as jobs:
            for late in range(4):
                at = OLD + dice.randrange(300) * DAY + DAY * (number + late / 8) / 100
                store.write(batch_of(*said(at, "late")))
                written += 1
            with suppress(subprocess.TimeoutExpired):
                jobs.wait(0.1 + dice.random())
            jobs.kill()
        moving += value(connection, "SELECT count(*) FROM partition_moves")
    print(f"\n{moving} of {KILLS} kills while rows moved")
    assert moving > 5
    runner.catch_up(LANES)
    arrange(engine)
    assert in_default(connection) == 0
    for table in ("ven_telemetry", "ven_load_samples", "ven_load_descriptions"):
        assert value(connection, f"SELECT count(*) FROM {table}") == written
    assert_verified(engine)
    counted = "SELECT sum(samples) FROM ven_history WHERE resolution_s = 300"
    assert value(connection, counted) == written
    assert rows(connection, "SELECT * FROM partition_moves") == []


def _jobs(database_url: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", ARRANGE, database_url]
    jobs = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE)
    assert jobs.stdout is not None
    jobs.stdout.readline()
    return jobs
