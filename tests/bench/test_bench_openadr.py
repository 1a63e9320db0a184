"""10,000 OpenADR VENs that poll events, beside a route of our own that is served from the cache."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from statistics import median
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine, text

from local.ports import HOST
from schemas.db.channels import event_changed
from schemas.db.connections import engine_for
from serving.openadr.auth.access import ROLE_SCOPES
from serving.openadr.auth.clients import ClientStore, RevokedClients
from serving.openadr.auth.tokens import SigningKeys, Tokens
from tests.bench.conftest import MakeDatabase
from tests.bench.load import Load, measure
from tests.bench.test_bench_serving import POLLED, Server, get, server
from tests.integration.openadr_clients import BASE, INTERVAL, Vtn
from tests.integration.published import until

pytestmark = pytest.mark.bench

VENS = 10_000
EVENTS = 20
POLL_S = 30
ROUNDS = 3
EVENTS_PATH = f"{BASE}/events"
ENROL = text(
    "INSERT INTO openadr_vens (object_id, client_id, targets, body, created_at, modified_at,"
    " ven_name, ven_id)"
    " SELECT 'ven' || n, 'ven-' || n, ARRAY['group-' || n % 100], '{}', now(), now(), 'ven-' || n,"
    " 'ven-' || n"
    " FROM generate_series(1, :vens) AS n"
)


SHARE = text(
    "UPDATE events SET shared_reduction_kw = 9 WHERE event_id LIKE 'openadr-%'"
    " AND status IN ('scheduled', 'active') RETURNING event_id"
)
PARTS = text(
    "INSERT INTO event_participations (ven_id, event_id, status, available_kw, requested_reduction_kw,"
    " notified_at) SELECT 'ven-' || n, :event_id, 'notified', 9, :kw, now()"
    " FROM generate_series(1, :vens) AS n"
    " ON CONFLICT (ven_id, event_id) DO UPDATE SET requested_reduction_kw = excluded.requested_reduction_kw"
)
OTHERS = "first poll after a change of an event of others, with ETags"
CHANGED = "first poll after a change of an event"
SHARED = "first poll after an event was shared out among all"
EACH_POLL_S = (OTHERS, CHANGED, SHARED)
"""With a change every 30 s, each poll is one of these."""


def now() -> datetime:
    return datetime.now(UTC)


def enrol(engine: Engine) -> None:
    """VENs in groups; events of which each VEN may read twenty without targets."""
    utility = Vtn(engine).client("utility", "bl")
    program = utility.make("/programs", programName="tou")["id"]
    for number in range(EVENTS):
        utility.make("/events", programID=program, intervals=[INTERVAL])
        utility.make("/events", programID=program, intervals=[INTERVAL], targets=[f"group-{number}"])
    with engine.begin() as connection:
        connection.execute(ENROL, {"vens": VENS})


def checker(engine: Engine) -> Tokens:
    return Tokens(SigningKeys(engine, now), RevokedClients(ClientStore(engine), now), now)


def check_us(tokens: Tokens, texts: Sequence[str]) -> float:
    """CPU of one check."""
    start = time.process_time()
    for each in texts:
        assert tokens.client(each) is not None
    return 1e6 * (time.process_time() - start) / len(texts)


def middle(loads: Sequence[Load]) -> Load:
    """The median of each figure."""
    return Load(
        median(load.requests_per_s for load in loads),
        median(load.p99_ms for load in loads),
        median(load.cpu_us for load in loads),
    )


class Poll:
    """VENs that poll a server, and what changes for them."""

    def __init__(self, target: Server, engine: Engine, utility: str, bearer: Sequence[str]) -> None:
        self._target = target
        self._engine = engine
        self._bearer = bearer
        self._changes = 0
        self._utility = utility
        with engine.connect() as connection:
            program_id = connection.execute(text("SELECT object_id FROM openadr_programs")).scalar_one()
        payload = {"type": "DISPATCH_SETPOINT_RELATIVE", "values": [-9.0]}
        self._body: dict[str, object] = {
            "programID": program_id,
            "intervals": [{"id": 0, "payloads": [payload]}],
        }
        start = now() + timedelta(hours=1)
        self._body["intervalPeriod"] = {"start": start.isoformat(), "duration": "PT1H"}
        self._event = self._send("POST", EVENTS_PATH)["id"]

    def _send(self, method: str, path: str, **fields: object) -> Any:
        connection = HTTPConnection(HOST, self._target.port)
        headers = {"Authorization": f"Bearer {self._utility}", "Content-Type": "application/json"}
        connection.request(method, path, msgspec.json.encode({**self._body, **fields}), headers)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        assert response.status in {200, 201}, body
        return msgspec.json.decode(body)

    def change_event(self, **fields: object) -> None:
        """Business logic changes an event that all VENs read."""
        self._changes += 1
        self._send("PUT", f"{EVENTS_PATH}/{self._event}", eventName=f"{self._changes:06}", **fields)

    def change_event_of_others(self) -> None:
        """One that no VEN reads in the list without targets."""
        self._changes += 1
        self._send("POST", EVENTS_PATH, eventName=f"{self._changes:06}", targets=["group-0"])

    def share_out(self) -> None:
        """As the jobs do: each VEN has a part in the event."""
        self._changes += 1
        before = self.tags(1)
        with self._engine.begin() as connection:
            [event_id] = connection.execute(SHARE).scalars()
            connection.execute(PARTS, {"event_id": event_id, "kw": 1 + self._changes, "vens": VENS})
            connection.execute(event_changed(event_id))
        until(lambda: self.tags(1) != before)

    def tags(self, count: int) -> list[str]:
        """The ETags of some VENs."""
        connection, tags = HTTPConnection(HOST, self._target.port), list[str]()
        for each in self._bearer[:count]:
            name, _, value = each.strip().partition(": ")
            connection.request("GET", EVENTS_PATH, headers={name: value})
            response = connection.getresponse()
            body = response.read()
            assert response.status == 200, body
            assert body.count(b'"EVENT"') == EVENTS + 1
            tags.append(response.headers["ETag"])
        connection.close()
        return tags

    def hot(self, path: str = EVENTS_PATH) -> Load:
        return measure(self._target.port, path, self._target.pid, self._bearer)

    def tagged(self, tag: str, *, is_once: bool = False) -> Load:
        headers = [f"{each}If-None-Match: {tag}\r\n" for each in self._bearer]
        return measure(self._target.port, EVENTS_PATH, self._target.pid, headers, is_once=is_once)

    def first(self) -> Load:
        """The next poll of each VEN."""
        return measure(self._target.port, EVENTS_PATH, self._target.pid, self._bearer, is_once=True)


def test_ten_thousand_vens_that_poll(make_database: MakeDatabase) -> None:
    database_url = make_database()
    engine = engine_for(database_url, "bench")
    enrol(engine)
    issuer = checker(engine)
    texts = [issuer.issue(f"ven-{n}", ROLE_SCOPES["ven"]).access_token for n in range(1, VENS + 1)]
    first_us, again_us = check_us(issuer, texts), check_us(issuer, texts)
    print(f"\nopenadr: a token's check {first_us:.1f} us, once it is known {again_us:.2f} us")
    utility = issuer.issue("planner", ROLE_SCOPES["bl"]).access_token
    bearer = [f"Authorization: Bearer {each}\r\n" for each in texts]
    with server("serving", DATABASE_URL=database_url, HTTP_RATE_PER_S="0") as ours:
        get(ours, POLLED[0])
        own, loads = measured(ours, Poll(ours, engine, utility, bearer))
    engine.dispose()
    for name, load in loads.items():
        print(
            f"openadr: {VENS:,} VENs, {name}: {load.requests_per_s:,.0f} requests/s,"
            f" ratio to {POLLED[0]} {load.requests_per_s / own.requests_per_s:.3f};"
            f" p99 {load.p99_ms:.1f} ms, ratio {load.p99_ms / own.p99_ms:.1f};"
            f" CPU {load.cpu_us:,.0f} us an answer, ratio {load.cpu_us / own.cpu_us:.2f};"
            f" at {VENS / POLL_S:.0f} requests/s {load.cpu_us * VENS / POLL_S / 1e6:.1%} of a core"
        )
    for name in EACH_POLL_S:
        assert loads[name].cpu_us * VENS / POLL_S < 1e6 / 2, f"{name}: more than half a core"


def measured(target: Server, poll: Poll) -> tuple[Load, dict[str, Load]]:
    """The load of a route of our own, and those of polling VENs, measured alternately."""
    loads: dict[str, list[Load]] = {"the first poll of all": [poll.first()]}
    own: list[Load] = []
    for _ in range(ROUNDS):
        [tag] = set(poll.tags(20))
        own.append(measure(target.port, POLLED[0], target.pid))
        rounds = {"unchanged": poll.hot(), "unchanged, with ETags": poll.tagged(tag)}
        poll.change_event_of_others()
        rounds[OTHERS] = poll.tagged(tag, is_once=True)
        poll.change_event()
        rounds[CHANGED] = poll.tagged(tag, is_once=True)
        poll.share_out()
        rounds[SHARED] = poll.first()
        for name, load in rounds.items():
            loads.setdefault(name, []).append(load)
    return middle(own), {name: middle(each) for name, each in loads.items()}
