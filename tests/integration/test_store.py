"""The store: each row once, also with concurrent writers, and a ledger that agrees."""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest

from ingest.decoding.messages import Received
from ingest.storing.batch import Batch
from ingest.storing.store import Store
from schemas.db.connections import connect
from tests.integration.published import (
    MAX_AHEAD,
    NOW,
    THREE,
    batch_of,
    description,
    received,
    rows,
    status,
    telemetry,
    value,
)
from tests.oracle.messages import random_traffic

RAW = ("ven_telemetry", "ven_load_samples", "ven_load_descriptions", "ven_statuses")
COUNTS = ("telemetry_rows", "sample_rows", "description_rows", "status_rows")
CONFLICTS = "SELECT ven_id, ts, payload, detail FROM rejected_messages WHERE reason LIKE '%conflict'"

OpenStore = Callable[[], Store]


@pytest.fixture
def open_store(database_url: str) -> Iterator[OpenStore]:
    stores: list[Store] = []

    def build() -> Store:
        stores.append(Store(connect(database_url, "ingest"), f"worker-{len(stores)}"))
        return stores[-1]

    yield build
    for store in stores:
        store.close()


@pytest.fixture
def store(open_store: OpenStore) -> Store:
    return open_store()


def counts(connection: psycopg.Connection) -> tuple[int, ...]:
    return tuple(value(connection, f"SELECT count(*) FROM {table}") for table in RAW)


def assert_ledger_agrees(connection: psycopg.Connection) -> None:
    """Each batch has as many rows as recorded, is pending in both lanes, and its span contains them."""
    for table, column in zip(RAW, COUNTS, strict=True):
        wrong = rows(
            connection,
            f"SELECT batch_id, {column}, found FROM ingest_batches FULL JOIN"
            f" (SELECT batch_id, count(*) AS found FROM {table} GROUP BY 1) AS raw USING (batch_id)"
            f" WHERE {column} IS DISTINCT FROM coalesce(found, 0)",
        )
        assert wrong == [], table
    for table in RAW[:3]:
        beyond = f"SELECT count(*) FROM {table} JOIN ingest_batches USING (batch_id)"
        assert value(connection, f"{beyond} WHERE ts NOT BETWEEN first_ts AND last_ts") == 0
    pending = rows(connection, "SELECT lane, batch_id FROM pending_batches ORDER BY 1, 2")
    batches = [number for [number] in rows(connection, "SELECT batch_id FROM ingest_batches ORDER BY 1")]
    assert pending == [(lane, number) for lane in ("history", "snapshot") for number in batches]


def test_counts(store: Store, connection: psycopg.Connection) -> None:
    stored = store.write(
        batch_of(
            telemetry("a", loads=[{"id": "l1"}, {"id": "l2"}, "bad"]),
            telemetry("a", loads=[{"id": "l1"}, {"id": "l2"}, "bad"]),
            telemetry("b"),
            description("a", THREE, {"id": "l1"}, {"id": "l3"}),
            status("c", THREE, "online"),
            Received("nowhere", b"\0", NOW),
        )
    )
    assert stored.messages == 6
    assert tuple(getattr(stored, column) for column in COUNTS) == counts(connection) == (2, 2, 2, 1)
    reasons = rows(connection, "SELECT reason, ven_id FROM rejected_messages ORDER BY 1")
    assert reasons == [("bad_load", "a"), ("unknown_topic", None)]
    known = rows(connection, "SELECT ven_id, created_at FROM vens ORDER BY 1")
    assert known == [(ven_id, NOW) for ven_id in "abc"]
    assert_ledger_agrees(connection)


AS_CITUS_REPORTS = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF current_query() LIKE 'COPY%' AND EXISTS (SELECT FROM ven_telemetry AS stored
        WHERE stored.ven_id = NEW.ven_id AND stored.ts = NEW.ts)
    THEN RAISE 'duplicate key value violates unique constraint' USING ERRCODE = 'XX000'; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse BEFORE INSERT ON ven_telemetry FOR EACH ROW EXECUTE FUNCTION refuse()
"""


@pytest.mark.not_on_citus  # it has the error, and no triggers on distributed tables
def test_a_duplicate_that_comes_as_an_internal_error(store: Store, connection: psycopg.Connection) -> None:
    """A worker of Citus gives SQLSTATE XX000, and the batch was halved down to each duplicate."""
    store.write(batch_of(telemetry("a")))
    connection.execute(AS_CITUS_REPORTS.encode())
    stored = store.write(batch_of(telemetry("a"), telemetry("b")))
    assert (stored.telemetry_rows, stored.duplicates) == (1, 1)
    assert_ledger_agrees(connection)


def test_a_redelivery_in_another_batch_changes_nothing(store: Store, connection: psycopg.Connection) -> None:
    messages = [
        telemetry("a", loads=[{"id": "l1"}, "bad"]),
        description("a", THREE, {"id": "l1", "vendor": {"x": 1.50}}),
        status("a", THREE, "online", details={"b": [1, 2]}),
    ]
    store.write(batch_of(*messages))
    before = counts(connection)
    for redelivered in (messages, messages[::-1], messages[:1]):
        stored = store.write(batch_of(*redelivered))
        assert tuple(getattr(stored, column) for column in COUNTS) == (0, 0, 0, 0)
    assert counts(connection) == before
    assert rows(connection, CONFLICTS) == []
    assert value(connection, "SELECT count(*) FROM ingest_batches") == 1
    assert_ledger_agrees(connection)


def test_a_respelled_redelivery_is_no_conflict(store: Store, connection: psycopg.Connection) -> None:
    first = telemetry("a", note="é")
    store.write(batch_of(first))
    store.write(batch_of(Received(first.topic, first.payload.replace(b": ", b":\n "), NOW)))
    assert rows(connection, CONFLICTS) == []
    assert value(connection, "SELECT payload::text FROM ven_telemetry").encode() == first.payload


def test_a_respelled_status_is_no_conflict(store: Store, connection: psycopg.Connection) -> None:
    first = status("a", THREE, "online", details={"b": 1, "c": 2})
    store.write(batch_of(first))
    store.write(batch_of(Received(first.topic, first.payload.replace(b": ", b":"), NOW)))
    assert rows(connection, CONFLICTS) == []


def test_of_two_with_one_key_the_first_stands(store: Store, connection: psycopg.Connection) -> None:
    store.write(
        batch_of(
            telemetry("a", used_kw=1, loads=[{"id": "l1", "currentPowerKw": 1}]),
            description("a", THREE, {"id": "l1", "name": "first"}, {"id": "l2"}),
            status("a", THREE, "first"),
        )
    )
    later = [
        telemetry("a", used_kw=2, loads=[{"id": "l1", "currentPowerKw": 2}, {"id": "l9"}]),
        description("a", THREE, {"id": "l1", "name": "second"}, {"id": "l2"}, {"id": "l3"}),
        status("a", THREE, "second"),
    ]
    store.write(batch_of(*later, telemetry("b")))
    kept = rows(
        connection,
        "SELECT t.used_power_kw, l.used_power_kw, d.name, s.status FROM ven_telemetry t"
        " JOIN ven_load_samples l USING (ven_id, ts) JOIN ven_load_descriptions d USING (ven_id, ts, load_id)"
        " JOIN ven_statuses s USING (ven_id, ts)",
    )
    assert kept == [(1.0, 1.0, "first", "first")]
    assert counts(connection) == (2, 1, 3, 1)
    conflicts = rows(connection, CONFLICTS)
    assert {bytes(payload) for _, _, payload, _ in conflicts} == {message.payload for message in later}
    assert {(ven_id, ts) for ven_id, ts, _, _ in conflicts} == {("a", THREE)}
    assert len(conflicts) == 3
    assert_ledger_agrees(connection)


def test_a_batch_of_refusals_leaves_the_ledger_alone(store: Store, connection: psycopg.Connection) -> None:
    store.write(batch_of(Received("nowhere", b"", NOW)))
    assert value(connection, "SELECT count(*) FROM rejected_messages") == 1
    assert value(connection, "SELECT count(*) FROM ingest_batches") == 0


def test_a_failed_write_leaves_no_trace_and_can_be_tried_again(
    store: Store, connection: psycopg.Connection
) -> None:
    """Nor does the batch keep rejections that depend on rows: they are decided again."""
    store.write(batch_of(telemetry("a", used_kw=1)))
    batch = batch_of(telemetry("a", used_kw=2), telemetry("b", loads=["bad"]))
    connection.execute("ALTER TABLE rejected_messages RENAME TO hidden")
    with pytest.raises(psycopg.errors.UndefinedTable):
        store.write(batch)
    assert value(connection, "SELECT count(*) FROM vens") == 1
    connection.execute("ALTER TABLE hidden RENAME TO rejected_messages")
    store.write(batch)
    reasons = rows(connection, "SELECT reason FROM rejected_messages ORDER BY 1")
    assert reasons == [("bad_load",), ("conflict",)]
    assert_ledger_agrees(connection)


def test_a_day_that_retention_dropped_meanwhile(store: Store, connection: psycopg.Connection) -> None:
    store.write(batch_of(telemetry("a", loads=[{"id": "l"}])))
    connection.execute("DROP TABLE ven_telemetry_p20240710, ven_load_samples_p20240710")
    connection.execute("DELETE FROM pending_batches; DELETE FROM ingest_batches")
    late = telemetry("a", THREE + timedelta(seconds=1), loads=[{"id": "l"}])
    tomorrow = telemetry("a", THREE + timedelta(days=1))
    store.write(batch_of(late, tomorrow))
    assert counts(connection) == (2, 1, 0, 0)
    assert_ledger_agrees(connection)


def test_a_day_dropped_while_a_batch_also_has_duplicates(
    store: Store, connection: psycopg.Connection
) -> None:
    tomorrow = telemetry("a", THREE + timedelta(days=1))
    store.write(batch_of(telemetry("a"), tomorrow))
    connection.execute("DROP TABLE ven_telemetry_p20240710")
    store.write(batch_of(telemetry("b"), tomorrow))
    ids = rows(connection, "SELECT ven_id, ts FROM ven_telemetry ORDER BY ts")
    assert ids == [("b", THREE), ("a", THREE + timedelta(days=1))]


def pieces(messages: Sequence[Received], chance: random.Random) -> Iterator[Batch]:
    position = 0
    while position < len(messages):
        size = chance.choice((1, 20, 150))
        yield Batch.of(messages[position : position + size], MAX_AHEAD)
        position += size


def test_two_workers_with_the_same_messages_in_other_batches(
    open_store: OpenStore, connection: psycopg.Connection
) -> None:
    """Redelivery to another worker while the first still writes. No deadlock, no row lost or doubled."""
    traffic = received(random_traffic(11, 900, shuffled=True))
    start = threading.Barrier(3)

    def work(seed: int) -> None:
        chance, store = random.Random(seed), open_store()
        mine = chance.sample(traffic, len(traffic))
        start.wait(10)
        for batch in pieces(mine, chance):
            store.write(batch)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, range(3)))
    alone = Batch.of(traffic, MAX_AHEAD)
    keys = rows(connection, "SELECT ven_id, ts FROM ven_telemetry")
    assert len(keys) == len(alone.reports)
    assert set(keys) == set(alone.reports)
    assert set(rows(connection, "SELECT ven_id, ts, load_id FROM ven_load_descriptions")) == set(
        alone.described
    )
    assert set(rows(connection, "SELECT ven_id, ts FROM ven_statuses")) == set(alone.statuses)
    assert {ven_id for [ven_id] in rows(connection, "SELECT ven_id FROM vens")} == set(alone.vens)
    assert_ledger_agrees(connection)


def test_samples_are_those_of_the_report_that_stands(
    open_store: OpenStore, connection: psycopg.Connection
) -> None:
    stores = [open_store() for _ in range(2)]
    barrier = threading.Barrier(2)

    def work(number: int) -> None:
        for step in range(20):
            report = telemetry(
                "a", THREE + timedelta(seconds=step), used_kw=number, loads=[{"id": f"l{number}"}]
            )
            barrier.wait(10)
            stores[number].write(batch_of(report))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, range(2)))
    joined = "SELECT count(*) FROM ven_telemetry t JOIN ven_load_samples s USING (ven_id, ts, batch_id)"
    assert value(connection, f"{joined} WHERE load_id = 'l' || t.used_power_kw::int") == 20
    assert counts(connection)[:2] == (20, 20)
    assert len(rows(connection, CONFLICTS)) == 20
    assert_ledger_agrees(connection)


def test_half_a_surrogate_pair_is_stored_as_it_came(store: Store, connection: psycopg.Connection) -> None:
    """PostgreSQL's `json` keeps the escape; the message was refused as a whole."""
    fields = '"timestamp": 1720623600, "usedPowerKw": 2, "note": "\\ud800", "eventId": "e\\udc00"'
    entry = '{"id": "a", "name": "\\udfff", "vendor": "\\ud800", "currentPowerKw": 1}'
    payload = f'{{{fields}, "loads": [{entry}]}}'.encode()
    store.write(Batch.of([Received("oadr/meter/half", payload, NOW)], timedelta(minutes=5)))
    stored = "SELECT used_power_kw, event_id, payload::text FROM ven_telemetry WHERE ven_id = 'half'"
    assert rows(connection, stored) == [(2, None, payload.decode())]
    sample = "SELECT used_power_kw, name, metadata::text FROM ven_load_samples WHERE ven_id = 'half'"
    assert rows(connection, sample) == [(1, None, '{"vendor":"\\u0000"}')]
    refused = "SELECT payload FROM rejected_messages ORDER BY payload"
    assert rows(connection, refused) == [(entry.encode(),), (payload,)]
