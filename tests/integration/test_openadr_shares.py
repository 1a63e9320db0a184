"""VENs that speak OpenADR take part in events: without commands, with their own kW, followed by reports."""

from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

from ingest.openadr.inbox import ReportInbox
from ingest.storing.quotas import Quotas
from ingest.storing.store import Store
from jobs.running.runner import Runner
from jobs.settings import Cadence
from schemas.db.connections import connect
from tests.integration.catching_up import answering, catch_up
from tests.integration.openadr_clients import NOW, OpenAdrClient, Vtn
from tests.integration.published import batch_of, rows, telemetry

START = NOW + timedelta(minutes=10)
JOBS = ("events", "settlement")
RELATIVE = "DISPATCH_SETPOINT_RELATIVE"
PARTS = "SELECT ven_id, requested_reduction_kw, command_id, status FROM event_participations ORDER BY ven_id"


class Grid:
    """Two homes that speak OpenADR, one that speaks MQTT, and a utility."""

    def __init__(
        self, engine: Engine, database_url: str, store: Store, vtn: Vtn | None = None, **settings: Any
    ) -> None:
        self.vtn = vtn or Vtn(engine)
        self._jobs = answering(Cadence().model_copy(update=settings))
        self._engine = engine
        self._database_url = database_url
        self.utility = self.vtn.client("utility", "bl")
        self.program = self.utility.make("/programs", programName="tou")["id"]
        self.open_event = self.utility.make("/events", programID=self.program, intervals=[])["id"]
        self.homes = {name: self._home(name) for name in ("home-a", "home-b")}
        loads = [{"id": "hvac1", "type": "hvac", "currentPowerKw": 5.0, "shedCapabilityKw": 3.0}]
        store.write(batch_of(telemetry("mqtt-1", NOW - timedelta(minutes=1), 6.0, loads=loads)))

    def _home(self, name: str) -> OpenAdrClient:
        client = self.vtn.client(name, "ven")
        ven = client.make("/vens", objectType="VEN_VEN_REQUEST", venName=name)
        client.make("/resources", objectType="VEN_RESOURCE_REQUEST", resourceName="hvac", venID=ven["id"])
        self.report(client, self.open_event, NOW - timedelta(minutes=5), LOAD_SHED_DELTA_AVAILABLE=1.5)
        return client

    def report(self, client: OpenAdrClient, event: str, at: datetime, **values: float) -> None:
        """What a home measured in five minutes."""
        payloads = [{"type": kind, "values": [each]} for kind, each in {"DEMAND": 3.0, **values}.items()]
        period = {"start": at.isoformat(), "duration": "PT5M"}
        intervals = [{"id": 0, "intervalPeriod": period, "payloads": payloads}]
        resources = [{"resourceName": "hvac", "intervals": intervals}]
        client.make("/reports", eventID=event, clientName=client.client_id, resources=resources)
        with connect(self._database_url, "tests") as connection:
            inbox = ReportInbox(connection, "tests/reports", timedelta(minutes=5), Quotas())
            assert inbox.drain(100) is not None

    def event(self, kw: float, **fields: Any) -> str:
        return str(self.utility.make("/events", **self.body(kw, **fields))["id"])

    def body(self, value: float, kind: str = RELATIVE, **fields: Any) -> dict[str, Any]:
        period = {"start": START.isoformat(), "duration": "PT30M"}
        intervals = [{"id": 0, "payloads": [{"type": kind, "values": [value]}]}]
        return {"programID": self.program, "intervalPeriod": period, "intervals": intervals, **fields}

    def run_jobs(self, at: datetime) -> None:
        self.vtn.clock.now = at
        catch_up(self._engine, at, self._jobs)
        for job in self._jobs:
            if job.name in JOBS:
                Runner(self._engine, lambda: at).run(job)

    def seen(self, client: OpenAdrClient, event: str) -> float:
        """The kW of an event, by its id and in the list."""
        one = client.get(f"/events/{event}")
        assert one in client.get("/events")
        [payload] = one["intervals"][0]["payloads"]
        [kw] = payload["values"]
        return float(kw)


@pytest.fixture
def grid(engine: Engine, database_url: str, store: Store) -> Grid:
    return Grid(engine, database_url, store)


def test_each_client_sees_its_own_share(grid: Grid, connection: psycopg.Connection) -> None:
    event = grid.event(-4.0)
    assert grid.seen(grid.homes["home-a"], event) == 0  # not shared out yet
    grid.run_jobs(START)
    parts = {ven_id: (kw, command_id) for ven_id, kw, command_id, _ in rows(connection, PARTS)}
    assert parts.keys() == {"home-a", "home-b", "mqtt-1"}
    assert sum(kw for kw, _ in parts.values()) == pytest.approx(4.0, rel=0.05)
    for name, client in grid.homes.items():
        share_kw, command_id = parts[name]
        assert (share_kw > 0, command_id) == (True, None)
        assert grid.seen(client, event) == pytest.approx(-share_kw, abs=0.001)
    assert grid.seen(grid.utility, event) == -4.0
    assert rows(connection, "SELECT DISTINCT ven_id FROM commands") == [("mqtt-1",)]


def test_the_end_of_an_event_sends_it_nothing(grid: Grid, connection: psycopg.Connection) -> None:
    event = grid.event(-4.0)
    grid.run_jobs(START)
    grid.utility.delete(f"/events/{event}")
    grid.run_jobs(START + timedelta(minutes=1))
    sent = rows(connection, "SELECT ven_id, op FROM commands ORDER BY created_at, op")
    assert sent == [("mqtt-1", "event"), ("mqtt-1", "restore")]
    assert {status for *_, status in rows(connection, PARTS)} == {"finished"}


def test_it_has_started_with_a_report_of_the_event(grid: Grid, connection: psycopg.Connection) -> None:
    """Not with telemetry alone, which it sends anyway."""
    event = grid.event(-4.0)
    grid.run_jobs(START)
    later = START + timedelta(minutes=6)
    grid.vtn.clock.now = later
    grid.report(grid.homes["home-a"], event, START + timedelta(minutes=1))
    grid.report(grid.homes["home-b"], grid.open_event, START + timedelta(minutes=1))
    grid.run_jobs(later)
    statuses = {ven_id: status for ven_id, *_, status in rows(connection, PARTS)}
    assert (statuses["home-a"], statuses["home-b"]) == ("started", "notified")


def test_it_is_asked_for_more_as_well(grid: Grid, connection: psycopg.Connection) -> None:
    """An event that asks for more passes over MQTT VENs that do not declare that they understand it."""
    for client in grid.homes.values():
        [resource] = client.get("/resources")
        body = {name: resource[name] for name in ("resourceName", "venID")}
        capacity = [{"type": "MAX_POWER_CONSUMPTION", "values": [9.0]}]
        client.put(
            f"/resources/{resource['id']}", objectType="VEN_RESOURCE_REQUEST", attributes=capacity, **body
        )
    event = grid.event(2.0)
    grid.run_jobs(START)
    assert [ven_id for ven_id, *_ in rows(connection, PARTS)] == ["home-a", "home-b"]
    assert grid.seen(grid.homes["home-a"], event) > 0


def test_our_api_sends_it_no_command(grid: Grid, connection: psycopg.Connection) -> None:
    catch_up(grid._engine, NOW)
    shed = {"amountKw": 1.0, "durationS": 600}
    refused = grid.vtn.web.simulate_post("/api/vens/home-a/loads/hvac/commands/shed", json=shed)
    assert refused.status_code == 409, refused.text
    assert "speaks OpenADR" in refused.json["detail"]
    changed = grid.vtn.web.simulate_patch("/api/vens/home-a/loads/hvac", json={"priority": 3})
    assert changed.status_code == 200, changed.text
    assert rows(connection, "SELECT ven_id FROM commands") == []
