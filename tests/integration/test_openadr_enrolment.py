"""VENs and resources of OpenADR in the registry of this service."""

from typing import Any

import psycopg
import pytest

from tests.integration.openadr_clients import OpenAdrClient, Vtn, home, utility, vtn
from tests.integration.published import rows
from tests.integration.test_openadr_access import assert_problem

__all__ = ["home", "utility", "vtn"]

VENS = b"SELECT ven_id, name, registration_id, retired_at IS NOT NULL FROM vens ORDER BY ven_id"
LOADS = b"SELECT ven_id, load_id, name, capacity_kw, removed_ts IS NOT NULL FROM loads ORDER BY load_id"


def enrolment(name: str, **more: Any) -> dict[str, Any]:
    return {"objectType": "VEN_VEN_REQUEST", "venName": name, **more}


def by_utility(name: str, client_id: str = "home") -> dict[str, Any]:
    return {"objectType": "BL_VEN_REQUEST", "venName": name, "clientID": client_id}


def test_a_ven_of_openadr_is_a_ven(vtn: Vtn, home: OpenAdrClient, connection: psycopg.Connection) -> None:
    location = [{"type": "LOCATION", "values": [13.405, 52.52]}, {"type": "X", "values": ["y"]}]
    made = home.make("/vens", **enrolment("Haus 1", attributes=location))
    ven = vtn.web.simulate_get("/api/vens/Haus 1").json
    assert (ven["id"], ven["name"], ven["registrationId"]) == ("Haus 1", "Haus 1", "openadr:home")
    assert ven["location"] == {"lat": 52.52, "lon": 13.405}
    home.put(f"/vens/{made['id']}", **enrolment("Haus 2"))
    renamed = vtn.web.simulate_get("/api/vens/Haus 1").json
    assert (renamed["name"], renamed["location"]) == ("Haus 2", {"lat": 52.52, "lon": 13.405})
    home.delete(f"/vens/{made['id']}")
    assert rows(connection, VENS.decode()) == [("Haus 1", "Haus 2", "openadr:home", True)]
    assert vtn.web.simulate_get("/api/vens").json == []


def test_a_resource_is_a_load(home: OpenAdrClient, connection: psycopg.Connection) -> None:
    ven = home.make("/vens", **enrolment("ven-1"))["id"]
    resource = {"objectType": "VEN_RESOURCE_REQUEST", "venID": ven, "resourceName": "hvac1"}
    attributes = [
        {"type": "MAX_POWER_CONSUMPTION", "values": [3.5]},
        {"type": "DESCRIPTION", "values": ["Heat pump"]},
    ]
    made = home.make("/resources", **resource, attributes=attributes)
    assert rows(connection, LOADS.decode()) == [("ven-1", "hvac1", "Heat pump", 3.5, False)]
    home.put(f"/resources/{made['id']}", **{**resource, "resourceName": "renamed"})
    assert rows(connection, LOADS.decode()) == [("ven-1", "hvac1", "Heat pump", 3.5, False)]
    home.delete(f"/resources/{made['id']}")
    assert rows(connection, LOADS.decode()) == [("ven-1", "hvac1", "Heat pump", 3.5, True)]


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["a/b", "a+", "#", " a", "a\n", "history", "summary", "..", "a\u202eb"])
def test_names_that_cannot_be_ids(name: str, home: OpenAdrClient, connection: psycopg.Connection) -> None:
    assert_problem(home.ask("POST", "/vens", enrolment(name)), 400, "venName")
    assert rows(connection, VENS.decode()) == []
    ven = home.make("/vens", **enrolment("ven-1"))["id"]
    body = {"objectType": "VEN_RESOURCE_REQUEST", "venID": ven, "resourceName": name}
    status = home.ask("POST", "/resources", body).status_code
    assert status == (201 if name in {"a+", "#", "history", "summary"} else 400)


def test_nobody_takes_the_place_of_a_ven(
    vtn: Vtn, utility: OpenAdrClient, home: OpenAdrClient, connection: psycopg.Connection
) -> None:
    """A VEN cannot enrol under the id of another; business logic can, for one that speaks MQTT."""
    connection.execute("INSERT INTO vens (ven_id, name, created_at) VALUES ('ven-1', 'House', now())")
    connection.commit()
    assert_problem(home.ask("POST", "/vens", enrolment("ven-1")), 409, "ven-1")
    made = utility.make("/vens", **by_utility("ven-1"))
    assert rows(connection, VENS.decode()) == [("ven-1", "House", None, False)]
    utility.delete(f"/vens/{made['id']}")
    assert rows(connection, VENS.decode()) == [("ven-1", "House", None, False)]
    vtn.web.simulate_delete("/api/vens/ven-1")
    assert_problem(home.ask("POST", "/vens", enrolment("ven-1")), 409)
    utility.make("/vens", **by_utility("ven-1"))
    assert rows(connection, VENS.decode()) == [("ven-1", "ven-1", "openadr:home", False)]


def test_a_ven_comes_back_to_its_own_place_only(
    vtn: Vtn, home: OpenAdrClient, connection: psycopg.Connection
) -> None:
    made = home.make("/vens", **enrolment("ven-1"))
    home.delete(f"/vens/{made['id']}")
    neighbour = vtn.client("neighbour", "ven")
    assert_problem(neighbour.ask("POST", "/vens", enrolment("ven-1")), 409)
    assert home.make("/vens", **enrolment("ven-1"))["id"] != made["id"]
    assert rows(connection, VENS.decode()) == [("ven-1", "ven-1", "openadr:home", False)]


def test_a_refused_enrolment_registers_nothing(home: OpenAdrClient, connection: psycopg.Connection) -> None:
    """One transaction: what is refused late leaves nothing behind."""
    first = home.make("/vens", **enrolment("ven-1"))
    home.put(f"/vens/{first['id']}", **enrolment("ven-2"))
    assert_problem(home.ask("POST", "/vens", enrolment("ven-2")), 409)
    assert [row[0] for row in rows(connection, VENS.decode())] == ["ven-1"]
