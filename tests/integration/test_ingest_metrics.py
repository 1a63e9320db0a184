"""The metrics of ingest equal what it did."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from ingest.decoding.messages import Received
from ingest.metrics import TOLERATED_FAILURES, IngestMetrics
from ingest.storing.batch import Batch
from ingest.storing.store import Store
from local.ports import free_ports
from schemas.db.connections import connect
from schemas.programs.monitoring import serve_monitoring

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    store = Store(connect(database_url, "tests"), "tests")
    yield store
    store.close()


@pytest.fixture
def metrics() -> IngestMetrics:
    return IngestMetrics(lambda: NOW)


@pytest.fixture
def port(metrics: IngestMetrics) -> int:
    [port] = free_ports(1)
    serve_monitoring(metrics.registry, metrics.trouble, port)
    return port


def report(age_s: float, *loads: object) -> Received:
    payload = {"timestamp": NOW.timestamp() - age_s, "loads": loads}
    return Received("oadr/meter/house", json.dumps(payload).encode(), NOW)


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def samples(port: int) -> dict[str, float]:
    lines = (line.rpartition(" ") for line in get(port, "/metrics")[1].splitlines() if line[0] != "#")
    return {name.removeprefix("gridgate_ingest_"): float(value) for name, _, value in lines}


def test_a_batch_is_counted_once_and_by_kind(metrics: IngestMetrics, port: int, store: Store) -> None:
    messages = [
        report(30, {"id": "a"}, {"id": "b"}, {"id": 7}),
        report(30, {"id": "a"}, {"id": "b"}, {"id": 7}),
        report(20, {"id": "a"}),
        report(20),
        Received("oadr/meter/house", b"{", NOW),
        Received("ven/status/house", b"online", NOW),
        Received("ven/loads/house", b'{"timestamp": 1700000000, "loads": [{"id": "a"}]}', NOW),
    ]
    batch = Batch.of(messages, timedelta(minutes=5))
    metrics.took(len(messages))
    metrics.stored(batch, store.write(batch), 0.02)

    told = samples(port)
    assert told["messages_received_total"] == len(messages)
    assert told["in_flight"] == len(messages)
    kinds = {kind: told[f'rows_stored_total{{kind="{kind}"}}'] for kind in ("telemetry", "sample", "status")}
    assert kinds == {"telemetry": 2, "sample": 3, "status": 1}
    assert told['rows_stored_total{kind="description"}'] == 1
    assert told["messages_duplicate_total"] == 1
    rejected = {
        reason: told[f'rejected_total{{reason="{reason}"}}']
        for reason in ("bad_load", "conflict", "not_json")
    }
    assert rejected == {"bad_load": 1, "conflict": 1, "not_json": 1}
    assert told["batch_messages_sum"] == len(messages)
    assert told["commit_seconds_count"] == 1
    assert told["lag_seconds_sum"] == 20
    metrics.acknowledged(len(messages))
    assert samples(port)["in_flight"] == 0


def test_a_redelivered_batch_is_all_duplicates(metrics: IngestMetrics, port: int, store: Store) -> None:
    for _ in range(2):
        batch = Batch.of([report(1, {"id": "a"}), report(2)], timedelta(minutes=5))
        metrics.stored(batch, store.write(batch), 0.01)
    told = samples(port)
    assert told['rows_stored_total{kind="telemetry"}'] == 2
    assert told["messages_duplicate_total"] == 2


def test_health_says_what_is_wrong(metrics: IngestMetrics, port: int, store: Store) -> None:
    assert get(port, "/health") == (503, "the broker does not hold our subscriptions")
    metrics.subscribed(None)
    assert get(port, "/health") == (200, "ok")
    for _ in range(TOLERATED_FAILURES + 1):
        metrics.commit_failed()
    assert get(port, "/health") == (503, f"{TOLERATED_FAILURES + 1} attempts to commit have failed in a row")
    batch = Batch.of([report(1)], timedelta(minutes=5))
    metrics.stored(batch, store.write(batch), 0.01)
    assert get(port, "/health") == (200, "ok")
