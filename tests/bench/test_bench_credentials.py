"""10,000 VENs with passwords of their own: connected, one of them cut off, and others made meanwhile.

`BENCH_CREDENTIALS`: how many (10,000). They are in the plugin's file already when the broker starts, as
mosquitto 2.0 needs the longer for each the more there are.
"""

import base64
import hashlib
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import psycopg
import pytest

from ingest.credentials import dynsec
from ingest.credentials.dispatcher import CredentialDispatcher
from ingest.credentials.outbox import CredentialOutbox
from ingest.mqtt.packets import Connect, MqttVersion
from ingest.settings import IngestSettings
from local.ports import HOST
from schemas.db.connections import connect, engine_for
from serving.registry.credentials import VenCredentials
from tests.bench.conftest import MakeDatabase
from tests.e2e.stack import until
from tests.integration.dynsec_broker import DynsecBroker

pytestmark = pytest.mark.bench

VENS = int(os.environ.get("BENCH_CREDENTIALS", "10000"))
NEW_VENS = 60
CUT_WITHIN_S = 2.0
MADE_WITHIN_S = 600.0
KEY = "5e" * 32
PASSWORD, SALT, ITERATIONS = "the same for all", b"0123456789ab", 101
PENDING = "SELECT count(*) FROM ven_credentials WHERE applied_revision < revision"
REGISTER = "INSERT INTO vens (ven_id, created_at) SELECT %s || n, now() FROM generate_series(1, %s) n"
APPLIED = """
INSERT INTO ven_credentials (ven_id, revision, enabled, created_at, changed_at, changed_by, applied_revision,
    next_attempt_at)
SELECT ven_id, 1, true, now(), now(), 'bench', 1, now() FROM vens
"""


def now() -> datetime:
    return datetime.now(UTC)


def login(port: int, ven_id: str, password: str) -> socket.socket:
    """The connection of a VEN that the broker has let in."""
    packet = Connect(MqttVersion.V5, ven_id, 600, is_clean=True, username=ven_id, password=password).encode()
    connection = socket.create_connection((HOST, port), 30)
    connection.sendall(packet)
    answer = connection.recv(64)
    assert answer[0] == 0x20, answer
    assert answer[3] == 0, f"refused: {answer!r}"
    return connection


@contextmanager
def dispatching(database_url: str, admin_url: str) -> Iterator[None]:
    settings = IngestSettings(
        DATABASE_URL=database_url,
        MQTT_URL="mqtt://nobody",
        MQTT_ADMIN_URL=admin_url,
        CREDENTIALS_KEY=KEY,
        MQTT_CLIENT_ID="bench",
    )
    dispatcher = CredentialDispatcher(
        settings, lambda: CredentialOutbox(connect(database_url, "credentials")), now
    )
    dispatcher.start()
    try:
        yield
    finally:
        dispatcher.stop()


def register(connection: psycopg.Connection, prefix: str, vens: int) -> None:
    connection.execute(REGISTER, [prefix, vens])


def none_is_pending(connection: psycopg.Connection) -> bool:
    row = connection.execute(PENDING).fetchone()
    return row == (0,)


def seconds_until_cut(ven: socket.socket, credentials: VenCredentials, ven_id: str) -> float:
    """From the request to revoke it until its connection has ended."""
    ven.settimeout(120)
    asked_at = time.monotonic()
    credentials.revoke(ven_id, "bench")
    while ven.recv(64):
        pass
    return time.monotonic() - asked_at


def write_users(file: Path, ven_ids: list[str]) -> None:
    """Add users to the file of the plugin, each with its role."""
    configuration = json.loads(file.read_text())
    digest = hashlib.pbkdf2_hmac("sha512", PASSWORD.encode(), SALT, ITERATIONS, 64)
    login = {
        "password": base64.b64encode(digest).decode(),
        "salt": base64.b64encode(SALT).decode(),
        "iterations": ITERATIONS,
    }
    for ven_id in ven_ids:
        role = dynsec.role_of(ven_id)
        configuration["clients"].append({"username": ven_id, "roles": [{"rolename": role}], **login})
        configuration["roles"].append(
            {"rolename": role, "acls": [dict(each) for each in dynsec.access_of(ven_id)]}
        )
    file.write_text(json.dumps(configuration))


def test_ten_thousand_credentials(make_database: MakeDatabase, tmp_path: Path) -> None:
    database_url = make_database()
    engine = engine_for(database_url, "bench")
    credentials = VenCredentials(engine, now, bytes.fromhex(KEY))
    ven_ids = [f"ven-{number}" for number in range(1, VENS + 1)]
    broker = DynsecBroker(tmp_path)
    file = tmp_path / "dynamic-security.json"
    write_users(file, ven_ids)
    with (
        ExitStack() as connections,
        broker,
        connect(database_url, "bench") as connection,
        dispatching(database_url, broker.admin_url),
    ):
        process = psutil.Process(broker.pid)
        users_bytes = process.memory_info().rss
        register(connection, "ven-", VENS)
        connection.execute(APPLIED)
        started_at = time.monotonic()
        vens = {ven_id: connections.enter_context(login(broker.port, ven_id, PASSWORD)) for ven_id in ven_ids}
        login_s = time.monotonic() - started_at
        connected_bytes = process.memory_info().rss
        idle_s = [seconds_until_cut(vens[f"ven-{n}"], credentials, f"ven-{n}") for n in range(1, 6)]
        register(connection, "new-", NEW_VENS)
        started_at, before = time.monotonic(), process.cpu_times()
        dict(credentials.make_missing("bench"))
        busy_s = seconds_until_cut(vens["ven-7"], credentials, "ven-7")
        still_busy = not none_is_pending(connection)
        until(lambda: none_is_pending(connection), MADE_WITHIN_S)
        made_s, after = time.monotonic() - started_at, process.cpu_times()
    engine.dispose()
    cpu_s = after.user + after.system - before.user - before.system
    print(
        f"\ncredentials: {VENS} VENs: memory of the broker {users_bytes / 2**20:.0f} MiB, with them connected"
        f" {connected_bytes / 2**20:.0f}; file {file.stat().st_size / 2**20:.1f} MiB;"
        f" logged in within {login_s:.1f} s;"
        f" cut after {max(idle_s):.2f} s, and after {busy_s:.2f} s while {NEW_VENS} others were made"
        f" (limit {CUT_WITHIN_S}); these took {made_s:.1f} s,"
        f" {cpu_s / NEW_VENS * 1000:.0f} ms of the broker's CPU each"
    )
    assert still_busy, "it was cut after all others had been made: make more of them"
    assert max(*idle_s, busy_s) < CUT_WITHIN_S
