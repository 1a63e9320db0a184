"""`python -m serving` and clients that are slow on purpose: others are answered all the same."""

import re
import socket
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection

import psutil  # type: ignore[import-untyped]
import pytest
from falcon.testing import StartResponseMock, TestClient, create_environ
from sqlalchemy.exc import DBAPIError

from local.environment import REPOSITORY, inherited_environment
from local.ports import HOST, answers, free_ports
from schemas.db.connections import connect, engine_for
from serving.app import create_app
from serving.db import reading
from serving.server import HEADERS_WITHIN_MS, LONGEST_HEADERS_BYTES
from tests.integration.published import NOW, until

pytestmark = pytest.mark.thorough  # programs are started, and ended

CUT_WITHIN_S = 20.0
"""Much more than it should take: other tests run beside this one."""

MANY = 100
AT_ONCE_S = 5.0
HALF_A_HEADER = b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
HALF_A_BODY = (
    b"POST /api/events HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nContent-Length: 5000\r\n\r\n{"
)


@pytest.fixture
def port(database_url: str) -> Iterator[int]:
    [port] = free_ports(1)
    environment = inherited_environment(
        DATABASE_URL=database_url,
        HTTP_PORT=str(port),
        HTTP_AUTH="off",
        HTTP_THREADS="2",
        HTTP_STREAM_CLIENTS="4",
        HTTP_STREAM_HEARTBEAT_S="0.5",
        LOG_LEVEL="error",
    )
    process = psutil.Popen([sys.executable, "-m", "serving"], cwd=REPOSITORY, env=environment)
    deadline = time.monotonic() + 60
    while not answers(port):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield port
    process.terminate()
    process.wait(20)


def connections(port: int, opening: bytes, number: int) -> list[socket.socket]:
    opened = [socket.create_connection((HOST, port), timeout=CUT_WITHIN_S) for _ in range(number)]
    for connection in opened:
        connection.sendall(opening)
    return opened


def get(port: int, path: str = "/health") -> tuple[int, float]:
    """The status, and how long it took."""
    begun = time.monotonic()
    connection = HTTPConnection(HOST, port, timeout=AT_ONCE_S)
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status, time.monotonic() - begun


def rest_of(connection: socket.socket) -> bytes:
    """What still comes until the connection ends; fails if it does not end."""
    told = b""
    try:
        while block := connection.recv(65_536):
            told += block
    except ConnectionError:
        pass
    connection.close()
    return told


def test_slow_clients_keep_nobody_waiting(port: int) -> None:
    """A hundred with unfinished headers, a hundred that send nothing, and endless bodies."""
    slow = [
        *connections(port, HALF_A_HEADER, MANY),
        *connections(port, b"", MANY),
        *connections(port, HALF_A_BODY, 10),
    ]
    answered = [get(port) for _ in range(20)]
    print(f"slowest of 20 beside {len(slow)} slow clients: {max(took for _, took in answered) * 1000:.0f} ms")
    assert {status for status, _ in answered} == {200}
    assert get(port, "/api/stats/network")[0] == 200
    for connection in slow:
        connection.close()


def test_headers_have_their_time(port: int) -> None:
    begun = time.monotonic()
    for connection in (*connections(port, HALF_A_HEADER, 1), *connections(port, b"", 1)):
        rest_of(connection)
    assert time.monotonic() - begun < HEADERS_WITHIN_MS / 1000 + CUT_WITHIN_S


def test_a_long_answer_that_is_taken_slowly_gives_its_connection_back(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fast enough for the kernel, a client could keep one for hours, and with it a snapshot."""
    monkeypatch.setattr(reading, "SLOW_CLIENT_S", 0.3)
    engine = engine_for(database_url, "tests", pool_size=1, overflow=0)
    many = "INSERT INTO vens (ven_id, created_at) SELECT 'ven-' || n, now() FROM generate_series(1, 2000) n"
    held = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE state LIKE 'idle in transaction' AND datname = current_database()"
    )
    with connect(database_url, "tests") as beside:
        beside.execute(many)
        app = create_app(engine, lambda: NOW, [])
        blocks = iter(app(create_environ("/api/vens"), StartResponseMock()))
        assert next(blocks)
        until(lambda: beside.execute(held).fetchone() == (0,))
    with pytest.raises(DBAPIError, match="idle-in-transaction"):
        list(blocks)
    assert TestClient(app).simulate_get("/api/vens/ven-1").status_code == 200
    engine.dispose()


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /health?%b HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: %b\r\n\r\n",
    ],
)
def test_headers_and_urls_have_a_length(request_: bytes, port: int) -> None:
    [fine] = connections(port, request_ % (b"a" * 7_000), 1)
    assert fine.recv(12) == b"HTTP/1.1 200"
    fine.close()
    [connection] = connections(port, request_ % (b"a" * 2 * LONGEST_HEADERS_BYTES), 1)
    assert re.match(rb"HTTP/1.1 (431|414|400)", rest_of(connection))
