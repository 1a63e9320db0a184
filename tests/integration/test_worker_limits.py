"""Limits of `python -m serving` hold for all of its workers together, also when one of them is killed."""

import http.client
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime

import psutil  # type: ignore[import-untyped]
import pytest
from msgspec import Struct
from sqlalchemy import Engine

from local.environment import REPOSITORY, inherited_environment
from local.ports import HOST, answers, free_ports
from serving.auth.keys import KeyStore
from tests.integration.published import until
from tests.integration.test_live_served import Client

pytestmark = pytest.mark.thorough  # programs are started, and ended

BURST = 300
CONNECTIONS = 24
REQUESTS_EACH = 25
"""Twice as many requests as tokens."""

PATHS = ("/api/stats/network", "/api/vens")
"""By the fast path, and by Falcon."""

STREAMS = 12
FAILED = 0
"""Counted for a request whose connection was reset."""


class Server(Struct, frozen=True):
    port: int
    process: psutil.Process

    def workers(self) -> set[int]:
        return {child.pid for child in self.process.children()}

    def kill_worker(self) -> None:
        """Kill a worker, and wait until another has taken its place."""
        before = self.workers()
        killed = min(before)
        psutil.Process(killed).send_signal(signal.SIGKILL)
        until(lambda: len(self.workers() - before) == 1 and killed not in self.workers(), within_s=60)
        [new] = self.workers() - before
        until(lambda: _listens(new, self.port), within_s=60)


def _listens(pid: int, port: int) -> bool:
    return any(
        each.status == psutil.CONN_LISTEN and each.laddr.port == port
        for each in psutil.Process(pid).net_connections("tcp")
    )


@contextmanager
def two_workers(database_url: str, **settings: str) -> Iterator[Server]:
    [port] = free_ports(1)
    environment = inherited_environment(
        DATABASE_URL=database_url, HTTP_PORT=str(port), HTTP_WORKERS="2", LOG_LEVEL="error", **settings
    )
    process = psutil.Popen([sys.executable, "-m", "serving"], cwd=REPOSITORY, env=environment)
    try:
        server = Server(port, process)
        until(lambda: answers(port) and len(server.workers()) == 2, within_s=60)
        until(lambda: all(_listens(pid, port) for pid in server.workers()), within_s=60)
        yield server
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def key(engine: Engine) -> str:
    return KeyStore(engine).create("grafana", "viewer", None, datetime.now(UTC))


@pytest.fixture
def limited(database_url: str) -> Iterator[Server]:
    """A server whose keys get nothing back once a burst is used."""
    with two_workers(database_url, HTTP_RATE_PER_S="0.0001", HTTP_RATE_BURST=str(BURST)) as server:
        yield server


class Callers:
    """Many connections with one key, each of which one request follows the other."""

    def __init__(self, port: int, key: str) -> None:
        self._port = port
        self._headers = {"Authorization": f"Bearer {key}"}
        self._lock = threading.Lock()
        self.statuses = Counter[int]()
        self.are_under_way = threading.Event()

    def call_all(self) -> None:
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            list(pool.map(self._call, range(CONNECTIONS)))

    def _call(self, number: int) -> None:
        connection = http.client.HTTPConnection(HOST, self._port, timeout=30)
        with closing(connection):
            for _ in range(REQUESTS_EACH):
                self._count(self._status(connection, PATHS[number % len(PATHS)]))

    def _status(self, connection: http.client.HTTPConnection, path: str) -> int:
        try:
            connection.request("GET", path, headers=self._headers)
            response = connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException):
            connection.close()  # the next request opens it again
            return FAILED
        return response.status

    def _count(self, status: int) -> None:
        with self._lock:
            self.statuses[status] += 1
            if self.statuses[200] >= BURST // 3:
                self.are_under_way.set()


def test_a_key_has_one_rate_at_all_workers(limited: Server, key: str) -> None:
    """Not one for each worker: its connections are spread over both."""
    callers = Callers(limited.port, key)
    callers.call_all()
    assert callers.statuses == {200: BURST, 429: CONNECTIONS * REQUESTS_EACH - BURST}


def test_a_killed_worker_changes_no_rate(limited: Server, key: str) -> None:
    """Tokens of requests that it did not answer any more are lost; no lock is, and no token comes back."""
    callers = Callers(limited.port, key)
    calling = threading.Thread(target=callers.call_all)
    calling.start()
    assert callers.are_under_way.wait(30)
    limited.kill_worker()
    calling.join(60)
    assert not calling.is_alive()
    failed = callers.statuses[FAILED]
    assert BURST - failed <= callers.statuses[200] <= BURST
    callers.statuses.clear()
    callers.call_all()
    assert callers.statuses[200] <= failed
    assert callers.statuses[429] >= CONNECTIONS * REQUESTS_EACH - failed


def test_streams_of_a_killed_worker_are_given_back(database_url: str) -> None:
    settings = {"HTTP_AUTH": "off", "HTTP_STREAM_CLIENTS": str(STREAMS), "HTTP_STREAM_HEARTBEAT_S": "0.2"}
    with two_workers(database_url, **settings) as server, ExitStack() as opened:
        clients = _open_streams(server.port, STREAMS, opened)
        assert _are_refused(server.port)
        server.kill_worker()
        alive = [each for each in clients if _goes_on(each)]
        more = _open_streams(server.port, STREAMS - len(alive), opened)
        assert _are_refused(server.port)
        assert all(_goes_on(each) for each in [*alive, *more])


def _open_streams(port: int, number: int, opened: ExitStack) -> list[Client]:
    clients = [opened.enter_context(closing(Client(port))) for _ in range(number)]
    assert [each.status for each in clients] == [200] * number
    return clients


def _are_refused(port: int) -> bool:
    """Whether no worker opens another stream; one of eight connections reaches each, very probably."""
    with ExitStack() as opened:
        clients = [opened.enter_context(closing(Client(port))) for _ in range(8)]
        return {each.status for each in clients} == {503}


def _goes_on(client: Client) -> bool:
    try:
        return all(client.read() for _ in range(3))
    except (OSError, http.client.HTTPException):
        return False
