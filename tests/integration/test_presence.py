"""A VEN that falls silent goes offline, the next live message brings it back, a replay does not."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text

from ingest.batch import Batch
from ingest.messages import Received
from ingest.store import Store
from jobs.lanes import consume_snapshot_batches
from jobs.presence import judge_presence
from jobs.transforms.presence import Patience
from schemas.database import connect

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
PATIENCE = Patience(intervals=3, at_least=timedelta(seconds=60))


class Watch:
    """One VEN, and a clock that the test moves."""

    def __init__(self, engine: Engine, store: Store) -> None:
        self._engine = engine
        self._store = store

    def report(self, received_at: datetime, device_time: datetime | None = None) -> None:
        ts = (device_time or received_at).timestamp()
        payload = json.dumps({"timestamp": ts, "usedPowerKw": 1.0}).encode()
        self._write(Received("oadr/meter/house", payload, received_at))

    def status(self, word: str, at: datetime) -> None:
        payload = json.dumps({"status": word, "timestamp": at.timestamp()}).encode()
        self._write(Received("ven/status/house", payload, at))

    def judge(self, now: datetime) -> list[tuple[str, str | None]]:
        """Transitions so far: status, and the reason that presence gives."""
        with self._engine.begin() as connection:
            judge_presence(connection, now, PATIENCE)
        with self._engine.begin() as connection:
            consume_snapshot_batches(connection, now)
            rows = connection.execute(text("SELECT status, details->>'reason' FROM ven_statuses ORDER BY ts"))
            return [(row[0], row[1]) for row in rows]

    def _write(self, message: Received) -> None:
        self._store.write(Batch.of([message], timedelta(minutes=5)))
        with self._engine.begin() as connection:
            consume_snapshot_batches(connection, message.received_at)


@pytest.fixture
def watch(engine: Engine, database_url: str) -> Iterator[Watch]:
    store = Store(connect(database_url, "tests"), "tests")
    yield Watch(engine, store)
    store.close()


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def test_silence_and_return(watch: Watch) -> None:
    for number in range(4):
        watch.report(START + seconds(5 * number))
    assert watch.judge(START + seconds(15 + 60)) == []
    assert watch.judge(START + seconds(15 + 61)) == [("offline", "silent")]
    assert watch.judge(START + seconds(15 + 90)) == [("offline", "silent")]
    watch.report(START + seconds(200))
    back = [("offline", "silent"), ("online", "heard again")]
    assert watch.judge(START + seconds(201)) == back
    assert watch.judge(START + seconds(205)) == back


def test_a_slow_reporter_has_three_of_its_intervals(watch: Watch) -> None:
    for number in range(4):
        watch.report(START + seconds(60 * number))
    assert watch.judge(START + seconds(180 + 179)) == []
    assert watch.judge(START + seconds(180 + 181)) == [("offline", "silent")]


def test_a_replay_does_not_bring_it_back(watch: Watch) -> None:
    watch.report(START)
    assert watch.judge(START + seconds(61)) == [("offline", "silent")]
    watch.report(START + seconds(3600), device_time=START + seconds(30))
    assert watch.judge(START + seconds(3601)) == [("offline", "silent")]


def test_a_last_will_stands_until_the_next_message(watch: Watch) -> None:
    watch.report(START)
    watch.status("offline", START + seconds(5))
    assert watch.judge(START + seconds(300)) == [("offline", None)]
    watch.report(START + seconds(400))
    assert watch.judge(START + seconds(401)) == [("offline", None), ("online", "heard again")]


def test_a_clock_ahead_of_ours_cannot_hide_silence(watch: Watch) -> None:
    watch.report(START, device_time=START + seconds(200))
    watch.status("online", START + seconds(250))
    assert watch.judge(START + seconds(61)) == [("online", None), ("offline", "silent")]
    assert len(watch.judge(START + seconds(70))) == 2


def test_maintenance_is_left_alone(watch: Watch) -> None:
    watch.report(START)
    watch.status("maintenance", START + seconds(1))
    assert watch.judge(START + seconds(1000)) == [("maintenance", None)]
