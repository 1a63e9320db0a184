"""A program that freezes within a transaction delays others by a few seconds at most."""

import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import paho.mqtt.publish
import psutil  # type: ignore[import-untyped]
import psycopg
import pytest
from paho.mqtt.enums import MQTTProtocolVersion
from sqlalchemy import Engine

from ingest.storing.store import Store
from jobs.running.sessions import end_frozen_sessions
from local.ports import HOST
from schemas.db.connections import connect
from tests.faults.deadline import until
from tests.faults.freezing import freeze, thaw
from tests.faults.jobs import Scheduler, health
from tests.faults.mosquitto import Mosquitto
from tests.faults.program import Ingest
from tests.integration.published import NOW, batch_of, rows, telemetry, value
from tests.integration.test_live_served import serving

LATE_S = 12.0
"""Ten seconds until the server ends a session that is idle in a transaction, and a cycle of the others."""


@pytest.fixture
def first(database_url: str, tmp_path: Path) -> Iterator[Scheduler]:
    with Scheduler(tmp_path, database_url, "first") as running:
        try:
            yield running
        finally:
            running.thaw()


def held(connection: psycopg.Connection[Any], state: str) -> int:
    """How many of the first scheduler's sessions are in a state, with the query's last words."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'first' AND " + state
    return int(value(connection, query))


def lock(name: str) -> str:
    return f"pg_advisory_lock(hashtext('{name}'))"


@pytest.mark.thorough
def test_the_other_goes_on(
    first: Scheduler, database_url: str, tmp_path: Path, store: Store, connection: psycopg.Connection[Any]
) -> None:
    """The snapshot lane stood still, an event was 41 s late; once no job ran for 100 s.

    It is frozen while it waits for locks that we hold, and so within transactions that then get them.
    """
    connection.execute(f"SELECT {lock('events')}, {lock('totals')}")
    waits = "wait_event_type = 'Lock'"
    idle = "state = 'idle in transaction'"
    # Jobs that measure may pause for longer, as nobody waits for their locks: none of them is under way.
    until(
        lambda: held(connection, waits) >= 2 and held(connection, idle) == 0,
        20,
        lambda: f"{held(connection, waits)} wait, {held(connection, idle)} are between two statements",
    )
    first.freeze()
    connection.execute("SELECT pg_advisory_unlock_all()")
    until(lambda: held(connection, idle) >= 2, 10, lambda: "the frozen one has its locks")
    connection.execute(
        "INSERT INTO events (event_id, status, start_time, end_time, requested_reduction_kw, created_at,"
        " notify_at) SELECT 'e', 'scheduled', at, at + interval '1 hour', 1, now(), at"
        " FROM (SELECT now() + interval '1 s') AS start (at)"
    )
    until(lambda: is_written(store), LATE_S, lambda: "the frozen one has locks on raw tables")
    with Scheduler(tmp_path, database_url, "second") as second:
        started = "SELECT status = 'active' FROM events"
        until(lambda: value(connection, started), LATE_S, lambda: "the event has not started")
        totals = "SELECT coalesce(max(ven_count), 0) FROM network_snapshot"
        until(lambda: value(connection, totals) == 1, LATE_S, lambda: "the snapshot lane stands still")
        # The second one may be between two statements at any moment; the frozen one would stay there.
        until(lambda: held(connection, idle) == 0, LATE_S, lambda: "the frozen one has its transactions")
        first.thaw()
        until(lambda: first.health()[0] == 200, 20, lambda: str(first.health()))
        assert second.health() == (200, "ok")


def is_written(store: Store) -> bool:
    """As ingest does, which tries again when somebody has locked a raw table for too long."""
    try:
        store.write(batch_of(telemetry("a")))
    except psycopg.errors.LockNotAvailable:
        return False
    return True


@pytest.mark.thorough
@pytest.mark.parametrize(
    "statement",
    ["COPY (SELECT repeat('x', 1000) FROM generate_series(1, 100000)) TO STDOUT", "COPY frozen FROM STDIN"],
)
def test_frozen_in_the_midst_of_a_statement(
    database_url: str, engine: Engine, connection: psycopg.Connection[Any], statement: str
) -> None:
    """There PostgreSQL's own time-outs do not look: neither within COPY nor while it sends an answer."""
    connection.execute("CREATE TABLE frozen (content text)")
    frozen = connect(database_url, "jobs", statement_timeout="100ms")
    bystander = connect(database_url, "neighbour")
    for each in (frozen, bystander):
        each.pgconn.send_query(statement.encode())
        each.pgconn.flush()
    waits = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND wait_event_type = 'Client'"
    until(lambda: value(connection, waits) == 2, 10, lambda: "they do not wait for their clients")
    with engine.begin() as ending:
        assert end_frozen_sessions(ending, NOW, timedelta(hours=1)) == 0
    until(lambda: _ended(engine) == 1, 10, lambda: "the frozen session goes on")
    until(lambda: value(connection, waits) == 1, 10, lambda: "the frozen session goes on")
    for each in (frozen, bystander):
        each.close()


def _ended(engine: Engine) -> int:
    with engine.begin() as ending:
        return end_frozen_sessions(ending, NOW, timedelta(milliseconds=300))


IDLE = "state = 'idle in transaction'"
ENDED_WITHIN_S = 30.0
"""Ten seconds until the server ends the frozen session; then those who waited for it try again."""


def sessions(connection: psycopg.Connection[Any], program: str, state: str) -> int:
    query = f"SELECT count(*) FROM pg_stat_activity WHERE application_name = 'gridgate-{program}' AND {state}"
    return int(value(connection, query))


def patient(database_url: str) -> str:
    """It goes on waiting for a lock until we freeze it, however busy the machine."""
    return f"{database_url}{'&' if '?' in database_url else '?'}options=-c%20lock_timeout%3D60s"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as running:
        yield running


@pytest.fixture
def workers(broker: Mosquitto, database_url: str, tmp_path: Path) -> Iterator[list[Ingest]]:
    """Two, each of whom gets all messages; they have to be started."""
    urls = {"first": patient(database_url), "second": database_url}
    built = [Ingest(tmp_path, url, broker.mqtt5_url, name, INGEST_WORKERS="1") for name, url in urls.items()]
    try:
        yield built
    finally:
        for each in built:
            each.kill()


@pytest.mark.faults
def test_ingest_frozen_within_a_transaction(
    broker: Mosquitto, workers: list[Ingest], database_url: str, connection: psycopg.Connection[Any]
) -> None:
    """The other worker stores others' messages, and the very one that the frozen one has written."""
    first, second = workers
    first.start()
    first.wait_listening(1)
    with connect(database_url, "neighbour") as blocking:
        blocking.execute("BEGIN; LOCK TABLE pending_batches IN SHARE MODE")
        publish(broker, "a", 1.0)
        waits = "wait_event_type = 'Lock'"
        until(lambda: sessions(connection, "ingest", waits) == 1, 20, lambda: "it does not wait")
        freeze(first.pid)
        blocking.execute("ROLLBACK")
    until(lambda: sessions(connection, "ingest", IDLE) == 1, 10, lambda: "it has no transaction")
    second.start()
    second.wait_listening(1)
    publish(broker, "b", 2.0)
    publish(broker, "a", 1.0)
    until(lambda: stored(connection) == [("a", 1.0), ("b", 2.0)], ENDED_WITHIN_S, lambda: "the other waits")
    thaw(first.pid)
    publish(broker, "c", 3.0)
    until(lambda: first.has_logged("store_failed") > 0, 20, lambda: "it has not noticed")
    for each in workers:
        each.stop()
    assert stored(connection) == [("a", 1.0), ("b", 2.0), ("c", 3.0)]
    assert value(connection, "SELECT sum(telemetry_rows) FROM ingest_batches") == 3
    assert value(connection, "SELECT count(*) FROM rejected_messages") == 0


def publish(broker: Mosquitto, ven_id: str, used_kw: float) -> None:
    """A report; the broker has it when this returns."""
    report = {"venId": ven_id, "timestamp": NOW.timestamp(), "usedPowerKw": used_kw}
    paho.mqtt.publish.single(
        "volttron/metering",
        json.dumps(report),
        qos=1,
        hostname=HOST,
        port=broker.port,
        protocol=MQTTProtocolVersion.MQTTv5,
    )


def stored(connection: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    return rows(connection, "SELECT ven_id, used_power_kw FROM ven_telemetry ORDER BY 1")


def call(port: int, method: str, path: str, body: object = None) -> tuple[int, Any]:
    """Status and answer; 0 where none came."""
    client = http.client.HTTPConnection(HOST, port, timeout=30)
    with closing(client), suppress(OSError, http.client.HTTPException):
        content = None if body is None else json.dumps(body)
        client.request(method, path, content, {"Content-Type": "application/json"})
        answer = client.getresponse()
        return answer.status, json.loads(answer.read() or b"null")
    return 0, None


@contextmanager
def frozen(process: psutil.Process) -> Iterator[None]:
    """A process and its children."""
    processes = [process, *process.children(recursive=True)]
    for each in processes:
        each.suspend()
    try:
        yield
    finally:
        for each in processes:
            each.resume()


@pytest.mark.thorough
def test_serving_frozen_within_a_transaction(
    database_url: str, store: Store, connection: psycopg.Connection[Any]
) -> None:
    """What it was about to change can be changed by others after ten seconds, not after a minute."""
    store.write(batch_of(telemetry("a")))
    with serving(patient(database_url)) as (first_port, first), serving(database_url) as (second_port, _):
        with connect(database_url, "neighbour") as blocking, ThreadPoolExecutor(1) as pool:
            blocking.execute("BEGIN; SELECT 1 FROM vens WHERE ven_id = 'a' FOR UPDATE")
            waiting = pool.submit(call, first_port, "PATCH", "/api/vens/a", {"name": "first"})
            waits = "wait_event_type = 'Lock'"
            until(lambda: sessions(connection, "serving", waits) == 1, 20, lambda: "it does not wait")
            with frozen(first):
                blocking.execute("ROLLBACK")
                until(lambda: sessions(connection, "serving", IDLE) == 1, 10, lambda: "it has no transaction")
                other = ("PATCH", "/api/vens/a", {"name": "second"})
                until(lambda: call(second_port, *other)[0] == 200, ENDED_WITHIN_S, lambda: "the other waits")
                # The other may be between two statements at any moment; the frozen one would stay there.
                until(lambda: sessions(connection, "serving", IDLE) == 0, 10, lambda: "it is not ended")
            assert waiting.result(30)[0] == 503, "its change is not made, and it says so"
        assert value(connection, "SELECT name FROM vens") == "second"
        until(lambda: health(first_port, "/health/db-check")[0] == 200, 20, lambda: "it is not well")
        until(
            lambda: call(first_port, "GET", "/api/vens/a")[1]["name"] == "second", 20, lambda: "it is stale"
        )
        assert call(first_port, "PATCH", "/api/vens/a", {"name": "again"})[0] == 200
