"""Clients of OpenADR are notified of what jobs change: their shares of events, and reports of settlements."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

from ingest.storing.store import Store
from jobs.events.notifying import NO_BROKER
from jobs.webhooks.policy import WebhookPolicy
from jobs.webhooks.sender import WebhookSender
from schemas.openadr import BearerToken, MqttBinding
from tests.integration.openadr_clients import NOW, OpenAdrClient, Vtn
from tests.integration.published import rows, until, value
from tests.integration.receiver import Receiver
from tests.integration.test_openadr_shares import RELATIVE, START, Grid

LOOPBACK = (ip_network("127.0.0.0/8"),)
BROKER = "mqtts://broker.example:8883"
WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)
REQUESTED = [{"payloadType": each} for each in ("BASELINE", "USAGE", "DELTA_USAGE", "DATA_QUALITY")]


class Subscribers:
    """A grid whose clients have subscribed to events and reports, and what each was sent."""

    def __init__(self, engine: Engine, database_url: str, store: Store, receiver: Receiver) -> None:
        vtn = Vtn(engine, networks=LOOPBACK, mqtt=MqttBinding((BROKER,), BearerToken()))
        self.grid = Grid(engine, database_url, store, vtn, openadr_mqtt_uris=BROKER)
        self._receiver = receiver
        self._sender = WebhookSender(
            engine, vtn.clock, "tests", WebhookPolicy(LOOPBACK, timeout_s=5), draw=lambda: 1.0
        )
        self.bystander = vtn.client("bystander", "ven")
        self.bystander.make("/vens", objectType="VEN_VEN_REQUEST", venName="bystander")
        self.clients = {"utility": self.grid.utility, "bystander": self.bystander, **self.grid.homes}
        self._webhooks = {name: self._subscribe(client) for name, client in self.clients.items()}

    def _subscribe(self, client: OpenAdrClient) -> str:
        operations = {"objects": ["EVENT", "REPORT"], "operations": ["CREATE", "UPDATE", "DELETE"]}
        part = {**operations, "callbackUrl": self._receiver.url}
        return f"openadr-{client.make('/subscriptions', clientName='x', objectOperations=[part])['id']}-0"

    def sent(self, name: str) -> list[dict[str, Any]]:
        """What is sent to a client now."""
        before = len(self._receiver.messages)
        self._sender.drain(self._webhooks[name])
        return self._receiver.messages[before:]

    def heard(self, name: str) -> list[tuple[str, float]]:
        """Operations on events, and the kW that they showed."""
        return [(each["operation"], relative(each["object"])) for each in self.sent(name)]

    def fetch_tokens(self) -> None:
        for client in self.clients.values():
            client.fetch_token()

    def share(self, name: str, connection: psycopg.Connection) -> float:
        query = f"SELECT requested_reduction_kw FROM event_participations WHERE ven_id = '{name}'"
        requested_kw: float = sum(kw for (kw,) in rows(connection, query))
        return -round(requested_kw, 3)


def relative(event: dict[str, Any]) -> float:
    """The kW of an event's only interval."""
    [interval] = event["intervals"]
    [kw] = [each["values"][0] for each in interval["payloads"] if each["type"] == RELATIVE]
    return float(kw)


@pytest.fixture
def subscribers(engine: Engine, database_url: str, store: Store) -> Iterator[Subscribers]:
    receiver = Receiver()
    yield Subscribers(engine, database_url, store, receiver)
    receiver.close()


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def published(connection: psycopg.Connection) -> dict[str, list[dict[str, Any]]]:
    """What is to be published by MQTT, in order by topic; it is forgotten then."""
    query = "SELECT topic, payload FROM openadr_messages, unnest(topics) AS topic ORDER BY message_id"
    by_topic: dict[str, list[dict[str, Any]]] = {}
    for topic, payload in rows(connection, query):
        by_topic.setdefault(topic, []).append(payload)
    connection.execute("DELETE FROM openadr_messages")
    return by_topic


def test_each_client_is_notified_of_its_share(
    subscribers: Subscribers, connection: psycopg.Connection
) -> None:
    """As it reads it; before an event is shared out, it is asked for nothing."""
    grid = subscribers.grid
    event = grid.event(-4.0)
    grid.run_jobs(START)
    shares = {name: subscribers.share(name, connection) for name in grid.homes}
    for name, client in grid.homes.items():
        created, updated = subscribers.sent(name)
        assert (created["operation"], relative(created["object"])) == ("CREATE", 0)
        assert (updated["operation"], relative(updated["object"])) == ("UPDATE", shares[name])
        assert updated["object"] == client.get(f"/events/{event}")
    assert subscribers.heard("utility") == [("CREATE", -4.0)]
    assert subscribers.heard("bystander") == [("CREATE", 0)]  # it takes no part, and its part stays nothing
    grid.run_jobs(START + timedelta(seconds=5))
    assert all(subscribers.sent(name) == [] for name in subscribers.clients)


def test_topics_of_a_ven_have_its_share(subscribers: Subscribers, connection: psycopg.Connection) -> None:
    grid = subscribers.grid
    published(connection)
    event = grid.event(-4.0)
    vens = {each["clientID"]: each["id"] for each in grid.utility.get("/vens")}
    stems = {name: f"openadr/clients/{name}/vens/{ven}/events" for name, ven in vens.items()}
    of_all = {"openadr/all/events", f"openadr/all/programs/{grid.program}/events"}
    created = published(connection)
    assert created.keys() == {f"{each}/create" for each in {*stems.values(), *of_all}}
    assert relative(created["openadr/all/events/create"][0]["object"]) == -4.0
    for stem in stems.values():
        assert relative(created[f"{stem}/create"][0]["object"]) == 0
    grid.run_jobs(START)
    updated = published(connection)
    assert updated.keys() == {f"{stems[name]}/update" for name in grid.homes}
    for name, client in grid.homes.items():
        [message] = updated[f"{stems[name]}/update"]
        assert relative(message["object"]) == subscribers.share(name, connection) < 0
        assert message["object"] == client.get(f"/events/{event}")


def test_changes_are_in_order(subscribers: Subscribers, connection: psycopg.Connection) -> None:
    """A change is notified with the share by then, and once more when it has been shared out again."""
    grid = subscribers.grid
    event = grid.event(-4.0)
    grid.run_jobs(START)
    before_kw = subscribers.share("home-a", connection)
    grid.utility.put(f"/events/{event}", **grid.body(-2.0))
    grid.run_jobs(START + timedelta(seconds=5))
    after_kw = subscribers.share("home-a", connection)
    grid.utility.delete(f"/events/{event}")
    assert before_kw < after_kw < 0
    assert subscribers.heard("home-a") == [
        ("CREATE", 0),
        ("UPDATE", before_kw),
        ("UPDATE", pytest.approx(before_kw / 2, abs=0.001)),
        *([("UPDATE", after_kw)] if after_kw != round(before_kw / 2, 3) else []),
        ("DELETE", after_kw),
    ]
    assert subscribers.heard("utility") == [("CREATE", -4.0), ("UPDATE", -2.0), ("DELETE", -2.0)]


def test_a_change_waits_for_new_shares(
    subscribers: Subscribers, engine: Engine, connection: psycopg.Connection
) -> None:
    """A change while an event is shared out again is notified after that: the newer object is the last."""
    grid = subscribers.grid
    event = grid.event(-4.0)
    grid.run_jobs(START)
    subscribers.sent("home-a")
    with ThreadPoolExecutor(1) as pool, engine.begin() as sharing:
        with NO_BROKER.notifying_of_shares(sharing, [f"openadr-{event}"], START):
            body = grid.body(-2.0, eventName="second")
            change = pool.submit(grid.utility.put, f"/events/{event}", **body)
            until(lambda: value(connection, WAITING) == 1)
            halved = "UPDATE event_participations SET requested_reduction_kw = requested_reduction_kw / 2"
            sharing.exec_driver_sql(halved)
        assert not change.done()
        sharing.commit()
        change.result(60)
    names = [each["object"].get("eventName") for each in subscribers.sent("home-a")]
    assert names == [None, "second"]


def test_who_is_taken_over_is_asked_for_nothing(subscribers: Subscribers) -> None:
    """An event that goes before another takes its VENs: both are notified."""
    grid = subscribers.grid
    event = grid.event(-1.0, priority=50)
    grid.run_jobs(START)
    first = {name: subscribers.heard(name)[-1] for name in grid.homes}
    asked = [name for name, (_, kw) in first.items() if kw < 0]
    assert asked
    other = grid.event(-6.0, priority=10)
    grid.run_jobs(START + timedelta(seconds=5))
    for name in asked:
        messages = subscribers.sent(name)
        shown = {each["object"]["id"]: relative(each["object"]) for each in messages}
        assert (shown[event], shown[other] < 0) == (0, True)
        assert {each["operation"] for each in messages if each["object"]["id"] == event} == {"UPDATE"}


def test_a_level_is_explained_to_those_without_a_part(subscribers: Subscribers) -> None:
    """Beside a level stands the power that it means for a client; nothing before it is shared out."""
    grid = subscribers.grid
    grid.run_jobs(NOW)
    made = grid.utility.make("/events", **grid.body(3, "SIMPLE"))
    grid.run_jobs(START)
    for name in ("bystander", *grid.homes):
        created, updated = subscribers.sent(name)
        assert created["object"]["intervals"][0]["payloads"] == made["intervals"][0]["payloads"]
        assert (relative(updated["object"]) < 0) == (name != "bystander")
        assert updated["object"] == subscribers.clients[name].get(f"/events/{made['id']}")


def test_who_reads_an_event_since_it_takes_part_is_notified(
    subscribers: Subscribers, connection: psycopg.Connection
) -> None:
    """An event of our API that names a VEN, whose client was granted no target."""
    published(connection)
    event = {
        "id": "evt-1",
        "startTime": START.isoformat(),
        "endTime": (START + timedelta(minutes=30)).isoformat(),
        "requestedReductionKw": 1.0,
        "targets": {"venIds": ["home-a"]},
    }
    web = subscribers.grid.vtn.web
    made = web.simulate_post("/api/events", json=event)
    assert made.status_code == 201, made.text
    subscribers.grid.run_jobs(START)
    assert subscribers.heard("home-a") == [("UPDATE", -1.0)]
    assert subscribers.heard("home-b") == []
    stopped = web.simulate_delete("/api/events/evt-1")
    assert stopped.status_code < 300, stopped.text
    assert [operation for operation, _ in subscribers.heard("home-a")] == ["DELETE"]
    of_vens = [topic.split("/") for topic in published(connection) if topic.startswith("openadr/clients/")]
    of_events = {(levels[2], levels[-1]) for levels in of_vens if levels[-2] == "events"}
    assert of_events == {("home-a", "update"), ("home-a", "delete")}


@pytest.mark.thorough
def test_reports_of_settlements_are_notified(
    subscribers: Subscribers, connection: psycopg.Connection
) -> None:
    """To business logic all of them, to a client its own; by a revision they are changed."""
    grid = subscribers.grid
    event = grid.event(-4.0, reportDescriptors=REQUESTED)
    grid.run_jobs(START)
    for minutes in range(0, 30, 5):
        at = START + timedelta(minutes=minutes)
        grid.vtn.clock.now = at + timedelta(minutes=5)
        grid.report(grid.homes["home-a"], event, at)
    for name in subscribers.clients:
        subscribers.sent(name)
    published(connection)
    settled_at = START + timedelta(hours=1)
    grid.run_jobs(settled_at)
    subscribers.fetch_tokens()
    of_utility = [each for each in subscribers.sent("utility") if each["objectType"] == "REPORT"]
    names = [each["object"]["resources"][0]["resourceName"] for each in of_utility]
    assert sorted(names) == ["AGGREGATED_REPORT", "home-a", "home-b", "mqtt-1"]
    stored = grid.utility.get(f"/reports?eventID={event}&clientName=gridgate")
    assert sorted(stored, key=str) == sorted((each["object"] for each in of_utility), key=str)
    [own] = [each for each in subscribers.sent("home-a") if each["objectType"] == "REPORT"]
    assert own["object"] == grid.homes["home-a"].get(f"/reports?eventID={event}&clientName=gridgate")[0]
    assert [each for each in subscribers.sent("bystander") if each["objectType"] == "REPORT"] == []
    created = published(connection)["openadr/all/reports/create"]
    assert sorted(created, key=str) == sorted(of_utility, key=str)
    grid.report(grid.homes["home-b"], event, START, DEMAND=1.0)
    for _ in range(2):
        settled_at += timedelta(hours=2)
        grid.run_jobs(settled_at)
    again = [each for each in subscribers.sent("utility") if each["object"].get("clientName") == "gridgate"]
    assert {each["operation"] for each in again} == {"UPDATE"}
    assert {each["object"]["id"] for each in again} == {each["object"]["id"] for each in of_utility}
    assert {each["object"]["reportName"].rpartition(" ")[2] for each in again} <= {"2", "3"}
