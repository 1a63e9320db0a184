"""Embedded PostgreSQL and the embedded broker on their own: start, stop, crash, start again."""

import os
import shutil
import signal
import stat
import subprocess
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import psycopg
import pytest
from sqlalchemy import make_url

from local.broker import EmbeddedBroker
from local.ports import answers, free_ports
from local.postgres import EmbeddedPostgres
from local.service import StartError
from tests.e2e.stack import until
from tests.faults.requirement import be_without

pytestmark = [pytest.mark.xdist_group("local"), pytest.mark.thorough]


def _value(url: str, query: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
    return row and row[0]


def test_committed_rows_survive_a_crash(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path) as postgres:
        postgres.ensure_database("gridgate")
        postgres.ensure_database("gridgate")
        url = postgres.url("gridgate")
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS value")
        first = postgres.pid
        postgres.kill()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(url)
        postgres.start()
        assert postgres.pid != first
        assert postgres.url("gridgate") == url
        assert _value(url, "SELECT value FROM kept") == 7
        assert _value(url, "SHOW fsync") == "on"
        assert _value(url, "SHOW timezone") == "UTC"


def test_a_server_killed_by_others_starts_again_while_its_backend_is_busy(tmp_path: Path) -> None:
    """A backend of a dead server goes on with its query, and a new server refuses to start beside it."""
    with EmbeddedPostgres(tmp_path, durable=False) as postgres:
        busy = psycopg.connect(postgres.url("postgres"))
        busy.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 10000000000)")
        os.kill(postgres.pid, signal.SIGKILL)
        assert postgres.child.wait(10)
        postgres.start()
        busy.close()
        assert _value(postgres.url("postgres"), "SHOW fsync") == "off"


def test_the_url_suits_sqlalchemy_and_the_socket_only_us(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path)
    url = make_url(postgres.url("gridgate"))
    assert (url.database, url.username, url.host) == ("gridgate", "postgres", None)
    socket_dir = url.query["host"]
    assert isinstance(socket_dir, str)
    with postgres:
        assert stat.S_IMODE(Path(socket_dir).stat().st_mode) == stat.S_IRWXU


def test_a_deep_data_directory_has_its_socket_elsewhere(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / ("deep" * 30), durable=False) as postgres:
        assert _value(postgres.url("postgres"), "SELECT 1") == 1
        assert "deep" not in postgres.url("postgres")


def test_a_half_made_cluster_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "postgres.incomplete").mkdir()
    (tmp_path / "postgres.incomplete" / "PG_VERSION").touch()
    with EmbeddedPostgres(tmp_path, durable=False) as postgres:
        assert _value(postgres.url("postgres"), "SELECT 1") == 1


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path, durable=False)
    postgres.start()
    postgres.stop()
    (tmp_path / "postgres" / "postgresql.conf").write_text("no_such_setting = 1\n")
    with pytest.raises(StartError, match="no_such_setting"):
        postgres.start()


def test_the_broker_comes_back_on_its_ports(tmp_path: Path) -> None:
    mqtt, mqtt5 = free_ports(2)
    with EmbeddedBroker(tmp_path, mqtt_port=mqtt, mqtt5_port=mqtt5) as broker:
        assert (broker.mqtt_url, broker.mqtt5_url) == (
            f"mqtt://127.0.0.1:{mqtt}",
            f"mqtt://127.0.0.1:{mqtt5}",
        )
        broker.kill()
        assert not answers(mqtt)
        broker.start()
        assert answers(mqtt5)
        with pytest.raises(StartError, match=f"port {mqtt}"):
            EmbeddedBroker(tmp_path, mqtt_port=mqtt, mqtt5_port=mqtt5).start()
    assert not answers(mqtt)


IN_A_CONTAINER = """
mkdir -p "$1/elsewhere" && mount --bind "$1/elsewhere" "$1/postgres" && cd "$1/postgres" || exit
exec "$1/bin/postgres" 600
"""


def test_a_server_in_a_container_with_the_same_path_is_not_ours(tmp_path: Path) -> None:
    """The leftovers of a container's server have our path in their view, and another directory."""
    cluster, stranger = tmp_path / "postgres", tmp_path / "bin" / "postgres"
    for directory in (cluster, stranger.parent):
        directory.mkdir()
    shutil.copy(shutil.which("sleep") or "/bin/sleep", stranger)
    server = EmbeddedPostgres(tmp_path)
    ours = subprocess.Popen([stranger, "600"], cwd=cluster)
    unshare = ["unshare", "--mount", "sh", "-c", IN_A_CONTAINER, "sh", str(tmp_path)]
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        ours.kill()
        be_without("only root can make a mount namespace")
    theirs = subprocess.Popen(unshare)
    try:
        until(lambda: psutil.Process(theirs.pid).name() == "postgres", 30)
        assert psutil.Process(theirs.pid).cwd() == str(cluster), "so it once was ended as ours"
        assert [process.pid for process in server._processes()] == [ours.pid]
        server._end_leftovers()
        ours.wait(10)
        assert theirs.poll() is None
    finally:
        for each in (ours, theirs):
            each.kill()
            each.wait()
