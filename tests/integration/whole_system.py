"""The whole system, from message to answer, beside the plain loop; and the comparison of the two."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from falcon import testing
from sqlalchemy import Engine, text

from ingest.decoding.messages import Received
from ingest.storing.batch import Batch
from ingest.storing.store import Store
from jobs.running.runner import Runner
from jobs.running.schedule import schedule
from jobs.settings import Cadence
from schemas.db.connections import connect
from schemas.tables import metadata
from serving.app import create_app
from serving.routes import AppOptions
from tests.oracle.compare import assert_same
from tests.oracle.loop import Oracle
from tests.oracle.messages import Published

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


class WholeSystem:
    """Ingest, jobs and serving over one database, with the oracle beside them."""

    def __init__(
        self,
        engine: Engine,
        database_url: str,
        gone_after: timedelta | None = None,
        *,
        zone: str = "UTC",
        now: datetime = NOW,
    ) -> None:
        self.engine = engine
        self.database_url = database_url
        self._connection = connect(database_url, "tests")
        self._gone_after = gone_after
        hours = 0.0 if gone_after is None else gone_after / timedelta(hours=1)
        self._jobs = schedule(Cadence.model_validate({"LOADS_GONE_AFTER_HOURS": hours, "TIME_ZONE": zone}))
        self.now = now
        self._runner = Runner(engine, lambda: self.now)
        self.client = testing.TestClient(
            create_app(engine, lambda: self.now, [], AppOptions(loads_gone_after=gone_after, time_zone=zone))
        )
        self.oracle = Oracle(gone_after)

    def empty(self) -> None:
        tables = ", ".join(table.name for table in metadata.sorted_tables)
        with self.engine.begin() as connection:
            connection.execute(text(f"TRUNCATE {tables}"))
        self.open_store()
        self.oracle = Oracle(self._gone_after)

    def open_store(self) -> None:
        """A store that knows no more than the database does."""
        self.store = Store(self._connection, "tests")

    def close(self) -> None:
        self._connection.close()

    def ingest(self, messages: Sequence[Published]) -> None:
        received = [Received(message.topic, message.payload, self.now) for message in messages]
        self.store.write(Batch.of(received, MAX_AHEAD))
        for message in messages:
            self.oracle.receive(message, self.now)

    def run(self, job: int) -> None:
        self._runner.run(self._jobs[job])

    def catch_up(self) -> None:
        """Run both lanes. Not presence, which the loop does not know, and which has tests of its own."""
        self._runner.catch_up([job for job in self._jobs if job.has_backlog])

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


def check_totals(system: WholeSystem) -> None:
    assert_same(system.get("/stats/network"), system.oracle.network_stats(NOW))
    assert_same(system.get("/stats/loads"), system.oracle.load_stats())


def check_latest(system: WholeSystem) -> None:
    check_totals(system)
    assert {ven["id"] for ven in system.get("/vens")} == system.oracle.known_vens()
    for ven in system.get("/vens"):
        assert_same(_told(ven), system.oracle.ven(ven["id"]))
    check_summaries(system)
    check_each(system)


def check_summaries(system: WholeSystem) -> None:
    for ven in system.get("/vens/summary"):
        expected = system.oracle.ven(ven["id"])
        assert expected is not None
        assert_same(ven["controllablePower"], expected["metrics"]["shedAvailabilityKw"])


def check_each(system: WholeSystem) -> None:
    """The latest of each VEN by itself, which is as fresh as its last message."""
    for ven_id in system.oracle.known_vens():
        assert_same(_told(system.get(f"/vens/{quote(ven_id)}")), system.oracle.ven(ven_id))
        loads = [_described(load) for load in system.get(f"/vens/{quote(ven_id)}/loads")]
        assert_same(loads, system.oracle.ven_loads(ven_id))
    for ven_id, load_id in system.oracle.known_loads():
        path = f"/vens/{quote(ven_id)}/loads/{quote(load_id)}"
        expected = system.oracle.ven_load(ven_id, load_id)
        if expected is None:  # it is gone
            assert system.client.simulate_get(f"/api{path}").status_code == 404
        else:
            assert_same(_described(system.get(path)), expected)


def _told(ven: Any) -> Any:
    """The fields of a VEN that messages set, without those of the registry and our clock."""
    told = {name: ven[name] for name in ("id", "status", "metrics")}
    return told | {"loads": [_described(load) for load in ven["loads"]]}


def _described(load: Any) -> Any:
    """The fields of a load that samples and descriptions set; operators set `enabled` as well."""
    return {name: kept for name, kept in load.items() if name not in {"enabled", "isReporting", "priority"}}


def check_history(
    system: WholeSystem, bounds: tuple[datetime | None, datetime | None], granularity: str, aggregate: str
) -> None:
    start, end = bounds
    asked = {"granularity": granularity, "aggregate": aggregate}
    asked |= {name: at.isoformat() for name, at in (("start", start), ("end", end)) if at is not None}
    for path, expected in system.histories():
        answer = system.get(path, **asked)
        assert_same(answer, expected(start, end, GRANULARITIES[granularity], aggregate))
