"""A replica is promoted that lacks the primary's last changes: all notice, go on, and stay exact."""

import json
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from jobs.summaries.rebuild import verify, whole_range
from local.ports import HOST
from local.postgres import EmbeddedPostgres
from schemas.db.connections import connect, engine_for
from tests.faults.deadline import until
from tests.faults.jobs import Scheduler, health
from tests.faults.mosquitto import Mosquitto
from tests.faults.program import Ingest
from tests.integration.published import rows, value
from tests.integration.test_frozen_process import broker, publish
from tests.integration.test_live import write
from tests.integration.test_live_served import Client, serving
from tests.integration.test_replica import standby

__all__ = ["broker", "standby"]

SOON_S = 30.0
REPLAYED = "SELECT pg_last_wal_replay_lsn() >= '{}'"
REPORTED = "SELECT string_agg(ven_id, ',' ORDER BY ven_id) FROM ven_telemetry"


class Cluster:
    """A primary and its replica behind one address, a directory with the server's socket."""

    def __init__(self, directory: Path, primary_url: str, standby: EmbeddedPostgres) -> None:
        self._address = directory / "pg"
        database, _, primary = primary_url.partition("?host=")
        self.url = f"{database}?host={self._address}"
        self.standby_url = standby.url(database.rpartition("/")[2])
        self._point_to(primary)
        self.primary = connect(primary_url, "tests")
        self.replica = connect(self.standby_url, "tests")

    def _point_to(self, directory: str) -> None:
        self._address.unlink(missing_ok=True)
        self._address.symlink_to(directory)

    def until_replayed(self) -> None:
        with self.primary.transaction():  # the server of the tests is in no hurry to write
            self.primary.execute("SET LOCAL synchronous_commit = on")
            self.primary.execute("SELECT pg_logical_emit_message(true, 'tests', '')")
        replayed = REPLAYED.format(value(self.primary, "SELECT pg_current_wal_lsn()"))
        until(lambda: bool(value(self.replica, replayed)), SOON_S, lambda: "the replica lags")

    def lose_what_follows(self) -> None:
        """The replica gets nothing any more."""
        self.replica.execute("ALTER SYSTEM SET primary_conninfo = ''")
        self.replica.execute("SELECT pg_reload_conf()")
        receiving = "SELECT count(*) FROM pg_stat_wal_receiver"
        until(lambda: value(self.replica, receiving) == 0, SOON_S, lambda: "it goes on receiving")

    def fail_over(self) -> None:
        """The address leads to the promoted replica; the primary ends the programs' sessions."""
        self.replica.execute("SELECT pg_promote()")
        self._point_to(self.standby_url.partition("?host=")[2])
        self.primary.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid()"
        )

    def close(self) -> None:
        self.primary.close()
        self.replica.close()


@pytest.fixture
def cluster(database_url: str, standby: EmbeddedPostgres, tmp_path: Path) -> Iterator[Cluster]:
    with closing(Cluster(tmp_path, database_url, standby)) as built:
        yield built


@pytest.fixture
def ingest(broker: Mosquitto, cluster: Cluster, tmp_path: Path) -> Iterator[Ingest]:
    worker = Ingest(tmp_path, cluster.url, broker.mqtt5_url)
    worker.start()
    worker.wait_listening(1)
    try:
        yield worker
    finally:
        worker.kill()


@pytest.mark.faults
def test_a_replica_is_promoted_that_lacks_thirteen_changes(
    cluster: Cluster, broker: Mosquitto, ingest: Ingest, tmp_path: Path
) -> None:
    """The streams swallowed the next 13 changes, which had the positions of those that were lost."""
    with Scheduler(tmp_path, cluster.url, "jobs") as jobs, serving(cluster.url) as (port, _):
        publish(broker, "kept", 1.0)
        until_summed(cluster.primary, "kept")
        with closing(Client(port)) as client:
            client.wait_for("network")
            before = changes_written(cluster.primary)
            cluster.until_replayed()
            cluster.lose_what_follows()
            publish(broker, "lost", 2.0)
            until_summed(cluster.primary, "kept,lost")
            for number in range(13):
                write(cluster.primary, f"told-{number}", "online")
            told = client.wait_for("status", 13)
            assert max(each.id for each in told) >= before + 13
            until(lambda: vens(port) == ["kept", "lost"], SOON_S, lambda: str(vens(port)))
            cluster.fail_over()
            client.wait_for("reset")
            publish(broker, "after", 3.0)
            publish(broker, "lost", 2.0)
            until_summed(cluster.replica, "after,kept,lost")
            for number in range(13):
                write(cluster.replica, f"after-{number}", "maintenance")
            until_told(client, [f"after-{number}" for number in range(13)])
        until(lambda: vens(port) == ["after", "kept", "lost"], SOON_S, lambda: str(vens(port)))
        until(lambda: jobs.health()[0] == 200, SOON_S, lambda: str(jobs.health()))
        until(lambda: health(port, "/health/db-check")[0] == 200, SOON_S, lambda: "it is not well")
    ingest.stop()
    assert_exact(cluster)


def until_summed(connection: psycopg.Connection[Any], reported: str) -> None:
    """Both lanes have consumed the reports of these VENs."""
    pending = "SELECT count(*) FROM pending_batches"
    until(lambda: value(connection, REPORTED) == reported, SOON_S, lambda: value(connection, REPORTED))
    until(
        lambda: value(connection, pending) == 0, 90, lambda: f"{value(connection, pending)} batches pending"
    )


def changes_written(connection: psycopg.Connection[Any]) -> int:
    return int(value(connection, "SELECT coalesce(max(position), 0) FROM live_changes"))


def until_told(client: Client, ven_ids: list[str]) -> None:
    def missing() -> set[str]:
        return set(ven_ids) - {each.data["venId"] for each in client.whole() if each.event == "status"}

    while missing():
        assert client.read(), missing()


def vens(port: int) -> list[str]:
    with urllib.request.urlopen(f"http://{HOST}:{port}/api/vens", timeout=20) as answer:
        return [ven["id"] for ven in json.load(answer)]


def assert_exact(cluster: Cluster) -> None:
    cluster.replica.execute("DELETE FROM ven_snapshots WHERE ven_id LIKE 'after-%'")  # no message says so
    engine = engine_for(cluster.standby_url, "tests")
    with engine.connect() as connection:
        within = whole_range(connection, None, None)
    assert within is not None
    assert [row for chunk in verify(engine, within) for row in chunk.differences.rows()] == []
    engine.dispose()
    assert rows(cluster.replica, "SELECT ven_id FROM vens ORDER BY 1") == [("after",), ("kept",), ("lost",)]
    counted = "SELECT sum(samples) FROM ven_history WHERE resolution_s = 300"
    assert value(cluster.replica, counted) == 3
