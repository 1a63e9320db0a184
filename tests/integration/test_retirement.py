"""A worker that shall not come back leaves nothing behind at the broker."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ingest.receiving.subscriber import Subscriber
from ingest.settings import IngestSettings
from schemas.db.connections import connect
from tests.bench.fleet import reports
from tests.bench.sender import log_in, make_packets, send
from tests.conftest import REPOSITORY
from tests.faults.mosquitto import Mosquitto
from tests.integration.published import NOW, value

MESSAGES = 1_500


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("group", "protocol"),
    [
        ("gridgate", "5"),
        ("", "3.1.1"),
        ("", "5"),
        ("gridgate", "3.1.1"),
    ],
)
def test_what_waits_for_a_retired_worker_is_stored_and_nothing_more_is_kept_for_it(
    group: str, protocol: str, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Mosquitto(tmp_path) as broker:
        settings = {
            "DATABASE_URL": database_url,
            "MQTT_URL": broker.mqtt_url,
            "MQTT_PROTOCOL": protocol,
            "MQTT_SHARE_GROUP": group,
            "MQTT_CLIENT_ID": "ingest-7",
            "MQTT_RECEIVE_MAXIMUM": "100",
        }
        for name, setting in settings.items():
            monkeypatch.setenv(name, setting)
        subscribe_once()
        publish(broker)
        retired = subprocess.run(
            [sys.executable, "-m", "ingest", "retire"],
            cwd=REPOSITORY,
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert retired.returncode == 0, retired.stdout + retired.stderr
        assert "retired" in retired.stdout
        with connect(database_url, "tests") as connection:
            assert value(connection, "SELECT count(*) FROM ven_telemetry") == MESSAGES
        publish(broker)
        assert subscribe_once() == []


def publish(broker: Mosquitto) -> None:
    with log_in(broker.port) as connection:
        send(connection, make_packets(reports(vens=MESSAGES, rounds=1)))


def subscribe_once() -> list[object]:
    """What a worker finds that comes, and goes again without acknowledging anything."""
    ready = threading.Event()
    settings = IngestSettings.from_environment()
    subscriber = Subscriber(settings, lambda: NOW, lambda trouble: None if trouble else ready.set())
    subscriber.start()
    assert ready.wait(10)
    subscriber.stop()
    return list(subscriber.take(MESSAGES, 1 << 30, 0))
