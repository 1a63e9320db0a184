"""Serving against the limit: a Falcon app that does nothing, under the same server."""

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ingest.batch import Batch
from ingest.store import Store
from jobs.runner import Runner
from jobs.schedule import schedule
from jobs.settings import Cadence
from local.ports import HOST, answers, free_ports
from schemas.database import connect, engine_for
from tests.bench.conftest import MakeDatabase
from tests.bench.fleet import MAX_AHEAD, NOW, reports
from tests.bench.load import requests_per_s
from tests.conftest import REPOSITORY
from tests.integration.published import until

pytestmark = pytest.mark.bench

PATH = "/api/stats/network"


@contextmanager
def server(module: str, **environment: str) -> Iterator[int]:
    """A server on a port of its own, once it answers."""
    [port] = free_ports(1)
    process = subprocess.Popen(
        [sys.executable, "-m", module],
        cwd=REPOSITORY,
        env={**os.environ, **environment, "HTTP_PORT": str(port), "HTTP_AUTH": "off", "LOG_LEVEL": "warning"},
    )
    try:
        until(lambda: answers(port), within_s=30)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def get(port: int) -> bytes:
    with urllib.request.urlopen(f"http://{HOST}:{port}{PATH}") as response:
        body: bytes = response.read()
    return body


def test_the_networks_statistics_against_a_server_that_does_nothing(make_database: MakeDatabase) -> None:
    database_url = make_database()
    with connect(database_url, "bench") as connection:
        Store(connection, "bench").write(Batch.of(reports(vens=500, rounds=2), MAX_AHEAD))
    engine = engine_for(database_url, "bench")
    Runner(engine, lambda: NOW).catch_up(schedule(Cadence()))
    engine.dispose()
    with server("serving", DATABASE_URL=database_url) as port:
        body = get(port)
        assert b'"venCount":500' in body
        ours = requests_per_s(port, PATH)
    with server("tests.bench.noop", DATABASE_URL=database_url, NOOP_BYTES=str(len(body))) as port:
        assert len(get(port)) == len(body)
        limit = requests_per_s(port, PATH)
    print(
        f"\nserving: GET {PATH} {ours:,.0f} requests/s; a no-op of {len(body)} bytes {limit:,.0f} requests/s;"
        f" ratio {ours / limit:.2f}"
    )
    assert ours > 0
