"""What a VEN has reported over time, as the newer user interface asks for it."""

import json
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from falcon import testing
from sqlalchemy import Engine

from ingest.decoding.messages import Received
from ingest.storing.store import Store
from serving.app import create_app
from serving.routes import AppOptions
from tests.integration.catching_up import catch_up
from tests.integration.published import NOW, batch_of, telemetry


@pytest.fixture
def client(engine: Engine) -> testing.TestClient:
    return testing.TestClient(create_app(engine, lambda: NOW, []))


@pytest.fixture
def house(store: Store, engine: Engine) -> None:
    """Three reports of two loads, a minute apart."""
    messages = []
    for minute in range(3):
        loads: list[dict[str, Any]] = [
            {"id": "a", "currentPowerKw": 1.0 + minute},
            {"id": "b", "type": "hvac", "currentPowerKw": 0.5, "capacityKw": 3.0, "priority": 2},
        ]
        messages.append(telemetry("house-1", NOW + timedelta(minutes=minute - 3), 2.0, loads=loads))
    store.write(batch_of(*messages))
    catch_up(engine)


CIRCUITS = "/api/vens/house-1/circuits/history"
EVENTS = "/api/vens/house-1/events"


@pytest.mark.usefixtures("house")
def test_samples_of_one_load(client: testing.TestClient) -> None:
    answer = client.simulate_get(CIRCUITS, params={"load_id": "a"}).json
    assert (answer["venId"], answer["loadId"], answer["totalCount"]) == ("house-1", "a", 3)
    assert answer["snapshots"][0] == {
        "timestamp": "2024-07-10T17:57:00Z",
        "loadId": "a",
        "name": "a",
        "type": "unknown",
        "capacityKw": 1.0,
        "currentPowerKw": 1.0,
        "shedCapabilityKw": 0.0,
        "enabled": True,
        "priority": 0,
    }
    assert [each["currentPowerKw"] for each in answer["snapshots"]] == [1.0, 2.0, 3.0]


@pytest.mark.usefixtures("house")
def test_the_limit_keeps_the_newest(client: testing.TestClient) -> None:
    answer = client.simulate_get(CIRCUITS, params={"limit": 3}).json
    seen = [(each["timestamp"][14:16], each["loadId"]) for each in answer["snapshots"]]
    assert seen == [("58", "b"), ("59", "a"), ("59", "b")]
    assert (answer["loadId"], answer["totalCount"]) == (None, 6)
    within = {"start": "2024-07-10T17:58:00Z", "end": "2024-07-10T17:58:00Z"}
    assert client.simulate_get(CIRCUITS, params=within).json["totalCount"] == 2


@pytest.mark.usefixtures("house")
def test_a_load_bears_what_it_says_now_where_a_sample_says_nothing(client: testing.TestClient) -> None:
    client.simulate_patch("/api/vens/house-1/loads/a", json={"name": "Barn", "type": "boiler"})
    [sample] = client.simulate_get(CIRCUITS, params={"load_id": "a", "limit": 1}).json["snapshots"]
    assert (sample["name"], sample["type"]) == ("Barn", "boiler")


@pytest.mark.thorough
@pytest.mark.usefixtures("house")
@pytest.mark.parametrize(
    ("path", "status", "word"),
    [
        ("/api/vens/nobody/circuits/history", 404, "nobody"),
        (f"{CIRCUITS}?load_id=zz", 404, "zz"),
        (f"{CIRCUITS}?limit=0", 400, "limit"),
        (f"{CIRCUITS}?start=x", 400, "start"),
        ("/api/vens/nobody/events", 404, "nobody"),
        (f"{EVENTS}?start=2026-01-02&end=2026-01-01", 400, "start"),
    ],
)
def test_what_is_refused(path: str, status: int, word: str, client: testing.TestClient) -> None:
    refused = client.simulate_get(path)
    assert refused.status_code == status
    assert word in refused.json["detail"]


@pytest.mark.usefixtures("house")
def test_answers_of_both_forms(client: testing.TestClient, connection: psycopg.Connection) -> None:
    """A newer VEN has at the top level what an older one has in `data`, or lacks."""
    said: list[tuple[str, Any]] = [
        ("one", {"requested_shed_kw": 2, "actual_shed_kw": 1.5, "circuits_curtailed": [{"id": "a"}, "b"]}),
        ("two", {"data": {"actualShedKw": 0.25, "circuitsCurtailed": []}}),
        ("three", {"ok": True}),
        ("four", None),
    ]
    for number, (command_id, answer) in enumerate(said):
        connection.execute(
            "INSERT INTO commands (ven_id, command_id, op, event_id, data, status, created_at,"
            " next_attempt_at, expires_at, acknowledged_at, acknowledgement)"
            " VALUES ('house-1', %s, 'event', 'evt-1', %s, 'acknowledged', %s, %s, %s, %s, %s)",
            [
                command_id,
                json.dumps({"requestedReductionKw": 3.0}),
                *[NOW] * 3,
                NOW + timedelta(seconds=number),
                None if answer is None else json.dumps(answer),
            ],
        )
    events = client.simulate_get(EVENTS).json
    assert [(each["id"], each["requestedShedKw"], each["actualShedKw"]) for each in events] == [
        ("three", 3.0, 0.0),
        ("two", 3.0, 0.25),
        ("one", 2.0, 1.5),
    ]
    assert events[2] == {
        "id": "one",
        "venId": "house-1",
        "eventId": "evt-1",
        "correlationId": "one",
        "op": "event",
        "status": "acknowledged",
        "timestamp": "2024-07-10T18:00:00Z",
        "requestedShedKw": 2.0,
        "actualShedKw": 1.5,
        "circuitsCurtailed": [{"id": "a"}],
    }
    assert [each["id"] for each in client.simulate_get(EVENTS, params={"limit": 1}).json] == ["three"]


@pytest.mark.usefixtures("house")
def test_histories_answer_what_the_setting_says(engine: Engine) -> None:
    """A chart of sums of a 3 kW home climbs with its reporting rate."""
    client = testing.TestClient(create_app(engine, lambda: NOW, [], AppOptions(default_aggregate="mean")))
    for path in ("/api/stats/network/history", "/api/vens/house-1/history"):
        points = client.simulate_get(path).json["points"]
        assert points == client.simulate_get(f"{path}?aggregate=mean").json["points"]
        assert points != client.simulate_get(f"{path}?aggregate=sum").json["points"]
        assert points[0]["usedPowerKw"] == 2.0
        assert client.simulate_get(f"{path}?granularity=1m&aggregate=sum").status_code == 200
        refused = client.simulate_get(f"{path}?granularity=1m")
        assert (refused.status_code, "ask for aggregate=sum" in refused.json["detail"]) == (400, True)


REJECTED = "/api/vens/house-1/rejected"


@pytest.fixture
def refused(store: Store) -> None:
    """Of `house-1` one by its topic, one by what it says, one by a load; and one of another VEN."""
    store.write(
        batch_of(
            Received("oadr/meter/house-1", b"{", NOW),
            Received("oadr/meter/house-10", b"[]", NOW),
            Received("ven/status/house-1", b"\xff" * 2_000, NOW + timedelta(seconds=1)),
            telemetry("house-1", NOW, 1.0, loads=[{"id": "a"}, {"id": "a"}]),
        )
    )


@pytest.mark.usefixtures("refused")
def test_what_was_refused_of_a_ven(client: testing.TestClient) -> None:
    newest, *others = client.simulate_get(REJECTED).json
    assert (newest["topic"], newest["bytes"], newest["start"]) == (
        "ven/status/house-1",
        2_000,
        "\ufffd" * 1_000,
    )
    assert newest["receivedAt"] == "2024-07-10T18:00:01Z"
    assert {each["reason"] for each in others} == {"not_json", "load_twice"}
    of_load = next(each for each in others if each["reason"] == "load_twice")
    assert of_load["deviceTime"] == "2024-07-10T18:00:00Z"
    assert "a" in of_load["detail"]
    assert len(others) == 2


@pytest.mark.usefixtures("refused")
@pytest.mark.parametrize(
    ("parameters", "found"),
    [({"limit": "1"}, 1), ({"start": "2024-07-10T18:00:01Z"}, 1), ({"end": "2024-07-10T18:00:00Z"}, 2)],
)
def test_refused_messages_of_a_range(
    client: testing.TestClient, parameters: dict[str, str], found: int
) -> None:
    assert len(client.simulate_get(REJECTED, params=parameters).json) == found


@pytest.mark.usefixtures("refused")
def test_a_ven_that_never_was_accepted_is_told_why(client: testing.TestClient) -> None:
    assert client.simulate_get("/api/vens/house-10").status_code == 404
    (only,) = client.simulate_get("/api/vens/house-10/rejected").json
    assert only["reason"] == "wrong_type"
    assert client.simulate_get("/api/vens/nobody/rejected").json == []


@pytest.mark.thorough
@pytest.mark.usefixtures("house")
@pytest.mark.parametrize(
    ("load_type", "found"),
    [
        ("hvac", ["house-1"]),
        ("unknown", ["house-1", "house-2"]),
        ("ev,unknown", ["house-1", "house-2"]),
        ("ev", []),
    ],
)
def test_vens_by_type_of_load(
    client: testing.TestClient, store: Store, engine: Engine, load_type: str, found: list[str]
) -> None:
    store.write(batch_of(telemetry("house-2", NOW, 2.0, loads=[{"id": "c", "currentPowerKw": 1.0}])))
    catch_up(engine)
    for more in ({}, {"limit": "5"}, {"format": "json"}):
        answer = client.simulate_get("/api/vens/summary", params={"loadType": load_type, **more})
        assert [ven["id"] for ven in answer.json] == found
    assert client.simulate_get("/api/vens/summary", params={"loadtype": "ev"}).status_code == 400
