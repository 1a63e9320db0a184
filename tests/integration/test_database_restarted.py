"""`python -m serving` while its database is restarted under load: no client is cut off or waits long."""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

from local.ports import HOST
from local.postgres import EmbeddedPostgres
from tests.conftest import migrate
from tests.integration.published import until
from tests.integration.test_live_served import serving

CALLS = {
    ("GET", "/api/stats/network"): 200,
    ("GET", "/api/stats/network/history"): 200,
    ("GET", "/api/vens"): 200,
    ("GET", "/api/vens/none"): 404,
    ("GET", "/api/vens/none/history"): 404,
    ("GET", "/api/events"): 200,
    ("DELETE", "/api/vens/none"): 404,
    ("GET", "/health/db-check"): 200,
}
"""What is asked, and what is answered while all is well."""

CLIENTS = 4


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path, durable=False) as server:
        server.ensure_database("gridgate")
        migrate(server.url("gridgate"))
        yield server


class Load:
    """Clients that keep a connection each, and go on asking until an answer is not as it should be."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stopping = threading.Event()
        self._seen: Counter[tuple[str, int]] = Counter()

    def call(self) -> None:
        connection = HTTPConnection(HOST, self._port, timeout=20)
        while not self._stopping.is_set():
            for (method, path), status in CALLS.items():
                connection.request(method, path)
                answer = connection.getresponse()
                answer.read()
                assert answer.status == status or is_refusal(answer), (path, answer.status)
                self._seen[f"{method} {path}", answer.status] += 1
        connection.close()

    @contextmanager
    def running(self) -> Iterator[None]:
        with ThreadPoolExecutor(CLIENTS) as pool:
            clients = [pool.submit(self.call) for _ in range(CLIENTS)]
            try:
                yield
            finally:
                self._stopping.set()
        for client in clients:
            client.result()

    def until_all(self, status: int | None) -> None:
        """All requests get this status; None for the usual one."""
        self._seen.clear()
        expected = {(f"{method} {path}", status or usual) for (method, path), usual in CALLS.items()}
        until(lambda: expected <= set(self._seen))


def is_refusal(answer: HTTPResponse) -> bool:
    return (
        answer.status == 503
        and answer.headers["Content-Type"] == "application/problem+json"
        and int(answer.headers["Retry-After"]) > 0
    )


@pytest.mark.thorough
def test_restarted_under_load(own_postgres: EmbeddedPostgres) -> None:
    with serving(own_postgres.url("gridgate"), HTTP_WORKERS="2") as (port, _):
        load = Load(port)
        with load.running():
            load.until_all(None)
            own_postgres.stop()
            load.until_all(503)
            own_postgres.start()
            load.until_all(None)
            own_postgres.kill()
            own_postgres.start()
            load.until_all(None)
