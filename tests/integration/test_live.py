"""Live streams: every change once, in one order, also to who was away, also when commits cross."""

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from unittest.mock import ANY

import psycopg
import pytest
from falcon import testing
from msgspec import Struct
from sqlalchemy import Engine

from ingest.storing.store import Store
from jobs.running.runner import Runner
from jobs.running.schedule import schedule
from jobs.settings import Cadence
from jobs.storage.retention import trim_live_changes
from schemas.db.connections import connect, engine_for
from serving.app import create_app
from serving.cache.listener import Listener
from serving.errors import TooManyStreamsError
from serving.fleet.reader import FleetReader
from serving.live.changes import StreamPosition
from serving.live.hub import HEARTBEAT, RECENT, LiveHub, LiveStream
from serving.live.places import StreamPlaces
from serving.worker_state import WorkerState
from tests.integration.published import NEW_EVENT, NOW, THREE, batch_of, rows, status, telemetry, until, value

MakeLive = Callable[[], LiveHub]


class Told(Struct, frozen=True):
    """An event of a stream."""

    id: int
    event: str
    data: Any
    mark: str = ""

    @property
    def place(self) -> StreamPosition:
        return StreamPosition(self.id, self.mark or None)


def parse(text: str) -> list[Told]:
    """As the HTML standard has it, as far as our streams need it."""
    told = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "event" in fields:
            number, _, mark = fields["id"].partition("-")
            told.append(Told(int(number), fields["event"], json.loads(fields["data"]), mark))
    return told


def read(stream: LiveStream, wanted: int, *kinds: str) -> list[Told]:
    """The next events of some kinds; heartbeats if they take too long."""
    found: list[Told] = []
    for chunk in stream:
        assert chunk != HEARTBEAT, f"only {found}"
        found += [told for told in parse(chunk.decode()) if told.event in kinds]
        if len(found) >= wanted:
            return found
    raise AssertionError(f"the stream ended after {found}")


def make(engine: Engine, **said: Any) -> LiveHub:
    return LiveHub(
        engine,
        FleetReader(engine, lambda: NOW).network,
        **{"places": StreamPlaces(8), "heartbeat_s": 10, **said},
    )


@pytest.fixture
def listened(engine: Engine, database_url: str) -> Iterator[MakeLive]:
    """Makes what a worker process has, as if it had started again."""
    started: list[tuple[Listener, threading.Thread]] = []

    def start() -> LiveHub:
        state = WorkerState(engine, FleetReader(engine, lambda: NOW), StreamPlaces(8), stream_heartbeat_s=10)
        listener = state.listener(lambda: connect(database_url, "tests"), every_s=0.5)
        started.append((listener, listener.start()))
        return state.hub

    yield start
    for listener, thread in started:
        listener.stop()
        thread.join(10)


def write(connection: psycopg.Connection, ven_id: str, word: str) -> None:
    connection.execute(
        "INSERT INTO ven_snapshots (ven_id, status, status_ts) VALUES (%s, %s, %s)"
        " ON CONFLICT (ven_id) DO UPDATE SET status = excluded.status, status_ts = excluded.status_ts",
        [ven_id, word, THREE],
    )


def snapshot_lane(engine: Engine) -> None:
    Runner(engine, lambda: NOW).run(next(job for job in schedule(Cadence()) if job.name == "snapshot"))


def test_what_vens_say_is_told_as_it_comes(listened: MakeLive, store: Store, engine: Engine) -> None:
    stream = listened().open(None)
    [before] = read(stream, 1, "network")
    assert (before.id, before.data["venCount"]) == (0, 0)
    store.write(batch_of(telemetry("ven-1"), status("ven-1", THREE, "online")))
    snapshot_lane(engine)
    assert read(stream, 1, "status") == [
        Told(1, "status", {"venId": "ven-1", "status": "online", "ts": "2024-07-10T15:00:00Z"}, ANY)
    ]
    assert value_of(engine, "SELECT online_vens FROM network_snapshot") == 1
    stream.close()


def value_of(engine: Engine, query: str) -> Any:
    with engine.connect() as connection:
        return connection.exec_driver_sql(query).scalar_one()


def test_the_totals_are_told_when_they_change(listened: MakeLive, store: Store, engine: Engine) -> None:
    stream = listened().open(None)
    read(stream, 1, "network")
    for number, used_kw in enumerate((1.5, 2.5)):
        store.write(batch_of(telemetry("ven-1", THREE + timedelta(seconds=number), used_kw=used_kw)))
        snapshot_lane(engine)
        snapshot_lane(engine)  # nothing new, nothing told
        [told] = read(stream, 1, "network")
        assert told.data["householdUsageKw"] == used_kw
    stream.close()


def test_a_status_that_stays_the_same_is_no_change(store: Store, engine: Engine) -> None:
    said = [status("ven-1", THREE + timedelta(seconds=n), word) for n, word in enumerate(WORDS)]
    for message in said:
        store.write(batch_of(message))
        snapshot_lane(engine)
    live = make(engine)
    live.refresh_changes()
    assert [told.data["status"] for told in read(live.open(StreamPosition(0)), 3, "status")] == [
        "online",
        "offline",
        "online",
    ]


WORDS = ("online", "online", "offline", "online")


def test_presence_is_told_too(store: Store, engine: Engine) -> None:
    store.write(batch_of(telemetry("ven-1", NOW), status("ven-1", NOW, "online")))
    snapshot_lane(engine)
    later = NOW + timedelta(hours=1)
    Runner(engine, lambda: later).run(next(job for job in schedule(Cadence()) if job.name == "presence"))
    live = make(engine)
    live.refresh_changes()
    assert [told.data["status"] for told in read(live.open(StreamPosition(0)), 2, "status")] == [
        "online",
        "offline",
    ]


@pytest.mark.thorough
def test_what_was_missed_is_told_again_once_and_in_order(
    listened: MakeLive, connection: psycopg.Connection
) -> None:
    """A client may leave at any time, and reconnect to a process that has restarted or not."""
    live = listened()
    for number in range(30):
        write(connection, f"ven-{number % 3}", f"word-{number}")
    whole = read(live.open(StreamPosition(0)), 30, "status")
    assert [told.data["status"] for told in whole] == [f"word-{number}" for number in range(30)]
    assert [told.id for told in whole] == list(range(1, 31))
    for left_at in (0, 1, 17, 29):
        for each in (live, listened()):
            again = each.open(StreamPosition(left_at))
            write(connection, "ven-x", f"after {left_at} {id(each)}")
            assert read(again, 31 - left_at, "status")[: 30 - left_at] == whole[left_at:]
            again.close()


def test_more_than_a_process_holds(engine: Engine, connection: psycopg.Connection) -> None:
    """A client far behind is served from the database, then from memory, without a gap."""
    live = make(engine)
    live.refresh_changes()
    behind = live.open(StreamPosition(0))
    read(behind, 1, "network")
    connection.execute(
        b"INSERT INTO live_changes (kind, data, written_at) SELECT 'status', json_build_object("
        b"'ven_id', n::text, 'status', 'online', 'ts', '2024-07-10T15:00:00'), now()"
        b" FROM generate_series(1, %d) n" % (3 * RECENT)
    )
    live.refresh_changes()
    told = read(behind, 3 * RECENT, "status")
    assert [each.data["venId"] for each in told] == [str(n) for n in range(1, 3 * RECENT + 1)]


@pytest.mark.thorough
def test_commits_that_cross(engine: Engine, database_url: str, connection: psycopg.Connection) -> None:
    """A change written first and committed last comes last, and no client misses it."""
    live = make(engine)
    live.refresh_changes()
    stream = live.open(None)
    with connect(database_url, "tests") as slow:
        with slow.transaction():
            write(slow, "slow", "online")
            write(connection, "quick", "online")
            live.refresh_changes()
            [quick] = read(stream, 1, "status")
            assert quick.data["venId"] == "quick"
        live.refresh_changes()
    [late] = read(stream, 1, "status")
    assert (late.data["venId"], late.id) == ("slow", quick.id + 1)
    assert read(make(engine).open(quick.place), 1, "status") == [late]


def test_several_processes_number_at_once(
    engine: Engine, database_url: str, connection: psycopg.Connection
) -> None:
    lives = [make(engine) for _ in range(3)]
    for live in lives:
        live.refresh_changes()
    streams = [live.open(None) for live in lives]
    writers = [
        threading.Thread(target=_write_many, args=(database_url, f"ven-{number}", lives))
        for number in range(3)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    for live in lives:
        live.refresh_changes()
    told = [read(stream, 120, "status") for stream in streams]
    assert told[0] == told[1] == told[2]
    assert [each.id for each in told[0]] == list(range(1, 121))
    for number in range(3):
        of_one = [each.data["status"] for each in told[0] if each.data["venId"] == f"ven-{number}"]
        assert of_one == [str(n) for n in range(40)]
    assert value(connection, "SELECT count(DISTINCT position) FROM live_changes") == 120


def _write_many(database_url: str, ven_id: str, lives: list[LiveHub]) -> None:
    with connect(database_url, "tests") as connection:
        for number in range(40):
            write(connection, ven_id, str(number))
            lives[number % len(lives)].refresh_changes()


# Events


def test_events_are_told_with_their_metrics(engine: Engine, connection: psycopg.Connection) -> None:
    live = make(engine)
    live.refresh_changes()
    stream = live.open(None)
    at = datetime(2024, 7, 10, 16, tzinfo=UTC)
    connection.execute(
        "INSERT INTO events (event_id, status, start_time, end_time, requested_reduction_kw, notify_at,"
        " created_at)"
        " VALUES ('evt-1', 'scheduled', %(at)s, %(at)s + interval '1 h', 12.3456, %(at)s, %(at)s)",
        {"at": at},
    )
    connection.execute("UPDATE events SET status = 'active', started_at = start_time")
    connection.execute("UPDATE events SET started_at = start_time + interval '1 s'")  # nothing of it is told
    connection.execute(
        "INSERT INTO event_progress (event_id, current_reduction_kw, vens_responding, avg_response_ms,"
        " refreshed_at) VALUES ('evt-1', 3.00049, 2, 250.5, now())"
    )
    connection.execute("UPDATE event_progress SET refreshed_at = refreshed_at + interval '2 s'")
    live.refresh_changes()
    assert value(connection, "SELECT count(*) FROM live_changes") == 3
    told = read(stream, 3, "event")
    scheduled = {
        "id": "evt-1",
        "status": "scheduled",
        "startTime": "2024-07-10T16:00:00Z",
        "endTime": "2024-07-10T17:00:00Z",
        "plannedEndTime": "2024-07-10T17:00:00Z",
        "requestedReductionKw": 12.346,
        **NEW_EVENT,
        "currentReductionKw": 0.0,
        "vensResponding": 0,
        "avgResponseMs": 0,
        "vensReporting": 0,
    }
    active = scheduled | {"status": "active"}
    under_way = active | {"currentReductionKw": 3.0, "vensResponding": 2, "avgResponseMs": 250}
    assert [each.data for each in told] == [scheduled, active, under_way]


@pytest.mark.parametrize(
    ("change", "key", "expected"),
    [
        ('notes = \'[{"reason": "resting", "vens": 3}]\'', "notes", [{"reason": "resting", "vens": 3}]),
        ("priority = 7", "priority", 7),
        ("ven_ids = '[\"a\"]'", "venIds", ["a"]),
        ("lead_time_s = 60", "leadTimeS", 60.0),
        ("ended_at = start_time + interval '5 min'", "endTime", "2024-07-10T16:05:00Z"),
    ],
)
def test_a_change_of_whatever_an_event_shows_is_told(
    change: str, key: str, expected: object, engine: Engine, connection: psycopg.Connection
) -> None:
    connection.execute(
        "INSERT INTO events (event_id, status, start_time, end_time, requested_reduction_kw, notify_at,"
        " created_at) SELECT 'evt-1', 'active', at, at + interval '1 h', 1, at, at"
        " FROM (SELECT timestamptz '2024-07-10 16:00Z') AS t (at)"
    )
    live = make(engine)
    live.refresh_changes()
    stream = live.open(None)
    connection.execute(f"UPDATE events SET {change}".encode())
    connection.execute(f"UPDATE events SET {change}".encode())  # the same again changes nothing
    live.refresh_changes()
    assert value(connection, "SELECT count(*) FROM live_changes") == 2
    [event] = read(stream, 1, "event")
    assert event.data[key] == expected


# What cannot be replayed


def trim(engine: Engine, kept: timedelta = timedelta(0)) -> int:
    with engine.begin() as connection:
        return trim_live_changes(connection, datetime.now(UTC) + timedelta(minutes=1), kept)


def lose_the_tail(connection: psycopg.Connection, lost: int, written_since: int) -> None:
    """As after a fail-over to a replica that lacked the last changes, which then goes on by itself."""
    connection.execute(
        "DELETE FROM live_changes WHERE position > (SELECT max(position) FROM live_changes) - %s", [lost]
    )
    for number in range(written_since):
        write(connection, f"after-{number}", "online")


@pytest.mark.parametrize("written_since", [0, 3, 5, 8])
def test_a_fail_over_that_loses_changes_resets_streams(
    engine: Engine, connection: psycopg.Connection, written_since: int
) -> None:
    """The changes after a fail-over took the positions of those that were lost, and no stream sent them."""
    live = make(engine)
    for number in range(10):
        write(connection, f"before-{number}", "online")
    live.refresh_changes()
    open_stream = live.open(StreamPosition(0))
    last = read(open_stream, 10, "status")[-1]
    lose_the_tail(connection, 5, written_since)
    live.refresh_changes()
    assert read(open_stream, 1, "reset")[0].id == 5 + written_since
    write(connection, "now", "online")
    live.refresh_changes()
    assert read(open_stream, 1, "status")[0].data["venId"] == "now"
    resumed = make(engine).open(last.place)
    assert read(resumed, 1, "reset")[0].id == 6 + written_since
    for stream in (open_stream, resumed):
        stream.close()


def test_who_was_away_for_too_long_is_told_so(engine: Engine, connection: psycopg.Connection) -> None:
    for number in range(5):
        write(connection, "ven-1", str(number))
    assert trim(engine, kept=timedelta(hours=1)) == 0
    assert trim(engine) == 4, "the newest stays, to number on from"
    live = make(engine)
    live.refresh_changes()
    stream = live.open(StreamPosition(3))
    reset, network = read(stream, 2, "reset", "network", "status")
    assert (reset, network.id) == (Told(5, "reset", {"oldestId": 4, "newestId": 5}, ANY), 5)
    write(connection, "ven-1", "again")
    live.refresh_changes()
    assert [told.id for told in read(stream, 1, "status")] == [6]
    assert [told.id for told in read(live.open(StreamPosition(4)), 2, "reset", "status")] == [5, 6]


@pytest.mark.parametrize("foreign", [7, -1])
def test_an_id_that_is_not_ours(foreign: int, engine: Engine) -> None:
    """Of another database, or of another service."""
    live = make(engine)
    live.refresh_changes()
    assert read(live.open(StreamPosition(foreign)), 1, "reset")[0].id == 0


def test_trimming_is_a_job(engine: Engine, connection: psycopg.Connection) -> None:
    for word in ("online", "offline"):
        write(connection, "ven-1", word)
    trims = next(job for job in schedule(Cadence()) if job.name == "trim")
    Runner(engine, lambda: datetime.now(UTC) + timedelta(hours=23)).run(trims)
    assert value(connection, "SELECT count(*) FROM live_changes") == 2
    Runner(engine, lambda: datetime.now(UTC) + timedelta(hours=25)).run(trims)
    assert rows(connection, "SELECT position FROM live_changes") == [(2,)]


# Clients


def test_a_quiet_stream_shows_that_it_is_there(engine: Engine) -> None:
    stream = make(engine, heartbeat_s=0.05).open(None)
    assert [next(stream)[:6], next(stream), next(stream)] == [b"retry:", HEARTBEAT, HEARTBEAT]


def test_a_bound_on_clients(engine: Engine) -> None:
    state = WorkerState(engine, FleetReader(engine, lambda: NOW), StreamPlaces(2))
    live = state.hub
    streams = [live.open(None), live.open(None)]
    with pytest.raises(TooManyStreamsError):
        live.open(None)
    client = testing.TestClient(create_app(engine, lambda: NOW, [], state=state))
    refused = client.simulate_get("/api/stream")
    assert (refused.status_code, int(refused.headers["retry-after"]) > 0) == (503, True)
    streams[0].close()
    streams[0].close()  # once more is no more
    assert live.open(None)
    with pytest.raises(TooManyStreamsError):
        live.open(None)


def test_one_key_leaves_streams_for_the_others(engine: Engine) -> None:
    hub = WorkerState(engine, FleetReader(engine, lambda: NOW), StreamPlaces(4)).hub
    streams = [hub.open(None, "greedy") for _ in range(3)]
    with pytest.raises(TooManyStreamsError, match="This key has 3 of 4"):
        hub.open(None, "greedy")
    assert hub.open(None, "other")
    streams[0].close()
    assert hub.open(None, "greedy")


def test_a_client_that_could_not_be_served_takes_no_place() -> None:
    away = engine_for("postgresql://nobody@/nothing?host=/nonexistent", "tests")
    state = WorkerState(away, FleetReader(away, lambda: NOW))
    client = testing.TestClient(create_app(away, lambda: NOW, [], state=state))
    assert client.simulate_get("/api/stream").status_code == 503
    assert state.hub.clients == 0


def test_closing_down_ends_every_stream(engine: Engine) -> None:
    live = make(engine)
    streams = [live.open(None) for _ in range(3)]
    for stream in streams:
        next(stream)
    ended = [threading.Thread(target=partial(list, stream)) for stream in streams]
    for thread in ended:
        thread.start()
    live.close()
    for thread in ended:
        thread.join(5)
    assert not any(thread.is_alive() for thread in ended)
    with pytest.raises(TooManyStreamsError, match="is stopping"):
        live.open(None)


@pytest.mark.parametrize("wrong", ["x", "-1", "", "1.5", "9" * 19])
def test_a_wrong_parameter_is_named(wrong: str, engine: Engine) -> None:
    client = testing.TestClient(create_app(engine, lambda: NOW, []))
    response = client.simulate_get("/api/stream", params={"lastEventId": wrong})
    assert (response.status_code, "lastEventId" in response.json["detail"]) == (400, True)


def test_a_listener_that_was_cut_off_comes_back(listened: MakeLive, connection: psycopg.Connection) -> None:
    stream = listened().open(None)
    listening = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()"
    until(lambda: len(rows(connection, listening)) == 1)
    [(before,)] = rows(connection, listening)
    connection.execute("SELECT pg_terminate_backend(%s::int)", [before])
    write(connection, "ven-1", "online")
    assert read(stream, 1, "status")[0].data["venId"] == "ven-1"
    until(lambda: rows(connection, listening) not in ([], [(before,)]))
