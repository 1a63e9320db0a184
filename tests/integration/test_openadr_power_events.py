"""Events of OpenADR that ask for power are events of our API: made, changed and cancelled with them."""

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

from ingest.storing.store import Store
from tests.integration.catching_up import catch_up
from tests.integration.openadr_clients import NOW, OpenAdrClient, Vtn, utility, vtn
from tests.integration.published import batch_of, telemetry

__all__ = ["utility", "vtn"]

pytestmark = pytest.mark.usefixtures("vens")

HOUR = {"start": "2026-01-15T13:00:00Z", "duration": "PT1H"}


@pytest.fixture
def program(utility: OpenAdrClient) -> str:
    made: str = utility.make("/programs", programName="tou")["id"]
    return made


@pytest.fixture
def vens(connection: psycopg.Connection) -> None:
    """Two VENs that speak MQTT."""
    for ven_id in ("ven-1", "ven-2"):
        connection.execute("INSERT INTO vens (ven_id, name, created_at) VALUES (%s, %s, now())", [ven_id] * 2)
    connection.commit()


def asking(kw: float, kind: str = "DISPATCH_SETPOINT_RELATIVE") -> list[dict[str, Any]]:
    return [{"id": 0, "payloads": [{"type": kind, "values": [kw]}]}]


def shared(vtn: Vtn) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = vtn.web.simulate_get("/api/events").json
    return events


def test_an_event_that_asks_for_less(vtn: Vtn, utility: OpenAdrClient, program: str) -> None:
    made = utility.make("/events", programID=program, intervalPeriod=HOUR, intervals=asking(-50), priority=10)
    [event] = shared(vtn)
    assert event["id"] == f"openadr-{made['id']}"
    assert (event["startTime"], event["endTime"]) == ("2026-01-15T13:00:00Z", "2026-01-15T14:00:00Z")
    assert (event["requestedReductionKw"], event["direction"], event["priority"]) == (50, "reduce", 90)
    assert event["status"] == "scheduled"
    assert event["targets"] == {"groups": [], "loadTypes": [], "venIds": []}


@pytest.mark.parametrize("kind", ["PRICE", "DISPATCH_SETPOINT", "CHARGE_STATE_SETPOINT", "X_OWN"])
def test_others_are_stored_and_served_only(kind: str, vtn: Vtn, utility: OpenAdrClient, program: str) -> None:
    made = utility.make("/events", programID=program, intervalPeriod=HOUR, intervals=asking(5, kind))
    assert utility.get(f"/events/{made['id']}")["intervals"] == asking(5, kind)
    assert shared(vtn) == []


def test_targets_are_vens_that_were_granted_them_and_groups(
    vtn: Vtn, utility: OpenAdrClient, program: str
) -> None:
    ven = {"objectType": "BL_VEN_REQUEST", "clientID": "home"}
    enrolled = utility.make("/vens", **ven, venName="ven-1")
    utility.make(
        "/resources",
        objectType="BL_RESOURCE_REQUEST",
        clientID="home",
        resourceName="hvac1",
        venID=enrolled["id"],
        targets=["north"],
    )
    group = {"id": "south", "name": "South", "venIds": ["ven-2"]}
    assert vtn.web.simulate_post("/api/groups", json=group).status_code == 201

    def targets(*words: str) -> Any:
        body = {"programID": program, "intervalPeriod": HOUR, "intervals": asking(-5), "targets": list(words)}
        made = utility.make("/events", **body)
        events = [each["targets"] for each in shared(vtn) if each["status"] == "scheduled"]
        utility.delete(f"/events/{made['id']}")
        return events

    everybody: dict[str, list[str]] = {"groups": [], "loadTypes": [], "venIds": []}
    assert targets("north") == [everybody | {"venIds": ["ven-1"]}]
    assert targets("north", "south") == [everybody | {"venIds": ["ven-1"], "groups": ["south"]}]
    assert targets("nowhere") == []


def test_an_event_that_is_changed_and_deleted(vtn: Vtn, utility: OpenAdrClient, program: str) -> None:
    body = {"programID": program, "intervalPeriod": HOUR, "intervals": asking(-50)}
    path = f"/events/{utility.make('/events', **body)['id']}"
    utility.put(path, **{**body, "intervals": asking(-30), "priority": 0})
    [event] = shared(vtn)
    assert (event["requestedReductionKw"], event["priority"]) == (30, 100)
    utility.put(path, **{**body, "intervals": asking(0.2, "PRICE")})
    assert [each["status"] for each in shared(vtn)] == ["cancelled"]
    utility.put(path, **body)
    assert sorted(each["status"] for each in shared(vtn)) == ["cancelled", "scheduled"]
    utility.delete(path)
    assert [each["status"] for each in shared(vtn)] == ["cancelled", "cancelled"]


def start(connection: psycopg.Connection) -> None:
    """As the jobs start an event."""
    connection.execute(
        "UPDATE events SET status = 'active', started_at = start_time WHERE status = 'scheduled'"
    )
    connection.commit()


def test_an_event_that_is_changed_while_it_runs(
    vtn: Vtn, utility: OpenAdrClient, program: str, connection: psycopg.Connection
) -> None:
    """Another request and another end are followed; another direction is another event."""
    at_once = {"start": "0001-01-01", "duration": "PT2H"}
    body = {"programID": program, "intervalPeriod": at_once, "intervals": asking(-50)}
    path = f"/events/{utility.make('/events', **body)['id']}"
    start(connection)
    vtn.clock.advance(minutes=30)
    longer = {**at_once, "duration": "PT3H"}
    utility.put(path, **{**body, "intervalPeriod": longer, "intervals": asking(-20)})
    [event] = shared(vtn)
    assert (event["status"], event["requestedReductionKw"]) == ("active", 20)
    assert (event["startTime"], event["endTime"]) == ("2026-01-15T12:00:00Z", "2026-01-15T15:00:00Z")
    utility.put(path, **{**body, "intervals": asking(20)})
    cancelled, other = shared(vtn)
    assert (cancelled["status"], other["status"], other["direction"]) == (
        "cancelled",
        "scheduled",
        "increase",
    )
    assert (other["startTime"], other["endTime"]) == ("2026-01-15T12:30:00Z", "2026-01-15T14:00:00Z")
    utility.delete(f"/programs/{program}")
    assert {each["status"] for each in shared(vtn)} == {"cancelled"}


def test_levels_ask_for_a_part_of_what_vens_could_shed(
    vtn: Vtn,
    utility: OpenAdrClient,
    program: str,
    store: Store,
    engine: Engine,
    connection: psycopg.Connection,
) -> None:
    """As it was when the event was made: a VEN that sheds could shed no more."""
    at = NOW - timedelta(seconds=10)
    loads = [{"id": "hvac1", "type": "hvac", "currentPowerKw": 5.0, "shedCapabilityKw": 3.0}]
    store.write(batch_of(*(telemetry(each, at, 6.0, loads=loads) for each in ("ven-1", "ven-2"))))
    catch_up(engine)
    could_kw = vtn.web.simulate_get("/api/stats/network").json["controllablePowerKw"]
    assert could_kw == 6
    body = {"programID": program, "intervalPeriod": HOUR, "intervals": asking(1, "SIMPLE")}
    path = f"/events/{utility.make('/events', **body)['id']}"
    assert shared(vtn)[0]["requestedReductionKw"] == pytest.approx(could_kw / 3, abs=0.002)
    connection.execute("UPDATE ven_snapshots SET status = 'offline'")
    connection.commit()
    utility.put(path, **{**body, "intervals": asking(3, "SIMPLE")})
    assert [each["requestedReductionKw"] for each in shared(vtn)] == [pytest.approx(could_kw, abs=0.002)]


def test_what_cannot_be_shared_is_stored_all_the_same(
    vtn: Vtn, utility: OpenAdrClient, program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two events for the same VENs with equal priority, only the first is shared; the log names both."""
    body = {"programID": program, "intervalPeriod": HOUR, "intervals": asking(-50)}
    first = utility.make("/events", **body)
    second = utility.make("/events", **body)
    longest = {**HOUR, "duration": "P2D"}
    utility.make("/events", **{**body, "intervalPeriod": longest})
    assert len(utility.get("/events")) == 3
    assert [each["id"] for each in shared(vtn)] == [f"openadr-{first['id']}"]
    log = capsys.readouterr().out
    assert log.count("openadr_event_not_shared") == 2
    assert second["id"] in log
    utility.put(f"/events/{second['id']}", **body, priority=0)
    assert len(shared(vtn)) == 2
    utility.delete(f"/events/{second['id']}")
    utility.delete(f"/events/{first['id']}")
    assert {each["status"] for each in shared(vtn)} == {"cancelled"}
