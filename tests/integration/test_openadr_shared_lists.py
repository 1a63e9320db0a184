"""Lists that are made of shared copies are those that are read from the tables, for every client, whatever
has changed, in each of two workers.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from falcon import testing
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Struct
from sqlalchemy import Engine, text

from schemas.db.channels import event_changed, openadr_changed
from schemas.db.connections import connect
from serving.app import create_app
from serving.cache.generation import ChangeCounter
from serving.db.statements import text_for
from serving.fleet.reader import FleetReader
from serving.openadr.polling.queries import grants_of, parts_of
from serving.worker_state import WorkerState
from tests.examples import costly
from tests.integration.openadr_clients import NOW, OpenAdrClient, Vtn
from tests.integration.published import until

TARGETS = ("north", "south", "west")
VENS = ("ven-a", "ven-b", "ven-c")
CLIENTS = ("home", "neighbour", "stranger")
QUERIES = (
    "",
    "?active=true",
    "?targets=north",
    "?targets=south&targets=west&targets=nowhere",
    "?targets=north&targets=south&active=true&limit=2",
    "?skip=1&limit=2",
    "?programID={program}",
)
CLEAR = (
    "TRUNCATE openadr_programs, openadr_events, openadr_reports, openadr_vens, openadr_resources, events,"
    " event_participations, event_requests, vens"
)
ASKS = {
    "price": {"type": "PRICE", "values": [0.17]},
    "relative": {"type": "DISPATCH_SETPOINT_RELATIVE", "values": [-9.5]},
    "level": {"type": "SIMPLE", "values": [2]},
}
PART = text(
    "INSERT INTO event_participations (ven_id, event_id, status, available_kw, requested_reduction_kw,"
    " notified_at) VALUES (:ven_id, :event_id, :status, 9, :kw, CASE WHEN :is_notified THEN now() END)"
    " ON CONFLICT (ven_id, event_id) DO UPDATE SET status = excluded.status,"
    " requested_reduction_kw = excluded.requested_reduction_kw, notified_at = excluded.notified_at"
)
SHARED_OUT = text("UPDATE events SET shared_reduction_kw = 9.5, status = :status WHERE event_id = :event_id")
EVENT_IDS = text("SELECT event_id FROM events ORDER BY event_id")
STATUSES = ("planned", "notified", "started", "opted_out", "finished")


class Step(Struct, frozen=True):
    """One change: what is done, to which of what is there, by which worker, and with what."""

    action: str
    which: int
    worker: int = 0
    targets: Sequence[str] = ()
    asks: str = "price"
    kw: float = 0.0
    is_notified: bool = False


class Worker:
    """A worker process of the server, with its listener."""

    def __init__(self, engine: Engine, clock: Callable[[], Any], database_url: str, changes: Path) -> None:
        self.changes = ChangeCounter(changes)
        state = WorkerState(engine, FleetReader(engine, clock), changes=self.changes)
        self.feed = state.openadr_changes
        self.web = testing.TestClient(create_app(engine, clock, [], state=state))
        self._listener = self.feed.listener(lambda: connect(database_url, "tests"), every_s=0.5)
        self._thread = self._listener.start()
        until(lambda: self.feed.is_valid)

    def close(self) -> None:
        self._listener.stop()
        self._thread.join()


class Site:
    """Two workers over the same tables; and an application without copies, which reads them."""

    def __init__(self, engine: Engine, database_url: str, directory: Path) -> None:
        self.engine = engine
        self.plain = Vtn(engine)
        self.clock = self.plain.clock
        self.workers = [Worker(engine, self.clock, database_url, directory / "changes") for _ in range(2)]
        self.clients = [self.plain.client("utility", "bl")]
        self.clients += [self.plain.client(name, "ven") for name in CLIENTS]
        self.utility = self.clients[0]
        self.shared_answers = 0

    def clear(self) -> None:
        self.clock.now = NOW
        with self.engine.begin() as connection:
            connection.execute(text(CLEAR))
            connection.execute(text("SELECT pg_notify('gridgate_openadr', '')"))
        self.workers[0].changes.increment()

    def send(self, step: Step, method: str, path: str, body: Any = None) -> Any:
        """As business logic, by a worker; refusals are answers, too."""
        bl = OpenAdrClient(self.workers[step.worker].web, "utility", "")
        bl.token = self.utility.token
        result = bl.ask(method, path, body)
        assert result.status_code < 500, result.text
        return result.json if result.status_code < 300 else None

    def ids(self, noun: str) -> list[str]:
        return [each["id"] for each in self.utility.get(f"/{noun}")]

    def chosen(self, noun: str, which: int) -> str | None:
        ids = self.ids(noun)
        return ids[which % len(ids)] if ids else None

    def require_same_lists(self, queries: Sequence[str] = QUERIES) -> None:
        program = self.chosen("programs", 0) or "none"
        for client in self.clients:
            for query in queries:
                path = f"/events{query.format(program=program)}"
                expected = client.ask("GET", path)
                for worker in self.workers:
                    polling = OpenAdrClient(worker.web, client.client_id, "")
                    polling.token = client.token
                    first = polling.ask("GET", path)
                    assert first.json == expected.json, (client.client_id, path)
                    self.shared_answers += first.headers["ETag"] != expected.headers["ETag"]
                    tagged = {"If-None-Match": first.headers["ETag"]}
                    assert polling.ask("GET", path, headers=tagged).status_code == 304

    def close(self) -> None:
        for worker in self.workers:
            worker.close()


def event_body(site: Site, step: Step) -> dict[str, Any]:
    period = {"start": NOW.isoformat(), "duration": f"PT{10 * (1 + step.which)}M"}
    return {
        "programID": site.chosen("programs", step.which) or "none",
        "intervalPeriod": period,
        "targets": list(step.targets) or None,
        "intervals": [{"id": 0, "payloads": [ASKS[step.asks]]}],
    }


def make_program(site: Site, step: Step) -> None:
    site.send(step, "POST", "/programs", {"programName": f"program {len(site.ids('programs'))}"})


def delete_program(site: Site, step: Step) -> None:
    if (program := site.chosen("programs", step.which)) is not None:
        site.send(step, "DELETE", f"/programs/{program}")


def make_event(site: Site, step: Step) -> None:
    if not site.ids("programs"):
        make_program(site, step)
    site.send(step, "POST", "/events", event_body(site, step))


def put_event(site: Site, step: Step) -> None:
    if (event := site.chosen("events", step.which)) is not None:
        site.send(step, "PUT", f"/events/{event}", event_body(site, step))


def delete_event(site: Site, step: Step) -> None:
    if (event := site.chosen("events", step.which)) is not None:
        site.send(step, "DELETE", f"/events/{event}")


def ven_body(step: Step, client: str) -> dict[str, Any]:
    ven = VENS[step.which % len(VENS)]
    targets = list(step.targets)
    return {"objectType": "BL_VEN_REQUEST", "clientID": client, "venName": ven, "targets": targets}


def enrol(site: Site, step: Step) -> None:
    site.send(step, "POST", "/vens", ven_body(step, CLIENTS[step.which % len(CLIENTS)]))


def put_ven(site: Site, step: Step) -> None:
    """With other targets, and perhaps of another client."""
    rows = site.utility.get("/vens")
    if rows:
        ven = rows[step.which % len(rows)]
        client = CLIENTS[int(step.kw) % len(CLIENTS)]
        site.send(step, "PUT", f"/vens/{ven['id']}", {**ven_body(step, client), "venName": ven["venName"]})


def delete_ven(site: Site, step: Step) -> None:
    if (ven := site.chosen("vens", step.which)) is not None:
        site.send(step, "DELETE", f"/vens/{ven}")


def resource_body(step: Step, ven: str) -> dict[str, Any]:
    client = CLIENTS[int(step.kw) % len(CLIENTS)]
    body = {"objectType": "BL_RESOURCE_REQUEST", "clientID": client, "resourceName": "hvac", "venID": ven}
    return {**body, "targets": list(step.targets)}


def put_resource(site: Site, step: Step) -> None:
    """Make it, or replace it."""
    ven, resource = site.chosen("vens", step.which), site.chosen("resources", step.which)
    if resource is not None:
        stored = site.utility.get(f"/resources/{resource}")
        site.send(step, "PUT", f"/resources/{resource}", resource_body(step, stored["venID"]))
    elif ven is not None:
        site.send(step, "POST", "/resources", resource_body(step, ven))


def delete_resource(site: Site, step: Step) -> None:
    if (resource := site.chosen("resources", step.which)) is not None:
        site.send(step, "DELETE", f"/resources/{resource}")


def own_event(site: Site, step: Step) -> None:
    """An event of our own API: made, changed or cancelled."""
    web, path = site.workers[step.worker].web, f"/api/events/own-{step.which}"
    times = {"startTime": "2026-01-15T13:00:00Z", "endTime": "2026-01-15T14:00:00Z"}
    vens = sorted({VENS[step.which % len(VENS)]})
    made = web.simulate_post(
        "/api/events",
        json={"id": f"own-{step.which}", **times, "requestedReductionKw": 9, "targets": {"venIds": vens}},
    )
    if made.status_code == 409 and step.is_notified:
        web.simulate_delete(path)
    elif made.status_code == 409:
        web.simulate_patch(path, json={"requestedReductionKw": 1 + step.kw})


def share_out(site: Site, step: Step) -> None:
    """As the jobs do, of whose statements a server knows by notifications alone."""
    with site.engine.begin() as connection:
        events = connection.execute(EVENT_IDS).scalars().all()
        if not events:
            return
        event_id = events[step.which % len(events)]
        for number, ven_id in enumerate(VENS[: 1 + step.which % len(VENS)]):
            status = STATUSES[(step.which + number) % len(STATUSES)]
            part = {"ven_id": ven_id, "event_id": event_id, "status": status}
            connection.execute(PART, {**part, "kw": step.kw + number, "is_notified": step.is_notified})
        status = "completed" if step.which % 5 == 4 else "active"
        connection.execute(SHARED_OUT, {"event_id": event_id, "status": status})
        connection.execute(event_changed(event_id))
    site.workers[step.worker].changes.increment()


def pass_time(site: Site, step: Step) -> None:
    site.clock.now += timedelta(minutes=5 * step.which)


ACTIONS: dict[str, Callable[[Site, Step], None]] = {
    each.__name__: each
    for each in (
        make_program,
        delete_program,
        make_event,
        put_event,
        delete_event,
        enrol,
        put_ven,
        delete_ven,
        put_resource,
        delete_resource,
        own_event,
        share_out,
        pass_time,
    )
}
COMMON = ("make_event", "make_event", "put_event", "enrol", "put_ven", "share_out", "share_out")
STEPS = st.builds(
    Step,
    action=st.sampled_from((*ACTIONS, *COMMON)),
    which=st.integers(0, 5),
    worker=st.integers(0, 1),
    targets=st.lists(st.sampled_from(TARGETS), unique=True, max_size=2),
    asks=st.sampled_from(sorted(ASKS)),
    kw=st.sampled_from((0.0, 1.5, 4.0)),
    is_notified=st.booleans(),
)


NORTH = ["north"]
OWNERS_CHANGE = [
    Step("enrol", 0, 0, NORTH),
    Step("make_event", 0, 1, NORTH),
    Step("put_ven", 0, 0, NORTH, kw=1.5),
    Step("put_resource", 0, 1, NORTH),
    Step("put_resource", 0, 0, NORTH, kw=1.5),
    Step("put_ven", 0, 1, kw=1.5),
    Step("delete_resource", 0, 0),
]
GRANTS_CHANGE = [
    Step("make_event", 0, 0, NORTH),
    Step("enrol", 0, 1),
    Step("put_ven", 0, 0, NORTH),
    Step("put_event", 0, 0, ["south"]),
    Step("put_event", 0, 1, NORTH),
    Step("put_ven", 0, 1, ["south"]),
    Step("put_event", 0, 0),
    Step("put_event", 0, 0, NORTH),
]
SHARES_CHANGE = [
    Step("enrol", 0, 0, NORTH),
    Step("make_event", 0, 0, NORTH, "relative"),
    Step("share_out", 0, 0, kw=4.0),
    Step("share_out", 0, 1, kw=1.5, is_notified=True),
    Step("put_event", 1, 1, NORTH, "relative"),
    Step("put_event", 1, 1, NORTH, "level"),
    Step("share_out", 4, 1),
    Step("delete_event", 0, 0),
]
PARTS_ONLY = [
    Step("enrol", 0, 0),
    Step("own_event", 0, 0),
    Step("share_out", 0, 0, kw=4.0, is_notified=True),
    Step("own_event", 0, 1, kw=4.0),
    Step("share_out", 0, 1, kw=1.5, is_notified=True),
    Step("pass_time", 5),
    Step("own_event", 0, 0, is_notified=True),
]
TIMES_PASS = [
    Step("make_event", 1),
    Step("make_event", 3),
    Step("pass_time", 5),
    Step("delete_program", 0, 1),
]


@pytest.fixture
def site(engine: Engine, database_url: str, tmp_path: Path) -> Iterator[Site]:
    site = Site(engine, database_url, tmp_path)
    yield site
    site.close()


@pytest.mark.thorough
def test_lists_are_those_of_the_tables(site: Site) -> None:
    @costly(4)
    @example(OWNERS_CHANGE)
    @example(GRANTS_CHANGE)
    @example(SHARES_CHANGE)
    @example(PARTS_ONLY)
    @example(TIMES_PASS)
    @given(st.lists(STEPS, min_size=6, max_size=14))
    def check(steps: list[Step]) -> None:
        site.clear()
        for number, step in enumerate(steps):
            ACTIONS[step.action](site, step)
            site.require_same_lists((QUERIES[0], QUERIES[1 + number % 6]))
        site.require_same_lists()

    check()
    assert site.shared_answers > 0


def test_a_grant_and_an_event_of_one_transaction(site: Site) -> None:
    """Whoever is granted a target sees what the event became then, never what it was."""
    step = Step("", 0, 0, ["north"], "price", 0.0, is_notified=False)
    enrol(site, step)
    make_event(site, step)
    site.require_same_lists()
    with site.engine.begin() as connection:
        connection.execute(text("UPDATE openadr_events SET targets = '{south}'"))
        connection.execute(text("UPDATE openadr_vens SET targets = '{south}'"))
        for kind, changed in (("object", site.ids("events")[0]), ("client", CLIENTS[0])):
            connection.execute(openadr_changed(kind, changed))  # type: ignore[arg-type]
    site.workers[1].changes.increment()
    site.require_same_lists()


FILL = (
    "INSERT INTO openadr_vens (object_id, client_id, targets, body, created_at, modified_at, ven_name,"
    " ven_id)"
    " SELECT 'ven' || n, 'client-' || n, ARRAY['t' || n % 9], '{}', now(), now(), 'v' || n, 'v' || n"
    " FROM generate_series(1, 4000) AS n;"
    " INSERT INTO openadr_resources (object_id, client_id, targets, body, created_at, modified_at,"
    " ven_object_id, resource_name, load_id)"
    " SELECT 'r' || n, 'client-' || n, '{}', '{}', now(), now(), 'ven' || n, 'hvac', 'hvac'"
    " FROM generate_series(1, 4000) AS n;"
    " INSERT INTO event_participations (ven_id, event_id, status, available_kw, requested_reduction_kw)"
    " SELECT 'v' || n, 'e' || e, 'started', 2, 1"
    " FROM generate_series(1, 4000) AS n, generate_series(1, 5) AS e;"
    " ANALYZE openadr_vens, openadr_resources, event_participations"
)


def test_what_sets_a_client_apart_is_read_by_indexes(connection: psycopg.Connection) -> None:
    connection.execute(FILL.encode())
    for query in (grants_of("client-7"), parts_of("client-7")):
        statement = text_for(query.statement, query.values)
        explain = psycopg.RawCursor(connection).execute(
            f"EXPLAIN {statement.sql}", statement.arguments(query.values)
        )
        plan = "\n".join(line for [line] in explain.fetchall())
        assert "Index" in plan
        for table in ("openadr_vens", "openadr_resources", "event_participations"):
            assert f"Seq Scan on {table}" not in plan, plan
