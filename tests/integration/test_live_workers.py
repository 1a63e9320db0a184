"""Live streams of several worker processes, under load: clients receive what the database has."""

import http.client
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg
import pytest

from local.ports import HOST
from schemas.db.connections import connect
from tests.integration.published import until
from tests.integration.test_live import Told, write
from tests.integration.test_live_served import CLIENTS, Client, serving

pytestmark = pytest.mark.thorough  # programs are started, and ended

VENS = 40
WORDS = 30
CHANGES = VENS * WORDS
WRITERS = 4
READERS = 6


def test_two_workers_tell_all_of_it_once_and_in_order(
    database_url: str, connection: psycopg.Connection
) -> None:
    """Also to who is cut off amid a message and goes on at either worker, and to who comes late."""
    with serving(database_url, HTTP_WORKERS="2") as (port, _):
        streams = [Client(port) for _ in range(READERS)]
        steady = in_threads(lambda number: whole(streams[number]), READERS)
        restless = in_threads(lambda _: in_pieces(port), 2)
        in_threads(lambda number: write_part(database_url, number), WRITERS)()
        with closing(Client(port, "?lastEventId=0")) as late:
            told = late.wait_for("status", CHANGES)
        known = connection.execute(
            "SELECT position, data ->> 'ven_id', data ->> 'status' FROM live_changes ORDER BY position"
        ).fetchall()
        assert len(known) == CHANGES
        for each in (told, *steady(), *restless()):
            assert [(one.id, one.data["venId"], one.data["status"]) for one in each] == known


def whole(client: Client) -> list[Told]:
    with closing(client):
        return client.wait_for("status", CHANGES)


def in_pieces(port: int) -> list[Told]:
    """Each connection is cut at the end of the fourth piece; an incomplete message is sent again."""
    told: list[Told] = []
    while len(told) < CHANGES:
        with closing(Client(port, **{"Last-Event-ID": str(told[-1].id if told else 0)})) as client:
            for _ in range(4):
                client.read()
            told += [each for each in client.whole() if each.event == "status"]
    return told


def write_part(database_url: str, number: int) -> None:
    with connect(database_url, "tests") as connection:
        for word in range(WORDS):
            for ven in range(number, VENS, WRITERS):
                write(connection, f"ven-{ven}", f"word-{word}")


def in_threads(do: Callable[[int], Any], count: int) -> Callable[[], list[Any]]:
    """Start them all; what is returned waits for what they found."""
    found: dict[int, Any] = {}

    def keep(number: int) -> None:
        found[number] = do(number)

    threads = [threading.Thread(target=keep, args=[number]) for number in range(count)]
    for thread in threads:
        thread.start()

    def wait() -> list[Any]:
        for thread in threads:
            thread.join(60)
        return [found[number] for number in range(count)]

    return wait


@pytest.mark.parametrize("text", ["-1", "x", "1e3", "9" * 18, "9" * 400, "1 2", "\u00b2"])
def test_an_id_that_nobody_gave_is_sent_to_the_present(text: str, database_url: str) -> None:
    with serving(database_url) as (port, _), closing(Client(port, **{"Last-Event-ID": text})) as client:
        assert client.status == 200
        [reset] = client.wait_for("reset")
        assert reset.id == reset.data["newestId"]


def test_who_asks_for_the_head_alone_takes_no_place(database_url: str) -> None:
    with serving(database_url) as (port, _):
        for _ in range(2 * CLIENTS):
            with closing(http.client.HTTPConnection(HOST, port, timeout=10)) as head:
                head.request("HEAD", "/api/stream")
                answer = head.getresponse()
                assert (answer.status, answer.read()) == (200, b"")
                assert answer.headers["content-type"] == "text/event-stream"
        with closing(Client(port)) as client:
            assert client.wait_for("network")


def test_who_is_refused_is_told_how_many_there_may_be(database_url: str) -> None:
    with serving(database_url) as (port, _):
        clients = [Client(port) for _ in range(CLIENTS)]
        with closing(http.client.HTTPConnection(HOST, port, timeout=10)) as refused:
            refused.request("GET", "/api/stream")
            answer = refused.getresponse()
            assert (answer.status, answer.headers["content-type"]) == (503, "application/problem+json")
            assert f"{CLIENTS} live streams".encode() in answer.read()
        for client in clients:
            client.close()
        until(lambda: has_room(port))


def has_room(port: int) -> bool:
    with closing(Client(port)) as client:
        return client.status == 200
