"""Credentials of VENs, from a request to a real mosquitto with its plugin dynamic-security."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from falcon import testing
from sqlalchemy import Engine

from ingest import side_thread
from ingest.credentials import control as controls
from ingest.credentials.dispatcher import CredentialDispatcher
from ingest.credentials.outbox import CredentialOutbox
from ingest.settings import IngestSettings
from schemas.credentials import seal
from schemas.db.connections import connect
from serving.app import create_app
from serving.registry.credentials import VenCredentials
from serving.routes import AppOptions
from tests.faults.mosquitto import Mosquitto
from tests.integration.dynsec_broker import (
    ADMIN,
    ADMIN_PASSWORD,
    Client,
    DynsecBroker,
    login,
    published,
    subscribed,
)
from tests.integration.published import rows, until, value
from tests.integration.test_keys_program import administrate

KEY = "5e" * 32
OTHER_KEY = "a1" * 32
GRANTED, NO_SUBSCRIBER, NOT_AUTHORIZED = 1, 0x10, 0x87
BAD_LOGIN = {0x86, NOT_AUTHORIZED}
CUT_WITHIN_S = 2.0
PENDING = "SELECT count(*) FROM ven_credentials WHERE applied_revision < revision"
Send = Callable[..., Any]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DynsecBroker]:
    with DynsecBroker(tmp_path_factory.mktemp("dynsec")) as running:
        yield running


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_thread, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(side_thread, "LONGEST_PAUSE_S", 0.05)


def now() -> datetime:
    return datetime.now(UTC)


Start = Callable[..., CredentialDispatcher]


@pytest.fixture
def start(database_url: str) -> Iterator[Start]:
    """A dispatcher; all are stopped in the end."""
    with ExitStack() as stack:

        def start(admin_url: str, key: str = KEY) -> CredentialDispatcher:
            settings = IngestSettings(
                DATABASE_URL=database_url,
                MQTT_URL="mqtt://nobody",
                MQTT_ADMIN_URL=admin_url,
                CREDENTIALS_KEY=key,
                MQTT_CLIENT_ID=f"tests-{time.monotonic_ns()}",
            )
            made = CredentialDispatcher(
                settings, lambda: CredentialOutbox(connect(database_url, "credentials")), now
            )
            made.start()
            stack.callback(made.stop)
            return made

        yield start


@pytest.fixture
def send(engine: Engine) -> Send:
    client = testing.TestClient(create_app(engine, now, [], AppOptions(credentials_key=bytes.fromhex(KEY))))

    def send(method: str, path: str, status: int = 200, **body: Any) -> Any:
        response = client.simulate_request(method, f"/api{path}", json=body or None)
        assert response.status_code == status, response.text
        return response.json if response.text else None

    return send


@pytest.fixture
def register(send: Send) -> Callable[[str], None]:
    def register(ven_id: str) -> None:
        send("POST", "/vens", 201, id=ven_id, name=ven_id, location={"lat": 1, "lon": 2})

    return register


def until_it_is(send: Send, ven_id: str, status: str) -> None:
    until(lambda: send("GET", f"/vens/{ven_id}/credential")["status"] == status)


def test_a_ven_uses_its_own_topics_and_no_other(
    broker: DynsecBroker, start: Start, send: Send, register: Callable[[str], None]
) -> None:
    start(broker.admin_url)
    register("own")
    made = send("POST", "/vens/own/credential", 201)
    assert (made["username"], made["credential"]["status"]) == ("own", "pending")
    until_it_is(send, "own", "active")
    assert login(broker.port, "own", "wrong") in BAD_LOGIN
    own, port = ("own", made["password"]), broker.port
    for topic in ("oadr/meter", "ven/loads", "ven/status", "ven/ack"):
        assert published(port, own, f"{topic}/own") == NO_SUBSCRIBER
        assert published(port, own, f"{topic}/other") == NOT_AUTHORIZED
    for topic in ("volttron/metering", "ven/cmd/own", "$CONTROL/dynamic-security/v1", "oadr/meter/own/x"):
        assert published(port, own, topic) == NOT_AUTHORIZED
    assert subscribed(port, own, "ven/cmd/own") == GRANTED
    for topic in ("ven/cmd/other", "ven/cmd/+", "#", "oadr/meter/own", "$SYS/#"):
        assert subscribed(port, own, topic) == NOT_AUTHORIZED


def test_a_rotated_password_replaces_the_old_one(
    broker: DynsecBroker, start: Start, send: Send, register: Callable[[str], None]
) -> None:
    start(broker.admin_url)
    register("turn")
    send("POST", "/vens/turn/credential/rotate", 404)
    old = send("POST", "/vens/turn/credential", 201)["password"]
    send("POST", "/vens/turn/credential", 409)
    until_it_is(send, "turn", "active")
    with Client(broker.port, "turn", old) as ven:
        new = send("POST", "/vens/turn/credential/rotate")["password"]
        assert ven.ended.wait(10)
    until_it_is(send, "turn", "active")
    assert login(broker.port, "turn", old) in BAD_LOGIN
    assert login(broker.port, "turn", new) == 0


def test_a_revoked_ven_is_cut_within_two_seconds(
    broker: DynsecBroker, start: Start, send: Send, register: Callable[[str], None]
) -> None:
    """And may come back with another password, when it is given one."""
    start(broker.admin_url)
    register("out")
    send("DELETE", "/vens/out/credential", 404)
    password = send("POST", "/vens/out/credential", 201)["password"]
    until_it_is(send, "out", "active")
    with Client(broker.port, "out", password) as ven:
        revoked_at = time.monotonic()
        send("DELETE", "/vens/out/credential", 202)
        assert ven.ended.wait(10)
        print(f"cut {ven.ended_at - revoked_at:.3f} s after it was revoked")
        assert ven.ended_at - revoked_at < CUT_WITHIN_S
    until_it_is(send, "out", "revoked")
    assert login(broker.port, "out", password) in BAD_LOGIN
    again = send("POST", "/vens/out/credential", 201)["password"]
    until_it_is(send, "out", "active")
    assert login(broker.port, "out", again) == 0
    assert login(broker.port, "out", password) in BAD_LOGIN


def test_a_retired_ven_is_cut(
    broker: DynsecBroker, start: Start, send: Send, register: Callable[[str], None]
) -> None:
    start(broker.admin_url)
    register("old")
    password = send("POST", "/vens/old/credential", 201)["password"]
    until_it_is(send, "old", "active")
    with Client(broker.port, "old", password) as ven:
        send("DELETE", "/vens/old", 204)
        assert ven.ended.wait(10)
    until_it_is(send, "old", "revoked")
    assert send("GET", "/vens/old/credential")["changedBy"] == "retirement"


def test_the_outbox_has_no_password_in_the_clear(
    broker: DynsecBroker,
    start: Start,
    send: Send,
    register: Callable[[str], None],
    connection: psycopg.Connection,
) -> None:
    register("quiet")
    password = send("POST", "/vens/quiet/credential", 201)["password"]
    stored = value(connection, "SELECT to_jsonb(c)::text FROM ven_credentials c")
    assert password.split("_")[2] not in stored
    assert "sealed_password" in stored
    assert password not in value(connection, "SELECT coalesce(string_agg(a::text, ' '), '') FROM audit_log a")
    connection.commit()
    start(broker.admin_url)
    until_it_is(send, "quiet", "active")
    assert value(connection, "SELECT sealed_password FROM ven_credentials") is None
    assert password not in str(send("GET", "/credentials"))


def test_users_that_were_not_made_here_are_left_alone(
    broker: DynsecBroker, start: Start, send: Send, register: Callable[[str], None]
) -> None:
    """A VEN that is called as the administrator would get its rights, or shut it out."""
    start(broker.admin_url)
    register(ADMIN)
    send("POST", f"/vens/{ADMIN}/credential", 201)
    until(lambda: "not created here" in (send("GET", f"/vens/{ADMIN}/credential")["error"] or ""))
    send("DELETE", f"/vens/{ADMIN}/credential", 202)
    until(lambda: "not created here" in (send("GET", f"/vens/{ADMIN}/credential")["error"] or ""))
    assert login(broker.port, ADMIN, ADMIN_PASSWORD) == 0


def test_what_cannot_be_is_refused(engine: Engine, send: Send, register: Callable[[str], None]) -> None:
    send("POST", "/vens/nobody/credential", 404)
    send("GET", "/vens/nobody/credential", 404)
    register("%c")
    problem = send("POST", "/vens/%25c/credential", 400)
    assert "%c" in problem["detail"]
    register("plain")
    keyless = testing.TestClient(create_app(engine, now, []))
    refused = keyless.simulate_post("/api/vens/plain/credential")
    assert (refused.status_code, "CREDENTIALS_KEY" in refused.text) == (409, True)


def test_what_is_wrong_is_shown_until_it_is_mended(
    start: Start,
    send: Send,
    register: Callable[[str], None],
    tmp_path: Any,
) -> None:
    """The broker is away; then it comes, and the password that waited works."""
    broker = DynsecBroker(tmp_path)
    start(broker.admin_url)
    register("late")
    password = send("POST", "/vens/late/credential", 201)["password"]
    until(lambda: str(broker.port) in (send("GET", "/vens/late/credential")["error"] or ""))
    assert [each["id"] for each in send("GET", "/credentials?status=pending")] == ["late"]
    with broker:
        until_it_is(send, "late", "active")
        assert send("GET", "/vens/late/credential")["error"] is None
        assert login(broker.port, "late", password) == 0
    assert send("GET", "/credentials?status=pending") == []


def test_another_key_is_named(
    broker: DynsecBroker, start: Start, send: Send, register: Callable[[str], None]
) -> None:
    start(broker.admin_url, OTHER_KEY)
    register("locked")
    send("POST", "/vens/locked/credential", 201)
    until(lambda: "CREDENTIALS_KEY" in (send("GET", "/vens/locked/credential")["error"] or ""))
    assert send("GET", "/vens/locked/credential")["attempts"] == 1


def test_a_broker_without_the_plugin_is_named(
    start: Start,
    send: Send,
    register: Callable[[str], None],
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(controls, "ANSWERED_WITHIN_S", 0.3)
    with Mosquitto(tmp_path) as plain:
        start(plain.mqtt_url)
        register("bare")
        send("POST", "/vens/bare/credential", 201)
        until(lambda: "dynamic-security" in (send("GET", "/vens/bare/credential")["error"] or ""))


def test_a_change_that_the_broker_has_already_is_carried_out_again(
    broker: DynsecBroker,
    start: Start,
    send: Send,
    register: Callable[[str], None],
    connection: psycopg.Connection,
) -> None:
    """As after a crash between the broker's answer and our commit."""
    start(broker.admin_url)
    register("twice")
    password = send("POST", "/vens/twice/credential", 201)["password"]
    until_it_is(send, "twice", "active")
    undone = "UPDATE ven_credentials SET applied_revision = 0, sealed_password = %s"
    connection.execute(undone.encode(), [seal(password, "twice", bytes.fromhex(KEY))])
    connection.commit()
    until_it_is(send, "twice", "active")
    assert login(broker.port, "twice", password) == 0


def test_one_of_two_dispatchers_works_and_the_other_takes_over(
    broker: DynsecBroker, start: Start, send: Send, register: Callable[[str], None]
) -> None:
    first, _second = start(broker.admin_url), start(broker.admin_url)
    register("a")
    send("POST", "/vens/a/credential", 201)
    until_it_is(send, "a", "active")
    first.stop()
    register("b")
    send("POST", "/vens/b/credential", 201)
    until_it_is(send, "b", "active")


def test_a_whole_fleet_gets_passwords(
    broker: DynsecBroker,
    start: Start,
    engine: Engine,
    connection: psycopg.Connection,
) -> None:
    connection.execute(
        "INSERT INTO vens (ven_id, created_at) SELECT 'f' || n, now() FROM generate_series(1, 120) n"
    )
    connection.commit()
    credentials = VenCredentials(engine, now, bytes.fromhex(KEY))
    passwords = dict(credentials.make_missing("tests"))
    assert len(passwords) == 120
    assert list(credentials.make_missing("tests")) == []
    start(broker.admin_url)
    until(lambda: rows(connection, PENDING) == [(0,)])
    assert {login(broker.port, ven_id, passwords[ven_id]) for ven_id in ("f1", "f77", "f120")} == {0}


@pytest.mark.thorough
def test_passwords_at_a_terminal(
    database_url: str, register: Callable[[str], None], connection: psycopg.Connection
) -> None:
    settings = {"CREDENTIALS_KEY": KEY}
    register("a")
    register("b")
    first = administrate(database_url, "credentials", "create", "a", settings=settings).strip()
    assert first.startswith("gv_")
    assert "rotate it" in administrate(
        database_url, "credentials", "create", "a", settings=settings, status=1
    )
    assert administrate(database_url, "credentials", "rotate", "a", settings=settings).strip() != first
    others = administrate(database_url, "credentials", "create", "--missing", settings=settings)
    assert [line.partition(",")[0] for line in others.splitlines()] == ["b"]
    administrate(database_url, "credentials", "revoke", "b")
    listed = administrate(database_url, "credentials", "list")
    assert [line.split()[:2] for line in listed.splitlines()] == [["a", "pending"], ["b", "revoking"]]
    audited = rows(connection, "SELECT path, status FROM audit_log WHERE method = 'credentials'")
    assert sorted(audited) == [
        ("create --missing", 201),
        ("create a", 201),
        ("create a", 409),
        ("revoke b", 202),
        ("rotate a", 201),
    ]
    everything = value(connection, "SELECT string_agg(a::text, ' ') FROM audit_log a")
    assert first.split("_")[2] not in everything
