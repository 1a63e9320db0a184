"""Subscriptions are notified of what their clients may read, by the sender of webhooks."""

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

from jobs.webhooks.policy import WebhookPolicy
from jobs.webhooks.sender import WebhookSender
from tests.integration.openadr_clients import OpenAdrClient, Vtn
from tests.integration.published import rows, value
from tests.integration.receiver import Receiver

LOOPBACK = (ip_network("127.0.0.0/8"),)
CHANGES = ["CREATE", "UPDATE", "DELETE"]


class Site:
    """A VTN whose webhooks may go to this machine, and what a receiver was sent."""

    def __init__(self, engine: Engine, receiver: Receiver) -> None:
        self.vtn = Vtn(engine, networks=LOOPBACK)
        self.receiver = receiver
        self.utility = self.vtn.client("utility", "bl")
        self.program = self.utility.make("/programs", programName="tou")["id"]
        self._sender = WebhookSender(
            engine, self.vtn.clock, "tests", WebhookPolicy(LOOPBACK, timeout_s=5), draw=lambda: 1.0
        )

    def subscribe(self, client: OpenAdrClient, *objects: str, **said: Any) -> str:
        """The id of the subscription's webhook."""
        part = {"objects": list(objects), "operations": CHANGES, "callbackUrl": self.receiver.url}
        part["bearerToken"] = f"token of {client.client_id}"
        made = client.make("/subscriptions", clientName="x", objectOperations=[part], **said)
        return f"openadr-{made['id']}-0"

    def sent(self, webhook_id: str) -> list[dict[str, Any]]:
        """What is sent to a webhook now."""
        before = len(self.receiver.messages)
        self._sender.drain(webhook_id)
        return self.receiver.messages[before:]

    def event(self, **said: Any) -> Any:
        return self.utility.make("/events", programID=self.program, intervals=[], **said)

    def enrol(self, client_id: str, *targets: str) -> None:
        ven = {"objectType": "BL_VEN_REQUEST", "clientID": client_id, "venName": f"ven of {client_id}"}
        self.utility.make("/vens", **ven, targets=list(targets))


@pytest.fixture
def site(engine: Engine) -> Iterator[Site]:
    receiver = Receiver()
    yield Site(engine, receiver)
    receiver.close()


def briefly(messages: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(each["objectType"], each["operation"], each["object"]["id"]) for each in messages]


def test_changes_are_sent_in_order_with_the_token(site: Site) -> None:
    webhook = site.subscribe(site.utility, "EVENT")
    made = site.event(eventName="first")
    path = f"/events/{made['id']}"
    changed = site.utility.put(path, programID=site.program, intervals=[], eventName="second")
    site.utility.delete(path)
    messages = site.sent(webhook)
    assert briefly(messages) == [("EVENT", operation, made["id"]) for operation in CHANGES]
    assert [each["object"] for each in messages[:2]] == [made, changed]
    assert {each["Authorization"] for each in site.receiver.headers} == {"Bearer token of utility"}
    assert all("webhook-signature" in {name.lower() for name in each} for each in site.receiver.headers)
    assert site.sent(webhook) == []


def test_a_ven_is_notified_of_what_it_may_read(site: Site) -> None:
    """Of events without targets, and with those that it was granted, of which it sees no others."""
    home = site.vtn.client("home", "ven")
    site.enrol("home", "north")
    webhook = site.subscribe(home, "EVENT", "VEN", "REPORT")
    site.event(targets=["south"])
    everybody, own = site.event(), site.event(targets=["north", "south"])
    site.enrol("neighbour", "south")
    report = {"eventID": everybody["id"], "clientName": "x", "resources": []}
    site.vtn.client("neighbour", "ven").make("/reports", **report)
    mine = home.make("/reports", **report)
    messages = site.sent(webhook)
    assert briefly(messages) == [
        ("EVENT", "CREATE", everybody["id"]),
        ("EVENT", "CREATE", own["id"]),
        ("REPORT", "CREATE", mine["id"]),
    ]
    assert messages[1]["targets"] == messages[1]["object"]["targets"] == ["north"]


def test_business_logic_sees_all_but_tokens(site: Site) -> None:
    webhook = site.subscribe(site.utility, "SUBSCRIPTION", "VEN")
    home = site.vtn.client("home", "ven")
    site.enrol("home")
    site.subscribe(home, "EVENT")
    messages = site.sent(webhook)
    assert [each["objectType"] for each in messages] == ["SUBSCRIPTION", "VEN", "SUBSCRIPTION"]
    assert all("token of" not in str(each) for each in messages)


def test_programs_and_targets_of_a_subscription(site: Site) -> None:
    other = site.utility.make("/programs", programName="other")["id"]
    of_other = site.subscribe(site.utility, "EVENT", "REPORT", "PROGRAM", programID=other)
    of_north = site.subscribe(site.utility, "EVENT", targets=["north"])
    north = site.event(targets=["north"])
    site.event()
    made = site.utility.make("/events", programID=other, intervals=[])
    home = site.vtn.client("home", "ven")
    report = home.make("/reports", eventID=made["id"], clientName="x", resources=[])
    assert briefly(site.sent(of_north)) == [("EVENT", "CREATE", north["id"])]
    assert briefly(site.sent(of_other)) == [
        ("EVENT", "CREATE", made["id"]),
        ("REPORT", "CREATE", report["id"]),
    ]


def test_events_of_our_api_are_notified_too(site: Site) -> None:
    webhook = site.subscribe(site.utility, "EVENT", "PROGRAM")
    event = {
        "id": "evt-1",
        "startTime": "2026-01-15T13:00:00Z",
        "endTime": "2026-01-15T14:00:00Z",
        "requestedReductionKw": 50,
    }
    assert site.vtn.web.simulate_post("/api/events", json=event).status_code == 201
    site.vtn.web.simulate_delete("/api/events/evt-1")
    sent = [(kind, operation) for kind, operation, _ in briefly(site.sent(webhook))]
    assert sent == [("PROGRAM", "CREATE"), ("EVENT", "CREATE"), ("EVENT", "DELETE")]


def test_a_failed_notification_is_sent_again(site: Site) -> None:
    webhook = site.subscribe(site.utility, "EVENT")
    made = site.event()
    site.receiver.answer = lambda *_: 503
    assert len(site.sent(webhook)) == 1
    site.receiver.answer = lambda *_: 204
    assert site.sent(webhook) == []
    site.vtn.clock.advance(seconds=60)
    assert briefly(site.sent(webhook)) == [("EVENT", "CREATE", made["id"])]


def test_it_goes_with_its_subscription_and_changes_with_it(
    site: Site, connection: psycopg.Connection
) -> None:
    webhook = site.subscribe(site.utility, "EVENT")
    path = f"/subscriptions/{webhook.split('-')[1]}"
    parts = [
        {"objects": ["EVENT"], "operations": ["DELETE"], "callbackUrl": f"{site.receiver.url}&n={number}"}
        for number in range(2)
    ]
    site.utility.put(path, clientName="x", objectOperations=parts)
    site.event()
    assert site.sent(webhook) == []
    assert value(connection, "SELECT count(*) FROM webhooks") == 2
    site.utility.put(path, clientName="x", objectOperations=parts[:1])
    assert rows(connection, "SELECT webhook_id, bearer_token FROM webhooks") == [(webhook, None)]
    site.utility.delete(path)
    assert value(connection, "SELECT count(*) FROM webhooks") == 0


def test_it_is_none_of_our_api(site: Site, connection: psycopg.Connection) -> None:
    webhook = site.subscribe(site.utility, "EVENT")
    assert site.vtn.web.simulate_get("/api/webhooks").json == []
    assert site.vtn.web.simulate_get(f"/api/webhooks/{webhook}").status_code == 404
    assert site.vtn.web.simulate_delete(f"/api/webhooks/{webhook}").status_code == 404
    assert value(connection, "SELECT count(*) FROM webhooks") == 1


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/hook", "https://[::1]/", "https://user:password@home.example/"]
)
def test_what_settings_forbid_is_never_called(
    url: str, engine: Engine, connection: psycopg.Connection
) -> None:
    """The subscription is stored, as the specification knows no such refusal; the reason stands beside it."""
    utility = Vtn(engine).client("utility", "bl")
    part = {"objects": ["EVENT"], "operations": CHANGES, "callbackUrl": url}
    utility.make("/subscriptions", clientName="x", objectOperations=[part])
    [(is_enabled, error)] = rows(connection, "SELECT enabled, error FROM webhooks")
    assert (is_enabled, error.startswith("callbackUrl ")) == (False, True)


def test_a_name_that_leads_to_a_forbidden_address_is_never_called(
    engine: Engine, connection: psycopg.Connection
) -> None:
    """What the name stands for is known only when it is called: nothing is connected to then."""
    receiver, vtn = Receiver(), Vtn(engine)
    utility = vtn.client("utility", "bl")
    url = f"https://localhost:{receiver.port}/hook"
    part = {"objects": ["PROGRAM"], "operations": CHANGES, "callbackUrl": url}
    made = utility.make("/subscriptions", clientName="x", objectOperations=[part])
    utility.make("/programs", programName="tou")
    sender = WebhookSender(engine, vtn.clock, "tests", WebhookPolicy((), timeout_s=5), draw=lambda: 1.0)
    sender.drain(f"openadr-{made['id']}-0")
    receiver.close()
    assert receiver.bodies == []
    [(error,)] = rows(connection, "SELECT error FROM webhook_deliveries")
    assert "localhost has no address that is public" in error


def test_redirects_lead_nowhere(site: Site) -> None:
    """Neither a notification nor its token goes to where a receiver points."""
    other = Receiver()
    webhook = site.subscribe(site.utility, "EVENT")
    site.receiver.location, site.receiver.answer = other.url, lambda *_: 307
    site.event()
    assert len(site.sent(webhook)) == 1
    other.close()
    assert other.bodies == []


@pytest.mark.parametrize("kind", ["PROGRAM", "EVENT", "REPORT", "SUBSCRIPTION", "VEN", "RESOURCE"])
def test_each_kind_of_object_and_operation_is_sent(kind: str, site: Site) -> None:
    home = site.vtn.client("home", "ven")
    ven = home.make("/vens", objectType="VEN_VEN_REQUEST", venName="home")["id"]
    event = site.event()["id"]
    part = {"objects": ["VEN"], "operations": ["DELETE"], "callbackUrl": "https://home.example/x"}
    noun, client, body = {
        "PROGRAM": ("programs", site.utility, {"programName": "other"}),
        "EVENT": ("events", site.utility, {"programID": site.program, "intervals": []}),
        "REPORT": ("reports", home, {"eventID": event, "clientName": "x", "resources": []}),
        "SUBSCRIPTION": ("subscriptions", home, {"clientName": "x", "objectOperations": [part]}),
        "VEN": ("vens", home, {"objectType": "VEN_VEN_REQUEST", "venName": "another"}),
        "RESOURCE": (
            "resources",
            home,
            {"objectType": "VEN_RESOURCE_REQUEST", "resourceName": "ev", "venID": ven},
        ),
    }[kind]
    webhook = site.subscribe(site.utility, kind)
    before = site.sent(webhook)  # of its own making
    made = client.make(f"/{noun}", **body)
    client.put(f"/{noun}/{made['id']}", **body)
    client.delete(f"/{noun}/{made['id']}")
    assert len(before) == (kind == "SUBSCRIPTION")
    assert briefly(site.sent(webhook)) == [(kind, operation, made["id"]) for operation in CHANGES]
