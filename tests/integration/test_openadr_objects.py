"""Objects of OpenADR: what is stored, found, hidden and deleted, by whom."""

from typing import Any

import pytest
from sqlalchemy import Engine

from tests.integration.openadr_clients import BASE, NOW, OpenAdrClient, Vtn, home, utility, vtn
from tests.integration.test_openadr_access import assert_problem

__all__ = ["home", "utility", "vtn"]

CREATED = "2026-01-15T12:00:00.000Z"


@pytest.fixture
def neighbour(vtn: Vtn) -> OpenAdrClient:
    return vtn.client("neighbour", "ven")


def names(objects: list[dict[str, Any]], field: str) -> list[str]:
    return [each[field] for each in objects]


def enrol(client: OpenAdrClient, name: str, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = client.make("/vens", objectType="VEN_VEN_REQUEST", venName=name, **more)
    return made


def grant(utility: OpenAdrClient, client_id: str, name: str, *targets: str) -> dict[str, Any]:
    """A VEN made by business logic, for a client."""
    body = {"objectType": "BL_VEN_REQUEST", "clientID": client_id, "venName": name}
    made: dict[str, Any] = utility.make("/vens", **body, targets=list(targets))
    return made


WHOLE_EVENT = {
    "eventName": "Two hours",
    "duration": "PT4H",
    "priority": 3,
    "targets": ["north"],
    "reportDescriptors": [
        {
            "payloadType": "USAGE",
            "readingType": "DIRECT_READ",
            "units": "KWH",
            "aggregate": True,
            "repeat": -1,
        }
    ],
    "payloadDescriptors": [
        {"objectType": "EVENT_PAYLOAD_DESCRIPTOR", "payloadType": "X_OWN", "units": "FURLONGS"}
    ],
    "intervalPeriod": {"start": "0001-01-01T00:00:00Z", "duration": "P9999Y", "randomizeStart": "PT30S"},
    "intervals": [
        {
            "id": 7,
            "intervalPeriod": {"start": "2026-01-15T12:00:00+01:00", "duration": "PT1H"},
            "payloads": [{"type": "X_OWN", "values": [1, 0.5, "x", True, {"x": 1.5, "y": -2.0}]}],
        }
    ],
}


# Objects of all nouns


def test_what_is_sent_is_stored_as_it_came(utility: OpenAdrClient) -> None:
    """Also of unknown payload types. Fields of this server win over those of the client."""
    program = utility.make("/programs", programName="tou", id="mine", createdDateTime="x", objectType="VEN")
    metadata = {"id": program["id"], "createdDateTime": CREATED, "modificationDateTime": CREATED}
    assert program == {"programName": "tou", "objectType": "PROGRAM", **metadata}
    assert program["id"] != "mine"
    event = utility.make("/events", programID=program["id"], **WHOLE_EVENT)
    metadata |= {"id": event["id"], "objectType": "EVENT"}
    assert event == {"programID": program["id"], **WHOLE_EVENT, **metadata}
    assert utility.get(f"/events/{event['id']}") == event
    assert utility.get("/events") == [event]
    assert (
        utility.ask("POST", "/events", {"programID": program["id"]})
        .headers["location"]
        .startswith(f"{BASE}/events/")
    )


def test_null_stands_for_what_is_left_out(utility: OpenAdrClient) -> None:
    program = utility.make("/programs", programName="tou", intervalPeriod=None, targets=None, attributes=None)
    assert set(program) == {"programName", "id", "createdDateTime", "modificationDateTime", "objectType"}


def test_an_object_is_replaced_and_deleted(vtn: Vtn, utility: OpenAdrClient) -> None:
    program = utility.make("/programs", programName="tou", targets=["north"])
    path = f"/programs/{program['id']}"
    vtn.clock.advance(seconds=1.5)
    changed = utility.put(path, programName="tou2")
    assert changed == {
        "programName": "tou2",
        "id": program["id"],
        "objectType": "PROGRAM",
        "createdDateTime": CREATED,
        "modificationDateTime": "2026-01-15T12:00:01.500Z",
    }
    assert utility.get(path) == changed
    assert utility.delete(path) == changed
    for method, body in (("GET", None), ("PUT", {"programName": "x"}), ("DELETE", None)):
        assert_problem(utility.ask(method, path, body), 404, program["id"])


def test_objects_are_changed_only_as_the_client_has_seen_them(utility: OpenAdrClient) -> None:
    program = utility.make("/programs", programName="tou")
    path = f"/programs/{program['id']}"
    etag = utility.ask("GET", path).headers["etag"]
    unchanged = utility.ask("GET", path, headers={"If-None-Match": etag})
    assert unchanged.status_code == 304
    utility.put(path, programName="tou2")
    for method, body in (("PUT", {"programName": "tou3"}), ("DELETE", None)):
        assert_problem(utility.ask(method, path, body, headers={"If-Match": etag}), 412)
    etag = utility.ask("GET", path).headers["etag"]
    assert utility.ask("DELETE", path, headers={"If-Match": etag}).status_code == 200


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/programs", {}, ["programName is missing"]),
        ("/programs", {"programName": ""}, ["programName"]),
        ("/programs", {"programName": "x" * 129}, ["programName"]),
        ("/programs", {"programName": "x", "targets": [{"type": "GROUP"}]}, ["targets[0]"]),
        (
            "/programs",
            {"programName": "x", "intervalPeriod": {"duration": "1h"}},
            ["intervalPeriod.duration", "PT1H"],
        ),
        (
            "/programs",
            {"programName": "x", "intervalPeriod": {"start": "2026-13-01"}},
            ["intervalPeriod.start"],
        ),
        (
            "/programs",
            {"programName": "x", "programDescriptions": [{"URL": "here"}]},
            ["programDescriptions[0].URL", "https://"],
        ),
        ("/events", {}, ["programID is missing"]),
        ("/events", {"programID": "no/id"}, ["programID"]),
        ("/events", {"programID": "x", "priority": -1}, ["priority"]),
        ("/events", {"programID": "x", "intervals": [{"id": 0}]}, ["payloads"]),
        (
            "/events",
            {"programID": "x", "intervals": [{"id": 0, "payloads": [{"type": "X", "values": [[1]]}]}]},
            ["values"],
        ),
        (
            "/events",
            {"programID": "x", "intervals": [{"id": 0, "payloads": [], "intervalPeriod": {"start": "soon"}}]},
            ["intervals[0].intervalPeriod.start", "RFC 3339"],
        ),
        ("/subscriptions", {"clientName": "x"}, ["objectOperations is missing"]),
        (
            "/subscriptions",
            {
                "clientName": "x",
                "objectOperations": [{"objects": ["HOUSE"], "operations": [], "callbackUrl": "https://a.b"}],
            },
            ["HOUSE"],
        ),
        ("/vens", {"venName": "x", "clientID": "home"}, ["objectType is missing"]),
        ("/vens", {"objectType": "BL_VEN_REQUEST", "venName": "x"}, ["clientID is missing"]),
        ("/vens", {"objectType": "VEN_VEN_REQUEST", "venName": "x"}, ["BL_VEN_REQUEST"]),
        ("/vens", {"objectType": "VEN", "venName": "x"}, ["objectType"]),
    ],
)
def test_what_is_refused(path: str, body: dict[str, Any], words: list[str], utility: OpenAdrClient) -> None:
    assert_problem(utility.ask("POST", path, body), 400, *words)
    assert utility.get(path) == []


def test_a_body_must_be_json(utility: OpenAdrClient) -> None:
    bearer = {"Authorization": f"Bearer {utility.token}"}
    path = f"{BASE}/programs"
    no_type = utility.web.simulate_post(path, body="{}", headers=bearer | {"Content-Type": "text/plain"})
    assert_problem(no_type, 415)
    json_type = bearer | {"Content-Type": "application/json"}
    assert_problem(utility.web.simulate_post(path, body="{", headers=json_type), 400)
    assert_problem(utility.web.simulate_post(path, body='{"programName":"\\u0000"}', headers=json_type), 400)


def test_what_is_referred_to_must_be_there(utility: OpenAdrClient, home: OpenAdrClient) -> None:
    assert_problem(utility.ask("POST", "/events", {"programID": "none"}), 409, "programID")
    report = {"eventID": "none", "clientName": "home", "resources": []}
    assert_problem(home.ask("POST", "/reports", report), 409, "eventID")
    subscription = {"clientName": "home", "programID": "none", "objectOperations": []}
    assert_problem(home.ask("POST", "/subscriptions", subscription), 409, "programID")
    resource = {"objectType": "VEN_RESOURCE_REQUEST", "resourceName": "hvac1", "venID": "none"}
    assert_problem(home.ask("POST", "/resources", resource), 404, "venID")


def test_names_are_unique(utility: OpenAdrClient, home: OpenAdrClient) -> None:
    """Of programs and VENs here, of resources within their VEN; events and reports may share theirs."""
    one, other = (utility.make("/programs", programName=name) for name in ("one", "other"))
    assert_problem(utility.ask("POST", "/programs", {"programName": "one"}), 409, "program")
    assert_problem(utility.ask("PUT", f"/programs/{other['id']}", {"programName": "one"}), 409)
    assert utility.put(f"/programs/{one['id']}", programName="one")["programName"] == "one"
    for _ in range(2):
        utility.make("/events", programID=one["id"], eventName="same")
    vens = [enrol(home, f"ven-{number}") for number in (1, 2)]
    assert_problem(home.ask("POST", "/vens", {"objectType": "VEN_VEN_REQUEST", "venName": "ven-1"}), 409)
    for ven in vens:
        body = {"objectType": "VEN_RESOURCE_REQUEST", "resourceName": "hvac1", "venID": ven["id"]}
        assert home.ask("POST", "/resources", body).status_code == 201
        assert_problem(home.ask("POST", "/resources", body), 409, "resource")


def test_with_an_object_goes_what_belongs_to_it(utility: OpenAdrClient, home: OpenAdrClient) -> None:
    program, other = (utility.make("/programs", programName=name) for name in ("one", "other"))
    events = [utility.make("/events", programID=each["id"]) for each in (program, other)]
    for event in events:
        home.make("/reports", eventID=event["id"], clientName="home", resources=[])
    for each in (program, other):
        home.make("/subscriptions", clientName="home", programID=each["id"], objectOperations=[])
    ven = enrol(home, "ven-1")
    home.make("/resources", objectType="VEN_RESOURCE_REQUEST", resourceName="hvac1", venID=ven["id"])
    utility.delete(f"/programs/{program['id']}")
    home.delete(f"/vens/{ven['id']}")
    assert names(utility.get("/events"), "id") == [events[1]["id"]]
    assert names(utility.get("/reports"), "eventID") == [events[1]["id"]]
    assert names(utility.get("/subscriptions"), "programID") == [other["id"]]
    assert utility.get("/resources") == []
    utility.delete(f"/events/{events[1]['id']}")
    assert utility.get("/reports") == []


def test_both_versions_show_the_same(vtn: Vtn, utility: OpenAdrClient) -> None:
    program = utility.make("/programs", programName="tou")
    older = OpenAdrClient(vtn.web, "utility", utility.secret, "/openadr3/3.1.0")
    older.fetch_token()
    assert older.get("/programs") == [program]
    assert (
        older.ask("POST", "/programs", {"programName": "x"})
        .headers["location"]
        .startswith("/openadr3/3.1.0/programs/")
    )


# Lists


def test_pages(vtn: Vtn, utility: OpenAdrClient) -> None:
    for number in range(5):
        utility.make("/programs", programName=f"p{number}")
        vtn.clock.advance(seconds=1)

    def page(query: str) -> list[str]:
        return names(utility.get(f"/programs?{query}"), "programName")

    assert page("") == ["p0", "p1", "p2", "p3", "p4"]
    assert page("skip=1&limit=2") == ["p1", "p2"]
    assert page("skip=4") == ["p4"]
    assert page("skip=9") == page("skip=2147483647") == page("limit=0") == []
    assert page("limit=50") == page("")
    for query in (
        "limit=51",
        "limit=-1",
        "limit=x",
        "skip=-1",
        "skip=2147483648",
        "skip=1.5",
        "limit=",
        "skip=1&skip=2",
    ):
        assert_problem(utility.ask("GET", f"/programs?{query}"), 400, query.partition("=")[0])


def test_a_long_list_is_whole(utility: OpenAdrClient, engine: Engine) -> None:
    program = utility.make("/programs", programName="tou")
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO openadr_events (object_id, client_id, body, created_at, modified_at, program_id)"
            " SELECT 'e' || n, 'utility', json_build_object('programID', %s::text), %s, %s, %s"
            " FROM generate_series(1, 3000) n",
            (program["id"], NOW, NOW, program["id"]),
        )
    assert len(utility.get("/events")) == 3000


def test_filters(utility: OpenAdrClient, home: OpenAdrClient, neighbour: OpenAdrClient) -> None:
    """Of several, all must hold; of targets that are named, one."""
    one, other = (utility.make("/programs", programName=name) for name in ("one", "other"))
    made = [
        utility.make("/events", programID=program["id"], eventName=name, targets=targets)
        for program, name, targets in ((one, "a", ["x"]), (one, "b", ["y"]), (other, "c", ["x", "z"]))
    ]
    open_event = utility.make("/events", programID=one["id"], eventName="for all")["id"]

    def events(query: str) -> list[str]:
        return sorted(names(utility.get(f"/events?{query}"), "eventName"))

    assert events(f"programID={one['id']}") == ["a", "b", "for all"]
    assert events("targets=x") == ["a", "c"]
    assert events("targets=y&targets=z") == ["b", "c"]
    assert events(f"targets=x&programID={other['id']}") == ["c"]
    assert events("programID=none") == events("targets=none") == []
    for client in (home, neighbour):
        enrol(client, f"ven of {client.client_id}")
        client.make("/reports", eventID=open_event, clientName=client.client_id, resources=[])
        operation = {"operations": ["CREATE"], "callbackUrl": "https://home.example"}
        kinds = ["EVENT"] if client is home else ["PROGRAM", "VEN"]
        client.make(
            "/subscriptions",
            clientName=client.client_id,
            programID=one["id"],
            objectOperations=[{"objects": kinds, **operation}],
        )
    assert names(utility.get("/reports?clientName=home"), "clientName") == ["home"]
    assert len(utility.get(f"/reports?eventID={open_event}&programID={one['id']}")) == 2
    assert utility.get(f"/reports?eventID={made[0]['id']}") == []
    assert names(utility.get("/subscriptions?objects=EVENT"), "clientName") == ["home"]
    assert names(utility.get("/subscriptions?objects=VEN&objects=REPORT"), "clientName") == ["neighbour"]
    assert len(utility.get(f"/subscriptions?programID={one['id']}")) == 2
    assert names(utility.get("/vens?venName=ven%20of%20home"), "venName") == ["ven of home"]
    wrong = ("/events?programID=no/id", "/events?active=maybe", "/subscriptions?objects=HOUSE")
    for query in (*wrong, "/vens?venName=", "/resources?venID=", "/events?targets="):
        assert_problem(utility.ask("GET", query), 400)


def test_events_that_are_over(vtn: Vtn, utility: OpenAdrClient) -> None:
    program = utility.make("/programs", programName="tou")["id"]

    def make(name: str, **times: Any) -> None:
        utility.make("/events", programID=program, eventName=name, **times)

    def active() -> set[str]:
        utility.fetch_token()
        return set(names(utility.get("/events?active=true"), "eventName"))

    hour = {"start": "2026-01-15T12:00:00Z", "duration": "PT1H"}
    intervals = [{"id": number, "payloads": []} for number in range(3)]
    make("an hour", intervalPeriod=hour)
    make("three hours", intervalPeriod=hour, intervals=intervals)
    make("looped for a day", intervalPeriod=hour, intervals=intervals, duration="P1D")
    make("now, for an hour", intervalPeriod={"start": "0001-01-01", "duration": "PT1H"})
    make("for ever", intervalPeriod={"start": "0001-01-01", "duration": "P9999Y"})
    make("without times")
    make("cancelled", intervalPeriod={"start": "0001-01-01", "duration": "PT0S"})
    for_ever = {"for ever", "without times"}
    assert active() == for_ever | {"an hour", "three hours", "looped for a day", "now, for an hour"}
    assert len(utility.get("/events?active=false")) == len(utility.get("/events")) == 7
    vtn.clock.advance(hours=1)
    assert active() == for_ever | {"three hours", "looped for a day"}
    vtn.clock.advance(hours=2)
    assert active() == for_ever | {"looped for a day"}
    vtn.clock.advance(hours=21)
    assert active() == for_ever


# Privacy


def test_a_ven_sees_and_changes_only_its_own(
    utility: OpenAdrClient, home: OpenAdrClient, neighbour: OpenAdrClient
) -> None:
    program = utility.make("/programs", programName="tou")
    event = utility.make("/events", programID=program["id"])
    ven = enrol(home, "ven-1")
    resource = {"objectType": "VEN_RESOURCE_REQUEST", "resourceName": "hvac1", "venID": ven["id"]}
    report = {"eventID": event["id"], "clientName": "home", "resources": []}
    subscription = {"clientName": "home", "objectOperations": []}
    ven_request = {"objectType": "VEN_VEN_REQUEST", "venName": "ven-1"}
    own = {
        "/vens": (ven, ven_request),
        "/resources": (home.make("/resources", **resource), resource),
        "/reports": (home.make("/reports", **report), report),
        "/subscriptions": (home.make("/subscriptions", **subscription), subscription),
    }
    assert_problem(neighbour.ask("POST", "/resources", resource | {"resourceName": "x"}), 404, "venID")
    for path, (made, body) in own.items():
        assert made["clientID"] == "home"
        assert names(home.get(path), "id") == names(utility.get(path), "id") == [made["id"]]
        assert neighbour.get(path) == []
        for method, sent in (("GET", None), ("PUT", body), ("DELETE", None)):
            assert_problem(neighbour.ask(method, f"{path}/{made['id']}", sent), 404)
        assert home.get(f"{path}/{made['id']}") == made
        assert home.put(f"{path}/{made['id']}", **body)["clientID"] == "home"
    for path, (made, _) in reversed(own.items()):
        assert home.delete(f"{path}/{made['id']}")["id"] == made["id"]


def test_business_logic_sees_no_secret_of_a_webhook(utility: OpenAdrClient, home: OpenAdrClient) -> None:
    operation = {"objects": ["EVENT"], "operations": ["CREATE"], "callbackUrl": "https://home.example"}
    made = home.make(
        "/subscriptions", clientName="home", objectOperations=[operation | {"bearerToken": "secret"}]
    )
    path = f"/subscriptions/{made['id']}"
    assert home.get(path)["objectOperations"] == [operation | {"bearerToken": "secret"}]
    assert utility.get(path)["objectOperations"] == [operation]
    assert "secret" not in utility.ask("DELETE", path).text


def test_a_ven_cannot_grant_itself_anything(utility: OpenAdrClient, home: OpenAdrClient) -> None:
    as_utility = {"objectType": "BL_VEN_REQUEST", "clientID": "home", "venName": "x", "targets": ["north"]}
    assert_problem(home.ask("POST", "/vens", as_utility), 403, "VEN_VEN_REQUEST")
    ven = enrol(home, "ven-1", targets=["north"], clientID="neighbour")
    assert ven.get("targets") is None
    assert ven["clientID"] == "home"
    path = f"/vens/{ven['id']}"
    granted = utility.put(
        path, objectType="BL_VEN_REQUEST", clientID="home", venName="ven-1", targets=["south"]
    )
    assert granted["targets"] == ["south"]
    kept = home.put(path, objectType="VEN_VEN_REQUEST", venName="ven-1", targets=["north", "south"])
    assert kept["targets"] == home.get(path)["targets"] == ["south"]
    resource = {"resourceName": "hvac1", "venID": ven["id"], "targets": ["north"]}
    made = home.make("/resources", objectType="VEN_RESOURCE_REQUEST", **resource)
    assert "targets" not in made
    as_utility = {"objectType": "BL_RESOURCE_REQUEST", "clientID": "home", **resource}
    assert_problem(home.ask("PUT", f"/resources/{made['id']}", as_utility), 403)
    assert utility.put(f"/resources/{made['id']}", **as_utility)["targets"] == ["north"]


@pytest.mark.parametrize("path", ["/programs", "/events"])
def test_programs_and_events_by_their_targets(
    path: str, utility: OpenAdrClient, home: OpenAdrClient, neighbour: OpenAdrClient
) -> None:
    """Without naming targets a VEN gets what has none; with them, what has one that it was granted."""
    field = "programName" if path == "/programs" else "eventName"
    program = {} if path == "/programs" else {"programID": utility.make("/programs", programName="p")["id"]}
    made = {
        name: utility.make(path, **{field: name}, **program, targets=targets)["id"]
        for name, targets in (("n", ["north"]), ("s", ["south"]), ("ns", ["north", "south"]), ("all", []))
    }
    ven = grant(utility, "home", "ven-1", "north")
    grant(utility, "neighbour", "ven-2", "south")

    def listed(client: OpenAdrClient, query: str) -> set[str]:
        return set(names(client.get(f"{path}?{query}"), field)) - {"p"}

    assert listed(utility, "") == set(made)
    assert listed(home, "") == {"all"}
    assert listed(home, "targets=north") == listed(home, "targets=north&targets=south") == {"n", "ns"}
    assert listed(home, "targets=south") == listed(home, "targets=west") == set()
    assert listed(neighbour, "targets=south") == {"s", "ns"}
    for name, object_id in made.items():
        assert home.ask("GET", f"{path}/{object_id}").status_code == (404 if name == "s" else 200)
    for shown in (home.get(f"{path}/{made['ns']}"), *home.get(f"{path}?targets=north")):
        assert shown["targets"] == ["north"], "of the others it knows nothing"
    resource = {"objectType": "BL_RESOURCE_REQUEST", "clientID": "home", "venID": ven["id"]}
    utility.make("/resources", **resource, resourceName="hvac1", targets=["south"])
    assert listed(home, "targets=south") == {"s", "ns"}
    utility.delete(f"/vens/{ven['id']}")
    assert listed(home, "targets=north&targets=south") == set()
    assert home.ask("GET", f"{path}/{made['n']}").status_code == 404


def test_a_ven_reports_only_on_events_that_it_may_see(
    utility: OpenAdrClient, home: OpenAdrClient, neighbour: OpenAdrClient
) -> None:
    program = utility.make("/programs", programName="tou")
    event = utility.make("/events", programID=program["id"], targets=["north"])
    grant(utility, "home", "ven-1", "north")
    report = {"eventID": event["id"], "clientName": "x", "resources": []}
    assert home.make("/reports", **report)["clientID"] == "home"
    assert_problem(neighbour.ask("POST", "/reports", report), 409, "eventID")
    assert_problem(utility.ask("POST", "/reports", report), 403, "write_reports")


# Notifiers


def test_without_a_broker_only_webhooks_are_promised(utility: OpenAdrClient, home: OpenAdrClient) -> None:
    assert home.get("/notifiers") == {"WEBHOOK": True}
    assert utility.ask("GET", "/notifiers/mqtt/topics/programs").status_code == 404
    assert home.ask("GET", "/notifiers/mqtt/topics/programs").status_code == 403
