"""Answers to VENs that poll are kept: each client's own, and never older than a change."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from falcon import testing
from sqlalchemy import Engine, event, text

from schemas.db.channels import OPENADR, notify
from schemas.db.connections import connect
from serving.app import create_app
from serving.fleet.reader import FleetReader
from serving.worker_state import WorkerState
from tests.integration.openadr_clients import NOW, OpenAdrClient, Vtn
from tests.integration.published import until


class Statements:
    """Counts the statements of an engine."""

    def __init__(self, engine: Engine) -> None:
        self.count = 0
        event.listen(engine, "before_cursor_execute", self._increment)

    def _increment(self, *_: Any) -> None:
        self.count += 1


class PolledVtn(Vtn):
    """With a listener, as a worker process has one; `another` is a second process of the same service."""

    def __init__(self, engine: Engine, database_url: str) -> None:
        super().__init__(engine)
        self._database_url = database_url
        self.may_connect = threading.Event()
        self.may_connect.set()
        reader = FleetReader(engine, self.clock)
        self.state = WorkerState(engine, reader)
        self.another = self.web
        self.web = testing.TestClient(create_app(engine, self.clock, [], state=self.state))
        self.listener = self.state.openadr_changes.listener(self._connect, every_s=0.3)
        self.thread = self.listener.start()
        until(lambda: self.state.openadr_changes.is_valid)

    def _connect(self) -> psycopg.Connection:
        assert self.may_connect.wait(60)
        return connect(self._database_url, "tests")

    def close(self) -> None:
        self.may_connect.set()
        self.listener.stop()
        self.thread.join()


@pytest.fixture
def vtn(engine: Engine, database_url: str) -> Iterator[PolledVtn]:
    polled = PolledVtn(engine, database_url)
    yield polled
    polled.close()


@pytest.fixture
def utility(vtn: PolledVtn) -> OpenAdrClient:
    return vtn.client("utility", "bl")


@pytest.fixture
def home(vtn: PolledVtn) -> OpenAdrClient:
    return vtn.client("home", "ven")


@pytest.fixture
def program(utility: OpenAdrClient) -> str:
    return str(utility.make("/programs", programName="tou")["id"])


def names(client: OpenAdrClient, query: str = "") -> list[str]:
    return [each["eventName"] for each in client.get(f"/events{query}")]


def make(utility: OpenAdrClient, program: str, name: str, **fields: Any) -> dict[str, Any]:
    made: dict[str, Any] = utility.make("/events", programID=program, eventName=name, intervals=[], **fields)
    return made


def test_a_poll_without_a_change_reads_nothing(
    engine: Engine, utility: OpenAdrClient, home: OpenAdrClient, program: str
) -> None:
    make(utility, program, "one")

    def costs_nothing() -> bool:
        """Once what the changes have notified of has arrived."""
        before = statements.count
        assert names(home) == ["one"]
        return statements.count == before

    statements = Statements(engine)
    until(costs_nothing)
    tag = home.ask("GET", "/events").headers["ETag"]
    assert home.ask("GET", "/events", headers={"If-None-Match": tag}).status_code == 304


def test_a_change_is_seen_at_once(utility: OpenAdrClient, home: OpenAdrClient, program: str) -> None:
    for number in range(20):
        made = make(utility, program, f"event {number}")
        assert names(home) == [f"event {number}"]
        utility.delete(f"/events/{made['id']}")
        assert names(home) == []


def test_a_change_by_another_process_is_seen_soon(
    vtn: PolledVtn, utility: OpenAdrClient, home: OpenAdrClient, program: str
) -> None:
    other = OpenAdrClient(vtn.another, "utility", utility.secret)
    other.fetch_token()
    assert names(home) == []
    made = make(other, program, "one")
    until(lambda: names(home) == ["one"])
    other.delete(f"/events/{made['id']}")
    until(lambda: names(home) == [])


def test_nobody_gets_what_another_client_was_answered(
    vtn: PolledVtn, utility: OpenAdrClient, home: OpenAdrClient, program: str
) -> None:
    """Nor a client with another token, nor under other parameters."""
    for name, target in (("home", "north"), ("neighbour", "south")):
        ven = {"objectType": "BL_VEN_REQUEST", "clientID": name, "venName": name}
        utility.make("/vens", **ven, targets=[target])
    make(utility, program, "north", targets=["north"])
    make(utility, program, "south", targets=["south"])
    neighbour, query = vtn.client("neighbour", "ven"), "?targets=north&targets=south"
    for _ in range(2):
        assert names(home, query) == ["north"]
        assert names(neighbour, query) == ["south"]
        assert sorted(names(utility, query)) == ["north", "south"]
        assert names(home) == names(home, "?targets=south") == []
    home.fetch_token(scope="read_ven_objects")
    assert home.ask("GET", f"/events{query}").status_code == 403


def test_what_a_ven_is_granted_counts_at_once(
    utility: OpenAdrClient, home: OpenAdrClient, program: str
) -> None:
    make(utility, program, "north", targets=["north"])
    ven = {"objectType": "BL_VEN_REQUEST", "clientID": "home", "venName": "home"}
    made = utility.make("/vens", **ven)
    assert names(home, "?targets=north") == []
    utility.put(f"/vens/{made['id']}", **ven, targets=["north"])
    assert names(home, "?targets=north") == ["north"]
    utility.put(f"/vens/{made['id']}", **ven)
    assert names(home, "?targets=north") == []


def test_an_active_event_ends_by_time_alone(
    vtn: PolledVtn, utility: OpenAdrClient, home: OpenAdrClient, program: str
) -> None:
    period = {"start": NOW.isoformat(), "duration": "PT10M"}
    interval = {"id": 0, "payloads": []}
    body = {"programID": program, "intervalPeriod": period, "intervals": [interval]}
    utility.make("/events", eventName="short", **body)
    for _ in range(2):
        assert names(home, "?active=true") == ["short"]
    vtn.clock.now = NOW + timedelta(minutes=10)
    assert names(home, "?active=true") == []
    assert names(home) == ["short"]


def test_a_notification_of_anything_has_all_read_anew(
    engine: Engine, utility: OpenAdrClient, home: OpenAdrClient, program: str
) -> None:
    """Such as one of a program of an earlier version."""
    make(utility, program, "one")
    assert names(home) == ["one"]
    with engine.begin() as connection:
        connection.execute(
            text('UPDATE openadr_events SET body = (body::jsonb || \'{"eventName": "x"}\')::json')
        )
        connection.execute(notify(OPENADR))
    until(lambda: names(home) == ["x"])


def test_a_lost_connection_serves_no_old_lists(
    engine: Engine, vtn: PolledVtn, utility: OpenAdrClient, home: OpenAdrClient, program: str
) -> None:
    """Neither while it is away, nor afterwards what has changed meanwhile."""
    other = OpenAdrClient(vtn.another, "utility", utility.secret)
    other.fetch_token()
    make(utility, program, "one")
    assert names(home) == ["one"]
    feed = vtn.state.openadr_changes
    vtn.may_connect.clear()
    with engine.connect() as connection:
        connection.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
        )
    until(lambda: not feed.is_valid)
    make(other, program, "two")
    assert set(names(home)) == {"one", "two"}
    vtn.may_connect.set()
    until(lambda: feed.is_valid)
    assert set(names(home)) == {"one", "two"}
    make(other, program, "three")
    until(lambda: set(names(home)) == {"one", "two", "three"})


def test_a_change_for_others_leaves_a_list_as_it_is(
    vtn: PolledVtn, utility: OpenAdrClient, home: OpenAdrClient, program: str
) -> None:
    """Its ETag, too."""
    for name, target in (("home", "north"), ("neighbour", "south")):
        ven = {"objectType": "BL_VEN_REQUEST", "clientID": name, "venName": name}
        utility.make("/vens", **ven, targets=[target])
    neighbour, query = vtn.client("neighbour", "ven"), "?targets=north&targets=south"
    make(utility, program, "north", targets=["north"])
    tag = home.ask("GET", f"/events{query}").headers["ETag"]
    before = neighbour.ask("GET", f"/events{query}").headers["ETag"]
    make(utility, program, "south", targets=["south"])
    until(lambda: home.ask("GET", f"/events{query}").headers["ETag"] == tag)
    assert neighbour.ask("GET", f"/events{query}").headers["ETag"] != before


def test_without_its_listener_nothing_is_kept(
    engine: Engine, vtn: PolledVtn, utility: OpenAdrClient, home: OpenAdrClient, program: str
) -> None:
    make(utility, program, "one")
    assert names(home) == ["one"]
    vtn.state.openadr_changes.expire()
    vtn.close()
    vtn.state.openadr_changes.expire()
    statements = Statements(engine)
    assert names(home) == ["one"]
    assert statements.count > 0


def test_long_lists_are_whole(
    engine: Engine, utility: OpenAdrClient, home: OpenAdrClient, program: str
) -> None:
    """One that is too long to be kept is streamed."""
    make(utility, program, "one")
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO openadr_events (object_id, client_id, body, created_at, modified_at, program_id)"
                " SELECT 'e' || n, client_id, body, created_at + n * interval '1 s', modified_at, program_id"
                " FROM openadr_events, generate_series(1, 1200) n"
            )
        )
    for _ in range(2):
        assert len(names(home, "")) == 1201
