"""What devices store is bounded: the oldest rows are deleted, and none that still matter."""

from datetime import timedelta

import psycopg
import pytest
from sqlalchemy import Engine

from ingest.decoding.messages import Received
from ingest.storing.rejected import count_by_reason, replay
from ingest.storing.store import Store
from jobs.running.runner import Runner
from jobs.running.schedule import schedule
from jobs.settings import Cadence
from jobs.storage import trimming
from jobs.storage.trimming import trim_rejected, trim_statuses
from jobs.summaries.rebuild import verify, whole_range
from tests.integration.published import MAX_AHEAD, NOW, batch_of, rows, status, telemetry, value

DAY = timedelta(days=1)
MEGABYTE = 1_000_000
REFUSE = (
    "INSERT INTO rejected_messages (topic, payload, reason, detail, received_at)"
    " SELECT 'oadr/meter/a', sha512(n::text::bytea) || sha512((-n)::text::bytea), 'not_json', '',"
    " %s::timestamptz + n * interval '1 s' FROM generate_series(1, %s) n"
)
BYTES = "SELECT sum(octet_length(payload) + octet_length(topic) + 100) FROM rejected_messages"


def trim(engine: Engine, kept: timedelta = 30 * DAY, most_bytes: int = 1_000 * MEGABYTE) -> int:
    with engine.begin() as connection:
        return trim_rejected(connection, NOW, kept, most_bytes)


def test_refused_messages_go_by_age(engine: Engine, connection: psycopg.Connection) -> None:
    connection.execute(REFUSE, [NOW - 31 * DAY, 10])
    connection.execute(REFUSE, [NOW - 29 * DAY, 5])
    assert trim(engine) == 10
    assert value(connection, "SELECT min(received_at) FROM rejected_messages") > NOW - 30 * DAY
    assert trim(engine) == 0


def test_refused_messages_go_by_bytes_the_oldest_first(
    engine: Engine, connection: psycopg.Connection
) -> None:
    connection.execute(REFUSE, [NOW - DAY, 10_000])
    newest = value(connection, "SELECT max(rejected_id) FROM rejected_messages")
    assert value(connection, BYTES) == 10_000 * 240
    trimmed = trim(engine, most_bytes=MEGABYTE)
    assert trimmed == 10_000 - MEGABYTE // 240
    left = rows(connection, "SELECT min(rejected_id), max(rejected_id), count(*) FROM rejected_messages")
    assert left == [(newest - MEGABYTE // 240 + 1, newest, MEGABYTE // 240)]
    assert trim(engine, most_bytes=MEGABYTE) == 0


def test_a_flood_goes_in_bounded_steps(
    engine: Engine, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trimming, "MOST_ROWS", 1_000)
    connection.execute(REFUSE, [NOW - DAY, 10_000])
    assert [trim(engine, most_bytes=MEGABYTE) for _ in range(8)] == [1_000] * 5 + [834, 0, 0]


def test_what_is_left_can_be_tried_again(
    store: Store, engine: Engine, connection: psycopg.Connection
) -> None:
    refused = Received("oadr/meter/a", b"{", NOW)
    store.write(batch_of(*[refused] * 3))
    connection.execute(REFUSE, [NOW - 31 * DAY, 10])
    trim(engine)
    assert [each.count for each in count_by_reason(connection)] == [3]
    assert list(replay(connection, Store(connection, "replay"), MAX_AHEAD)) == [(3, 0)]


@pytest.mark.thorough
def test_the_newest_status_of_a_ven_stays_however_old(
    store: Store, engine: Engine, runner: Runner, connection: psycopg.Connection
) -> None:
    for days in (500, 450, 400, 300, 1):
        store.write(batch_of(status("a", NOW - days * DAY, f"word-{days}")))
    store.write(batch_of(status("b", NOW - 900 * DAY, "x"), status("b", NOW - 800 * DAY, "maintenance")))
    store.write(batch_of(telemetry("b", NOW - DAY)))
    runner.catch_up(schedule(Cadence())[:2])
    with engine.begin() as own:
        assert trim_statuses(own, NOW, 366 * DAY) == 4
        assert trim_statuses(own, NOW, 366 * DAY) == 0
    left = rows(connection, "SELECT ven_id, status FROM ven_statuses ORDER BY ven_id, ts")
    assert left == [("a", "word-300"), ("a", "word-1"), ("b", "maintenance")]
    assert value(connection, "SELECT status FROM ven_snapshots WHERE ven_id = 'b'") == "maintenance"
    with engine.connect() as own:
        within = whole_range(own, None, None)
    assert within is not None
    assert [chunk.differences.rows() for chunk in verify(engine, within)] == [[]]
