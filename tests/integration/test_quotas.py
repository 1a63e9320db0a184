"""What one VEN sends beyond a quota takes nothing from the others; what is refused can be tried again."""

import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace

from ingest.decoding.messages import Received
from ingest.storing.batch import Batch
from ingest.storing.queries import COUNT_VENS
from ingest.storing.quotas import Limits, Quotas
from ingest.storing.rejected import count_by_reason, replay
from ingest.storing.store import COUNT_AGAIN_AFTER, Store
from schemas.db.connections import connect
from tests.integration.published import MAX_AHEAD, NOW, THREE, description, rows, status, telemetry

VENS = "SELECT ven_id FROM vens ORDER BY 1"
REPORTERS = "SELECT DISTINCT ven_id FROM ven_telemetry ORDER BY 1"


def of(quotas: Quotas, *messages: Received) -> Batch:
    return Batch.of(messages, MAX_AHEAD, quotas)


def counts(connection: psycopg.Connection) -> dict[str, int]:
    return {each.reason: each.count for each in count_by_reason(connection)}


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with connect(database_url, "tests") as own:
        yield Store(own, "tests")


class CountingConnection(psycopg.Connection[tuple[Any, ...]]):
    """Counts how often the VENs are counted."""

    counts = 0

    def execute(self, query: Any, *arguments: Any, **options: Any) -> psycopg.Cursor[tuple[Any, ...]]:
        self.counts += query == COUNT_VENS
        return super().execute(query, *arguments, **options)


def test_vens_beyond_the_quota_are_refused_with_all_that_they_send(
    store: Store, connection: psycopg.Connection
) -> None:
    quotas = Quotas(Limits(vens=2))
    store.write(of(quotas, telemetry("a")))
    batch = of(
        quotas,
        telemetry("b", loads=[{"id": "l"}]),
        telemetry("c"),
        description("c", THREE, {"id": "l1"}, {"id": "l2"}),
        status("c", THREE, "online"),
        telemetry("a", used_kw=2),
    )
    stored = store.write(batch)
    assert (stored.rejected, stored.duplicates) == ({"too_many_vens": 3, "conflict": 1}, 0)
    assert rows(connection, VENS) == rows(connection, REPORTERS) == [("a",), ("b",)]
    assert counts(connection) == {"too_many_vens": 3, "conflict": 1}
    assert rows(connection, "SELECT count(*) FROM ven_load_descriptions") == [(0,)]
    assert rows(connection, "SELECT count(*) FROM ven_statuses") == [(0,)]


def test_known_vens_report_on_while_there_are_too_many(
    database_url: str, store: Store, connection: psycopg.Connection
) -> None:
    """Also to a worker that has just started, and where people have registered more than the quota."""
    for ven_id in "abc":
        store.write(of(Quotas(), telemetry(ven_id)))
    with connect(database_url, "tests") as own:
        started = Store(own, "started")
        stored = started.write(of(Quotas(Limits(vens=1)), *(telemetry(each, used_kw=2) for each in "abc")))
        assert stored.rejected == {"conflict": 3}
    connection.execute("UPDATE vens SET retired_at = now() WHERE ven_id <> 'a'")
    assert store.write(of(Quotas(Limits(vens=2)), telemetry("d"))).rejected == {}, "who retired makes room"


def test_counting_is_rare_far_from_the_quota(database_url: str) -> None:
    """Each batch has VENs that are new to its worker: counting for each cost more than all the rest."""
    with CountingConnection.connect(database_url, autocommit=True) as own:
        store, quotas = Store(own, "tests"), Quotas(Limits(vens=1_000))
        for number in range(70):
            store.write(of(quotas, telemetry(f"ven-{number}")))
        assert own.counts == 2, "each time a sixteenth of the room is used up"
        later = replace(telemetry("later"), received_at=NOW + COUNT_AGAIN_AFTER)
        store.write(of(quotas, later))
        assert own.counts == 3, "others register, too"


def test_a_failed_attempt_refuses_once(store: Store, connection: psycopg.Connection) -> None:
    quotas = Quotas(Limits(vens=1))
    batch = of(quotas, telemetry("a"), telemetry("b"))
    connection.execute("ALTER TABLE rejected_messages RENAME TO hidden")
    with pytest.raises(psycopg.errors.UndefinedTable):
        store.write(batch)
    connection.execute("ALTER TABLE hidden RENAME TO rejected_messages")
    assert store.write(batch).rejected == {"too_many_vens": 1}
    assert counts(connection) == {"too_many_vens": 1}
    assert rows(connection, REPORTERS) == [("a",)]


def test_what_the_database_holds_counts_for_a_worker_that_has_just_started(
    store: Store, connection: psycopg.Connection
) -> None:
    connection.execute(
        "INSERT INTO load_snapshots (ven_id, load_id, ts)"
        " SELECT 'a', 'l' || n, now() FROM generate_series(1, 3) n"
    )
    quotas = Quotas(Limits(loads_of_ven=3))
    store.refresh(quotas)
    stored = store.write(of(quotas, telemetry("a", loads=[{"id": "l1"}, {"id": "new"}])))
    assert (stored.sample_rows, stored.rejected) == (1, {"too_many_loads": 1})
    connection.execute("DELETE FROM load_snapshots WHERE load_id <> 'l1'")
    store.refresh(quotas)
    tried = list(replay(connection, Store(connection, "replay"), MAX_AHEAD, quotas=quotas))
    assert (tried, counts(connection)) == ([(1, 1)], {})
    found = rows(connection, "SELECT load_id FROM ven_load_samples ORDER BY 1")
    assert found == [("l1",), ("new",)]


def test_what_is_beyond_a_quota_again_is_tried_once(store: Store, connection: psycopg.Connection) -> None:
    quotas = Quotas(Limits(vens=1, loads_of_ven=1))
    store.write(of(quotas, telemetry("a", loads=[{"id": "l1"}, {"id": "l2"}, {"id": "l3"}]), telemetry("b")))
    before = counts(connection)
    assert before == {"too_many_vens": 1, "too_many_loads": 1}
    list(replay(connection, Store(connection, "replay"), MAX_AHEAD, quotas=quotas))
    assert counts(connection) == before


def test_several_workers_hold_it_nearly(database_url: str, connection: psycopg.Connection) -> None:
    barrier = threading.Barrier(3)

    def work(number: int) -> None:
        with connect(database_url, "tests") as own:
            store, quotas = Store(own, f"worker-{number}"), Quotas(Limits(vens=30))
            barrier.wait(10)
            for step in range(20):
                store.write(of(quotas, telemetry(f"{number}-{step}")))

    threads = [threading.Thread(target=work, args=[number]) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    registered = len(rows(connection, VENS))
    assert 30 <= registered <= 32
    assert registered + counts(connection)["too_many_vens"] == 60
