"""`python -m local` on mosquitto and PostgreSQL as installed, and VENs that act when a command arrives."""

import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from paho.mqtt.client import Client, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from local.mosquitto import MosquittoBroker, mosquitto_program
from local.options import parse_options
from local.ports import free_ports
from local.postgres import InstalledPostgres
from local.postgres_binaries import installed_binaries
from local.service import StartError
from local.stack import broker, postgres_server
from tests.clients.receipt_ven import ReceiptVen
from tests.conftest import migrate
from tests.e2e.stack import running_stack, until
from tests.faults.requirement import be_without

LATE_S = 3.0
"""What a busy machine may take from a look at the events to a VEN that acts."""

ORIGIN = "http://localhost:5173"

pytestmark = pytest.mark.xdist_group("local")


@pytest.fixture(scope="module")
def installed() -> list[str]:
    """The options that choose the servers of the machine, which must be there."""
    if mosquitto_program() is None:
        be_without("mosquitto is not installed: `apt-get install mosquitto`")
    try:
        installed_binaries()
    except StartError as error:
        be_without(str(error))
    return ["--broker", "mosquitto", "--postgres", "installed"]


@pytest.fixture(scope="module")
def stack(installed: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    directory = tmp_path_factory.mktemp("installed")
    with running_stack(directory, *installed, "--cors-origin", ORIGIN) as ready:
        yield ready


def request(stack: dict[str, Any], path: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "Origin": ORIGIN}
    asked = urllib.request.Request(f"{stack['http_url']}/api{path}", data, headers)  # noqa: S310
    with urllib.request.urlopen(asked, timeout=10) as response:  # noqa: S310
        assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
        return json.load(response)


def make_event(stack: dict[str, Any], ven_id: str, start: float, end: float) -> str:
    times = {"startTime": _iso(start), "endTime": _iso(end), "leadTimeS": 0}
    event = request(stack, "/events", {**times, "requestedReductionKw": 2, "venIds": [ven_id]})
    return str(event["id"])


def _iso(instant: float) -> str:
    return datetime.fromtimestamp(instant, UTC).isoformat()


def is_online(stack: dict[str, Any], ven_id: str) -> bool:
    network, known = request(stack, "/stats/network"), request(stack, "/vens/summary")
    mine = [ven for ven in known if ven["id"] == ven_id]
    return bool(network["onlineVens"] and mine and mine[0]["status"] == "online")


@pytest.mark.thorough
@pytest.mark.parametrize("refuses_restore", [False, True])
def test_a_ven_that_acts_on_receipt_is_switched_at_the_right_second(
    stack: dict[str, Any],
    refuses_restore: bool,  # noqa: FBT001 - a parameter
) -> None:
    """By time: `restore` ends it, and for one that refuses that, its duration does."""
    ven_id = f"receipt-{refuses_restore}"
    with ReceiptVen(stack["mqtt_url"], ven_id, refuses_restore=refuses_restore) as ven:
        until(lambda: is_online(stack, ven_id), 30)
        start = time.time() + 4
        end = start + 8
        make_event(stack, ven_id, start, end)
        [(on, _), (off, _)] = ven.wait_switched(2, 40)
        assert start <= on < start + LATE_S
        assert end - 1 <= off < end + LATE_S
        assert [command["op"] for command in ven.commands].count("event") == 1
        until(lambda: "restore" in [command["op"] for command in ven.commands], 10)
        assert ven.connections == 1


@pytest.mark.thorough
@pytest.mark.parametrize("is_cancelled", [False, True])
def test_a_stop_reaches_it_at_once(
    stack: dict[str, Any],
    is_cancelled: bool,  # noqa: FBT001 - a parameter
) -> None:
    ven_id = f"stopped-{is_cancelled}"
    with ReceiptVen(stack["mqtt_url"], ven_id) as ven:
        until(lambda: is_online(stack, ven_id), 30)
        event_id = make_event(stack, ven_id, time.time(), time.time() + 600)
        ven.wait_switched(1, 20)
        told_at = time.time()
        if is_cancelled:
            url = f"{stack['http_url']}/api/events/{event_id}"
            gone = urllib.request.Request(url, method="DELETE")  # noqa: S310
            urllib.request.urlopen(gone, timeout=10).close()  # noqa: S310
        else:
            request(stack, f"/events/{event_id}/stop", {})
        assert ven.wait_switched(2, 20)[1][0] < told_at + LATE_S


@pytest.mark.usefixtures("installed")
def test_mosquitto_serves_both_versions_on_both_ports_and_keeps_sessions(tmp_path: Path) -> None:
    mqtt_port, mqtt5_port = free_ports(2)
    with MosquittoBroker(tmp_path, mqtt_port=mqtt_port, mqtt5_port=mqtt5_port) as service:
        for port in (mqtt_port, mqtt5_port):
            _receive_kept(port, version_5=False, restart=None)
            _receive_kept(port, version_5=True, restart=None)
        _receive_kept(mqtt5_port, version_5=True, restart=service)


def _receive_kept(port: int, *, version_5: bool, restart: MosquittoBroker | None) -> None:
    """A session that was away gets what came meanwhile, also over a restart of the broker."""
    _session(port, version_5=version_5).disconnect()
    sender = Client(CallbackAPIVersion.VERSION2)
    sender.connect("127.0.0.1", port)
    sender.loop_start()
    sender.publish("kept/1", b"while away", qos=1).wait_for_publish(10)
    sender.disconnect()
    sender.loop_stop()
    if restart is not None:
        restart.stop()
        restart.start()
    arrived = threading.Event()
    client = _session(port, version_5=version_5, on_message=arrived)
    assert arrived.wait(10)
    client.disconnect()
    client.loop_stop()


def _session(port: int, *, version_5: bool, on_message: threading.Event | None = None) -> Client:
    """A client with a session that outlives its connection, subscribed."""
    subscribed = threading.Event()
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=f"kept-{version_5}",
        protocol=MQTTv5 if version_5 else MQTTv311,
        clean_session=None if version_5 else False,
    )
    client.on_subscribe = lambda *_: subscribed.set()
    if on_message is not None:
        client.on_message = lambda *_: on_message.set()
    _connect(client, port, version_5=version_5)
    client.loop_start()
    client.subscribe([("kept/#", 1), ("$aws/things/x/shadow", 1)])
    assert subscribed.wait(10)
    return client


def _connect(client: Client, port: int, *, version_5: bool) -> None:
    if version_5:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = 3600
        client.connect("127.0.0.1", port, clean_start=False, properties=properties)
    else:
        client.connect("127.0.0.1", port)


@pytest.mark.thorough
@pytest.mark.usefixtures("installed")
def test_installed_postgres_keeps_its_data_and_takes_our_schema(tmp_path: Path) -> None:
    server = InstalledPostgres(tmp_path, durable=False)
    with server:
        server.ensure_database("gridgate")
        migrate(server.url("gridgate"))
        with psycopg.connect(server.url("gridgate")) as connection:
            connection.execute("INSERT INTO vens (ven_id, created_at) VALUES ('a', now())")
        server.stop()
        server.start()
        with psycopg.connect(server.url("gridgate")) as connection:
            assert connection.execute("SELECT ven_id FROM vens").fetchall() == [("a",)]
            [version] = connection.execute("SHOW server_version_num").fetchone() or [""]
        assert f"PostgreSQL {int(version) // 10_000} in /" in server.title
    assert not (tmp_path / "postgres").exists(), "the directory of the wheel's version"


@pytest.mark.parametrize("words", ["--broker mosquitto", "--postgres installed"])
def test_who_wants_what_is_not_there_is_told_what_to_do(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = parse_options([*words.split(), "--data-dir", str(tmp_path)])
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("local.mosquitto._BESIDE_PATH", ())
    monkeypatch.setattr("local.postgres_binaries._DEBIAN", tmp_path)
    with pytest.raises(StartError, match=r"apt-get install .* --(broker|postgres) embedded"):
        (broker if "mosquitto" in words else postgres_server)(options)


@pytest.mark.usefixtures("installed")
def test_auto_is_mosquitto_where_it_is_and_says_so(tmp_path: Path) -> None:
    title = broker(parse_options(["--data-dir", str(tmp_path)])).title
    assert title == f"mosquitto ({mosquitto_program()})"
    embedded = broker(parse_options(["--data-dir", str(tmp_path), "--broker", "embedded"])).title
    assert "rumqttd" in embedded
