"""10,000 OpenADR VENs that poll events, beside a route of our own that is served from the cache."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from http.client import HTTPConnection
from statistics import median

import pytest
from sqlalchemy import Engine, text

from local.ports import HOST
from schemas.db.connections import engine_for
from serving.openadr.auth.access import ROLE_SCOPES
from serving.openadr.auth.clients import ClientStore, RevokedClients
from serving.openadr.auth.tokens import SigningKeys, Tokens
from tests.bench.conftest import MakeDatabase
from tests.bench.load import Load, measure
from tests.bench.test_bench_serving import POLLED, Server, get, server
from tests.integration.openadr_clients import BASE, INTERVAL, Vtn

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


def alternating(target: Server, kinds: Sequence[tuple[str, Sequence[str]]]) -> list[Load]:
    """The medians of each path with its headers, measured in turn."""
    rounds = [
        [measure(target.port, path, target.pid, headers) for path, headers in kinds] for _ in range(ROUNDS)
    ]
    return [
        Load(
            median(load.requests_per_s for load in loads),
            median(load.p99_ms for load in loads),
            median(load.cpu_us for load in loads),
        )
        for loads in zip(*rounds, strict=True)
    ]


def test_ten_thousand_vens_that_poll(make_database: MakeDatabase) -> None:
    database_url = make_database()
    engine = engine_for(database_url, "bench")
    enrol(engine)
    issuer = checker(engine)
    texts = [issuer.issue(f"ven-{n}", ROLE_SCOPES["ven"]).access_token for n in range(1, VENS + 1)]
    first_us, again_us = check_us(issuer, texts), check_us(issuer, texts)
    print(f"\nopenadr: a token's check {first_us:.1f} us, once it is known {again_us:.2f} us")
    bearer = [f"Authorization: Bearer {each}\r\n" for each in texts]
    with server("serving", DATABASE_URL=database_url, HTTP_RATE_PER_S="0") as ours:
        get(ours, POLLED[0])
        tag, cold_per_s = poll_once(ours, bearer)
        tagged = [f"{each}If-None-Match: {tag}\r\n" for each in bearer]
        kinds = [(POLLED[0], ("",)), (EVENTS_PATH, bearer), (EVENTS_PATH, tagged)]
        own, polled, unchanged = alternating(ours, kinds)
    print(f"openadr: the first poll of each VEN after a change: {cold_per_s:,.0f} requests/s, one at a time")
    for name, load in (("", polled), (" with ETags", unchanged)):
        print(
            f"openadr: {VENS:,} VENs poll events{name}: {load.requests_per_s:,.0f} requests/s,"
            f" p99 {load.p99_ms:.1f} ms, CPU {load.cpu_us:,.0f} us an answer; ratio to {POLLED[0]}"
            f" {load.requests_per_s / own.requests_per_s:.3f} of {own.requests_per_s:,.0f} requests/s,"
            f" p99 {load.p99_ms / own.p99_ms:.1f} of {own.p99_ms:.1f} ms"
        )
    engine.dispose()
    assert polled.requests_per_s > VENS / POLL_S


def poll_once(target: Server, headers: Sequence[str]) -> tuple[str, float]:
    """The ETag that all clients get, and how many first polls a second there are."""
    connection, tags, start = HTTPConnection(HOST, target.port), set[str](), time.monotonic()
    for each in headers:
        name, _, value = each.strip().partition(": ")
        connection.request("GET", EVENTS_PATH, headers={name: value})
        response = connection.getresponse()
        body = response.read()
        assert response.status == 200, body
        assert body.count(b'"EVENT"') == EVENTS
        tags.add(response.headers["ETag"])
    connection.close()
    [tag] = tags
    return tag, len(headers) / (time.monotonic() - start)
