"""A real streaming replica to read from: caught up, behind, and gone."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from falcon import testing
from sqlalchemy import Engine

from ingest.storing.store import Store
from jobs.running.runner import Runner
from jobs.running.schedule import schedule
from jobs.settings import Cadence
from local.postgres import EmbeddedPostgres
from local.postgres_binaries import SYSTEM_USER, embedded_binaries
from schemas.db.connections import engine_for
from serving.app import create_app
from serving.db.engines import Databases
from tests.integration.catching_up import catch_up
from tests.integration.published import NOW, THREE, batch_of, telemetry, until
from tests.integration.test_http import assert_problem

pytestmark = pytest.mark.thorough  # programs are started, and ended

REPLICATED = (
    "/api/stats/network",
    "/api/stats/loads",
    "/api/stats/network/history",
    "/api/vens/summary",
    "/api/vens/ven-1/history",
    "/api/vens/ven-1/history?aggregate=energy",
    "/api/vens/ven-1/loads/hvac1/history",
    "/api/events/history",
)
"""What is read from the replica."""

WRITTEN = (
    "/api/vens",
    "/api/vens/ven-1",
    "/api/vens/ven-1/loads",
    "/api/vens/ven-1/loads/hvac1",
    "/api/events",
)
"""What somebody may just have changed."""

HOUSE = {"id": "house-1", "name": "Dairy farm", "location": {"lat": 52.52, "lon": 13.405}}


@pytest.fixture
def standby(database_url: str, tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A copy of the server that follows it."""
    copy = tmp_path / "postgres"
    backup = ["--write-recovery-conf", "--checkpoint=fast", "--no-sync", f"--pgdata={copy}"]
    program = embedded_binaries().directory / "pg_basebackup"
    subprocess.run([program, f"--dbname={database_url}", *backup], check=True, capture_output=True)
    if os.geteuid() == 0:
        for path in (copy, *copy.rglob("*")):
            shutil.chown(path, SYSTEM_USER)
    with EmbeddedPostgres(tmp_path, durable=False) as server:
        yield server


@pytest.fixture
def replica(standby: EmbeddedPostgres, engine: Engine) -> Iterator[Engine]:
    replica = engine_for(standby.url(str(engine.url.database)), "tests")
    yield replica
    replica.dispose()


class Site:
    """Serving with a primary and its replica."""

    def __init__(self, primary: Engine, replica: Engine) -> None:
        self.now = NOW
        self._primary, self._replica = primary, replica
        app = create_app(primary, lambda: self.now, [], databases=Databases(primary, replica))
        self.client = testing.TestClient(app)
        self.of_primary = testing.TestClient(create_app(primary, lambda: self.now, []))

    def until_replayed(self) -> None:
        with self._primary.begin() as connection:  # the server of the tests is in no hurry to write
            connection.exec_driver_sql("SET LOCAL synchronous_commit = on")
            connection.exec_driver_sql("SELECT pg_logical_emit_message(true, 'tests', '')")
        with self._primary.connect() as connection:
            written = connection.exec_driver_sql("SELECT pg_current_wal_lsn()").scalar_one()
        with self._replica.connect() as connection:
            replayed = f"SELECT pg_last_wal_replay_lsn() >= '{written}'"
            until(lambda: bool(connection.exec_driver_sql(replayed).scalar_one()))

    def replay(self, word: str) -> None:
        with self._replica.begin() as connection:
            connection.exec_driver_sql(f"SELECT pg_wal_replay_{word}()")

    def same(self, path: str) -> bool:
        """Whether the answer is the one that the primary alone would give."""
        answers = [client.simulate_get(path) for client in (self.client, self.of_primary)]
        assert {answer.status_code for answer in answers} == {200}, path
        return answers[0].content == answers[1].content


@pytest.fixture
def site(store: Store, engine: Engine, replica: Engine) -> Site:
    loads = [{"id": "hvac1", "type": "hvac", "currentPowerKw": 1.0}]
    store.write(batch_of(telemetry("ven-1", loads=loads)))
    catch_up(engine)
    site = Site(engine, replica)
    site.until_replayed()
    return site


def test_a_replica(site: Site, store: Store, engine: Engine, standby: EmbeddedPostgres) -> None:
    """One test of all, since it takes seconds to make a replica."""
    assert all(site.same(path) for path in (*REPLICATED, *WRITTEN))
    assert site.client.simulate_get("/health/db-check").json["replicaRollupAgeS"] == 0.0
    behind_it_is_red_and_writers_see_what_they_wrote(site, store, engine)
    caught_up_it_is_green(site)
    without_it_reads_fail_and_writes_do_not(site, standby)


def behind_it_is_red_and_writers_see_what_they_wrote(site: Site, store: Store, engine: Engine) -> None:
    site.replay("pause")
    store.write(batch_of(telemetry("ven-1", THREE + timedelta(minutes=5), used_kw=9.0)))
    assert site.client.simulate_post("/api/vens", json=HOUSE).status_code == 201
    change = {"name": "Heat pump"}
    assert site.client.simulate_patch("/api/vens/ven-1/loads/hvac1", json=change).status_code == 200
    site.now += timedelta(seconds=61)
    Runner(engine, lambda: site.now).catch_up(schedule(Cadence()))
    assert all(site.same(path) for path in (*WRITTEN, "/api/vens/house-1", "/api/vens/house-1/loads"))
    assert b"Heat pump" in site.client.simulate_get("/api/vens/ven-1/loads").content
    assert not site.same("/api/vens/ven-1/history")
    assert_problem(site.client.simulate_get("/health/db-check"), 503, "read from", "61.0 s", "replication")


def caught_up_it_is_green(site: Site) -> None:
    site.replay("resume")
    site.until_replayed()
    assert all(site.same(path) for path in (*REPLICATED, *WRITTEN))
    assert site.client.simulate_get("/health/db-check").status_code == 200


def without_it_reads_fail_and_writes_do_not(site: Site, standby: EmbeddedPostgres) -> None:
    standby.stop()
    for path in REPLICATED:
        answer = site.client.simulate_get(path)
        assert_problem(answer, 503, "database")
        assert int(answer.headers["retry-after"]) > 0
    assert all(site.same(path) for path in WRITTEN)
    assert site.client.simulate_delete("/api/vens/house-1").status_code == 204
    assert_problem(site.client.simulate_get("/health/db-check"), 503, "read from", "cannot be reached")
    standby.start()
    until(lambda: site.client.simulate_get("/health/db-check").status_code == 200)
    site.until_replayed()
    assert all(site.same(path) for path in REPLICATED)
