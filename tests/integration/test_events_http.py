"""Events as people meet them: made, listed, cancelled, stopped; and refused in words."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import psycopg
import pytest
from falcon import testing
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from ingest.storing.batch import Batch
from ingest.storing.store import Store
from schemas.db.channels import EVENTS
from schemas.db.connections import connect
from schemas.demand_response.baselines import PRIMARY
from serving.app import create_app
from tests.integration.published import NEW_EVENT, rows, telemetry, until, value

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
Make = Callable[..., testing.Result]
WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


@pytest.fixture
def client(engine: Engine) -> testing.TestClient:
    return testing.TestClient(create_app(engine, lambda: NOW, []))


def iso(minutes: float) -> str:
    return (NOW + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


def wish(start: float = 10, end: float = 70, **said: Any) -> dict[str, Any]:
    return {"startTime": iso(start), "endTime": iso(end), "requestedReductionKw": 100, **said}


@pytest.fixture
def make(client: testing.TestClient) -> Make:
    def post(*times: float, **said: Any) -> testing.Result:
        return client.simulate_post("/api/events", json=wish(*times, **said))

    return post


@pytest.fixture
def vens(connection: psycopg.Connection) -> None:
    connection.execute(
        "INSERT INTO vens SELECT 'ven-' || n FROM generate_series(1, 3) n".replace(
            "INTO vens SELECT", "INTO vens (ven_id, name, created_at) SELECT"
        )
        .replace("|| n FROM", "|| n, 'House ' || n, now() FROM")
        .encode()
    )


def set_status(connection: psycopg.Connection, event_id: str, status: str) -> None:
    connection.execute("UPDATE events SET status = %s WHERE event_id = %s", [status, event_id])


def assert_refused(response: testing.Result, status: int, *words: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    for word in words:
        assert word in response.json["detail"]


# Making


def test_an_event_is_made_and_found(client: testing.TestClient, make: Make) -> None:
    made = make(id="evt-1")
    event = {
        "id": "evt-1",
        "status": "scheduled",
        "startTime": "2026-01-15T12:10:00Z",
        "endTime": "2026-01-15T13:10:00Z",
        "plannedEndTime": "2026-01-15T13:10:00Z",
        "requestedReductionKw": 100.0,
        **NEW_EVENT,
    }
    assert (made.status_code, made.json) == (201, event)
    assert made.headers["location"] == "/api/events/evt-1"
    metrics = {"currentReductionKw": 0.0, "vensResponding": 0, "vensReporting": 0, "avgResponseMs": 0}
    assert client.simulate_get("/api/events").json == [event]
    assert client.simulate_get(made.headers["location"]).json == event | metrics | {"vens": []}
    assert client.simulate_get("/api/events/current").json == event | metrics
    assert client.simulate_get("/api/events/evt-1/metrics").json == metrics | {"actualReductionKw": 0.0}
    assert client.simulate_get("/api/events/history").json == []


def test_an_id_is_given_to_who_has_none(client: testing.TestClient, make: Make) -> None:
    one, other = make(10, 20), make(30, 40)
    assert one.json["id"] != other.json["id"]
    assert client.simulate_get(one.headers["location"]).status_code == 200


def test_a_start_that_has_just_passed_means_at_once(make: Make, connection: psycopg.Connection) -> None:
    """A UI sends its own "now", and its clock is not ours."""
    made = make(-5, 30)
    assert (made.status_code, made.json["startTime"]) == (201, iso(0))
    assert value(connection, "SELECT notify_at FROM events") == NOW
    assert_refused(make(-5.1, 30), 400, "startTime")


def test_a_time_without_a_zone_is_utc(client: testing.TestClient) -> None:
    said = wish() | {"startTime": "2026-01-15T12:10:00", "endTime": "2026-01-15T14:10:00+01:00"}
    made = client.simulate_post("/api/events", json=said)
    assert (made.json["startTime"], made.json["endTime"]) == (iso(10), iso(70))


@pytest.mark.parametrize(("lead_s", "notify"), [(0, 10), (60, 9), (None, 10), (86_400, 0)])
def test_lead_times(lead_s: float | None, notify: float, make: Make, connection: psycopg.Connection) -> None:
    assert make(leadTimeS=lead_s).status_code == 201
    assert value(connection, "SELECT notify_at FROM events") == NOW + timedelta(minutes=notify)
    assert value(connection, "SELECT lead_time_s FROM events") == lead_s


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"endTime": iso(10)}, "endTime"),
    ({"endTime": iso(9)}, "endTime"),
    ({"startTime": iso(-3), "endTime": iso(-1)}, "endTime"),
    ({"startTime": iso(-3), "endTime": iso(0)}, "endTime"),
    ({"startTime": "tomorrow"}, "startTime"),
    ({"endTime": "2036-01-15T13:10:00Z"}, "at most 86400 s"),
    ({"endTime": "2026-01-16T12:10:01Z"}, "at most 86400 s"),
    ({"startTime": 1_768_478_400}, "startTime"),
    ({"endTime": "9999-12-31T00:00:00Z"}, "endTime"),
    ({"startTime": "2026-01-15T12:10:00Z\x01"}, "startTime"),
    ({"requestedReductionKw": 0}, "requestedReductionKw"),
    ({"requestedReductionKw": -1}, "requestedReductionKw"),
    ({"requestedReductionKw": 1e300}, "requestedReductionKw"),
    ({"requestedReductionKw": "100"}, "requestedReductionKw"),
    ({"requestedReductionKw": None}, "requestedReductionKw"),
    ({"id": ""}, "id"),
    ({"id": "a/b"}, "and without `/`"),
    ({"id": "."}, "id must not be '.'"),
    ({"id": ".."}, "id must not be '..'"),
    ({"id": "a\x01"}, "id"),
    ({"id": "a\n"}, "id"),
    ({"id": "current"}, "id"),
    ({"id": "history"}, "id"),
    ({"venIds": []}, "venIds"),
    ({"venIds": ["ven-1", "ven-9"]}, "'ven-9'"),
    ({"venIds": "ven-1"}, "venIds"),
    ({"venIds": ["\x01"]}, "venIds"),
    ({"priority": 1.5}, "priority"),
    ({"priority": 2**31}, "priority"),
    ({"leadTimeS": -1}, "leadTimeS"),
]


@pytest.mark.thorough
@pytest.mark.usefixtures("vens")
@pytest.mark.parametrize(("said", "word"), WRONG, ids=str)
def test_what_cannot_be_meant_is_named(said: dict[str, Any], word: str, make: Make) -> None:
    assert_refused(make(**said), 400, word)


@pytest.mark.parametrize("missing", ["startTime", "endTime", "requestedReductionKw"])
def test_what_is_missing_is_named(missing: str, client: testing.TestClient) -> None:
    said = {key: kept for key, kept in wish().items() if key != missing}
    assert_refused(client.simulate_post("/api/events", json=said), 400, missing)


@pytest.mark.parametrize("raw", ["", "{", "[]", "null", "\xff"])
def test_bodies_that_are_none(raw: str, client: testing.TestClient) -> None:
    headers = {"Content-Type": "application/json"}
    refused = client.simulate_post("/api/events", body=raw.encode("latin1"), headers=headers)
    assert_refused(refused, 400, "The body")


def test_another_media_type(client: testing.TestClient) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert_refused(client.simulate_post("/api/events", body="a=b", headers=form), 415, "json")


# Events at the same time


@pytest.mark.parametrize(
    ("start", "end", "stands"),
    [(0, 10, True), (70, 80, True), (0, 10.1, False), (69, 80, False), (20, 30, False), (5, 90, False)],
)
def test_overlaps_are_refused(start: float, end: float, stands: bool, make: Make) -> None:  # noqa: FBT001
    make(10, 70, id="first")
    second = make(start, end)
    assert second.status_code == (201 if stands else 409)
    if not stands:
        assert_refused(second, 409, "'first'")


@pytest.mark.usefixtures("vens")
def test_other_vens_may_be_asked_at_the_same_time(make: Make) -> None:
    assert make(id="one", venIds=["ven-1", "ven-2"]).status_code == 201
    assert make(id="other", venIds=["ven-3"]).status_code == 201
    assert_refused(make(id="both", venIds=["ven-2", "ven-3"]), 409, "'one'")
    assert_refused(make(id="all"), 409, "'one'")


def test_a_higher_priority_decides(make: Make) -> None:
    make(id="low", priority=1)
    assert_refused(make(id="same", priority=1), 409, "'low'", "priority 1")
    assert_refused(make(id="lower", priority=0), 409, "'low'")
    assert make(id="high", priority=2).status_code == 201
    assert_refused(make(id="between", priority=2), 409, "'high'")


@pytest.mark.parametrize("status", ["completed", "cancelled"])
def test_what_is_over_is_in_nobodys_way(status: str, make: Make, connection: psycopg.Connection) -> None:
    make(id="first")
    set_status(connection, "first", status)
    assert make().status_code == 201


def test_an_id_is_taken_once(make: Make) -> None:
    make(id="evt-1")
    assert_refused(make(80, 90, id="evt-1"), 409, "'evt-1'")


def test_an_event_may_last_a_day(make: Make) -> None:
    """One of ten years, for a wrong digit, had the jobs reckon with a million slots for each VEN."""
    assert make(0, 24 * 60).status_code == 201


@pytest.mark.parametrize("attempt", range(5))
def test_of_two_at_once_one_is_made(
    attempt: int, client: testing.TestClient, connection: psycopg.Connection
) -> None:
    together = Barrier(4)

    def post(number: int) -> int:
        together.wait(20)
        said = wish(10 + number, 40 + number, id=f"evt-{attempt}-{number}")
        return client.simulate_post("/api/events", json=said).status_code

    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(post, range(4))) == [201, 409, 409, 409]
    assert value(connection, "SELECT count(*) FROM events") == 1


def test_the_database_tells_who_listens(
    make: Make, client: testing.TestClient, connection: psycopg.Connection, database_url: str
) -> None:
    with connect(database_url, "listener") as listener:
        listener.execute(f"LISTEN {EVENTS}")
        make(id="evt-1")
        make(id="refused")
        set_status(connection, "evt-1", "active")
        client.simulate_post("/api/events/evt-1/stop")
        client.simulate_delete("/api/events/evt-1")
        told = [notice.payload for notice in listener.notifies(timeout=20, stop_after=3)]
    assert told == ["evt-1"] * 3


# Cancelling and stopping


def test_two_people_cancel_at_once(
    make: Make, client: testing.TestClient, connection: psycopg.Connection
) -> None:
    """The second of two concurrent cancellations got "is over"."""
    make(id="evt-1")
    with ThreadPoolExecutor(1) as threads, connection.transaction():
        set_status(connection, "evt-1", "cancelled")
        second = threads.submit(client.simulate_delete, "/api/events/evt-1")
        until(lambda: value(connection, WAITING) == 1)
    assert second.result(20).status_code == 204


@pytest.mark.parametrize("status", ["scheduled", "active"])
def test_cancelling(
    status: str, client: testing.TestClient, make: Make, connection: psycopg.Connection
) -> None:
    make(id="evt-1")
    set_status(connection, "evt-1", status)
    for _ in range(2):
        response = client.simulate_delete("/api/events/evt-1")
        assert (response.status_code, response.content) == (204, b"")
    assert client.simulate_get("/api/events/evt-1").json["status"] == "cancelled"
    assert client.simulate_get("/api/events/current").json is None
    assert value(connection, "SELECT ended_at FROM events") == NOW


def test_what_is_over_cannot_be_cancelled(
    client: testing.TestClient, make: Make, connection: psycopg.Connection
) -> None:
    make(id="evt-1")
    set_status(connection, "evt-1", "completed")
    assert_refused(client.simulate_delete("/api/events/evt-1"), 409, "'evt-1'", "over")


def test_stopping(client: testing.TestClient, make: Make, connection: psycopg.Connection) -> None:
    make(id="evt-1")
    set_status(connection, "evt-1", "active")
    for _ in range(2):
        response = client.simulate_post("/api/events/evt-1/stop")
        assert (response.status_code, response.json) == (202, {"status": "stopping", "eventId": "evt-1"})
    assert rows(connection, "SELECT status, ended_at FROM events") == [("active", NOW)]
    assert make(id="next").status_code == 201


@pytest.mark.parametrize(
    ("before", "after"),
    [("scheduled", "cancelled"), ("completed", "completed"), ("cancelled", "cancelled")],
)
def test_stopping_answers_202_whatever_the_status(
    before: str, after: str, client: testing.TestClient, make: Make, connection: psycopg.Connection
) -> None:
    """A UI that was refused stayed locked until the next day's event was over."""
    make(id="evt-1")
    set_status(connection, "evt-1", before)
    for _ in range(2):
        response = client.simulate_post("/api/events/evt-1/stop")
        assert (response.status_code, response.json) == (202, {"status": "stopping", "eventId": "evt-1"})
    ended_at = NOW if before == "scheduled" else None
    assert rows(connection, "SELECT status, ended_at FROM events") == [(after, ended_at)]


def test_a_stopped_event_ends_when_it_was_stopped(
    client: testing.TestClient, make: Make, connection: psycopg.Connection
) -> None:
    make(-2, 30, id="evt-1")
    connection.execute(
        "UPDATE events SET status = 'completed', start_time = %s, ended_at = %s",
        [NOW - timedelta(minutes=2), NOW],
    )
    event = client.simulate_get("/api/events/evt-1").json
    assert (event["endTime"], event["plannedEndTime"]) == (iso(0), iso(30))


# Changing


def test_what_a_client_got_it_may_send_back(
    client: testing.TestClient, make: Make, connection: psycopg.Connection
) -> None:
    """Also while it runs, and when it is over: nothing changes."""
    make(id="evt-1", leadTimeS=60, priority=3)
    before = rows(connection, "SELECT * FROM events")
    event = client.simulate_get("/api/events/evt-1").json
    for status in ("scheduled", "active", "completed"):
        set_status(connection, "evt-1", status)
        changed = client.simulate_patch("/api/events/evt-1", json=event | {"status": "cancelled"})
        assert changed.status_code == 200, changed.text
    set_status(connection, "evt-1", "scheduled")
    assert rows(connection, "SELECT * FROM events") == before


@pytest.mark.usefixtures("vens")
def test_an_event_is_changed_before_vens_are_sent_it(
    client: testing.TestClient, make: Make, connection: psycopg.Connection
) -> None:
    make(id="evt-1")
    changes = {"startTime": iso(20), "requestedReductionKw": 7.5, "venIds": ["ven-2"], "leadTimeS": 120}
    changed = client.simulate_patch("/api/events/evt-1", json=changes)
    assert changed.status_code == 200, changed.text
    assert changes.items() <= changed.json.items() <= client.simulate_get("/api/events/evt-1").json.items()
    assert changed.json["endTime"] == changed.json["plannedEndTime"] == iso(70)
    assert value(connection, "SELECT notify_at FROM events") == NOW + timedelta(minutes=18)
    assert client.simulate_patch("/api/events/evt-1", json={"venIds": None}).json["venIds"] == []


@pytest.mark.parametrize(
    ("change", "status", "word"),
    [
        ({"endTime": iso(5)}, 400, "endTime"),
        ({"endTime": "soon"}, 400, "endTime"),
        ({"venIds": ["ven-9"]}, 400, "'ven-9'"),
        ({"requestedReductionKw": 0}, 400, "requestedReductionKw"),
        ({"requestedReductoinKw": 5}, 400, "did you mean requestedReductionKw?"),
        ({"endTime": iso(110)}, 409, "'second'"),
    ],
)
def test_changes_that_are_refused(
    change: dict[str, Any], status: int, word: str, client: testing.TestClient, make: Make
) -> None:
    make(id="evt-1")
    make(100, 120, id="second")
    assert_refused(client.simulate_patch("/api/events/evt-1", json=change), status, word)


@pytest.mark.usefixtures("vens")
@pytest.mark.parametrize("status", ["scheduled", "active"])
def test_an_event_that_vens_were_sent_is_changed_but_for_its_start(
    status: str, client: testing.TestClient, make: Make, connection: psycopg.Connection
) -> None:
    """VENs have its start already; its end, request, targets and priority may change while it runs."""
    make(-1, id="told")
    set_status(connection, "told", status)
    start = rows(connection, "SELECT start_time, notify_at, lead_time_s FROM events")
    changes = {"endTime": iso(90), "requestedReductionKw": 7.5, "venIds": ["ven-2"], "priority": 2}
    changed = client.simulate_patch("/api/events/told", json=changes)
    assert changed.status_code == 200, changed.text
    shown = client.simulate_get("/api/events/told").json
    assert changes.items() <= changed.json.items() <= shown.items()
    assert rows(connection, "SELECT start_time, notify_at, lead_time_s FROM events") == start
    requests = "SELECT at, requested_reduction_kw FROM event_requests ORDER BY at"
    assert [kw for _, kw in rows(connection, requests)][-1:] == [7.5]
    before = rows(connection, "SELECT * FROM events"), rows(connection, requests)
    assert client.simulate_patch("/api/events/told", json=shown).status_code == 200
    assert (rows(connection, "SELECT * FROM events"), rows(connection, requests)) == before
    for field, change in (("startTime", {"startTime": iso(5)}), ("leadTimeS", {"leadTimeS": 7})):
        assert_refused(client.simulate_patch("/api/events/told", json=change), 409, field, "cancel it")
    for change in ({"endTime": iso(-0.5)}, {"endTime": iso(2000)}, {"endTiem": iso(70)}):
        assert_refused(client.simulate_patch("/api/events/told", json=change), 400, "endTi")


def test_an_event_that_is_over_cannot_be_changed(
    client: testing.TestClient, make: Make, connection: psycopg.Connection
) -> None:
    change = {"requestedReductionKw": 5}
    make(id="told")
    for status in ("completed", "cancelled"):
        set_status(connection, "told", status)
        assert_refused(client.simulate_patch("/api/events/told", json=change), 409, "'told' is over")
    set_status(connection, "told", "active")
    client.simulate_post("/api/events/told/stop")
    assert_refused(client.simulate_patch("/api/events/told", json=change), 409, "'told' is over")
    assert_refused(client.simulate_patch("/api/events/nobody", json=change), 404, "'nobody'")


def test_read_only_keys_are_ignored_when_an_event_is_made(make: Make) -> None:
    made = make(id="evt-1", status="active", metrics={}, actualReductionKw=5, vens=[], notes=["x"])
    assert (made.status_code, made.json["status"], made.json["actualReductionKw"]) == (201, "scheduled", 0.0)
    assert_refused(make(80, 90, prioritty=1), 400, "did you mean priority?")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("DELETE", ""), ("GET", "/metrics"), ("POST", "/stop")],
)
def test_unknown_events_are_named(method: str, path: str, client: testing.TestClient) -> None:
    assert_refused(client.simulate_request(method, f"/api/events/evt-9{path}"), 404, "'evt-9'")
    assert_refused(client.simulate_request(method, f"/api/events/a%00b{path}"), 400, "eventId")


# Reading


def test_current_is_what_runs_else_what_comes(
    client: testing.TestClient, make: Make, connection: psycopg.Connection
) -> None:
    def current() -> Any:
        event = client.simulate_get("/api/events/current").json
        return event and event["id"]

    assert current() is None
    make(50, 60, id="later")
    make(30, 40, id="soon")
    make(20, 90, id="urgent", priority=2)
    assert current() == "urgent"
    set_status(connection, "later", "active")
    assert current() == "later"
    set_status(connection, "urgent", "active")
    assert current() == "urgent"


def test_history_is_what_runs_or_is_over(
    client: testing.TestClient, make: Make, connection: psycopg.Connection
) -> None:
    for number in range(3):
        make(10 * number, 10 * number + 9, id=f"evt-{number}")
    make(100, 110, id="to come")
    make(130, 140, id="called off")
    client.simulate_delete("/api/events/called%20off")
    connection.execute(
        "UPDATE events SET status = 'completed', ended_at = end_time WHERE event_id LIKE 'evt%'"
    )
    set_status(connection, "evt-2", "active")
    connection.execute("UPDATE events SET ended_at = NULL WHERE event_id = 'evt-2'")
    make(150, 160, id="stopped midway")
    connection.execute(
        "UPDATE events SET status = 'cancelled', ended_at = start_time + interval '1 minute'"
        " WHERE event_id = 'stopped midway'"
    )

    def found(**bounds: float) -> list[str]:
        asked = {name: iso(minutes) for name, minutes in bounds.items()}
        return [event["id"] for event in client.simulate_get("/api/events/history", params=asked).json]

    assert found() == ["stopped midway", "evt-2", "evt-1", "evt-0"]
    assert found(start=9, end=30) == ["evt-2", "evt-1", "evt-0"]
    assert found(start=9.5, end=19.5) == ["evt-1"]
    assert found(end=10) == ["evt-1", "evt-0"]
    assert found(start=151) == ["stopped midway"]
    assert found(start=151.5) == []
    assert_refused(client.simulate_get("/api/events/history?start=x"), 400, "start")
    assert_refused(client.simulate_get("/api/events/history?start=2026-01-02&end=2026-01-01"), 400, "start")


def test_pages_of_events(client: testing.TestClient, make: Make) -> None:
    """By start, not by id."""
    for number in range(5):
        make(10 * number, 10 * number + 9, id=f"evt-{9 - number}")
    whole = [event["id"] for event in client.simulate_get("/api/events").json]
    assert whole == ["evt-9", "evt-8", "evt-7", "evt-6", "evt-5"]
    first = client.simulate_get("/api/events?limit=2")
    assert [event["id"] for event in first.json] == whole[:2]
    assert first.headers["link"] == '</api/events?limit=2&after=evt-8>; rel="next"'
    assert [event["id"] for event in client.simulate_get("/api/events?after=evt-8").json] == whole[2:]
    assert client.simulate_get("/api/events?after=evt-5").json == []


@pytest.mark.usefixtures("vens")
def test_who_takes_part(client: testing.TestClient, make: Make, connection: psycopg.Connection) -> None:
    make(id="evt-1")
    connection.execute(
        "INSERT INTO event_participations (ven_id, event_id, status, available_kw, requested_reduction_kw)"
        " SELECT 'ven-' || n, 'evt-1', (ARRAY['notified', 'started', 'finished', 'started'])[n], 5, 4"
        " FROM generate_series(1, 4) n"
    )
    connection.execute(
        "INSERT INTO event_reductions (event_id, ven_id, reduction_kw)"
        " VALUES ('evt-1', 'ven-2', 1.23456), ('evt-1', 'ven-3', -0.5)"
    )
    connection.execute(
        "INSERT INTO event_progress (event_id, current_reduction_kw, delivered_kwh, vens_responding,"
        " vens_reporting, avg_response_ms, refreshed_at)"
        " VALUES ('evt-1', 0.73456, 0.5, 2, 1, 812.5, timestamptz '2026-01-15 12:30:00Z')"
    )
    set_status(connection, "evt-1", "active")
    event = client.simulate_get("/api/events/evt-1").json
    of_each = {"requestedReductionKw": 4.0, "acknowledgedAt": None, "reason": ""}
    assert event["vens"] == [
        {"venId": "ven-1", "venName": "House 1", "shedKw": 0.0, "status": "notified", **of_each},
        {"venId": "ven-2", "venName": "House 2", "shedKw": 1.235, "status": "started", **of_each},
        {"venId": "ven-3", "venName": "House 3", "shedKw": -0.5, "status": "finished", **of_each},
        {"venId": "ven-4", "venName": "ven-4", "shedKw": 0.0, "status": "started", **of_each},
    ]
    assert sum(each["shedKw"] for each in event["vens"]) == pytest.approx(event["currentReductionKw"])
    metrics = {"currentReductionKw": 0.735, "vensResponding": 2, "vensReporting": 1, "avgResponseMs": 812}
    assert metrics.items() <= event.items()
    assert (event["actualReductionKw"], event["isMeasured"], event["isSettled"]) == (1.5, True, False)
    assert client.simulate_get("/api/events/evt-1/metrics").json == metrics | {"actualReductionKw": 1.5}
    set_status(connection, "evt-1", "completed")
    connection.execute("UPDATE event_reductions SET delivered_kwh = 0.4 WHERE ven_id = 'ven-2'")
    connection.execute("UPDATE event_reductions SET delivered_kwh = 0.1 WHERE ven_id = 'ven-3'")
    over = client.simulate_get("/api/events/evt-1").json
    assert [ven["shedKw"] for ven in over["vens"]] == [0.0, 1.2, 0.3, 0.0], "the means until it is settled"
    assert over["actualReductionKw"] == 1.5


@pytest.mark.parametrize(
    ("status", "answer", "error", "reason"),
    [
        ("acknowledged", {"ok": True}, None, ""),
        ("opted_out", {"status": "rejected", "data": {"error": "guests"}}, None, "guests"),
        ("opted_out", {"ok": False, "reason": "boiler is off"}, None, "boiler is off"),
        ("opted_out", {"ok": False, "data": ["?"], "message": 7}, None, ""),
        ("planned", None, "no answer in time", "no answer in time"),
    ],
)
@pytest.mark.usefixtures("vens")
def test_what_a_participant_was_asked_and_has_answered(  # noqa: PLR0913, PLR0917 - four of them are a case
    client: testing.TestClient,
    make: Make,
    connection: psycopg.Connection,
    status: str,
    answer: dict[str, Any] | None,
    error: str | None,
    reason: str,
) -> None:
    make(id="evt-1")
    connection.execute(
        "INSERT INTO commands (ven_id, command_id, op, data, status, attempts, interruptions, created_at,"
        " next_attempt_at, expires_at, acknowledgement, error) VALUES ('ven-1', 'c-1', 'event', '{}',"
        " 'rejected', 1, 0, now(), now(), now(), %s, %s)",
        [None if answer is None else json.dumps(answer), error],
    )
    connection.execute(
        "INSERT INTO event_participations (ven_id, event_id, status, available_kw, requested_reduction_kw,"
        " command_id, acknowledged_at) VALUES ('ven-1', 'evt-1', %s, 5, 1.23456, 'c-1',"
        " timestamptz '2026-01-15 12:00:09Z')",
        [status],
    )
    (ven,) = client.simulate_get("/api/events/evt-1").json["vens"]
    accepted_at = None if status == "opted_out" else "2026-01-15T12:00:09Z"
    assert (ven["requestedReductionKw"], ven["acknowledgedAt"], ven["reason"]) == (1.235, accepted_at, reason)


@pytest.mark.usefixtures("vens")
def test_once_settled_it_is_what_was_settled(
    client: testing.TestClient, make: Make, connection: psycopg.Connection
) -> None:
    """By the newest revision and the primary baseline; an event without measurements says so."""
    make(id="evt-1")
    set_status(connection, "evt-1", "completed")
    connection.execute("UPDATE events SET actual_reduction_kw = 6.25")
    connection.execute(
        "INSERT INTO event_reductions (event_id, ven_id, reduction_kw)"
        " VALUES ('evt-1', 'ven-1', 9), ('evt-1', 'ven-2', 8)"
    )
    for ven in ("ven-1", "ven-2"):
        connection.execute(
            "INSERT INTO event_participations"
            " (ven_id, event_id, status, available_kw, requested_reduction_kw)"
            " VALUES (%s, 'evt-1', 'finished', 5, 4)",
            [ven],
        )
    settled = (
        "(event_id, revision, baseline, requested_kw, delivered_kw, coverage_percent, days_used, settled_at"
    )
    for revision, baseline, kw in ((1, PRIMARY, 5.0), (2, PRIMARY, 6.0), (2, "other", 7.0)):
        values = ["evt-1", revision, baseline, 4.0, kw, 100, 5, NOW]
        connection.execute(
            f"INSERT INTO event_settlements {settled}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)".encode(),
            values,
        )
        connection.execute(
            f"INSERT INTO ven_settlements {settled}, ven_id)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, 'ven-1')".encode(),
            values,
        )
    event = client.simulate_get("/api/events/evt-1").json
    assert (event["actualReductionKw"], event["isSettled"], event["isMeasured"]) == (6.25, True, True)
    assert [each["shedKw"] for each in event["vens"]] == [6.0, 8.0]
    connection.execute("UPDATE events SET actual_reduction_kw = NULL")
    unknown = client.simulate_get("/api/events/evt-1").json
    assert (unknown["actualReductionKw"], unknown["isSettled"], unknown["isMeasured"]) == (0.0, True, False)


ROUTES = (
    "/api/events",
    "/api/events/current",
    "/api/events/history",
    "/api/events/evt-1",
    "/api/events/evt-1/metrics",
)


def test_what_is_known_is_not_sent_again(client: testing.TestClient, make: Make) -> None:
    make(id="evt-1")
    for path in ROUTES:
        first = client.simulate_get(path)
        again = client.simulate_get(path, headers={"If-None-Match": first.headers["etag"]})
        assert (first.status_code, again.status_code, again.content) == (200, 304, b"")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)
KEYS = (
    "id",
    "venIds",
    "targets",
    "priority",
    "leadTimeS",
    "startTime",
    "endTime",
    "requestedReductionKw",
    "x",
)


@given(st.dictionaries(st.sampled_from(KEYS), anything, max_size=4))
def test_nothing_is_our_fault(client: testing.TestClient, said: dict[str, Any]) -> None:
    response = client.simulate_post("/api/events", json=wish() | said)
    assert response.status_code in {201, 400, 409}, response.text


# In the history of a VEN


def take_part(connection: psycopg.Connection, event_id: str, **minutes: float) -> None:
    at = {name: NOW + timedelta(minutes=said) for name, said in minutes.items()}
    columns = ", ".join(at)
    connection.execute(
        "INSERT INTO event_participations (ven_id, event_id, status, available_kw, requested_reduction_kw,"
        f" {columns}) VALUES ('ven-1', %s, 'finished', 5, 2.5, {', '.join(['%s'] * len(at))})".encode(),
        [event_id, *at.values()],
    )


@pytest.mark.parametrize(
    ("aggregate", "width"), [("sum", "5m"), ("energy", "5m"), ("mean", "5m"), ("sum", "30s")]
)
def test_points_name_their_event(
    aggregate: str,
    width: str,
    client: testing.TestClient,
    make: Make,
    connection: psycopg.Connection,
    store: Store,
) -> None:
    samples = [telemetry("ven-1", NOW + timedelta(minutes=5 * n), shedPowerKw=1) for n in range(14)]
    store.write(Batch.of([*samples, telemetry("ven-2", NOW)], timedelta(days=9999)))
    make(10, 30, id="one")
    make(40, 60, id="two")
    take_part(connection, "one", notified_at=5, finished_at=30)
    take_part(connection, "two", notified_at=47, opted_out_at=55)

    def events(**asked: str) -> list[tuple[str, float] | None]:
        asked |= {"aggregate": aggregate, "granularity": width}
        response = client.simulate_get("/api/vens/ven-1/history", params=asked)
        return [
            (point["eventId"], point["requestedReductionKw"]) if "eventId" in point else None
            for point in response.json["points"]
        ]

    one, two = ("one", 2.5), ("two", 2.5)
    late = [two, two] if width == "5m" else [None, two]
    assert events() == [None] * 2 + [one] * 4 + [None] * 3 + [*late, None, None, None]
    assert events(start=iso(15), end=iso(16)) == [one]
    asked = {"aggregate": aggregate, "granularity": width}
    for bounds in ({}, {"start": iso(15), "end": iso(41)}):
        own, all_vens = (
            client.simulate_get(f"/api/vens/{path}", params=asked | bounds).json["points"]
            for path in ("ven-1/history", "history")
        )
        assert [point for point in all_vens if point.pop("venId") == "ven-1"] == own
    network = client.simulate_get("/api/stats/network/history").json["points"]
    other = client.simulate_get("/api/vens/ven-2/history").json["points"]
    assert all("eventId" not in point for point in [*network, *other])
    table = client.simulate_get("/api/vens/ven-1/history?format=csv").text.splitlines()
    assert table[0] == "timestamp,usedPowerKw,shedPowerKw,eventId,requestedReductionKw"
