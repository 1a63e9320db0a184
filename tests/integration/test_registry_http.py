"""People register, change and retire VENs, and set loads; every answer follows."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from falcon import testing
from sqlalchemy import Engine

from ingest.storing.store import Store
from jobs.summaries.rebuild import verify, whole_range
from schemas.db.channels import COMMANDS, TOTALS
from serving.app import create_app
from tests.integration.catching_up import catch_up
from tests.integration.published import NOW, batch_of, rows, status, telemetry, value

BERLIN = {"lat": 52.52, "lon": 13.405}
HOUSE = {"id": "house-1", "name": "Dairy farm", "location": BERLIN}
LOADS = [
    {"id": "a", "type": "hvac", "currentPowerKw": 2.0, "capacityKw": 3.0, "shedCapabilityKw": 1.0},
    {"id": "b", "currentPowerKw": 0.5, "shedCapabilityKw": 0.25, "enabled": True, "priority": 2},
]
FIVE_MINUTES = {"slotMinutes": 5, "slotMinutesSince": None, "slotMinutesSource": "default"}
UNGROUPED: dict[str, Any] = {"region": "", "tags": []}
Send = Callable[..., testing.Result]


class Clock:
    now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(engine: Engine, clock: Clock) -> testing.TestClient:
    return testing.TestClient(create_app(engine, clock, []))


@pytest.fixture
def send(client: testing.TestClient) -> Send:
    def send(method: str, path: str, **said: Any) -> testing.Result:
        return client.simulate_request(method, f"/api{path}", json=said)

    return send


@pytest.fixture
def get(client: testing.TestClient) -> Callable[[str], Any]:
    def get(path: str) -> Any:
        response = client.simulate_get(f"/api{path}")
        return response.json if response.status_code == 200 else response.status_code

    return get


Get = Callable[[str], Any]


@pytest.fixture
def house(store: Store, engine: Engine) -> None:
    """A VEN that has reported, and another that never sends a status."""
    at = NOW - timedelta(minutes=1)
    store.write(
        batch_of(
            telemetry("house-1", at, 2.5, loads=LOADS),
            telemetry("house-2", at, 1.0, loads=LOADS),
            status("house-1", at, "online"),
        )
    )
    catch_up(engine)


# VENs


def test_a_ven_is_registered(send: Send, get: Get) -> None:
    made = send("POST", "/vens", **HOUSE, status="maintenance", registrationId="R-7", address="Mill Lane 1")
    assert (made.status_code, made.headers["location"]) == (201, "/api/vens/house-1")
    assert made.json == get("/vens/house-1")
    assert made.json == {
        "id": "house-1",
        "name": "Dairy farm",
        "status": "maintenance",
        "location": BERLIN,
        "loads": [],
        "metrics": {
            "currentPowerKw": 0.0,
            "shedAvailabilityKw": 0.0,
            "activeEventId": None,
            "shedLoadIds": [],
        },
        "createdAt": "2024-07-10T18:00:00Z",
        "lastSeen": None,
        "registrationId": "R-7",
        "address": "Mill Lane 1",
        "isLocated": True,
        "isReporting": False,
        **FIVE_MINUTES,
        **UNGROUPED,
    }
    assert get("/vens") == [made.json]
    assert get("/vens/summary") == [
        {
            "id": "house-1",
            "name": "Dairy farm",
            "location": "52.5200, 13.4050",
            "status": "maintenance",
            "controllablePower": 0.0,
            "currentPower": 0.0,
            "address": "Mill Lane 1",
            "lastSeen": None,
            "responseTime": 0,
            "isLocated": True,
            "isReporting": False,
            "hasAnswered": False,
        }
    ]


def nulls(value: Any, path: str = "") -> list[str]:
    """Where in an answer there is null."""
    if isinstance(value, dict):
        return [found for name, each in value.items() for found in nulls(each, f"{path}.{name}")]
    if isinstance(value, list):
        return [found for each in value for found in nulls(each, f"{path}[]")]
    return [path] if value is None else []


def test_a_ven_that_registered_itself_has_numbers_and_words(store: Store, engine: Engine, get: Get) -> None:
    """A page that formats coordinates was blank for each VEN that no operator had registered."""
    silent = status("quiet", NOW, "online")
    bare = telemetry("bare", NOW, None, loads=[{"id": "a"}])
    store.write(batch_of(silent, bare))
    catch_up(engine)
    nothing = ["[].metrics.activeEventId"] * 2 + ["[].lastSeen"] + ["[].slotMinutesSince"] * 2
    assert sorted(nulls(get("/vens"))) == sorted(nothing)
    assert nulls(get("/vens/summary")) == ["[].lastSeen"]
    ven = get("/vens/bare")
    assert (ven["location"], ven["isLocated"]) == ({"lat": 0.0, "lon": 0.0}, False)
    assert (ven["registrationId"], ven["address"], ven["metrics"]["currentPowerKw"]) == ("", "", 0.0)
    assert not ven["isReporting"]
    assert get("/vens/bare/loads/a") == {
        "id": "a",
        "type": "unknown",
        "name": "a",
        "capacityKw": 0.0,
        "shedCapabilityKw": 0.0,
        "currentPowerKw": 0.0,
        "enabled": True,
        "priority": 0,
        "isReporting": False,
    }


def test_what_a_client_got_it_may_send_back(
    store: Store, engine: Engine, send: Send, get: Get, connection: psycopg.Connection
) -> None:
    """Placeholders and estimates do not become facts, and VENs are sent nothing."""
    store.write(batch_of(telemetry("bare", NOW, 1.23456, loads=[{"id": "a", "currentPowerKw": 1.23456}])))
    catch_up(engine)
    ven, load = get("/vens/bare"), get("/vens/bare/loads/a")
    before = rows(connection, "SELECT * FROM vens")
    assert send("PATCH", "/vens/bare", **ven).json == ven
    assert send("PATCH", "/vens/bare/loads/a", **load).json == load
    assert rows(connection, "SELECT * FROM vens") == before
    assert [value(connection, f"SELECT count(*) FROM {each}") for each in ("loads", "commands")] == [0, 0]
    assert value(connection, "SELECT count(*) FROM ven_statuses") == 0
    assert send("PATCH", "/vens/bare", **{**ven, "address": "Mill Lane 1"}).json["address"] == "Mill Lane 1"
    assert send("PATCH", "/vens/bare", address="").json == ven


@pytest.mark.usefixtures("house")
def test_a_row_of_a_list_may_be_sent_back(send: Send, get: Get, connection: psycopg.Connection) -> None:
    """A page that edits the list of VENs, or the samples of loads, has other keys than that of one VEN."""
    ven, load = get("/vens/house-1"), get("/vens/house-1/loads/a")
    line = get("/vens/summary?limit=1")[0]
    [sample] = get("/vens/house-1/circuits/history?load_id=a")["snapshots"]
    assert send("PATCH", "/vens/house-1", **line).json == ven
    assert send("PATCH", "/vens/house-1/loads/a", **sample).json == load
    assert [value(connection, f"SELECT count(*) FROM {each}") for each in ("loads", "commands")] == [0, 0]
    renamed = {**line, "name": "Mill", "location": {"lat": 52.52, "lon": 13.405}}
    assert send("PATCH", "/vens/house-1", **renamed).json["name"] == "Mill"
    located = get("/vens/summary?limit=1")[0]["location"]
    assert located == "52.5200, 13.4050"
    assert send("PATCH", "/vens/house-1", location=located).json["isLocated"]
    for label in ("", "52.5200, 13.4051", "Berlin"):
        refused = send("PATCH", "/vens/house-1", location=label)
        assert (refused.status_code, '{"lat": ' in refused.json["detail"]) == (400, True)
    assert get("/vens/house-1")["location"] == {"lat": 52.52, "lon": 13.405}


@pytest.mark.usefixtures("house")
@pytest.mark.parametrize("path", ["/vens/house-1", "/vens/house-1/loads/a", "/events/evt-1"])
def test_read_only_keys_change_nothing(path: str, send: Send, get: Get) -> None:
    event = {"startTime": "2099-01-01T10:00Z", "endTime": "2099-01-01T11:00Z", "requestedReductionKw": 1}
    assert send("POST", "/events", id="evt-1", **event).status_code == 201
    before = get(path)
    read_only = {"id": "other", "currentPowerKw": 9.5, "createdAt": None, "metrics": {"currentPowerKw": 1}}
    assert send("PATCH", path, **read_only).status_code == 200
    assert get(path) == before


@pytest.mark.thorough
@pytest.mark.usefixtures("house")
@pytest.mark.parametrize(
    ("path", "key", "nearest"),
    [
        ("/vens/house-1", "adress", "address"),
        ("/vens/house-1", "lastseen", "lastSeen"),
        ("/vens/house-1/loads/a", "capacityKW", "capacityKw"),
        ("/vens/house-1/loads/a", "prio", "priority"),
    ],
)
def test_misspelt_keys_are_named_with_the_nearest(path: str, key: str, nearest: str, send: Send) -> None:
    refused = send("PATCH", path, **{key: 1})
    assert refused.status_code == 400
    assert refused.json["detail"].startswith(f"{key} is unknown; did you mean {nearest}?")


def test_a_ven_without_an_id_is_given_one(send: Send, get: Get) -> None:
    made = send("POST", "/vens", name="Somewhere", location=BERLIN).json
    assert get(f"/vens/{made['id']}") == made
    assert made["status"] == "unknown"


@pytest.mark.usefixtures("house")
def test_an_id_that_is_there_is_a_conflict(send: Send, get: Get) -> None:
    before = get("/vens/house-1")
    refused = send("POST", "/vens", **HOUSE)
    assert refused.status_code == 409
    assert "house-1" in refused.json["detail"]
    assert get("/vens/house-1") == before


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"name": "x"}, "location"),
        ({"location": BERLIN}, "name"),
        ({**HOUSE, "location": {"lat": 91, "lon": 0}}, "location.lat"),
        ({**HOUSE, "location": {"lat": 1}}, "location.lon"),
        ({**HOUSE, "id": "a/b"}, "and without `/`, `+` and `#`"),
        ({**HOUSE, "id": "summary"}, "id must not be 'summary'"),
        ({**HOUSE, "id": "."}, "id must not be '.'"),
        ({**HOUSE, "id": ".."}, "id must not be '..'"),
        ({**HOUSE, "id": "a+"}, "id"),
        ({**HOUSE, "id": "a\n"}, "id"),
        ({**HOUSE, "id": "a "}, "id must be a text without control characters"),
        ({**HOUSE, "id": "a\u0085b"}, "id"),
        ({**HOUSE, "id": "a\u202eb"}, "id"),
        ({**HOUSE, "id": "a\U0001ffffb"}, "id"),
        ({**HOUSE, "id": ""}, "id"),
        ({**HOUSE, "name": ""}, "name"),
        ({**HOUSE, "colour": "red"}, "colour"),
    ],
)
def test_a_ven_that_cannot_be_meant(said: dict[str, Any], field: str, send: Send, get: Get) -> None:
    refused = send("POST", "/vens", **said)
    assert refused.status_code == 400
    assert field in refused.json["detail"]
    assert get("/vens") == []


@pytest.mark.thorough
@pytest.mark.parametrize(
    "ven_id",
    ["old ", "\u00a0old", "o\u0085ld", "o\u202eld", "o\ufdd0ld", "o\ufdd01/\ufdd0", "a/b", "o\U0010ffffld"],
)
def test_ids_from_before_the_rule_stay_readable(
    ven_id: str, get: Get, send: Send, connection: psycopg.Connection
) -> None:
    """New ones of this form are refused; these are in lists, and can be asked for, changed and retired."""
    connection.execute("INSERT INTO vens (ven_id, created_at) VALUES (%s, now())", [ven_id])
    path = f"/vens/{quote(ven_id, safe='')}"
    assert [ven["id"] for ven in get("/vens")] == [ven_id] == [get(path)["id"]]
    assert get(f"{path}/loads") == []
    changed = send("PATCH", path, name="Old")
    assert changed.json.get("name") == "Old", changed.text
    assert send("DELETE", path).status_code == 204


@pytest.mark.usefixtures("house")
def test_a_ven_is_changed_field_by_field(send: Send, get: Get) -> None:
    assert send("PATCH", "/vens/house-1", name="Farm").json["name"] == "Farm"
    changed = send("PATCH", "/vens/house-1", location=BERLIN).json
    assert (changed["name"], changed["location"], changed["status"]) == ("Farm", BERLIN, "online")
    forgotten = send("PATCH", "/vens/house-1", name=None, location=None).json
    assert (forgotten["name"], forgotten["location"]) == ("house-1", {"lat": 0.0, "lon": 0.0})
    assert not forgotten["isLocated"]
    assert send("PATCH", "/vens/house-1").json == forgotten == get("/vens/house-1")
    assert send("PATCH", "/vens/house-1", status=None).status_code == 400
    assert send("PATCH", "/vens/nobody", name="x").status_code == 404


def test_words_of_status_count_however_they_are_spelt(send: Send, connection: psycopg.Connection) -> None:
    """The same words as VENs send: a `True` of people was a status of its own."""
    assert send("POST", "/vens", **HOUSE, status=" Maintenance ").json["status"] == "maintenance"
    for spelt, word in (("OFFLINE", "offline"), (" true ", "online"), ("False", "offline"), ("Busy", "busy")):
        assert send("PATCH", "/vens/house-1", status=spelt).json["status"] == word
    assert send("PATCH", "/vens/house-1", status="BUSY").json["status"] == "busy"
    assert value(connection, "SELECT count(*) FROM ven_statuses") == 5, "the last one changed nothing"
    for no_word in (" ", "null"):
        refused = send("PATCH", "/vens/house-1", status=no_word)
        assert (refused.status_code, "status" in refused.json["detail"]) == (400, True)


@pytest.mark.usefixtures("house")
def test_a_status_of_people_counts_until_the_ven_speaks(
    send: Send, get: Get, store: Store, engine: Engine, clock: Clock
) -> None:
    assert get("/stats/network")["onlineVens"] == 1
    assert send("PATCH", "/vens/house-1", status="offline").json["status"] == "offline"
    catch_up(engine)
    assert get("/vens/house-1")["status"] == "offline"
    network = get("/stats/network")
    assert (network["onlineVens"], network["controllablePowerKw"]) == (1, 1.25)
    assert get("/vens/summary")[0]["controllablePower"] == 0
    clock.now = NOW - timedelta(hours=1)  # a clock that went back must not make it the older one
    assert send("PATCH", "/vens/house-1", status="maintenance").json["status"] == "maintenance"
    store.write(batch_of(status("house-1", NOW + timedelta(minutes=1), "online")))
    catch_up(engine)
    assert get("/vens/house-1")["status"] == "online"
    assert get("/stats/network")["onlineVens"] == 2
    with engine.connect() as connection:
        within = whole_range(connection, None, None)
    assert within is not None
    assert [chunk.differences.height for chunk in verify(engine, within) if chunk.differences.height] == []


@pytest.mark.usefixtures("house")
def test_a_retired_ven_leaves_everything_and_comes_back_with_its_history(
    send: Send, get: Get, store: Store, engine: Engine
) -> None:
    history = get("/stats/network/history")
    both = get("/stats/network")
    own = get("/vens/house-1/history")
    before = get("/vens/house-1")
    assert send("DELETE", "/vens/house-1").status_code == 204
    catch_up(engine)
    for path in ("", "/history", "/loads", "/loads/a", "/loads/a/history", "/commands"):
        assert get(f"/vens/house-1{path}") == 404
    assert send("DELETE", "/vens/house-1").status_code == 404
    assert send("PATCH", "/vens/house-1", name="x").status_code == 404
    assert send("PATCH", "/vens/house-1/loads/a", name="x").status_code == 404
    assert send("POST", "/vens/house-1/loads/a/commands/shed", amountKw=1).status_code == 404
    assert [ven["id"] for ven in get("/vens")] == ["house-2"]
    assert [ven["id"] for ven in get("/vens/summary")] == ["house-2"]
    alone = get("/stats/network")
    assert (alone["venCount"], alone["onlineVens"], alone["householdUsageKw"]) == (1, 1, 1.0)
    assert alone["controllablePowerKw"] == alone["potentialLoadReductionKw"] == 1.25
    assert {each["type"]: each["totalCapacityKw"] for each in get("/stats/loads")} == {
        "hvac": 3.0,
        "unknown": 0.75,
    }
    assert get("/stats/network/history") == history

    store.write(batch_of(telemetry("house-1", NOW, 9.0)))
    catch_up(engine)
    assert get("/stats/network")["householdUsageKw"] == 1.0
    again = send("POST", "/vens", **HOUSE)
    assert again.status_code == 201
    assert again.json["createdAt"] == before["createdAt"]
    assert again.json["loads"] == before["loads"]
    assert again.json["metrics"]["currentPowerKw"] == 9.0, "what it sent meanwhile was stored"
    assert get("/vens/house-1/history")["points"][: len(own["points"])] == own["points"]
    catch_up(engine)
    assert get("/stats/network")["venCount"] == both["venCount"]


@pytest.mark.usefixtures("house")
def test_a_retired_ven_is_told_nothing_any_more(send: Send, get: Get) -> None:
    accepted = send("POST", "/vens/house-1/loads/a/commands/shed", amountKw=1).json
    send("DELETE", "/vens/house-1")
    command = get(f"/commands/{accepted['commandId']}")
    assert (command["status"], command["error"]) == ("expired", "the VEN was retired")


# Loads


@pytest.mark.usefixtures("house")
def test_what_people_say_of_a_load_wins_field_by_field_and_can_be_taken_back(
    send: Send, get: Get, engine: Engine, store: Store
) -> None:
    reported = get("/vens/house-1/loads/a")
    said = {"name": "Barn", "capacityKw": 9.5, "shedCapabilityKw": 0.5}
    changed = send("PATCH", "/vens/house-1/loads/a", **said)
    assert (changed.status_code, changed.json) == (200, {**reported, **said})
    store.write(batch_of(telemetry("house-1", NOW, 2.5, loads=LOADS)))
    catch_up(engine)
    assert get("/vens/house-1/loads/a") == changed.json == get("/vens/house-1")["loads"][0]
    assert get("/stats/network")["controllablePowerKw"] == pytest.approx(0.5 + 0.25 + 1.25)
    assert get("/stats/loads")[0]["totalCapacityKw"] == 9.5 + 3.0

    assert send("PATCH", "/vens/house-1/loads/a", type="boiler").json == {**changed.json, "type": "boiler"}
    catch_up(engine)
    assert [each["type"] for each in get("/stats/loads")] == ["boiler", "hvac", "unknown"]

    reset = dict.fromkeys(("name", "type", "capacityKw", "shedCapabilityKw"))
    assert send("PATCH", "/vens/house-1/loads/a", **reset).json == reported
    catch_up(engine)
    assert get("/stats/network")["controllablePowerKw"] == 2.5


@pytest.mark.usefixtures("house")
def test_a_load_that_people_disable_is_not_controllable(send: Send, get: Get, engine: Engine) -> None:
    send("PATCH", "/vens/house-1/loads/a", enabled=False)
    catch_up(engine)
    network = get("/stats/network")
    assert (network["controllablePowerKw"], network["potentialLoadReductionKw"]) == (1.5, 2.5)
    assert get("/vens/house-1")["metrics"]["shedAvailabilityKw"] == 0.25
    assert get("/vens/summary")[0]["controllablePower"] == 0.25
    send("PATCH", "/vens/house-1/loads/a", enabled=None)
    catch_up(engine)
    assert get("/stats/network")["controllablePowerKw"] == 2.5


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"capacityKw": -1}, "capacityKw"),
        ({"capacityKw": "much"}, "capacityKw"),
        ({"priority": 1.5}, "priority"),
        ({"priority": 2**40}, "priority"),
        ({"enabled": "yes"}, "enabled"),
        ({"currentPower": 1}, "did you mean currentPowerKw?"),
    ],
)
@pytest.mark.usefixtures("house")
def test_a_load_that_cannot_be_meant(said: dict[str, Any], field: str, send: Send) -> None:
    refused = send("PATCH", "/vens/house-1/loads/a", **said)
    assert refused.status_code == 400
    assert field in refused.json["detail"]


@pytest.mark.usefixtures("house")
def test_a_load_that_is_not_there(send: Send) -> None:
    assert send("PATCH", "/vens/house-1/loads/zz", enabled=True).status_code == 404
    assert send("PATCH", "/vens/nobody/loads/a", enabled=True).status_code == 404


@pytest.mark.usefixtures("house")
def test_the_ven_is_told_what_concerns_it_in_one_command_at_a_time(
    send: Send, get: Get, engine: Engine
) -> None:
    """A setting that was sent again after a newer one was answered would undo it."""
    send("PATCH", "/vens/house-1/loads/a", name="only for people", shedCapabilityKw=1)
    assert get("/vens/house-1/commands") == []
    send("PATCH", "/vens/house-1/loads/a", enabled=False, name="x")
    [first] = get("/vens/house-1/commands")
    assert (first["op"], first["loadId"]) == ("setLoad", "a")
    assert first["data"] == {"loadId": "a", "enabled": False}
    assert first["expiresAt"] == "2024-07-11T18:00:00Z"
    send("PATCH", "/vens/house-1/loads/b", priority=1)
    send("PATCH", "/vens/house-1/loads/a", capacityKw=4, enabled=True)
    told = {each["id"]: each for each in get("/vens/house-1/commands")}
    assert (told[first["id"]]["status"], told[first["id"]]["error"]) == (
        "expired",
        "replaced by a newer command",
    )
    pending = [each["data"] for each in told.values() if each["status"] == "pending"]
    assert sorted(pending, key=lambda data: data["loadId"]) == [
        {"loadId": "a", "enabled": True, "capacityKw": 4.0},
        {"loadId": "b", "priority": 1},
    ]
    send("PATCH", "/vens/house-1/loads/a", priority=3, enabled=None)
    pending = [each["data"] for each in get("/vens/house-1/commands") if each["status"] == "pending"]
    assert {"loadId": "a", "capacityKw": 4.0, "priority": 3} in pending
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE commands SET status = 'acknowledged' WHERE status = 'pending'")
    send("PATCH", "/vens/house-1/loads/a", priority=4)
    pending = [each["data"] for each in get("/vens/house-1/commands") if each["status"] == "pending"]
    assert pending == [{"loadId": "a", "priority": 4}], "what is answered need not be said again"


# Commands


@pytest.mark.usefixtures("house")
def test_a_shed_command_is_stored_and_told(send: Send, get: Get, connection: psycopg.Connection) -> None:
    connection.execute(f"LISTEN {COMMANDS}".encode())
    accepted = send("POST", "/vens/house-1/loads/a/commands/shed", amountKw=0.9, durationS=1800)
    assert accepted.status_code == 202
    command_id = accepted.json["commandId"]
    assert accepted.json == {
        "status": "accepted",
        "venId": "house-1",
        "loadId": "a",
        "amountKw": 0.9,
        "commandId": command_id,
    }
    assert accepted.headers["location"] == f"/api/commands/{command_id}"
    assert [each.channel for each in connection.notifies(timeout=5, stop_after=1)] == [COMMANDS]
    assert get(f"/commands/{command_id}") == {
        "id": command_id,
        "venId": "house-1",
        "op": "shedLoad",
        "loadId": "a",
        "eventId": None,
        "data": {"loadId": "a", "reduceKw": 0.9, "durationS": 1800},
        "status": "pending",
        "attempts": 0,
        "createdAt": "2024-07-10T18:00:00Z",
        "sentAt": None,
        "acknowledgedAt": None,
        "executedAt": None,
        "expiresAt": "2024-07-10T18:30:00Z",
        "acknowledgement": None,
        "error": None,
    }
    default = send("POST", "/vens/house-1/loads/a/commands/shed", amountKw=1).json["commandId"]
    assert get(f"/commands/{default}")["data"]["durationS"] == 900


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("path", "said", "status_code"),
    [
        ("/vens/house-1/loads/a", {"amountKw": 0}, 400),
        ("/vens/house-1/loads/a", {"amountKw": -1}, 400),
        ("/vens/house-1/loads/a", {"amountKw": 1, "durationS": 0}, 400),
        ("/vens/house-1/loads/a", {"amountKw": 1, "durationS": 1e9}, 400),
        ("/vens/house-1/loads/a", {}, 400),
        ("/vens/house-1/loads/zz", {"amountKw": 1}, 404),
        ("/vens/nobody/loads/a", {"amountKw": 1}, 404),
    ],
)
@pytest.mark.usefixtures("house")
def test_a_shed_command_that_cannot_be_meant(
    path: str, said: dict[str, Any], status_code: int, send: Send, connection: psycopg.Connection
) -> None:
    assert send("POST", f"{path}/commands/shed", **said).status_code == status_code
    assert value(connection, "SELECT count(*) FROM commands") == 0


@pytest.mark.usefixtures("house")
@pytest.mark.parametrize("by_people", [True, False])
def test_a_disabled_load_takes_no_shed(by_people: bool, send: Send, store: Store) -> None:  # noqa: FBT001
    """Whoever disabled it; also when the lane has not consumed the VEN's report yet."""
    path = "/vens/house-1/loads/a/commands/shed"
    assert send("POST", path, amountKw=0.5).status_code == 202
    if by_people:
        send("PATCH", "/vens/house-1/loads/a", enabled=False)
    else:
        store.write(batch_of(telemetry("house-1", NOW, 2.5, loads=[LOADS[0] | {"enabled": False}])))
    refused = send("POST", path, amountKw=0.5)
    assert refused.status_code == 409
    assert "'a' of VEN 'house-1' is disabled" in refused.json["detail"]
    assert send("POST", "/vens/house-1/loads/b/commands/shed", amountKw=0.1).status_code == 202
    if by_people:
        send("PATCH", "/vens/house-1/loads/a", enabled=True)
        assert send("POST", path, amountKw=0.5).status_code == 202


@pytest.mark.usefixtures("house")
def test_opt_outs_are_made_listed_and_deleted(send: Send, get: Get) -> None:
    path = "/vens/house-1/opt-outs"
    assert get(path) == []
    later = send("POST", path, **{"from": "2030-01-02T00:00:00Z", "to": "2030-01-03"})
    first = send(
        "POST", path, **{"from": "2030-01-01T10:00:00+02:00", "to": "2030-01-01T09:00:00Z"}, reason="guests"
    )
    assert (later.status_code, first.status_code) == (201, 201)
    assert get(path) == [first.json, later.json]
    assert get(first.headers["Location"].removeprefix("/api")) == first.json
    assert first.json == {
        "id": first.json["id"],
        "venId": "house-1",
        "from": "2030-01-01T08:00:00Z",
        "to": "2030-01-01T09:00:00Z",
        "reason": "guests",
        "createdAt": NOW.isoformat().replace("+00:00", "Z"),
    }
    one = f"{path}/{first.json['id']}"
    assert send("DELETE", one.replace("house-1", "house-2")).status_code == 404
    assert [send("DELETE", one).status_code for _ in range(2)] == [204, 404]
    assert (get(path), get(one)) == ([later.json], 404)


@pytest.mark.thorough
@pytest.mark.usefixtures("house")
@pytest.mark.parametrize(
    ("body", "fix"),
    [
        ({"from": "2030-01-02", "to": "2030-01-02"}, "to must be after from"),
        ({"from": "2001-01-02", "to": "2001-01-03"}, "to must be still ahead"),
        ({"from": "soon", "to": "2030-01-02"}, "from is 'soon'"),
        ({"from": "2030-01-02"}, "to"),
        ({"from": "2030-01-02", "to": "2030-01-03", "raeson": "x"}, "raeson"),
    ],
)
def test_an_opt_out_that_cannot_be_meant(body: dict[str, str], fix: str, send: Send) -> None:
    refused = send("POST", "/vens/house-1/opt-outs", **body)
    assert refused.status_code == 400
    assert fix in refused.json["detail"]
    assert (
        send("POST", "/vens/nobody/opt-outs", **{"from": "2030-01-02", "to": "2030-01-03"}).status_code == 404
    )


@pytest.mark.usefixtures("house")
def test_commands_are_listed_newest_first_and_by_pages(
    send: Send, client: testing.TestClient, get: Get, clock: Clock
) -> None:
    made = []
    for number in range(7):
        clock.now = NOW + timedelta(seconds=number // 2)
        made.append(send("POST", "/vens/house-1/loads/a/commands/shed", amountKw=1).json["commandId"])
    send("POST", "/vens/house-2/loads/a/commands/shed", amountKw=1)
    listed = [each["id"] for each in get("/vens/house-1/commands")]
    assert sorted(listed) == sorted(made)
    assert listed[0] == made[-1]
    paged, path = [], "/api/vens/house-1/commands?limit=3"
    while path:
        page = client.simulate_get(path)
        paged += [each["id"] for each in page.json]
        path = _next(page)
    assert paged == listed
    assert get("/vens/nobody/commands") == 404
    assert get("/commands/nothing") == 404
    assert get("/vens/house-2/commands?after=nothing") == []


@pytest.mark.thorough
@pytest.mark.parametrize("path", ["/vens", "/vens/summary", "/vens/b/loads", "/groups"])
def test_a_page_after_an_id_that_is_not_there_goes_on_behind_its_place(
    path: str, get: Get, client: testing.TestClient, store: Store, engine: Engine
) -> None:
    """It was taken out between two pages, say."""
    for ven_id in ("a", "b", "d"):
        store.write(batch_of(telemetry(ven_id, NOW, loads=[{"id": each} for each in "abd"])))
        client.simulate_post("/api/groups", json={"id": ven_id, "name": ven_id, "venIds": [ven_id]})
    catch_up(engine)
    ids = [each.get("id") or each["venId"] for each in get(path)]
    assert [each.get("id") or each["venId"] for each in get(f"{path}?after=c")] == ids[2:]
    assert len(get(f"{path}?after=0")) == len(ids) == 3
    assert get(f"{path}?after=z") == []


def _next(page: testing.Result) -> str:
    link = page.headers.get("link", "")
    return link[1 : link.index(">")] if link else ""


@pytest.mark.usefixtures("house")
def test_an_answer_is_shown_as_it_came(send: Send, client: testing.TestClient, engine: Engine) -> None:
    """Python's own JSON would choke on half a surrogate pair."""
    command_id = send("POST", "/vens/house-1/loads/a/commands/shed", amountKw=1).json["commandId"]
    answer = '{"ok": true, "note": "\\ud800", "big": 123456789012345678901234567890}'
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE commands SET acknowledgement = %s::json", (answer,))
    shown = client.simulate_get(f"/api/commands/{command_id}")
    assert shown.status_code == 200
    assert answer in shown.text


@pytest.mark.usefixtures("house")
def test_response_time_is_the_mean_of_the_last_answers(
    send: Send, get: Get, engine: Engine, clock: Clock
) -> None:
    assert get("/vens/summary")[0]["responseTime"] == 0
    for seconds in (90, 1, 2, 3, 4, 5):
        clock.now += timedelta(seconds=1)
        command_id = send("POST", "/vens/house-1/loads/a/commands/shed", amountKw=1).json["commandId"]
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "UPDATE commands SET sent_at = now(), acknowledged_at = now() + %s * interval '1 second'"
                " WHERE command_id = %s",
                (seconds, command_id),
            )
    send("POST", "/vens/house-1/loads/a/commands/shed", amountKw=1)
    answered = [(each["responseTime"], each["hasAnswered"]) for each in get("/vens/summary")]
    assert answered == [(3000, True), (0, False)]


@pytest.mark.usefixtures("house")
def test_every_wish_is_told_of(send: Send, connection: psycopg.Connection) -> None:
    connection.execute(f"LISTEN {TOTALS}".encode())
    wishes: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/vens", {**HOUSE, "id": "new"}),
        ("PATCH", "/vens/new", {"name": "x"}),
        ("PATCH", "/vens/house-1/loads/a", {"enabled": False}),
        ("DELETE", "/vens/new", {}),
    ]
    for method, path, said in wishes:
        assert send(method, path, **said).status_code < 300
        assert len(list(connection.notifies(timeout=5, stop_after=1))) == 1, json.dumps([method, path])
