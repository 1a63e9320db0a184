"""`MQTT_URL` with several hosts: ingest and its commands continue at the next when one is away."""

import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from urllib.error import HTTPError

import pytest
from sqlalchemy import Engine

from local.ports import free_ports
from schemas.db.connections import connect
from tests.bench.fleet import reports
from tests.bench.sender import log_in, make_packets, send
from tests.faults.deadline import until
from tests.faults.mosquitto import Mosquitto
from tests.faults.program import Ingest
from tests.faults.sender import Sender
from tests.faults.tally import Tally
from tests.integration.outboxes import put, statuses

pytestmark = pytest.mark.faults

PATIENCE_S = 60.0
MESSAGES = 2_000


@pytest.fixture
def brokers(tmp_path: Path) -> Iterator[list[Mosquitto]]:
    """Two independent ones."""
    with ExitStack() as running:
        yield [running.enter_context(Mosquitto(tmp_path / name)) for name in ("one", "two")]


def health(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as answer:
            return str(answer.read().decode())
    except HTTPError as error:
        return error.read().decode()


def until_named(host: str, port: int) -> None:
    until(lambda: host in health(port), PATIENCE_S, lambda: health(port))


def test_the_next_host_takes_over(
    brokers: list[Mosquitto], database_url: str, engine: Engine, tmp_path: Path
) -> None:
    """The first broker ends while messages come; reports and commands go by the second one."""
    one, two = brokers
    one_host, two_host = f"127.0.0.1:{one.port}", f"127.0.0.1:{two.port}"
    [port] = free_ports(1)
    worker = Ingest(tmp_path, database_url, f"mqtt://{one_host},{two_host}", INGEST_HTTP_PORT=str(port))
    with worker, closing(Tally(database_url)) as tally, connect(database_url, "tests") as database:
        sent_at_one = Sender(one.mqtt_url, MESSAGES)
        sent_at_one.start()
        sent_at_one.finish(PATIENCE_S)
        until(lambda: tally.stored() >= MESSAGES, PATIENCE_S, lambda: f"{tally.stored()} stored")
        one.stop()
        until(lambda: worker.has_logged("subscribed") >= 2, PATIENCE_S, lambda: "not at the second")
        assert worker.has_logged("broker_disconnected")
        assert worker.has_logged(one_host)
        assert not list(sent_at_one.sums.differences(tally.sums()))
        with log_in(two.port) as connection:
            send(connection, make_packets(reports(vens=MESSAGES, rounds=1)))
        until(lambda: tally.stored() == 2 * MESSAGES, PATIENCE_S, lambda: f"{tally.stored()} stored")
        put(engine, "ven-9", now=datetime.now(UTC))
        until(lambda: statuses(database) == {"sent": 1}, PATIENCE_S, lambda: f"{statuses(database)}")
        two.stop()
        until(lambda: "not connected" in health(port), PATIENCE_S, lambda: health(port))
        until_named(one_host, port)
        until_named(two_host, port)
