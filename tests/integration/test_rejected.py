"""What was refused can be counted, and tried again after a fix."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from ingest.decoding.messages import Received
from ingest.storing.batch import Batch
from ingest.storing.rejected import ReasonCount, count_by_reason, replay
from ingest.storing.store import Store

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
STRICT, LENIENT = timedelta(minutes=5), timedelta(hours=2)


def report(ahead: timedelta, *loads: object) -> Received:
    payload = {"timestamp": (NOW + ahead).timestamp(), "usedPowerKw": 1.5, "loads": loads}
    return Received("oadr/meter/house", json.dumps(payload).encode(), NOW)


def counts(connection: psycopg.Connection) -> dict[str, int]:
    return {each.reason: each.count for each in count_by_reason(connection)}


def test_a_message_that_a_fix_makes_acceptable_is_stored(connection: psycopg.Connection) -> None:
    store = Store(connection, "tests")
    messages = [report(timedelta(hours=1), {"id": "a"}), Received("oadr/meter/house", b"{", NOW)]
    store.write(Batch.of(messages, STRICT))
    assert counts(connection) == {"timestamp_ahead": 1, "not_json": 1}

    assert list(replay(connection, store, STRICT)) == [(2, 0)]
    assert counts(connection) == {"timestamp_ahead": 1, "not_json": 1}
    assert list(replay(connection, store, LENIENT)) == [(2, 1)]
    assert counts(connection) == {"not_json": 1}
    assert connection.execute("SELECT count(*) FROM ven_load_samples").fetchone() == (1,)


def test_an_entry_joins_the_message_that_was_stored_without_it(connection: psycopg.Connection) -> None:
    store = Store(connection, "tests")
    store.write(Batch.of([report(timedelta(0), {"id": "a"}, {"id": "b", "currentPowerKw": "2"})], STRICT))
    assert counts(connection) == {"bad_load": 1}
    connection.execute("UPDATE rejected_messages SET payload = %s", [b'{"id": "b", "currentPowerKw": 2}'])

    assert list(replay(connection, store, STRICT, "bad_load")) == [(1, 1)]
    assert counts(connection) == {}
    rows = connection.execute(
        "SELECT load_id, used_power_kw FROM ven_load_samples ORDER BY load_id"
    ).fetchall()
    assert rows == [("a", None), ("b", 2.0)]
    assert connection.execute("SELECT sum(sample_rows) FROM ingest_batches").fetchone() == (2,)


def test_a_conflict_is_final(connection: psycopg.Connection) -> None:
    store = Store(connection, "tests")
    store.write(Batch.of([report(timedelta(0)), report(timedelta(0), {"id": "a"})], STRICT))
    assert counts(connection) == {"conflict": 1}
    assert list(replay(connection, store, LENIENT)) == []


@pytest.mark.parametrize(
    ("topic", "ven_id", "shown"),
    [
        ("ven/status/house", None, "on ven/status/house from house: "),
        ("volttron/metering", "house", "on volttron/metering from house: "),
        ("volttron/metering", None, "on volttron/metering from -: "),
        ("else/where", None, "on else/where from -: "),
    ],
)
def test_a_line_of_the_list_names_topic_and_ven(topic: str, ven_id: str | None, shown: str) -> None:
    line = str(ReasonCount("not_json", 7, NOW, NOW, "it ends early", topic, ven_id))
    assert shown in line
    assert "        7  not_json " in line
    assert line.endswith(": it ends early")


def test_the_command_counts_by_reason(connection: psycopg.Connection, database_url: str) -> None:
    Store(connection, "tests").write(Batch.of([Received("oadr/meter/x", b"{", NOW)] * 2, STRICT))
    done = subprocess.run(
        [sys.executable, "-m", "ingest", "rejected", "--replay"],
        env={"DATABASE_URL": database_url},
        check=True,
        capture_output=True,
        text=True,
    )
    assert "2  not_json" in done.stdout
    assert " on oadr/meter/x from x: " in done.stdout
    assert "0 of 2 accepted" in done.stderr
