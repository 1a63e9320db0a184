"""Messages as VENs publish them, and what the database holds of them."""

import json
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from ingest.decoding.messages import Received
from ingest.storing.batch import Batch
from tests.oracle.messages import Published

NOW = datetime(2024, 7, 10, 18, tzinfo=UTC)
THREE = datetime(2024, 7, 10, 15, tzinfo=UTC)
MAX_AHEAD = timedelta(days=4000)

NEW_EVENT: dict[str, Any] = {
    "actualReductionKw": 0.0,
    "isSettled": False,
    "isMeasured": False,
    "venIds": [],
    "targets": {"groups": [], "loadTypes": [], "venIds": []},
    "priority": 0,
    "leadTimeS": 0.0,
    "notes": [],
    "direction": "reduce",
    "intervals": [],
    "randomizeStartS": 0.0,
    "staggerReturnS": 0.0,
}
"""A scheduled event of all VENs, beside its id, status, times and request."""


def telemetry(ven_id: str, at: datetime = THREE, used_kw: float | None = 1.0, **said: Any) -> Received:
    return _received("volttron/metering", venId=ven_id, timestamp=at.timestamp(), usedPowerKw=used_kw, **said)


def description(ven_id: str, at: datetime, *loads: Any) -> Received:
    return _received(f"ven/loads/{ven_id}", timestamp=at.timestamp(), loads=loads)


def status(ven_id: str, at: datetime, word: str, **said: Any) -> Received:
    return _received(f"ven/status/{ven_id}", timestamp=at.timestamp(), status=word, **said)


def _received(topic: str, **said: Any) -> Received:
    return Received(topic, json.dumps(said).encode(), NOW)


def received(published: Iterable[Published]) -> list[Received]:
    return [Received(message.topic, message.payload, NOW) for message in published]


def batch_of(*messages: Received) -> Batch:
    return Batch.of(messages, MAX_AHEAD)


def rows(connection: psycopg.Connection, query: str) -> list[tuple[Any, ...]]:
    return connection.execute(query.encode()).fetchall()


def value(connection: psycopg.Connection, query: str) -> Any:
    [[only]] = rows(connection, query)
    return only


def until(condition: Callable[[], bool], within_s: float = 20) -> None:
    """Wait for a condition without a signal."""
    deadline, pause = time.monotonic() + within_s, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s"
        pause.wait(0.02)


def assert_same_rows(found: list[tuple[Any, ...]], expected: list[tuple[Any, ...]]) -> None:
    """Floats may have been added up in another order."""
    assert len(found) == len(expected)
    for one, other in zip(sorted(found, key=str), sorted(expected, key=str), strict=True):
        for left, right in zip(one, other, strict=True):
            assert left == (pytest.approx(right, abs=1e-6) if isinstance(right, float) else right)
