"""What serving tells of itself: each answer, in the log and in metrics, and whether it is ready."""

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import psycopg
import pytest
from falcon import testing
from prometheus_client import values
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine
from structlog.testing import capture_logs

from ingest.storing.store import Store
from local.ports import HOST, answers
from schemas.db.connections import connect, database_url_of, engine_for
from serving.app import create_app
from serving.auth.keys import make_secret
from serving.db.engines import Databases
from serving.http.monitoring import MAX_LOGGED_PATH, METRICS_DIRECTORY, AccessLog, RequestMetrics, SqlClock
from serving.policy import Policy
from serving.routes import AppOptions
from tests.conftest import TEMPLATE
from tests.integration.catching_up import catch_up
from tests.integration.published import NOW, batch_of, telemetry, until
from tests.integration.test_http import assert_problem
from tests.integration.test_live_served import serving
from tests.servers import DatabaseServer, cloned_database

pytestmark = pytest.mark.thorough  # programs are started, and ended

AWAY = "postgresql://nobody@/nothing?host=/nonexistent"


@contextmanager
def watched(engine: Engine) -> Iterator[tuple[testing.TestClient, list[Any]]]:
    sql_clock = SqlClock()
    sql_clock.listen_to(engine)
    with capture_logs() as events:
        access_log = AccessLog(RequestMetrics(), sql_clock)
        yield testing.TestClient(create_app(engine, lambda: NOW, [], access_log=access_log)), events


def samples(text: str, name: str) -> dict[tuple[str, ...], float]:
    """The values of a metric by its labels' values."""
    return {
        tuple(sample.labels[label] for label in sorted(sample.labels)): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


def test_each_answer_is_an_event(engine: Engine, store: Store) -> None:
    store.write(batch_of(*(telemetry(f"ven-{number:04}") for number in range(1_200))))
    catch_up(engine)
    with watched(engine) as (client, events):
        answers = [
            client.simulate_get(path)
            for path in ("/api/vens/ven-0001", "/api/vens", "/api/vens/none", "/nothing", "/health")
        ]
    told = [event for event in events if event["event"] == "request"]
    assert [(event["method"], event["route"], event["status"]) for event in told] == [
        ("GET", "/api/vens/{ven_id}", 200),
        ("GET", "/api/vens", 200),
        ("GET", "/api/vens/{ven_id}", 404),
        ("GET", "none", 404),
        ("GET", "/health", 200),
    ]
    assert [event["bytes"] for event in told] == [len(answer.content) for answer in answers]
    assert [event["sql_s"] > 0 for event in told] == [True, True, True, False, False]
    assert all(event["duration_s"] > event["sql_s"] and event["client"] for event in told)


def test_what_an_event_tells_of_who_asked(engine: Engine) -> None:
    """The client and not our proxy; no key that somebody has put into a path; and no line without an end."""
    secret = make_secret("gg")
    with capture_logs() as events:
        policy = Policy(trusted_proxies=(ip_network("127.0.0.1"),))
        client = testing.TestClient(create_app(engine, lambda: NOW, [], AppOptions(policy=policy)))
        forwarded = {"X-Forwarded-For": "192.0.2.9"}
        client.simulate_get("/api/vens/a", headers=forwarded, extras={"REMOTE_ADDR": "127.0.0.1"})
        client.simulate_get(f"/api/vens/{secret}")
        client.simulate_get("/api/vens/" + "a" * 5_000)
    assert [event["client"] for event in events] == ["192.0.2.9", "127.0.0.1", "127.0.0.1"]
    assert secret.rpartition("_")[2] not in str(events)
    assert len(events[2]["path"]) == MAX_LOGGED_PATH


def test_metrics_by_route(engine: Engine) -> None:
    catch_up(engine)
    with watched(engine) as (client, _):
        for path in ("/api/stats/network", "/api/stats/network", "/api/vens/a", "/api/vens/b", "/no/such"):
            client.simulate_get(path)
        text = client.simulate_get("/metrics").text
    assert samples(text, "gridgate_serving_requests_total") == {
        ("GET", "/api/stats/network", "200"): 2,
        ("GET", "/api/vens/{ven_id}", "404"): 2,
        ("GET", "none", "404"): 1,
    }
    assert samples(text, "gridgate_serving_request_seconds_count")["/api/vens/{ven_id}",] == 2
    sql_s = samples(text, "gridgate_serving_sql_seconds_total")
    assert sql_s["/api/stats/network",] > 0
    assert ("none",) not in sql_s


def fetch(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def waits_for_lock(connection: psycopg.Connection) -> bool:
    """Whether a query waits for a lock; a transaction reads the activity once, unless it is cleared."""
    connection.execute("SELECT pg_stat_clear_snapshot()")
    waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    return connection.execute(waiting).rowcount > 0


def test_metrics_of_all_workers(database_url: str) -> None:
    """Whichever worker answers; and one that dies takes nothing with it."""
    with serving(database_url, HTTP_WORKERS="2") as (port, process):
        until(lambda: len(process.children()) == 2)
        with ThreadPoolExecutor(8) as pool:
            assert {status for status, _ in pool.map(fetch, [port] * 60, ["/health"] * 60)} == {200}
        key = ("GET", "/health", "200")
        seen = {samples(fetch(port, "/metrics")[1], "gridgate_serving_requests_total")[key] for _ in range(8)}
        assert len(seen) == 1
        assert seen.pop() >= 60
        victim = process.children()[0]
        victim.kill()
        until(lambda: len(process.children()) == 2 and victim not in process.children())
        until(lambda: answers(port), within_s=60)  # the other may not have listened yet when this one died
        text = fetch(port, "/metrics")[1]
        assert samples(text, "gridgate_serving_requests_total")[key] >= 60
        until(lambda: samples(fetch(port, "/metrics")[1], "gridgate_serving_stream_clients") == {(): 0})


def test_requests_under_way_are_finished(database_url: str, connection: psycopg.Connection) -> None:
    with serving(database_url) as (port, process), ThreadPoolExecutor(1) as pool:
        assert fetch(port, "/api/vens") == (200, "[]")
        with connection.transaction():
            connection.execute("LOCK TABLE vens IN ACCESS EXCLUSIVE MODE")
            answer = pool.submit(fetch, port, "/api/vens")
            until(lambda: waits_for_lock(connection))
            process.terminate()
            threading.Event().wait(0.5)  # for the signal to arrive: nobody tells
        assert answer.result(20) == (200, "[]")
        assert process.wait(10) == 0


def test_they_have_no_more_than_their_time(database_url: str, connection: psycopg.Connection) -> None:
    with serving(database_url, HTTP_FINISH_S="1") as (port, process), ThreadPoolExecutor(1) as pool:
        with connection.transaction():
            connection.execute("LOCK TABLE vens IN ACCESS EXCLUSIVE MODE")
            answer = pool.submit(fetch, port, "/api/vens")
            until(lambda: waits_for_lock(connection))
            process.terminate()
            assert process.wait(10) == 0
        with pytest.raises(OSError, match=r"closed|reset"):
            answer.result(10)


# Ready?


def check(
    primary: Engine, replica: Engine | None = None, at: datetime = NOW, within_s: float = 60
) -> testing.Result:
    databases = Databases(primary, replica, within_s)
    app = create_app(primary, lambda: at, [], databases=databases)
    return testing.TestClient(app).simulate_get("/health/db-check")


def test_late_jobs_are_not_ready(engine: Engine) -> None:
    assert (check(engine).status_code, check(engine).json["lastRollupAgeS"]) == (200, None)
    catch_up(engine)
    assert check(engine, at=NOW + timedelta(seconds=60)).json["lastRollupAgeS"] == 60
    assert_problem(check(engine, at=NOW + timedelta(seconds=61)), 503, "61.0 s", "jobs")
    catch_up(engine)  # nothing new: jobs that run are enough
    assert check(engine).status_code == 200


@pytest.fixture
def replica(postgres: DatabaseServer) -> Iterator[Engine]:
    """As far as we can tell: another database at the same revision, which is behind."""
    with cloned_database(postgres, "replica", TEMPLATE) as url:
        replica = engine_for(url, "tests")
        yield replica
        replica.dispose()


def test_readiness_tells_of_the_replica(engine: Engine, replica: Engine) -> None:
    catch_up(engine)
    assert check(engine, replica).json["replicaRollupAgeS"] is None
    catch_up(replica)
    assert check(engine, replica).json == check(engine).json | {"replicaRollupAgeS": 0.0}
    with replica.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE network_snapshot SET refreshed_at = refreshed_at - interval '2 min'"
        )
    assert_problem(check(engine, replica), 503, "read from", "120.0 s")
    assert_problem(check(engine, engine_for(AWAY, "tests")), 503, "read from", "cannot be reached")


def test_reads_go_to_the_replica_and_writes_to_the_primary(engine: Engine, replica: Engine) -> None:
    catch_up(engine)
    with connect(database_url_of(replica), "tests") as there:
        Store(there, "tests").write(batch_of(telemetry("ven-there")))
    app = create_app(engine, lambda: NOW, [], databases=Databases(engine, replica))
    client = testing.TestClient(app)
    assert client.simulate_get("/api/vens/ven-there/history").status_code == 200
    assert [ven["id"] for ven in client.simulate_get("/api/vens/summary").json] == ["ven-there"]
    made = client.simulate_post(
        "/api/vens", json={"id": "ven-here", "name": "N", "location": {"lat": 1, "lon": 2}}
    )
    assert made.status_code == 201, made.text
    assert client.simulate_get("/api/vens/ven-here").status_code == 200
    with replica.connect() as connection:
        ids = connection.exec_driver_sql("SELECT ven_id FROM vens").scalars().all()
    assert ids == ["ven-there"]


@pytest.fixture
def no_shared_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `Metrics` of a directory changes for the whole process is as it was after the test."""
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    monkeypatch.setenv(METRICS_DIRECTORY, "")


@pytest.mark.usefixtures("no_shared_metrics")
def test_metrics_while_a_worker_begins(tmp_path: Path) -> None:
    """A worker creates its file before it gives it a size; then /metrics was 500."""
    metrics = RequestMetrics(tmp_path)
    metrics.answered("GET", "/health", 200, 0.1, 0.0)
    (tmp_path / "counter_999999.db").touch()
    text = metrics.text().decode()
    assert samples(text, "gridgate_serving_requests_total")["GET", "/health", "200"] == 1
