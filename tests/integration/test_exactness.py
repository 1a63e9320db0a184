"""Every documented answer equals the plain loop over the distinct accepted messages.

The messages go through the real decoding and store, the real lanes in any order, the real HTTP
application over a real PostgreSQL; the loop is `tests.oracle`, which shares no code with them.
"""

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import quote

import pytest
from falcon import testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from ingest.batch import Batch
from ingest.messages import Received
from ingest.store import Store
from jobs.runner import Runner
from jobs.schedule import schedule
from jobs.settings import Cadence
from schemas.database import connect
from schemas.tables import metadata
from serving.app import create_app
from tests.oracle.compare import assert_same
from tests.oracle.loop import Oracle
from tests.oracle.messages import Published, random_traffic, traffic

NOW = datetime(2024, 7, 10, 18, tzinfo=UTC)
MAX_AHEAD = timedelta(days=4000)
EVERYTHING: tuple[None, None] = (None, None)
EDGES = (
    (datetime(2024, 7, 10, 15, tzinfo=UTC), datetime(2024, 7, 10, 17, tzinfo=UTC)),
    (datetime(2024, 7, 8, 3, 2, 1, 500_000, tzinfo=UTC), datetime(2024, 7, 10, 16, 59, 59, 1, tzinfo=UTC)),
    (datetime(2024, 7, 10, 12, tzinfo=UTC), datetime(2024, 7, 10, 12, tzinfo=UTC)),
    (None, datetime(2024, 7, 9, 11, 31, 7, tzinfo=UTC)),
    (datetime(2024, 7, 9, 23, 58, 30, tzinfo=UTC), None),
)
GRANULARITIES = {"1s": 1, "7s": 7, "5m": 300, "13m": 780, "15m": 900, "1h": 3600, "36h": 129_600}
SLOTTED = ("5m", "15m", "1h")


class House:
    """Ingest, jobs and serving over one database, with the oracle beside them."""

    def __init__(self, engine: Engine, database_url: str) -> None:
        self._engine = engine
        self._connection = connect(database_url, "tests")
        self._jobs = schedule(Cadence())
        self._runner = Runner(engine, lambda: NOW)
        self.client = testing.TestClient(create_app(engine, lambda: NOW, []))
        self.oracle = Oracle()

    def empty(self) -> None:
        tables = ", ".join(table.name for table in metadata.sorted_tables)
        with self._engine.begin() as connection:
            connection.execute(text(f"TRUNCATE {tables}"))
        self.store = Store(self._connection, "tests")
        self.oracle = Oracle()

    def close(self) -> None:
        self._connection.close()

    def ingest(self, messages: Sequence[Published]) -> None:
        received = [Received(message.topic, message.payload, NOW) for message in messages]
        self.store.write(Batch.of(received, MAX_AHEAD))
        for message in messages:
            self.oracle.receive(message, NOW)

    def run(self, job: int) -> None:
        self._runner.run(self._jobs[job])

    def catch_up(self) -> None:
        self._runner.catch_up(self._jobs)

    def get(self, path: str, **parameters: str) -> Any:
        response = self.client.simulate_get(f"/api{path}", params=parameters)
        assert response.status_code == 200, response.text
        return response.json

    def histories(self) -> Iterator[tuple[str, Any]]:
        """Each history route, and the oracle's method for it."""
        yield "/stats/network/history", self.oracle.network_history
        for ven_id in sorted(self.oracle.known_vens()):
            yield f"/vens/{quote(ven_id)}/history", lambda *a, v=ven_id: self.oracle.ven_history(v, *a)
        for ven_id, load_id in sorted(self.oracle.known_loads()):
            path = f"/vens/{quote(ven_id)}/loads/{quote(load_id)}/history"
            yield path, lambda *a, v=ven_id, n=load_id: self.oracle.load_history(v, n, *a)


@pytest.fixture
def house(engine: Engine, database_url: str) -> Iterator[House]:
    built = House(engine, database_url)
    yield built
    built.close()


def check_latest(house: House) -> None:
    assert_same(house.get("/stats/network"), house.oracle.network_stats(NOW))
    assert_same(house.get("/stats/loads"), house.oracle.load_stats())
    assert {ven["id"] for ven in house.get("/vens")} == house.oracle.known_vens()
    for ven_id in house.oracle.known_vens():
        assert_same(house.get(f"/vens/{quote(ven_id)}/loads"), house.oracle.ven_loads(ven_id))
    for ven_id, load_id in house.oracle.known_loads():
        path = f"/vens/{quote(ven_id)}/loads/{quote(load_id)}"
        assert_same(house.get(path), house.oracle.ven_load(ven_id, load_id))


def check_history(
    house: House, bounds: tuple[datetime | None, datetime | None], granularity: str, aggregate: str
) -> None:
    start, end = bounds
    asked = {"granularity": granularity, "aggregate": aggregate}
    asked |= {name: at.isoformat() for name, at in (("start", start), ("end", end)) if at is not None}
    for path, expected in house.histories():
        answer = house.get(path, **asked)
        assert_same(answer, expected(start, end, GRANULARITIES[granularity], aggregate))


def batches(messages: Sequence[Published], chance: random.Random) -> Iterator[Sequence[Published]]:
    position = 0
    while position < len(messages):
        size = chance.choice((1, 3, 40, 400))
        yield messages[position : position + size]
        position += size


@pytest.mark.parametrize("seed", [1, 2])
def test_thousands_of_messages_in_disorder(house: House, seed: int) -> None:
    house.empty()
    chance = random.Random(seed)
    for batch in batches(random_traffic(seed, 2_500, shuffled=seed % 2 == 0), chance):
        house.ingest(batch)
        if chance.random() < 0.5:
            house.run(chance.randrange(2))
    # Histories are exact before the jobs have caught up: readers add what is pending.
    check_history(house, EVERYTHING, "5m", "sum")
    check_history(house, EDGES[1], "1h", "energy")
    house.catch_up()
    check_latest(house)
    for granularity in GRANULARITIES:
        check_history(house, chance.choice((EVERYTHING, *EDGES)), granularity, "sum")
    for granularity in SLOTTED:
        check_history(house, chance.choice((EVERYTHING, *EDGES)), granularity, "energy")
        check_history(house, chance.choice((EVERYTHING, *EDGES)), granularity, "mean")


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    messages=traffic(max_size=40, shrink_messages=False),
    cuts=st.lists(st.integers(0, 40), max_size=4),
    cycles=st.lists(st.integers(0, 1), max_size=4),
    bounds=st.sampled_from((EVERYTHING, *EDGES)),
    granularity=st.sampled_from(sorted(GRANULARITIES)),
    slotted=st.sampled_from(SLOTTED),
    aggregate=st.sampled_from(("energy", "mean")),
)
def test_any_traffic_in_any_batches_and_cycles(  # noqa: PLR0913, PLR0917 - hypothesis draws each
    house: House,
    messages: list[Published],
    cuts: list[int],
    cycles: list[int],
    bounds: tuple[datetime | None, datetime | None],
    granularity: str,
    slotted: str,
    aggregate: str,
) -> None:
    house.empty()
    borders = sorted({0, len(messages), *(min(cut, len(messages)) for cut in cuts)})
    for number, (first, last) in enumerate(pairwise(borders)):
        house.ingest(messages[first:last])
        for job in cycles[number : number + 1]:
            house.run(job)
    check_history(house, bounds, granularity, "sum")
    check_history(house, bounds, slotted, aggregate)
    house.catch_up()
    check_latest(house)
    check_history(house, bounds, granularity, "sum")
    check_history(house, bounds, slotted, aggregate)


def test_a_redelivery_of_everything_changes_nothing(house: House, engine: Engine) -> None:
    house.empty()
    messages = random_traffic(7, 400)
    house.ingest(messages)
    house.catch_up()
    before = _row_counts(engine)
    house.store.write(Batch.of([Received(m.topic, m.payload, NOW) for m in messages], MAX_AHEAD))
    house.catch_up()
    assert _row_counts(engine) == before
    check_latest(house)
    check_history(house, EVERYTHING, "1h", "sum")


def _row_counts(engine: Engine) -> dict[str, int]:
    exempt = {"rejected_messages", "job_runs"}
    with engine.connect() as connection:
        return {
            table.name: connection.execute(text(f"SELECT count(*) FROM {table.name}")).scalar_one()
            for table in metadata.sorted_tables
            if table.name not in exempt
        }
