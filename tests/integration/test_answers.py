"""Acknowledgements reach their commands, once, in the transaction of their batch."""

import json
import threading
from datetime import timedelta
from functools import partial
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

from ingest.decoding.messages import Received
from ingest.storing.rejected import replay
from ingest.storing.store import Store
from ingest.storing.worker import Worker
from schemas.db.channels import COMMANDS, EVENTS
from schemas.db.connections import connect
from tests.integration.mortal import Fuse, mortal_connection
from tests.integration.outboxes import of, put
from tests.integration.published import MAX_AHEAD, NOW, batch_of, rows, telemetry, value
from tests.integration.test_worker import Line, options

REASONS = "SELECT reason FROM rejected_messages ORDER BY rejected_id"


def answer(ven_id: str, command_id: str, **said: Any) -> Received:
    payload = {"correlationId": command_id, "venId": ven_id, "op": "ping", **(said or {"ok": True})}
    return Received(f"ven/ack/{ven_id}", json.dumps(payload).encode(), NOW)


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"ok": True}, "acknowledged"),
        ({"ok": False}, "rejected"),
        ({"status": "success"}, "acknowledged"),
        ({"status": "error", "message": "no such load"}, "rejected"),
    ],
)
def test_a_command_takes_its_answer(
    said: dict[str, Any], status: str, store: Store, engine: Engine, connection: psycopg.Connection
) -> None:
    [command_id] = put(engine, "a", now=NOW)
    assert store.write(batch_of(answer("a", command_id, **said))).acknowledgement_rows == 1
    found = of(connection, command_id, "status", "acknowledged_at", "acknowledgement")
    assert found[:2] == (status, NOW)
    assert found[2].items() >= said.items()
    assert value(connection, "SELECT count(*) FROM ingest_batches") == 0, "the jobs have nothing to do"


def test_the_first_answer_stands(store: Store, engine: Engine, connection: psycopg.Connection) -> None:
    [command_id] = put(engine, "a", now=NOW)
    first, other = answer("a", command_id), answer("a", command_id, ok=False)
    stored = store.write(batch_of(first, first, other, telemetry("a")))
    assert (stored.acknowledgement_rows, stored.duplicates) == (1, 2)
    stored = store.write(batch_of(other))
    assert (stored.acknowledgement_rows, stored.duplicates, stored.rejected) == (0, 1, {})
    assert of(connection, command_id, "status") == ("acknowledged",)
    assert rows(connection, REASONS) == []


def test_an_answer_to_nothing_is_rejected(
    store: Store, engine: Engine, connection: psycopg.Connection
) -> None:
    [command_id] = put(engine, "a", now=NOW)
    of_another_ven = answer("b", command_id)
    stored = store.write(batch_of(answer("a", "never sent"), of_another_ven, of_another_ven))
    assert stored.rejected == {"unknown_command": 2}
    assert (stored.acknowledgement_rows, stored.duplicates) == (0, 1)
    assert of(connection, command_id, "status") == ("pending",)
    assert value(connection, "SELECT count(*) FROM vens") == 0, "an answer registers nobody"
    assert list(replay(connection, store, MAX_AHEAD)) == [], "and no fix of ours makes it fit"


@pytest.mark.parametrize("status", ["expired", "failed"])
def test_a_late_answer_is_written_down_and_changes_nothing_else(
    status: str, store: Store, engine: Engine, connection: psycopg.Connection
) -> None:
    [command_id] = put(engine, "a", now=NOW - timedelta(hours=2))
    connection.execute("UPDATE commands SET status = %s, error = 'why'", [status])
    store.write(batch_of(answer("a", command_id)))
    found = of(connection, command_id, "status", "error", "acknowledged_at")
    assert found == (status, "why", NOW)


def test_whoever_waits_is_told(store: Store, engine: Engine, connection: psycopg.Connection) -> None:
    connection.execute(f"LISTEN {COMMANDS}".encode())
    connection.execute(f"LISTEN {EVENTS}".encode())
    ids = [*put(engine, "a", now=NOW), *put(engine, "a", "b", now=NOW, op="event", event_id="e-1")]
    store.write(batch_of(*(answer(v, c) for v, c in zip("aab", ids, strict=True))))
    told = [(each.channel, each.payload) for each in connection.notifies(timeout=5, stop_after=2)]
    assert sorted(told) == [(COMMANDS, ""), (EVENTS, "e-1")]


@pytest.mark.thorough
def test_an_answer_that_dies_before_the_commit_comes_again(
    database_url: str, engine: Engine, connection: psycopg.Connection
) -> None:
    """Killed at any statement of the transaction, the batch is stored by the next attempt."""
    for statement in range(1, 20):
        [command_id] = put(engine, "a", now=NOW)
        fuse = Fuse(database_url)
        fuse.left = statement
        line: Any = Line(on_acknowledge=partial(of, connection, command_id, "status"))
        opened: list[psycopg.Connection] = []

        def open_store(fuse: Fuse = fuse, opened: list[psycopg.Connection] = opened) -> Store:
            opened.append(mortal_connection(database_url, fuse))
            return Store(opened[-1], "tests")

        made = Worker(line, open_store, threading.Event(), **options())
        made.commit(batch_of(answer("a", command_id), telemetry(f"v{statement}"), answer("b", command_id)))
        for each in opened:
            each.close()
        assert line.found == [("acknowledged",)]
        assert value(connection, "SELECT count(*) FROM rejected_messages") == statement
        assert value(connection, "SELECT count(*) FROM ven_telemetry") == statement
        if fuse.left > 0:
            assert statement > 5
            return
    pytest.fail("a transaction of so many statements?")


def test_workers_that_answer_the_same_commands_do_not_lock_each_other_out(
    database_url: str, engine: Engine, connection: psycopg.Connection
) -> None:
    vens = [f"ven-{number}" for number in range(200)]
    ids = put(engine, *vens, now=NOW)
    answers = [answer(ven_id, command_id) for ven_id, command_id in zip(vens, ids, strict=True)]
    counted: list[int] = []

    def work(messages: list[Received]) -> None:
        with connect(database_url, "ingest") as own:
            counted.append(Store(own, "tests").write(batch_of(*messages)).acknowledgement_rows)

    threads = [threading.Thread(target=work, args=[order]) for order in (answers, answers[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(counted) == 200
    assert value(connection, "SELECT count(*) FROM commands WHERE status = 'acknowledged'") == 200
