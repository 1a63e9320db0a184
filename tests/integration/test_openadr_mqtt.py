"""Notifications by MQTT: topics, contents, and ACLs at a real broker."""

import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import psycopg
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from sqlalchemy import Engine

from ingest.openadr.messages import MessageOutbox
from ingest.openadr.notifier import MqttNotifier
from ingest.settings import IngestSettings
from jobs.storage.trimming import trim_openadr_messages
from local.ports import HOST
from schemas.db.connections import connect
from schemas.openadr import BearerToken, Certificate, MqttBinding
from tests.conftest import REPOSITORY
from tests.faults.mosquitto import Mosquitto
from tests.faults.requirement import be_without
from tests.integration.openadr_clients import NOW, OpenAdrClient, Vtn
from tests.integration.published import rows, until, value

BROKER = MqttBinding(("mqtts://broker.example:8883",), BearerToken())
TOPICS = "/notifiers/mqtt/topics"
OF_ALL = ("programs", "events", "reports", "subscriptions", "vens", "resources")
USERS = ("gridgate", "utility", "home", "neighbour")


class Site:
    """A VTN with a broker, a utility with a program, and two homes: `home` is granted `north`."""

    def __init__(self, engine: Engine) -> None:
        self.vtn = Vtn(engine, mqtt=BROKER)
        self.utility = self.vtn.client("utility", "bl")
        self.home, self.neighbour = (self.vtn.client(name, "ven") for name in ("home", "neighbour"))
        self.ven, self.other_ven = self.enrol("home", "north"), self.enrol("neighbour", "south")
        self.program = self.utility.make("/programs", programName="tou")["id"]

    def enrol(self, client_id: str, *targets: str) -> str:
        ven = {
            "objectType": "BL_VEN_REQUEST",
            "clientID": client_id,
            "venName": f"ven of {client_id}".replace("/", "-"),
        }
        return str(self.utility.make("/vens", **ven, targets=list(targets))["id"])

    def event(self, *targets: str, **fields: Any) -> Any:
        body = {"programID": self.program, "intervals": [], **fields}
        return self.utility.make("/events", **body, **({"targets": list(targets)} if targets else {}))


@pytest.fixture
def site(engine: Engine, connection: psycopg.Connection) -> Site:
    site = Site(engine)
    forget(connection)
    return site


def forget(connection: psycopg.Connection) -> None:
    connection.execute("DELETE FROM openadr_messages")
    connection.commit()


def queued(connection: psycopg.Connection) -> dict[str, dict[str, Any]]:
    """What is to be published, by topic."""
    query = "SELECT topic, payload FROM openadr_messages, unnest(topics) AS topic ORDER BY message_id"
    return dict(rows(connection, query))


def topics_of(client: OpenAdrClient, path: str) -> dict[str, str]:
    found: dict[str, str] = client.get(f"{TOPICS}{path}")["topics"]
    return found


# The routes


def test_where_the_broker_is(site: Site, engine: Engine) -> None:
    assert site.home.get("/notifiers") == {
        "WEBHOOK": True,
        "MQTT": {
            "URIS": ["mqtts://broker.example:8883"],
            "serialization": "JSON",
            "authentication": {"method": "OAUTH2_BEARER_TOKEN", "username": "{clientID}"},
        },
    }
    certificates = Vtn(engine, mqtt=MqttBinding(("mqtts://b:1",), Certificate("---")))
    told = certificates.client("other", "ven").get("/notifiers")["MQTT"]["authentication"]
    assert told == {"method": "CERTIFICATE", "caCert": "---", "clientCert": "", "clientKey": ""}


def test_without_a_broker_there_are_no_topics(engine: Engine, connection: psycopg.Connection) -> None:
    vtn = Vtn(engine)
    utility = vtn.client("utility", "bl")
    assert utility.get("/notifiers") == {"WEBHOOK": True}
    program = utility.make("/programs", programName="tou")["id"]
    for path in (*(f"/{noun}" for noun in OF_ALL), f"/programs/{program}", f"/vens/{program}/events"):
        assert utility.ask("GET", TOPICS + path).status_code == 404
    assert queued(connection) == {}


@pytest.mark.parametrize("noun", OF_ALL)
def test_topics_of_all_are_for_business_logic(noun: str, site: Site) -> None:
    stem = f"openadr/all/{noun}"
    expected = {"CREATE": f"{stem}/create", "UPDATE": f"{stem}/update", "DELETE": f"{stem}/delete"}
    assert topics_of(site.utility, f"/{noun}") == {**expected, "ALL": f"{stem}/+"}
    assert site.home.ask("GET", f"{TOPICS}/{noun}").status_code == 403


def test_topics_of_one_program(site: Site) -> None:
    stem = f"openadr/all/programs/{site.program}"
    assert topics_of(site.utility, f"/programs/{site.program}") == {
        "UPDATE": f"{stem}/update",
        "DELETE": f"{stem}/delete",
        "ALL": f"{stem}/+",
    }
    events = topics_of(site.utility, f"/programs/{site.program}/events")
    assert events["CREATE"] == f"{stem}/events/create"
    for path in (f"/programs/{site.program}", f"/programs/{site.program}/events"):
        assert site.home.ask("GET", TOPICS + path).status_code == 403
    assert site.utility.ask("GET", f"{TOPICS}/programs/none/events").status_code == 404


@pytest.mark.parametrize("noun", ["", "/events", "/programs", "/resources"])
def test_topics_of_a_ven_are_for_its_client(noun: str, site: Site) -> None:
    topics = topics_of(site.home, f"/vens/{site.ven}{noun}")
    stem = f"openadr/clients/home/vens/{site.ven}{noun}"
    assert topics["UPDATE"] == f"{stem}/update"
    assert topics.get("CREATE") == (f"{stem}/create" if noun else None)
    assert topics_of(site.utility, f"/vens/{site.ven}{noun}") == topics
    assert site.neighbour.ask("GET", f"{TOPICS}/vens/{site.ven}{noun}").status_code == 404
    assert (
        site.vtn.client("reader", "ven", "read_targets")
        .ask("GET", f"{TOPICS}/vens/{site.ven}{noun}")
        .status_code
        == 403
    )


def test_a_client_whose_id_is_no_level_has_no_topics(site: Site, connection: psycopg.Connection) -> None:
    """An id with `/` could lead into another client's topics."""
    other = site.enrol("home/vens", "north")
    assert site.utility.ask("GET", f"{TOPICS}/vens/{other}/events").status_code == 404
    site.event("north")
    assert not any("home/vens/vens" in topic for topic in queued(connection))


# What is published


def test_an_event_is_for_those_that_may_read_it(site: Site, connection: psycopg.Connection) -> None:
    made = site.event("north", "east")
    site.utility.make(
        "/resources",
        objectType="BL_RESOURCE_REQUEST",
        clientID="neighbour",
        venID=site.other_ven,
        resourceName="hvac",
        targets=["east"],
    )
    forget(connection)
    path = f"/events/{made['id']}"
    changed = site.utility.put(path, programID=site.program, intervals=[], targets=["north", "east"])
    by_topic = queued(connection)
    of_home = f"openadr/clients/home/vens/{site.ven}/events/update"
    of_neighbour = f"openadr/clients/neighbour/vens/{site.other_ven}/events/update"
    of_program = f"openadr/all/programs/{site.program}/events/update"
    assert by_topic.keys() == {"openadr/all/events/update", of_program, of_home, of_neighbour}
    whole = {"objectType": "EVENT", "operation": "UPDATE", "object": changed, "targets": ["north", "east"]}
    assert by_topic[of_program] == by_topic["openadr/all/events/update"] == whole
    assert by_topic[of_home]["targets"] == by_topic[of_home]["object"]["targets"] == ["north"]
    assert by_topic[of_neighbour]["object"]["targets"] == ["east"]


def test_objects_without_targets_are_for_everybody(site: Site, connection: psycopg.Connection) -> None:
    site.event()
    assert {topic for topic in queued(connection) if "clients" in topic} == {
        f"openadr/clients/home/vens/{site.ven}/events/create",
        f"openadr/clients/neighbour/vens/{site.other_ven}/events/create",
    }


def test_each_kind_of_object_and_operation(site: Site, connection: psycopg.Connection) -> None:
    """Tokens of webhooks are never in a message."""
    part = {"objects": ["EVENT"], "operations": ["CREATE"], "callbackUrl": "https://home.example/x"}
    kinds: dict[str, tuple[OpenAdrClient, dict[str, Any]]] = {
        "programs": (site.utility, {"programName": "other"}),
        "events": (site.utility, {"programID": site.program, "intervals": []}),
        "reports": (site.home, {"eventID": site.event()["id"], "clientName": "x", "resources": []}),
        "subscriptions": (
            site.home,
            {"clientName": "x", "objectOperations": [part | {"bearerToken": "secret"}]},
        ),
        "vens": (site.neighbour, {"objectType": "VEN_VEN_REQUEST", "venName": "another"}),
        "resources": (
            site.home,
            {"objectType": "VEN_RESOURCE_REQUEST", "venID": site.ven, "resourceName": "ev"},
        ),
    }
    for noun, (client, body) in kinds.items():
        forget(connection)
        made = client.make(f"/{noun}", **body)
        client.put(f"/{noun}/{made['id']}", **body)
        client.delete(f"/{noun}/{made['id']}")
        by_topic = queued(connection)
        for operation in ("create", "update", "delete"):
            message = by_topic[f"openadr/all/{noun}/{operation}"]
            assert (message["operation"], message["object"]["id"]) == (operation.upper(), made["id"])
        assert "secret" not in str(by_topic)
        private = {topic for topic in by_topic if topic.startswith("openadr/clients/")}
        if noun in ("reports", "subscriptions"):
            assert private == set()
        if noun == "resources":
            assert private == {
                f"openadr/clients/home/vens/{site.ven}/resources/{each}"
                for each in ("create", "update", "delete")
            }


def test_events_of_our_api_are_published_too(site: Site, connection: psycopg.Connection) -> None:
    event = {
        "id": "evt-1",
        "startTime": "2026-01-15T13:00:00Z",
        "endTime": "2026-01-15T14:00:00Z",
        "requestedReductionKw": 50,
    }
    assert site.vtn.web.simulate_post("/api/events", json=event).status_code == 201
    assert queued(connection)["openadr/all/events/create"]["object"]["eventName"] == "evt-1"


def test_a_change_that_is_refused_is_not_published(site: Site, connection: psycopg.Connection) -> None:
    assert site.utility.ask("POST", "/programs", {"programName": "tou"}).status_code == 409
    assert queued(connection) == {}


def test_what_nobody_publishes_is_deleted(site: Site, engine: Engine, connection: psycopg.Connection) -> None:
    site.event()
    with engine.begin() as own:
        assert trim_openadr_messages(own, NOW) == 0
        site.vtn.clock.advance(days=2)
        assert trim_openadr_messages(own, site.vtn.clock()) > 0
    assert queued(connection) == {}


# At the broker


class Listener:
    """A user of the broker, and what it was sent: topic and message."""

    def __init__(self, broker: Mosquitto, user: str, *filters: str) -> None:
        self.messages: list[tuple[str, dict[str, Any]]] = []
        self.codes: list[int] = []
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.username_pw_set(user, f"{user}-password")
        self._client.on_message = lambda _c, _u, message: self.messages.append(
            (message.topic, json.loads(message.payload))
        )
        subscribed = threading.Event()

        def on_subscribe(_c: Any, _u: Any, _mid: Any, codes: Any, _p: Any) -> None:
            self.codes += [code.value for code in codes]
            subscribed.set()

        self._client.on_subscribe = on_subscribe
        self._client.on_connect = lambda client, *_: client.subscribe([(each, 1) for each in filters])
        self._client.connect(HOST, broker.port)
        self._client.loop_start()
        assert subscribed.wait(20)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """With the ACL that we ship, and its block for a utility."""
    directory = tmp_path_factory.mktemp("broker")
    text = (REPOSITORY / "deploy" / "mosquitto.acl").read_text()
    (directory / "acl").write_text(text.replace("# user utility", "user utility").replace("# topic", "topic"))
    passwords = directory / "passwords"
    passwords.touch(mode=0o600)
    program = shutil.which("mosquitto_passwd")
    if program is None:
        be_without("mosquitto_passwd is not installed: `apt-get install mosquitto`")
    for user in USERS:
        subprocess.run([program, "-b", str(passwords), user, f"{user}-password"], check=True)
    access = f"allow_anonymous false\npassword_file {passwords}\nacl_file {directory / 'acl'}\n"
    with Mosquitto(directory, access) as running:
        yield running


def has_messages(listener: Listener, count: int) -> bool:
    """Overlapping subscriptions may deliver one message several times."""
    return len({str(each) for each in listener.messages}) >= count


Listen = Callable[..., Listener]


@pytest.fixture
def listen(broker: Mosquitto) -> Iterator[Listen]:
    listeners = list[Listener]()

    def listen(user: str, *filters: str) -> Listener:
        listeners.append(Listener(broker, user, *filters))
        return listeners[-1]

    yield listen
    for each in listeners:
        each.close()


@pytest.fixture
def notifier(database_url: str, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("MQTT_URL", f"mqtt://gridgate:gridgate-password@{HOST}:{broker.port}")
    monkeypatch.setenv("MQTT_CLIENT_ID", database_url.rsplit("/", 1)[-1])
    settings = IngestSettings.from_environment()
    running = MqttNotifier(settings, lambda: MessageOutbox(connect(database_url, "notifier")), lambda: NOW)
    running.start()
    yield
    running.stop()


@pytest.mark.usefixtures("notifier")
def test_a_ven_hears_what_is_its_own(site: Site, listen: Listen, connection: psycopg.Connection) -> None:
    """Whatever it subscribes to; the utility hears all, in order."""
    home = listen("home", "#", "openadr/#", topics_of(site.home, f"/vens/{site.ven}/events")["ALL"])
    neighbour = listen("neighbour", f"openadr/clients/home/vens/{site.ven}/events/+", "openadr/all/#", "#")
    utility = listen("utility", topics_of(site.utility, "/events")["ALL"])
    own = site.event("north")
    site.utility.put(f"/events/{own['id']}", programID=site.program, intervals=[], targets=["north"])
    other = site.event("south")
    everybody = site.event()
    until(
        lambda: len(utility.messages) == 4 and value(connection, "SELECT count(*) FROM openadr_messages") == 0
    )
    told = [(message["operation"], message["object"]["id"]) for _, message in utility.messages]
    assert told == [
        ("CREATE", own["id"]),
        ("UPDATE", own["id"]),
        ("CREATE", other["id"]),
        ("CREATE", everybody["id"]),
    ]
    for user, listener, expected in (
        ("home", home, [own["id"], own["id"], everybody["id"]]),
        ("neighbour", neighbour, [other["id"], everybody["id"]]),
    ):
        until(partial(has_messages, listener, len(expected)))
        assert all(topic.startswith(f"openadr/clients/{user}/") for topic, _ in listener.messages)
        assert {message["object"]["id"] for _, message in listener.messages} == set(expected)


@pytest.mark.usefixtures("notifier")
def test_nobody_but_the_gateway_publishes(site: Site, broker: Mosquitto, listen: Listen) -> None:
    """A forged notification, of a VEN or of a utility, reaches no client."""
    topic = f"openadr/clients/home/vens/{site.ven}/events/create"
    home = listen("home", "openadr/clients/home/#")
    for user in ("home", "neighbour", "utility"):
        forger = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        forger.username_pw_set(user, f"{user}-password")
        codes, connected = list[int](), threading.Event()
        forger.on_connect = lambda *_, event=connected: event.set()
        forger.on_publish = lambda _c, _u, _m, code, _p, into=codes: into.append(code.value)
        forger.connect(HOST, broker.port)
        forger.loop_start()
        assert connected.wait(20)
        forger.publish(topic, b'{"forged": true}', qos=1).wait_for_publish(20)
        forger.disconnect()
        forger.loop_stop()
        assert codes == [0x87]
    made = site.event("north")
    until(lambda: bool(home.messages))
    assert [message["object"]["id"] for _, message in home.messages] == [made["id"]]


def test_while_the_broker_is_away_nothing_is_lost(
    site: Site,
    tmp_path: Path,
    database_url: str,
    connection: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Mosquitto(tmp_path) as broker:
        monkeypatch.setenv("DATABASE_URL", database_url)
        monkeypatch.setenv("MQTT_URL", broker.mqtt_url)
        settings = IngestSettings.from_environment()
        broker.stop()
        running = MqttNotifier(
            settings, lambda: MessageOutbox(connect(database_url, "notifier")), lambda: NOW
        )
        running.start()
        site.event()
        broker.start()
        until(lambda: value(connection, "SELECT count(*) FROM openadr_messages") == 0, within_s=60)
        running.stop()
