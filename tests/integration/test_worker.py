"""Commit, then acknowledge, whatever fails between: a poisonous row, a lost connection, a stop."""

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Unpack

import psycopg
import pytest

from ingest.decoding.messages import Received
from ingest.metrics import IngestMetrics
from ingest.storing import worker as storing
from ingest.storing.batch import Batch
from ingest.storing.quotas import Quotas
from ingest.storing.store import Store, Stored
from ingest.storing.worker import NO_WAITS, Stopped, Worker
from schemas.db.connections import Bounds, connect
from tests.faults.proxy import PostgresProxy
from tests.integration.published import (
    MAX_AHEAD,
    NOW,
    THREE,
    batch_of,
    description,
    rows,
    status,
    telemetry,
    until,
    value,
)

NOWHERE = "postgresql://nobody@/nothing?host=/nonexistent"

REFUSE_666_KW = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the number of the beast' USING ERRCODE = '{code}';
END $$;
CREATE TRIGGER refuse BEFORE INSERT ON ven_telemetry
    FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION refuse()
"""
"""A row that decodes and that only the database refuses: nothing known to us is one by nature."""


def refuse(
    connection: psycopg.Connection, code: str = "22000", condition: str = "NEW.used_power_kw = 666"
) -> None:
    connection.execute(REFUSE_666_KW.format(code=code, condition=condition).encode())


DIE_TWICE = """
CREATE SEQUENCE deaths;
CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('deaths') <= 2 THEN
        PERFORM pg_terminate_backend(pg_backend_pid());
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER die BEFORE INSERT ON ingest_batches FOR EACH ROW EXECUTE FUNCTION die()
"""
"""The ledger's row is the last but one statement of a transaction; a sequence does not roll back."""


class Line:
    """The broker's side: hands over what it is given, and remembers what came back."""

    def __init__(
        self,
        *deliveries: Sequence[Received],
        on_acknowledge: Callable[[], Any] = lambda: None,
        on_empty: Callable[[], Any] = lambda: None,
    ) -> None:
        self._deliveries = list(deliveries)
        self._on_empty = on_empty
        self._on_acknowledge = on_acknowledge
        self.acknowledged: list[Received] = []
        self.found: list[Any] = []

    def take(self, _most: int, _most_bytes: int, _timeout_s: float) -> list[Received]:
        if self._deliveries:
            return list(self._deliveries.pop(0))
        self._on_empty()
        return []

    def wake(self) -> None:
        """Nobody waits here."""

    def acknowledge(self, messages: list[Received]) -> None:
        self.found.append(self._on_acknowledge())
        self.acknowledged += messages


class ImpatientEvent(threading.Event):
    """Stops a last wait, and keeps waits short."""

    def __init__(self, waits: int = 3) -> None:
        super().__init__()
        self.waits = 0
        self._last = waits

    def wait(self, timeout: float | None = None) -> bool:
        del timeout
        self.waits += 1
        if self.waits >= self._last:
            self.set()
        return super().wait(0.001)


def options() -> dict[str, Any]:
    return {"batch_messages": 1000, "max_ahead": MAX_AHEAD, "metrics": IngestMetrics(lambda: NOW)}


def worker(
    line: Line, database_url: str, stopping: threading.Event | None = None, **session: Unpack[Bounds]
) -> tuple[Worker, Callable[[], None]]:
    """A worker, and the end of all connections that it has opened."""
    opened: list[psycopg.Connection] = []

    def open_store() -> Store:
        opened.append(connect(database_url, "ingest", **session))
        return Store(opened[-1], "tests")

    def close() -> None:
        for connection in opened:
            connection.close()

    subscriber: Any = line
    return Worker(subscriber, open_store, stopping or threading.Event(), **options()), close


@pytest.fixture
def handle(database_url: str) -> Iterator[Callable[[Line, list[Received]], None]]:
    closings: list[Callable[[], None]] = []

    def handle(line: Line, messages: list[Received]) -> None:
        made, close = worker(line, database_url)
        closings.append(close)
        made.commit(Batch.of(messages, MAX_AHEAD))

    yield handle
    for close in closings:
        close()


Handle = Callable[[Line, list[Received]], None]


def test_nothing_is_nothing_to_do(database_url: str) -> None:
    stopping = threading.Event()
    line = Line([], [], on_empty=stopping.set)
    made, close = worker(line, database_url, stopping)
    made.run()
    close()
    assert line.found == []


def test_what_is_acknowledged_is_committed(handle: Handle, connection: psycopg.Connection) -> None:
    line = Line(on_acknowledge=lambda: value(connection, "SELECT count(*) FROM ven_telemetry"))
    messages = [telemetry("a"), telemetry("b"), Received("nowhere", b"", NOW)]
    handle(line, messages)
    assert line.found == [2]
    assert line.acknowledged == messages
    assert value(connection, "SELECT reason FROM rejected_messages") == "unknown_topic"


@pytest.mark.not_on_citus  # a trigger
@pytest.mark.thorough
@pytest.mark.parametrize("position", [0, 4, 12])
def test_a_row_that_only_the_database_refuses_is_rejected(
    position: int, handle: Handle, connection: psycopg.Connection
) -> None:
    refuse(connection)
    messages = [telemetry(f"ven-{number:02}") for number in range(12)]
    messages.insert(position, telemetry("poison", used_kw=666, loads=[{"id": "l"}]))
    line = Line()
    handle(line, messages)
    assert line.acknowledged == messages
    stored = [ven_id for [ven_id] in rows(connection, "SELECT ven_id FROM ven_telemetry ORDER BY 1")]
    assert stored == [f"ven-{number:02}" for number in range(12)]
    assert value(connection, "SELECT count(*) FROM ven_load_samples") == 0
    [[payload, reason, detail]] = rows(connection, "SELECT payload, reason, detail FROM rejected_messages")
    assert (bytes(payload), reason) == (messages[position].payload, "refused_by_database")
    assert "the number of the beast" in detail
    written = "SELECT sum(telemetry_rows), sum(messages) FROM ingest_batches"
    assert rows(connection, written) == [(12, 12)]


CODES = (
    "53100",  # disk full
    "53200",  # out of shared memory: the lock table is full
    "XX000",  # internal error: also what Citus makes of any error of a worker
    "40P01",  # deadlock
    "40001",  # serialization failure
    "55P03",  # lock not available
    "57014",  # statement timeout
    "08006",  # connection failure, told over a connection that lives
    "42501",  # insufficient privilege
    "P0001",  # raised by somebody's trigger
    "ZZ999",  # no class that there is
)


@pytest.mark.not_on_citus  # a trigger
@pytest.mark.thorough
@pytest.mark.parametrize("code", CODES)
def test_a_message_that_cannot_be_stored_is_rejected_whatever_the_error_says(
    code: str, handle: Handle, connection: psycopg.Connection
) -> None:
    """Class 53 was in no list: one batch was retried for ever, and no telemetry was stored."""
    refuse(connection, code)
    messages = [telemetry(f"ven-{number:02}") for number in range(7)]
    messages.insert(3, telemetry("poison", used_kw=666))
    line = Line()
    handle(line, messages)
    assert line.acknowledged == messages
    assert value(connection, "SELECT count(*) FROM ven_telemetry") == 7
    [[ven, reason, detail]] = rows(
        connection,
        "SELECT convert_from(payload, 'UTF8')::json->>'venId', reason, detail FROM rejected_messages",
    )
    assert (ven, reason) == ("poison", "refused_by_database")
    assert "the number of the beast" in detail
    assert value(connection, "SELECT count(*) FROM vens WHERE ven_id = 'gridgate-probe'") == 0


class FaultyQuotas(Quotas):
    """Fails at one load type, as a fault of ours would."""

    def load_type(self, text: str | None) -> str | None:
        if text == "unforeseen":
            raise ZeroDivisionError("unforeseen")
        return super().load_type(text)


class FaultyStore(Store):
    """Fails at one VEN."""

    def write(self, batch: Batch) -> Stored:
        if any(ven_id == "unforeseen" for ven_id, _ in batch.reports):
            raise ZeroDivisionError("unforeseen")
        return super().write(batch)


@pytest.mark.thorough
def test_a_fault_of_ours_at_one_message_does_not_stop_the_others(
    database_url: str, connection: psycopg.Connection
) -> None:
    """The process ended, and found the same message at the broker when it began again, for ever."""
    stopping = ImpatientEvent(waits=100_000)
    messages = [telemetry(f"ven-{number}") for number in range(5)]
    messages.insert(1, telemetry("unforeseen"))
    messages.insert(3, telemetry("typed", loads=[{"id": "l", "type": "unforeseen"}]))
    line: Any = Line(messages, on_acknowledge=stopping.set)
    with connect(database_url, "ingest") as own:
        made = Worker(
            line,
            lambda: FaultyStore(connect(database_url, "i"), "w"),
            stopping,
            **options(),
            quotas=FaultyQuotas(),
        )
        made.run()
        assert sorted(map(id, line.acknowledged)) == sorted(map(id, messages))
        aside = "SELECT reason, payload::bytea FROM rejected_messages"
        assert sorted((reason, bytes(payload)) for reason, payload in rows(own, aside)) == sorted(
            ("fault_of_ours", messages[position].payload) for position in (1, 3)
        )
    assert value(connection, "SELECT count(*) FROM ven_telemetry") == 5


@pytest.mark.not_on_citus  # a trigger
def test_an_error_that_passes_costs_no_message(handle: Handle, connection: psycopg.Connection) -> None:
    connection.execute("CREATE SEQUENCE attempts")
    refuse(connection, "53200", "NEW.used_power_kw = 666 AND nextval('attempts') <= 2")
    handle(Line(), [telemetry("a"), telemetry("b", used_kw=666)])
    assert value(connection, "SELECT count(*) FROM ven_telemetry") == 2
    assert value(connection, "SELECT count(*) FROM rejected_messages") == 0


@pytest.mark.not_on_citus  # a trigger
@pytest.mark.thorough
@pytest.mark.parametrize("code", ["53100", "XX000", "25006"])
def test_while_nothing_can_be_stored_no_message_is_blamed(
    code: str, database_url: str, connection: psycopg.Connection
) -> None:
    refuse(connection, code, "true")
    stopping = ImpatientEvent(waits=20)
    line = Line()
    made, close = worker(line, database_url, stopping)
    with pytest.raises(Stopped):
        made.commit(batch_of(telemetry("a"), telemetry("b")))
    close()
    assert stopping.waits == 20
    assert line.acknowledged == []
    assert value(connection, "SELECT count(*) FROM rejected_messages") == 0


@pytest.mark.thorough
def test_a_locked_table_is_waited_for(database_url: str, connection: psycopg.Connection) -> None:
    """A long lock on a table must not make ingest reject messages that arrive meanwhile."""
    stopping = ImpatientEvent(waits=8)
    line = Line()
    with connect(database_url, "somebody", idle_in_transaction_session_timeout="0") as somebody:
        somebody.execute("BEGIN; LOCK TABLE ven_load_samples IN ACCESS EXCLUSIVE MODE")
        made, close = worker(line, database_url, stopping, lock_timeout="20ms")
        with pytest.raises(Stopped):
            made.commit(batch_of(*(telemetry(ven_id, loads=[{"id": "l"}]) for ven_id in "ab")))
        close()
    assert stopping.waits == 8
    assert line.acknowledged == []
    assert value(connection, "SELECT count(*) FROM rejected_messages") == 0


@pytest.mark.not_on_citus  # a trigger
def test_duplicates_and_conflicts_are_told_once_although_batches_were_split(
    handle: Handle, connection: psycopg.Connection
) -> None:
    refuse(connection)
    messages = [
        telemetry("a"),
        telemetry("a", used_kw=2),
        telemetry("poison", used_kw=666),
        Received("nowhere", b"", NOW),
        telemetry("a"),
    ]
    handle(Line(), messages)
    reasons = [reason for [reason] in rows(connection, "SELECT reason FROM rejected_messages ORDER BY 1")]
    assert reasons == ["conflict", "refused_by_database", "unknown_topic"]
    assert value(connection, "SELECT count(*) FROM ven_telemetry") == 1


def test_a_connection_that_is_killed_before_the_commit(
    handle: Handle, connection: psycopg.Connection
) -> None:
    connection.execute(DIE_TWICE.encode())
    messages = [
        telemetry("a", loads=[{"id": "l"}]),
        description("a", THREE, {"id": "l"}),
        status("a", THREE, "online"),
    ]
    line = Line(on_acknowledge=lambda: value(connection, "SELECT count(*) FROM ingest_batches"))
    handle(line, messages)
    assert value(connection, "SELECT last_value FROM deaths") == 3
    assert line.found == [1]
    for table in ("vens", "ven_telemetry", "ven_load_samples", "ven_load_descriptions", "ven_statuses"):
        assert value(connection, f"SELECT count(*) FROM {table}") == 1, table
    assert value(connection, "SELECT count(*) FROM pending_batches") == 2
    assert value(connection, "SELECT count(*) FROM rejected_messages") == 0


def test_a_client_that_is_lost_at_its_commit_does_not_keep_its_locks(
    database_url: str, connection: psycopg.Connection, tmp_path: Path
) -> None:
    """After a pipeline of psycopg the server had no timer for it: its VENs were locked for ever."""
    unreadable = [Received("oadr/meter/a", b"{", NOW)] * 3
    with PostgresProxy(tmp_path, database_url) as proxy:
        lost = connect(proxy.url, "ingest", idle_in_transaction_session_timeout="1s")
        store = Store(lost, "tests")
        store.write(batch_of(telemetry("first")))
        proxy.seconds_a_megabyte = 200  # as over a network: the answers are late
        proxy.cut_next("client")
        with pytest.raises(psycopg.OperationalError):
            store.write(Batch.of([telemetry("a"), *unreadable], MAX_AHEAD))
        others = "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'gridgate-ingest'"
        until(lambda: connection.execute(others).fetchone() == (True,))
    assert Store(connection, "tests").write(batch_of(telemetry("a"))).telemetry_rows == 1


def test_a_connection_that_breaks_in_the_commit_stores_once(
    database_url: str, connection: psycopg.Connection
) -> None:
    """The commit went through, its answer did not: the second attempt finds the rows and adds none."""
    opened: list[psycopg.Connection] = []

    class Unlucky(Store):
        def write(self, *arguments: Any) -> Any:
            stored = super().write(*arguments)
            if len(opened) == 1:
                raise psycopg.OperationalError("server closed the connection unexpectedly")
            return stored

    def open_store() -> Store:
        opened.append(connect(database_url, "ingest"))
        return Unlucky(opened[-1], "tests")

    line: Any = Line()
    messages = [telemetry("a", loads=[{"id": "l"}, "bad"]), telemetry("b")]
    Worker(line, open_store, threading.Event(), **options()).commit(Batch.of(messages, MAX_AHEAD))
    opened[-1].close()
    assert len(opened) == 2
    assert line.acknowledged == messages
    assert value(connection, "SELECT count(*) FROM ven_telemetry") == 2
    assert value(connection, "SELECT count(*) FROM ingest_batches") == 1
    assert value(connection, "SELECT count(*) FROM rejected_messages") == 1


class PacedLine(Line):
    """Delivers more only when what it delivered before is committed, wherever a delivery is `None`."""

    def __init__(self, *deliveries: Sequence[Received] | None) -> None:
        super().__init__(*([] if each is None else each for each in deliveries))
        self._waits = [each is None for each in deliveries]
        self._woken = threading.Semaphore(0)

    def take(self, most: int, most_bytes: int, timeout_s: float) -> list[Received]:
        if self._waits and self._waits.pop(0):
            assert self._woken.acquire(timeout=30)
        return super().take(most, most_bytes, timeout_s)

    def wake(self) -> None:
        self._woken.release()


def test_a_batch_grows_for_as_long_as_messages_come(
    database_url: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one does not wait, and nobody waits for a broker that waits for acknowledgements."""
    monkeypatch.setattr(storing, "BETWEEN_COMMITS_S", 3600)
    a, b, c, d, e, f, g = (telemetry(ven_id) for ven_id in "abcdefg")
    line, stopping = PacedLine([], [a], None, [b, c], [d], [e], [], None, [f], [g], []), threading.Event()
    made, close = worker(line, database_url, stopping)
    runs = threading.Thread(target=made.run)
    runs.start()
    until(lambda: line.acknowledged == [a, b, c, d, e, f, g])
    stopping.set()
    runs.join(30)
    close()
    sizes = rows(connection, "SELECT messages FROM ingest_batches ORDER BY batch_id")
    assert sizes == [(1,), (4,), (2,)]


def test_a_broker_with_one_message_in_flight_is_seldom_waited_for(
    database_url: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storing, "BETWEEN_COMMITS_S", 3600)
    messages = [telemetry(f"ven-{number}") for number in range(2 * NO_WAITS)]
    paced = [step for message in messages for step in (None, [message], [])]
    line, stopping = PacedLine(*paced), ImpatientEvent(waits=1000)
    line.wake()
    made, close = worker(line, database_url, stopping)
    runs = threading.Thread(target=made.run)
    runs.start()
    until(lambda: line.acknowledged == messages)
    stopping.set()
    runs.join(30)
    close()
    assert value(connection, "SELECT count(*) FROM ingest_batches") == len(messages)
    assert stopping.waits == 2, "before the second commit, and after five more again"


class BrokenLine(PacedLine):
    """Cannot acknowledge."""

    def acknowledge(self, messages: list[Received]) -> None:
        raise ConnectionError(f"{len(messages)} messages unacknowledged")


def test_a_failed_acknowledgement_ends_the_worker_though_no_message_comes(database_url: str) -> None:
    """With all that the broker may have in flight unacknowledged, none would ever come."""
    made, close = worker(BrokenLine([telemetry("a")], None, None), database_url)
    with pytest.raises(ConnectionError, match="1 messages unacknowledged"):
        made.run()
    close()


def test_a_stop_while_the_database_is_away_acknowledges_nothing() -> None:
    stopping = ImpatientEvent()
    line = Line([telemetry("a")], [telemetry("b")])
    made, _ = worker(line, NOWHERE, stopping)
    made.run()
    assert line.found == []
    assert stopping.waits == 3


def test_a_stop_lets_the_batch_in_hand_be_stored(database_url: str, connection: psycopg.Connection) -> None:
    stopping = threading.Event()
    line = Line([telemetry("a")], [telemetry("b")], on_acknowledge=stopping.set)
    made, close = worker(line, database_url, stopping)
    made.run()
    close()
    assert rows(connection, "SELECT ven_id FROM ven_telemetry") == [("a",)]


def test_a_topic_that_the_database_cannot_hold_does_not_stop_the_line(
    database_url: str, connection: psycopg.Connection
) -> None:
    """MQTT forbids U+0000 in topics; rumqttd lets it pass."""
    line = Line()
    made, close = worker(line, database_url, ImpatientEvent())
    try:
        made.commit(Batch.of([telemetry("a"), Received("ven/status/a\0b", b"online", NOW)], MAX_AHEAD))
    finally:
        close()
    assert len(line.acknowledged) == 2
    assert value(connection, "SELECT count(*) FROM rejected_messages") == 1
