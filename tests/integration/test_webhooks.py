"""Webhooks: changes are queued with them, sent at least once, in order for each object, and nowhere else."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from typing import Any

import psycopg
import pytest
import standardwebhooks
from falcon import testing
from sqlalchemy import Engine

from jobs.alarms.evaluation import evaluate_alarms
from jobs.alarms.measures import measures
from jobs.alarms.rules import AlarmLimits
from jobs.storage.trimming import trim_webhooks
from jobs.webhooks.client import DeliveryError, ForbiddenAddressError, WebhookClient
from jobs.webhooks.policy import WebhookPolicy
from jobs.webhooks.sender import WebhookSender
from local.environment import inherited_environment
from schemas.webhooks import WEBHOOK_KINDS
from serving.app import create_app
from serving.auth.keys import KeyStore
from serving.policy import Policy
from serving.routes import AppOptions
from tests.conftest import REPOSITORY, migrate
from tests.integration.published import rows, until, value
from tests.integration.receiver import Receiver

LOOPBACK = (ip_network("127.0.0.0/8"),)
DAY = timedelta(days=1)
ALL = list(WEBHOOK_KINDS)


class Site:
    """A database with webhooks, and a sender whose clock the test moves."""

    def __init__(self, engine: Engine, connection: psycopg.Connection) -> None:
        self.engine = engine
        self.connection = connection
        connection.autocommit = True
        self.ahead = timedelta()
        self.policy = WebhookPolicy(networks=LOOPBACK, timeout_s=5, retry=timedelta(minutes=1))
        self.client = testing.TestClient(
            create_app(engine, self.now, [], AppOptions(webhook_networks=LOOPBACK))
        )

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def sender(self, holder: str = "tests", **said: Any) -> WebhookSender:
        return WebhookSender(self.engine, self.now, holder, self.policy, draw=lambda: 1.0, **said)

    def make(self, url: str, *kinds: str) -> dict[str, Any]:
        made = self.client.simulate_post("/api/webhooks", json={"url": url, "kinds": list(kinds)})
        assert made.status_code == 201, made.text
        return {**made.json["webhook"], "secret": made.json["secret"]}

    def get(self, path: str) -> Any:
        response = self.client.simulate_get(path)
        assert response.status_code == 200, response.text
        return response.json

    def deliveries(self, webhook_id: str) -> list[Any]:
        return list(reversed(self.get(f"/api/webhooks/{webhook_id}/deliveries")))

    def add_command(self, command_id: str, status: str = "pending") -> None:
        self.connection.execute(
            "INSERT INTO commands (ven_id, command_id, op, data, status, created_at, next_attempt_at,"
            " expires_at) VALUES ('v', %s, 'event', '{}', %s, now(), now(), now())",
            [command_id, status],
        )

    def set_command(self, command_id: str, status: str) -> None:
        self.connection.execute("UPDATE commands SET status = %s WHERE command_id = %s", [status, command_id])

    def send_all(self, webhook_id: str) -> None:
        self.sender().drain(webhook_id)


@pytest.fixture
def site(engine: Engine, connection: psycopg.Connection) -> Site:
    return Site(engine, connection)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def other_receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def test_each_kind_of_change_is_sent_and_signed(site: Site, receiver: Receiver) -> None:
    """Sent to each subscriber of it; writing the same value again is no change."""
    webhook = site.make(receiver.url, *ALL)
    only_alarms = site.make(receiver.url, "alarms")
    execute = site.connection.execute
    execute(
        "INSERT INTO events (event_id, status, start_time, end_time, requested_reduction_kw, notify_at,"
        " created_at) VALUES ('e', 'scheduled', '2026-03-01 12:00Z', '2026-03-01 13:00Z', 5, now(), now())"
    )
    execute("UPDATE events SET status = 'active'")
    execute("UPDATE events SET status = 'active', notes = '[]'")
    execute(
        "INSERT INTO alarms (kind, subject, detail, value, worst_value, threshold, raised_at)"
        " VALUES ('disk_full', 'd', 'full', 90, 90, 85, '2026-03-01 12:00Z')"
    )
    execute("UPDATE alarms SET value = 91")
    execute("UPDATE alarms SET acknowledged_at = now(), acknowledged_by = 'night'")
    execute("UPDATE alarms SET cleared_at = now()")
    execute("INSERT INTO ven_snapshots (ven_id) VALUES ('v')")
    execute("UPDATE ven_snapshots SET status = 'online', status_ts = '2026-03-01 12:00:01Z'")
    site.add_command("c")
    site.set_command("c", "sent")
    site.send_all(webhook["id"])
    found = [(each["type"], each["data"].get("status")) for each in receiver.messages]
    assert found == [
        ("event.changed", "scheduled"),
        ("event.changed", "active"),
        ("alarm.raised", None),
        ("alarm.acknowledged", None),
        ("alarm.cleared", None),
        ("ven.status", "online"),
        ("command.changed", "pending"),
        ("command.changed", "sent"),
    ]
    assert receiver.messages[0]["data"] == {
        "id": "e",
        "status": "scheduled",
        "startTime": "2026-03-01T12:00:00.000000Z",
        "endTime": "2026-03-01T13:00:00.000000Z",
        "requestedReductionKw": 5,
        "direction": "reduce",
        "priority": 0,
    }
    assert receiver.messages[3]["data"]["acknowledgedBy"] == "night"
    assert receiver.messages[5]["data"] == {
        "venId": "v",
        "status": "online",
        "ts": "2026-03-01T12:00:01.000000Z",
    }
    for body, headers in zip(receiver.bodies, receiver.headers, strict=True):
        standardwebhooks.Webhook(webhook["secret"]).verify(body, headers)
    assert len({headers["webhook-id"] for headers in receiver.headers}) == 8
    site.send_all(only_alarms["id"])
    assert [each["type"].partition(".")[0] for each in receiver.messages[8:]] == ["alarm"] * 3
    assert {each["status"] for each in site.deliveries(webhook["id"])} == {"delivered"}


def test_a_change_that_is_rolled_back_is_not_sent(site: Site, receiver: Receiver) -> None:
    webhook = site.make(receiver.url, "commands")
    with site.connection.transaction(force_rollback=True):
        site.add_command("c")
    assert site.deliveries(webhook["id"]) == []


def test_a_failed_object_waits_and_the_others_go_on(site: Site, receiver: Receiver) -> None:
    """In order for each object: what follows a failed delivery about the same object waits for it."""
    webhook = site.make(receiver.url, "commands")
    for command_id in ("bad", "good"):
        site.add_command(command_id)
        site.set_command(command_id, "sent")
    receiver.answer = lambda message, _: 500 if message["data"]["id"] == "bad" else 200
    site.send_all(webhook["id"])
    assert [each["data"]["id"] for each in receiver.messages] == ["bad"]
    site.ahead = timedelta(seconds=61)
    site.send_all(webhook["id"])
    assert [each["data"]["id"] for each in receiver.messages] == ["bad", "good", "good", "bad"]
    site.ahead = timedelta(seconds=61 + 121)
    site.send_all(webhook["id"])
    sent = [(each["data"]["id"], each["data"]["status"]) for each in receiver.messages]
    assert set(sent[:3]) >= {("bad", "pending")}
    assert ("bad", "sent") not in sent
    receiver.answer = lambda *_: 200
    site.ahead = timedelta(minutes=30)
    site.send_all(webhook["id"])
    sent = [(each["data"]["id"], each["data"]["status"]) for each in receiver.messages]
    for command_id in ("bad", "good"):
        ordered = [status for each, status in sent if each == command_id]
        assert ordered == sorted(ordered, key=["pending", "sent"].index)
        assert ordered[-1] == "sent"
    ids = [headers["webhook-id"] for headers in receiver.headers]
    assert len(set(ids)) == 4  # a repeated delivery keeps its id
    shown = site.get(f"/api/webhooks/{webhook['id']}")
    assert (shown["failingSince"], shown["error"], shown["pendingDeliveries"]) == (None, None, 0)


def test_a_webhook_that_fails_too_long_is_disabled_with_an_alarm(site: Site, receiver: Receiver) -> None:
    """Until people enable it; then what was not sent is sent."""
    webhook = site.make(receiver.url, "commands")
    path = f"/api/webhooks/{webhook['id']}"
    receiver.answer = lambda *_: 503
    site.add_command("c")
    site.send_all(webhook["id"])
    shown = site.get(path)
    assert (shown["enabled"], shown["error"]) == (True, "the receiver answered 503")
    site.ahead = 2 * DAY
    site.add_command("later")
    site.send_all(webhook["id"])
    assert site.get(path)["enabled"]
    site.ahead = 3 * DAY + timedelta(minutes=1)
    site.send_all(webhook["id"])
    shown = site.get(path)
    assert not shown["enabled"]
    assert shown["disabledAt"] is not None
    site.add_command("while disabled")
    site.send_all(webhook["id"])
    assert len(receiver.messages) == 3

    def evaluate() -> int:
        with site.engine.begin() as connection:
            chosen = {"webhook_disabled": measures(AlarmLimits(), {})["webhook_disabled"]}
            return evaluate_alarms(connection, site.now(), AlarmLimits(), chosen)  # type: ignore[arg-type]

    assert evaluate() == 1
    [alarm] = site.get("/api/alarms")
    assert (alarm["kind"], alarm["subject"]) == ("webhook_disabled", webhook["id"])
    assert "503" in alarm["detail"]
    assert site.client.simulate_post(f"{path}/test").status_code == 409
    receiver.answer = lambda *_: 200
    changed = site.client.simulate_patch(path, json={"enabled": True})
    assert (changed.json["enabled"], changed.json["failingSince"], changed.json["disabledAt"]) == (
        True,
        None,
        None,
    )
    site.send_all(webhook["id"])
    assert receiver.messages[-1]["data"]["id"] == "later"
    assert evaluate() == 0
    site.ahead += timedelta(minutes=2)
    assert evaluate() == 1


@pytest.mark.parametrize(
    ("host", "addresses", "networks"),
    [
        ("rebound.example", ["127.0.0.1"], ()),
        ("rebound.example", ["10.0.0.1", "::1"], ()),
        ("rebound.example", ["::ffff:127.0.0.1"], ()),
        ("rebound.example", ["1.1.1.1"], LOOPBACK),  # plain http, to a public address
    ],
)
def test_forbidden_addresses_are_not_connected_to(
    host: str, addresses: list[str], networks: Any, receiver: Receiver
) -> None:
    client = WebhookClient(networks, 5, lambda *_: [ip_address(each) for each in addresses])
    scheme = "http" if networks else "https"
    with pytest.raises(ForbiddenAddressError, match="WEBHOOK_NETWORKS"):
        client.post(f"{scheme}://{host}:{receiver.port}/", {}, b"{}")
    assert receiver.messages == []


def test_a_host_is_looked_up_once(receiver: Receiver) -> None:
    """A second look-up might lead elsewhere (DNS rebinding); the connection goes to what was checked."""
    looked_up = []

    def resolve(host: str, port: int) -> list[Any]:
        looked_up.append((host, port))
        return [ip_address("127.0.0.1" if len(looked_up) == 1 else "10.9.9.9")]

    client = WebhookClient(LOOPBACK, 5, resolve)
    assert client.post(f"http://hook.example:{receiver.port}/", {}, b"{}").is_success
    assert looked_up == [("hook.example", receiver.port)]
    assert receiver.headers[0]["Host"] == f"hook.example:{receiver.port}"


def test_redirects_are_not_followed(site: Site, receiver: Receiver, other_receiver: Receiver) -> None:
    receiver.answer, receiver.location = lambda *_: 307, other_receiver.url
    webhook = site.make(receiver.url, "events")
    assert site.client.simulate_post(f"/api/webhooks/{webhook['id']}/test").status_code == 202
    site.send_all(webhook["id"])
    assert other_receiver.messages == []
    assert site.get(f"/api/webhooks/{webhook['id']}")["error"].endswith("redirects are not followed")


def test_answers_are_bounded_in_time_and_bytes(receiver: Receiver) -> None:
    """Also one that drips, whose single reads are all in time."""
    is_over = threading.Event()

    def drip(_message: Any, handler: Any) -> int:
        try:
            while not is_over.wait(0.05):
                handler.wfile.write(b"HTTP/1.1 200 OK\r\n"[:1])
                handler.wfile.flush()
        except OSError:
            is_over.set()
        return 0

    receiver.answer = drip
    with pytest.raises(DeliveryError, match=r"no complete answer within 0\.5 s"):
        WebhookClient(LOOPBACK, 0.5).post(receiver.url, {}, b"{}")
    assert is_over.wait(10)

    def flood(_message: Any, handler: Any) -> int:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                handler.wfile.write(b"x" * 65_536)
        except OSError:
            return 0

    receiver.answer = flood
    assert WebhookClient(LOOPBACK, 30).post(receiver.url, {}, b"{}").status == 200


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://nowhere.invalid/"])
def test_a_receiver_that_is_away_is_a_failure(url: str, site: Site) -> None:
    webhook = site.make(url, "events")
    site.client.simulate_post(f"/api/webhooks/{webhook['id']}/test")
    site.send_all(webhook["id"])
    [delivery] = site.deliveries(webhook["id"])
    assert (delivery["status"], delivery["attempts"], delivery["responseStatus"]) == ("pending", 1, None)
    assert "cannot send to" in delivery["error"]


def test_a_slow_receiver_does_not_delay_another(
    site: Site, receiver: Receiver, other_receiver: Receiver
) -> None:
    go_on = threading.Event()
    receiver.answer = lambda *_: 200 if go_on.wait(60) else 500
    site.policy = WebhookPolicy(networks=LOOPBACK, timeout_s=60)
    slow, quick = site.make(receiver.url, "commands"), site.make(other_receiver.url, "commands")
    sender = site.sender()
    sender.start()
    try:
        site.add_command("first")
        receiver.wait_for(1)
        for number in range(5):
            site.add_command(f"later {number}")
        other_receiver.wait_for(6)
        assert len(receiver.messages) == 1
        go_on.set()
        receiver.wait_for(6)
    finally:
        go_on.set()
        sender.stop()
    for webhook in (slow, quick):
        assert [each["attempts"] for each in site.deliveries(webhook["id"])] == [1] * 6


def test_one_sender_at_a_time_holds_a_webhook(site: Site, receiver: Receiver) -> None:
    """Another takes over when the lease has ended."""
    webhook = site.make(receiver.url, "commands")
    first, second = site.sender("first"), site.sender("second")
    for number in range(3):
        site.add_command(str(number))
    assert first.send_next(webhook["id"])
    assert not second.send_next(webhook["id"])
    site.ahead = site.policy.lease
    assert second.send_next(webhook["id"])
    assert not first.send_next(webhook["id"])
    second.drain(webhook["id"])
    assert sorted(each["data"]["id"] for each in receiver.messages) == ["0", "1", "2"]


@pytest.mark.thorough
def test_killing_jobs_amid_a_delivery_loses_nothing(
    site: Site, receiver: Receiver, database_url: str
) -> None:
    """By SIGKILL while the receiver is about to answer: all arrive, in order for each object."""
    webhook = site.make(receiver.url, "commands")
    is_answered = threading.Event()

    def answer(_message: Any, _handler: Any) -> int:
        is_answered.wait(60)
        return 204

    receiver.answer = answer
    environment = inherited_environment(
        DATABASE_URL=database_url, WEBHOOK_NETWORKS="127.0.0.0/8", WEBHOOK_TIMEOUT_S="1", LOG_LEVEL="error"
    )

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", "jobs"], cwd=REPOSITORY, env=environment)

    jobs = start()
    try:
        for number in range(5):
            site.add_command(str(number))
            site.set_command(str(number), "sent")
        receiver.wait_for(1)
        jobs.send_signal(signal.SIGKILL)
        jobs.wait(30)
        is_answered.set()
        before = len(receiver.messages)
        assert {each["status"] for each in site.deliveries(webhook["id"])} == {"pending"}
        jobs = start()
        until(lambda: not site.get(f"/api/webhooks/{webhook['id']}")["pendingDeliveries"], 120)
    finally:
        jobs.terminate()
        jobs.wait(60)
    again = [(each["data"]["id"], each["data"]["status"]) for each in receiver.messages[before:]]
    assert sorted(again) == sorted(
        (str(number), status) for number in range(5) for status in ("pending", "sent")
    )
    for number in range(5):
        assert [status for each, status in again if each == str(number)] == ["pending", "sent"]
    ids = [headers["webhook-id"] for headers in receiver.headers]
    assert set(ids[:before]) <= set(ids[before:])


def test_webhooks_are_made_changed_and_deleted(site: Site) -> None:
    """The secret is shown once, and what is still to be sent goes with the webhook."""
    made = site.client.simulate_post(
        "/api/webhooks", json={"url": "https://example.com/hook", "kinds": ["events", "events", "alarms"]}
    )
    assert (made.status_code, made.headers["location"]) == (
        201,
        f"/api/webhooks/{made.json['webhook']['id']}",
    )
    assert made.json["secret"].startswith("whsec_")
    webhook = made.json["webhook"]
    assert webhook["kinds"] == ["alarms", "events"]
    path = f"/api/webhooks/{webhook['id']}"
    assert site.get(path) == webhook
    assert site.get("/api/webhooks") == [webhook]
    assert made.json["secret"] not in json.dumps([site.get(path), site.get("/api/audit")])
    assert site.client.simulate_patch(path, json=webhook).json == webhook
    changed = site.client.simulate_patch(path, json={"kinds": ["commands"], "enabled": False}).json
    assert changed == {**webhook, "kinds": ["commands"], "enabled": False}
    site.add_command("unsent")
    assert site.deliveries(webhook["id"]) == []
    site.client.simulate_patch(path, json={"enabled": True})
    site.add_command("pending")
    assert site.get(path)["pendingDeliveries"] == 1
    assert site.client.simulate_delete(path).status_code == 204
    assert value(site.connection, "SELECT count(*) FROM webhook_deliveries") == 0
    for answer in (
        site.client.simulate_get(path),
        site.client.simulate_patch(path, json={}),
        site.client.simulate_delete(path),
        site.client.simulate_post(f"{path}/test"),
        site.client.simulate_get(f"{path}/deliveries"),
    ):
        assert (answer.status_code, "There is no webhook" in answer.json["detail"]) == (404, True)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"kinds": ["events"]}, "url is missing"),
        ({"url": "https://example.com"}, "kinds is missing"),
        ({"url": "https://example.com", "kinds": []}, "kinds"),
        ({"url": "https://example.com", "kinds": ["fires"]}, "kinds"),
        ({"url": "https://10.0.0.1/", "kinds": ["events"]}, "url 10.0.0.1 is not a public address"),
        ({"url": "https://[::ffff:10.0.0.1]/", "kinds": ["events"]}, "WEBHOOK_NETWORKS"),
        ({"url": "ftp://example.com/", "kinds": ["events"]}, "url must be a URL"),
        ({"url": "https://a:b@example.com/", "kinds": ["events"]}, "url must have no user"),
    ],
)
def test_what_cannot_be_a_webhook_is_refused_by_name(body: dict[str, Any], named: str, site: Site) -> None:
    response = site.client.simulate_post("/api/webhooks", json=body)
    assert response.status_code == 400
    assert named in response.json["detail"]


def test_webhooks_are_for_operators_and_counted(site: Site, engine: Engine) -> None:
    client = testing.TestClient(create_app(engine, site.now, [], AppOptions(policy=Policy(needs_keys=True))))
    viewer = {"X-API-Key": KeyStore(engine).create("screen", "viewer", None, site.now())}
    operator = {"X-API-Key": KeyStore(engine).create("night", "operator", None, site.now())}
    body = {"url": "https://example.com", "kinds": ["events"]}
    for path in ("/api/webhooks", "/api/webhooks/x", "/api/webhooks/x/deliveries"):
        assert client.simulate_get(path, headers=viewer).status_code == 403
    assert client.simulate_post("/api/webhooks", json=body, headers=viewer).status_code == 403
    for _ in range(100):
        assert client.simulate_post("/api/webhooks", json=body, headers=operator).status_code == 201
    refused = client.simulate_post("/api/webhooks", json=body, headers=operator)
    assert (refused.status_code, "100 webhooks" in refused.json["detail"]) == (409, True)


def test_old_deliveries_are_forgotten(site: Site, receiver: Receiver, engine: Engine) -> None:
    """Pending deliveries stay, unless their webhook is gone."""
    webhook, disabled = site.make(receiver.url, "commands"), site.make(receiver.url, "commands")
    site.add_command("sent")
    site.send_all(webhook["id"])
    site.add_command("pending")
    site.client.simulate_patch(f"/api/webhooks/{disabled['id']}", json={"enabled": False})
    with engine.begin() as connection:
        assert trim_webhooks(connection, site.now() + 6 * DAY, 7 * DAY) == 0
        assert trim_webhooks(connection, site.now() + 8 * DAY, 7 * DAY) == 3
    kept = rows(site.connection, "SELECT data->>'id', webhook_id FROM webhook_deliveries")
    assert kept == [("pending", webhook["id"])]


def test_the_outbox_from_before_0030(database_url: str, site: Site) -> None:
    """Downgraded, changes are queued no more; and again afterwards."""
    migrate(database_url, "0018", "downgrade")
    site.add_command("old")
    migrate(database_url)
    assert rows(site.connection, "SELECT command_id FROM commands") == [("old",)]
    webhook = site.make("https://example.com", "commands")
    site.set_command("old", "sent")
    assert [each["objectId"] for each in site.deliveries(webhook["id"])] == ["command/old"]
