"""Streams that do not reach their end: whose client hangs up, or whose database does."""

import gc
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice, product
from typing import Any

import pytest
from falcon.testing import StartResponseMock, create_environ

from ingest.store import Store
from schemas.database import engine_for
from serving.app import create_app
from tests.integration.published import NOW, THREE, batch_of, telemetry

FORMATS = ("json", "csv", "arrow", "parquet")
LONG = (
    "/api/stats/network/history",
    "/api/vens/ven-0000/history",
    "/api/vens/ven-0000/loads/hvac1/history",
    "/api/vens",
    "/api/vens/summary",
)


@pytest.fixture
def much(store: Store) -> None:
    """Some ten thousand points of one VEN, and 1,200 VENs."""
    loads = [{"id": "hvac1", "currentPowerKw": 1.5}]
    store.write(
        batch_of(
            *(telemetry("ven-0000", THREE + timedelta(seconds=n), loads=loads) for n in range(10_000)),
            *(telemetry(f"ven-{n:04}", THREE, loads=loads) for n in range(1, 1_200)),
        )
    )


@pytest.fixture
def without_collector() -> Iterator[None]:
    """What is only given back when Python happens to look for cycles is not given back."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def query(path: str, media: str) -> str:
    return f"granularity=1s&format={media}" if path.endswith("history") else f"format={media}"


@pytest.mark.usefixtures("much", "without_collector")
@pytest.mark.parametrize("media", FORMATS)
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_who_hangs_up_gives_the_connection_back(media: str, encoding: str, database_url: str) -> None:
    """Of histories it came back when Python happened to look for cycles: some hang-ups, and none was left."""
    engine = engine_for(database_url, "tests")
    app = create_app(engine, lambda: NOW, [])
    headers = {"Accept-Encoding": encoding}
    for path, method, taken in product(LONG, ("GET", "HEAD"), (0, 1, 2)):
        environ = create_environ(path, query_string=query(path, media), method=method, headers=headers)
        blocks: Any = app(environ, answered := StartResponseMock())
        assert answered.status == "200 OK"
        assert len(list(islice(blocks, taken))) == (0 if method == "HEAD" else taken)
        if method == "GET":
            blocks.close()
        assert engine.pool.status().endswith("Current Checked out connections: 0"), (path, method, taken)
    engine.dispose()
