"""Events of our own API are events of a program of OpenADR."""

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

from serving.openadr.auth.clients import ClientIdTakenError
from tests.integration.openadr_clients import NOW, OpenAdrClient, Vtn
from tests.integration.published import rows, value

EVENT = {
    "id": "evt-1",
    "startTime": "2026-01-15T13:00:00Z",
    "endTime": "2026-01-15T14:00:00Z",
    "requestedReductionKw": 50,
    "priority": 10,
}


@pytest.fixture
def vtn(engine: Engine) -> Vtn:
    return Vtn(engine)


@pytest.fixture
def utility(vtn: Vtn) -> OpenAdrClient:
    return vtn.client("utility", "bl")


def make(vtn: Vtn, **terms: Any) -> None:
    made = vtn.web.simulate_post("/api/events", json={**EVENT, **terms})
    assert made.status_code == 201, made.text


def test_an_event_of_our_api(vtn: Vtn, utility: OpenAdrClient) -> None:
    make(vtn, importLimitKw=7)
    [program] = utility.get("/programs")
    assert program["programName"] == "gridgate"
    [event] = utility.get(f"/events?programID={program['id']}")
    assert event == utility.get(f"/events/{event['id']}")
    assert (event["eventName"], event["priority"]) == ("evt-1", 90)
    assert event["intervalPeriod"] == {"start": "2026-01-15T13:00:00Z", "duration": "PT3600S"}
    [interval] = event["intervals"]
    assert interval["payloads"] == [
        {"type": "DISPATCH_SETPOINT_RELATIVE", "values": [-50.0]},
        {"type": "IMPORT_CAPACITY_LIMIT", "values": [7.0]},
    ]
    make(vtn, id="evt-2", startTime="2026-01-15T15:00:00Z", endTime="2026-01-15T16:00:00Z")
    assert sorted(each["eventName"] for each in utility.get("/events")) == ["evt-1", "evt-2"]
    assert len(utility.get("/programs")) == 1


def test_intervals_and_what_follows_them(vtn: Vtn, utility: OpenAdrClient) -> None:
    make(vtn, intervals=[{"durationS": 1800, "targetKw": 20}, {"durationS": 1800, "targetKw": 50}])
    [event] = utility.get("/events")
    steps = [(each["intervalPeriod"]["start"], each["payloads"][0]["values"]) for each in event["intervals"]]
    assert steps == [("2026-01-15T13:00:00Z", [-20.0]), ("2026-01-15T13:30:00Z", [-50.0])]


def test_changes_are_followed(vtn: Vtn, utility: OpenAdrClient, connection: psycopg.Connection) -> None:
    make(vtn)
    [event] = utility.get("/events")
    changed = vtn.web.simulate_patch("/api/events/evt-1", json={"requestedReductionKw": 30})
    assert changed.status_code == 200, changed.text
    [after] = utility.get("/events")
    assert (after["id"], after["intervals"][0]["payloads"][0]["values"]) == (event["id"], [-30.0])
    connection.execute("UPDATE events SET status = 'active', started_at = start_time")
    connection.commit()
    vtn.clock.now = NOW + timedelta(minutes=90)
    utility.fetch_token()
    assert vtn.web.simulate_post("/api/events/evt-1/stop").status_code in {200, 202, 204}
    [stopped] = utility.get("/events")
    assert stopped["intervalPeriod"] == {"start": "2026-01-15T13:00:00Z", "duration": "PT1800S"}
    assert utility.get("/events?active=true") == []


def test_a_cancelled_event_is_deleted_with_its_reports(
    vtn: Vtn, utility: OpenAdrClient, connection: psycopg.Connection
) -> None:
    make(vtn)
    [event] = utility.get("/events")
    home = vtn.client("home", "ven")
    home.make("/reports", eventID=event["id"], clientName="home", resources=[])
    assert vtn.web.simulate_delete("/api/events/evt-1").status_code in {200, 204}
    assert utility.get("/events") == utility.get("/reports") == []
    assert value(connection, "SELECT count(*) FROM openadr_reports") == 0
    assert vtn.web.simulate_delete("/api/events/evt-1").status_code in {200, 204, 409}


def test_events_of_openadr_are_not_there_twice(vtn: Vtn, utility: OpenAdrClient) -> None:
    program = utility.make("/programs", programName="tou")["id"]
    period = {"start": "2026-01-15T13:00:00Z", "duration": "PT1H"}
    intervals = [{"id": 0, "payloads": [{"type": "DISPATCH_SETPOINT_RELATIVE", "values": [-5]}]}]
    made = utility.make("/events", programID=program, intervalPeriod=period, intervals=intervals)
    path = f"/api/events/openadr-{made['id']}"
    assert vtn.web.simulate_patch(path, json={"priority": 7}).status_code == 200
    assert [each["id"] for each in utility.get("/events")] == [made["id"]]
    assert vtn.web.simulate_delete(path).status_code in {200, 204}
    assert [each["id"] for each in utility.get("/events")] == [made["id"]]


def test_who_may_read_and_write_them(
    vtn: Vtn, utility: OpenAdrClient, connection: psycopg.Connection
) -> None:
    """A VEN reads what has no targets, and what a VEN of its was asked for, whatever its targets."""
    homes = {name: vtn.client(name, "ven") for name in ("home-a", "home-b")}
    for name, client in homes.items():
        client.make("/vens", objectType="VEN_VEN_REQUEST", venName=name)
    make(vtn, targets={"venIds": ["home-a"]})
    [event] = utility.get("/events")
    assert event["targets"] == ["home-a"]
    path = f"/events/{event['id']}"
    for client in homes.values():
        assert client.get("/events") == []
        assert client.ask("GET", path).status_code == 404
    connection.execute(
        "INSERT INTO event_participations (ven_id, event_id, status, available_kw, requested_reduction_kw,"
        " notified_at) VALUES ('home-a', 'evt-1', 'notified', 2, 2, now())"
    )
    connection.execute("UPDATE events SET shared_reduction_kw = 50")
    connection.commit()
    [seen] = homes["home-a"].get("/events")
    assert seen["intervals"][0]["payloads"] == [{"type": "DISPATCH_SETPOINT_RELATIVE", "values": [-2.0]}]
    assert homes["home-a"].get(path) == seen
    report = {"eventID": event["id"], "clientName": "x", "resources": []}
    assert homes["home-a"].ask("POST", "/reports", report).status_code == 201
    assert homes["home-b"].get("/events") == []
    assert homes["home-b"].ask("GET", path).status_code == 404
    assert homes["home-b"].ask("POST", "/reports", report).status_code == 409
    assert homes["home-a"].ask("DELETE", path).status_code == 403


def test_the_program_is_not_to_be_changed(
    vtn: Vtn, utility: OpenAdrClient, connection: psycopg.Connection
) -> None:
    make(vtn)
    [program] = utility.get("/programs")
    path = f"/programs/{program['id']}"
    assert utility.ask("DELETE", path).status_code == 409
    assert utility.ask("PUT", path, {"programName": "mine"}).status_code == 409
    assert rows(connection, "SELECT status FROM events") == [("scheduled",)]
    with pytest.raises(ClientIdTakenError):
        vtn.client("gridgate", "bl")


def test_a_program_of_that_name_that_is_there_already(vtn: Vtn, utility: OpenAdrClient) -> None:
    """Its owner keeps it, and the events are in it."""
    program = utility.make("/programs", programName="gridgate")["id"]
    make(vtn)
    assert [each["programID"] for each in utility.get("/events")] == [program]
