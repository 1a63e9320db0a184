"""`python -m serving keys` and `audit` at a terminal, and what a running server makes of them."""

import re
import subprocess
import sys
import time
from collections.abc import Mapping
from http.client import HTTPConnection
from types import MappingProxyType

import psycopg
import pytest

from local.environment import REPOSITORY, inherited_environment
from local.ports import HOST, answers, free_ports
from tests.faults.deadline import until
from tests.integration.published import value
from tests.integration.test_clock_steps import HOUR_S, MachineClock, machine_clock

pytestmark = pytest.mark.thorough  # programs are started, and ended

__all__ = ["machine_clock"]

REVOKED_WITHIN_S = 10.0
NO_SETTINGS: Mapping[str, str] = MappingProxyType({})


def administrate(
    database_url: str, *words: str, status: int = 0, settings: Mapping[str, str] = NO_SETTINGS
) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "serving", *words],
        cwd=REPOSITORY,
        env=inherited_environment(DATABASE_URL=database_url, **settings),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr


def ask(port: int, key: str, method: str = "GET", path: str = "/api/vens") -> int:
    connection = HTTPConnection(HOST, port, timeout=30)
    connection.request(method, path, headers={"Authorization": f"Bearer {key}"})
    status = connection.getresponse().status
    connection.close()
    return status


def test_a_key_from_its_making_to_its_end(database_url: str) -> None:
    """With two workers, each of which has to learn of it."""
    [port] = free_ports(1)
    environment = inherited_environment(
        DATABASE_URL=database_url, HTTP_PORT=str(port), HTTP_WORKERS="2", LOG_LEVEL="error"
    )
    server = subprocess.Popen([sys.executable, "-m", "serving"], cwd=REPOSITORY, env=environment)
    try:
        key = administrate(
            database_url, "keys", "create", "ops", "--role", "operator", "--expires", "30d"
        ).strip()
        assert re.fullmatch(r"gg_[0-9a-f]{12}_[0-9a-f]{64}", key)
        until_it_answers(port)
        assert {ask(port, key) for _ in range(20)} == {200}
        assert ask(port, key, "DELETE", "/api/vens/nobody") == 404
        assert "ops" in administrate(database_url, "keys", "create", "ops", "--role", "viewer", status=1)
        administrate(database_url, "keys", "revoke", "ops")
        revoked_at = time.monotonic()
        while {ask(port, key) for _ in range(20)} != {401}:
            assert time.monotonic() - revoked_at < REVOKED_WITHIN_S
        print(f"refused by both workers {time.monotonic() - revoked_at:.1f} s after it was revoked")
    finally:
        server.terminate()
        server.wait(20)
    listed = administrate(database_url, "keys", "list")
    assert re.search(r"ops +operator .* revoked 20", listed)
    assert key.split("_")[2] not in listed
    audited = administrate(database_url, "audit")
    assert "DELETE /api/vens/nobody  by ops (operator)" in audited
    assert re.findall(r"(---|\d{3})  keys +(.*)  by terminal:(?!ops)", audited) == [
        ("204", "revoke ops"),
        ("409", "create ops"),
        ("201", "create ops"),
    ]
    assert key.split("_")[2] not in audited


def until_it_answers(port: int) -> None:
    deadline = time.monotonic() + 60
    while not answers(port):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_wrong_words(database_url: str) -> None:
    assert "nobody" in administrate(database_url, "keys", "revoke", "nobody", status=1)
    assert " 404  keys   revoke nobody" in administrate(database_url, "audit")
    create = ("keys", "create", "ops", "--role", "viewer", "--expires")
    assert "past" in administrate(database_url, *create, "2020-01-01", status=2)
    assert "90d" in administrate(database_url, *create, "soon", status=2)


LEAST_ERROR_S = 120


@pytest.mark.parametrize("ahead_s", [-HOUR_S, HOUR_S])
def test_keys_and_the_audit_log_go_by_the_databases_clock(
    ahead_s: int, machine_clock: MachineClock, database_url: str, connection: psycopg.Connection
) -> None:
    """A machine an hour ahead refused new keys; one that was behind let expired ones in."""
    machine_clock.set(ahead_s)
    [port] = free_ports(1)
    settings = machine_clock.settings
    valid, expired = (
        administrate(
            database_url, "keys", "create", name, "--role", "operator", "--expires", "1d", settings=settings
        ).strip()
        for name in ("valid", "expired")
    )
    off = "SELECT extract(epoch FROM max(abs_age)) FROM (SELECT greatest({0} - {1}, {1} - {0}) AS abs_age"
    created = off.format("created_at", "clock_timestamp()") + " FROM api_keys)"
    assert value(connection, created) < LEAST_ERROR_S
    lasting = off.format("expires_at", "(clock_timestamp() + interval '1 day')") + " FROM api_keys)"
    assert value(connection, lasting) < LEAST_ERROR_S
    for name, at in (("valid", "+"), ("expired", "-")):
        change = f"UPDATE api_keys SET expires_at = clock_timestamp() {at} interval '30 min' WHERE name = %s"
        connection.execute(change.encode(), [name])
    server = subprocess.Popen(
        [sys.executable, "-m", "serving"],
        cwd=REPOSITORY,
        env=inherited_environment(
            DATABASE_URL=database_url, HTTP_PORT=str(port), LOG_LEVEL="error", **settings
        ),
    )
    try:
        until_it_answers(port)
        until(lambda: ask(port, valid) == 200, 10, lambda: f"a valid key gets {ask(port, valid)}")
        until(lambda: ask(port, expired) == 401, 10, lambda: f"an expired key gets {ask(port, expired)}")
        assert ask(port, valid, "DELETE", "/api/vens/nobody") == 404
        written = off.format("at", "clock_timestamp()") + " FROM audit_log)"
        assert value(connection, written) < LEAST_ERROR_S
        assert value(connection, "SELECT count(*) FROM audit_log WHERE path = '/api/vens/nobody'") == 1
    finally:
        server.terminate()
        server.wait(20)
