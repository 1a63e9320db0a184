"""Live streams as `python -m serving` sends them: beside requests, over a restart, and to its end."""

import http.client
import json
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import psutil  # type: ignore[import-untyped]
import psycopg
import pytest

from local.environment import REPOSITORY, inherited_environment
from local.ports import HOST, answers, free_ports
from tests.integration.published import until
from tests.integration.test_live import Told, parse, write

CLIENTS = 12
AT_ONCE_S = 3.0


@contextmanager
def serving(database_url: str, **settings: str) -> Iterator[tuple[int, psutil.Process]]:
    (port,) = free_ports(1)
    environment = inherited_environment(
        DATABASE_URL=database_url,
        HTTP_PORT=str(port),
        HTTP_AUTH="off",
        HTTP_THREADS="2",
        HTTP_STREAM_CLIENTS=str(CLIENTS),
        HTTP_STREAM_HEARTBEAT_S="0.2",
        LOG_LEVEL="error",
        **settings,
    )
    process = psutil.Popen([sys.executable, "-m", "serving"], cwd=REPOSITORY, env=environment)
    try:
        until(lambda: answers(port), within_s=60)
        yield port, process
    finally:
        if process.is_running():
            process.terminate()
        process.wait(30)


class Client:
    """A stream, read as it comes."""

    def __init__(self, port: int, query: str = "", **headers: str) -> None:
        self._connection = http.client.HTTPConnection(HOST, port, timeout=20)
        self._connection.request("GET", f"/api/stream{query}", headers=headers)
        self._response = self._connection.getresponse()
        self.status = self._response.status
        self.headers = self._response.headers
        self._text = ""

    def read(self) -> bool:
        """Some more; false at the end."""
        piece = self._response.read1().decode()
        self._text += piece
        return bool(piece)

    def whole(self) -> list[Told]:
        """What has come, without the message at its end of which some is missing."""
        return parse(self._text[: self._text.rfind("\n\n") + 2])

    def wait_for(self, kind: str, wanted: int = 1) -> list[Told]:
        while len(found := [told for told in self.whole() if told.event == kind]) < wanted:
            assert self.read(), self._text
        return found

    def close(self) -> None:
        self._connection.close()


@pytest.mark.thorough
def test_a_client_goes_on_where_it_was_over_a_restart(
    database_url: str, connection: psycopg.Connection
) -> None:
    with serving(database_url) as (port, _), closing(Client(port)) as client:
        assert client.headers["content-type"] == "text/event-stream"
        client.wait_for("network")
        write(connection, "ven-1", "online")
        [first] = client.wait_for("status")
    write(connection, "ven-1", "offline")
    with serving(database_url) as (port, _):
        write(connection, "ven-1", "maintenance")
        for asked in (
            Client(port, **{"Last-Event-ID": str(first.place)}),
            Client(port, f"?lastEventId={first.place}"),
            Client(port, "?lastEventId=0", **{"Last-Event-ID": str(first.place)}),
        ):
            with closing(asked):
                told = asked.wait_for("status", 2)
                assert [each.data["status"] for each in told] == ["offline", "maintenance"]
                assert [each.id for each in told] == [first.id + 1, first.id + 2]


@pytest.mark.thorough
def test_streams_starve_nobody_and_end_at_once(database_url: str, connection: psycopg.Connection) -> None:
    """With all places taken, requests are answered as before; a client that leaves makes room."""
    with serving(database_url) as (port, process), ExitStack() as stack:
        clients = [stack.enter_context(closing(Client(port))) for _ in range(CLIENTS)]
        with closing(Client(port)) as refused:
            assert (refused.status, refused.headers["retry-after"]) == (503, "15")
        for path in ("/health", "/api/stats/network") * 20:
            with urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=5) as answer:
                assert answer.status == 200
        write(connection, "ven-1", "online")
        assert {client.wait_for("status")[0].id for client in clients} == {1}
        clients.pop().close()
        until(lambda: _has_room(port, stack))
        start = time.monotonic()
        process.terminate()
        for client in clients:
            while client.read():
                pass
        assert time.monotonic() - start < AT_ONCE_S
        assert process.wait(10) == 0


def _has_room(port: int, stack: ExitStack) -> bool:
    return stack.enter_context(closing(Client(port))).status == 200


@pytest.mark.thorough
@pytest.mark.parametrize("path", ["/health", "/api/stats/network"])
def test_a_request_for_a_websocket_is_answered_by_http(database_url: str, path: str) -> None:
    """There is none here."""
    upgrade = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    with serving(database_url) as (port, _):
        connection = http.client.HTTPConnection(HOST, port, timeout=30)
        with closing(connection):
            for _ in range(2):
                connection.request("GET", path, headers=upgrade)
                response = connection.getresponse()
                assert (response.status, bool(json.loads(response.read()))) == (200, True)
