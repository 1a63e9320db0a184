"""Reports of OpenADR clients are stored as telemetry, statuses and descriptions: once, whatever dies."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

from ingest.metrics import IngestMetrics
from ingest.openadr import drain as drains
from ingest.openadr.drain import ReportDrain
from ingest.openadr.inbox import ReportInbox
from ingest.storing.quotas import Quotas
from jobs.storage.trimming import trim_openadr_reports
from schemas.db.connections import connect
from tests.integration.catching_up import catch_up
from tests.integration.mortal import Fuse, mortal_connection
from tests.integration.openadr_clients import NOW, OpenAdrClient, Vtn
from tests.integration.published import rows, until, value

AHEAD = timedelta(minutes=5)
ELEVEN = datetime.fromisoformat("2026-01-15T11:00:00+00:00")


@pytest.fixture
def vtn(engine: Engine) -> Vtn:
    return Vtn(engine)


@pytest.fixture
def event(vtn: Vtn) -> str:
    utility = vtn.client("utility", "bl")
    program = utility.make("/programs", programName="tou")["id"]
    made: str = utility.make("/events", programID=program, intervals=[])["id"]
    return made


@pytest.fixture
def home(vtn: Vtn) -> OpenAdrClient:
    """A VEN with one resource."""
    client = vtn.client("home", "ven")
    ven = client.make("/vens", objectType="VEN_VEN_REQUEST", venName="home-1")
    resource = {"resourceName": "hvac", "venID": ven["id"]}
    client.make("/resources", objectType="VEN_RESOURCE_REQUEST", **resource)
    return client


@pytest.fixture
def inbox(database_url: str) -> Iterator[ReportInbox]:
    with opened(connect(database_url, "tests")) as inbox:
        yield inbox


def opened(connection: psycopg.Connection) -> ReportInbox:
    return ReportInbox(connection, "tests/reports", AHEAD, Quotas())


def usage(event: str, *kwh: float, name: str = "hvac", **payloads: Any) -> dict[str, Any]:
    """A report of quarters of an hour from eleven on; further payloads are of the first one."""
    intervals: list[dict[str, Any]] = [
        {"id": number, "payloads": [{"type": "USAGE", "values": [each]}]} for number, each in enumerate(kwh)
    ]
    intervals[0]["payloads"] += [{"type": kind, "values": [each]} for kind, each in payloads.items()]
    period = {"start": "2026-01-15T11:00:00Z", "duration": "PT15M"}
    resources = [{"resourceName": name, "intervalPeriod": period, "intervals": intervals}]
    return {"eventID": event, "clientName": "home-1", "resources": resources}


TELEMETRY = "SELECT ven_id, ts, used_power_kw FROM ven_telemetry ORDER BY ven_id, ts"
SAMPLES = "SELECT ven_id, ts, load_id, used_power_kw FROM ven_load_samples ORDER BY ts, load_id"
REJECTED = "SELECT reason, topic FROM rejected_messages ORDER BY rejected_id"


def test_a_report_becomes_telemetry_status_and_description(
    event: str, home: OpenAdrClient, inbox: ReportInbox, connection: psycopg.Connection
) -> None:
    home.make("/reports", **usage(event, 0.5, 0.25, LOAD_SHED_DELTA_AVAILABLE=1.5))
    state = {"type": "OPERATING_STATE", "values": ["NORMAL"]}
    whole = {"resourceName": "AGGREGATED_REPORT", "intervals": [{"id": 0, "payloads": [state]}]}
    home.make("/reports", eventID=event, clientName="home-1", resources=[whole])
    drained = inbox.drain(100)
    assert drained is not None
    assert inbox.drain(100) is None
    later = ELEVEN + timedelta(minutes=15)
    assert rows(connection, TELEMETRY) == [("home-1", ELEVEN, 2.0), ("home-1", later, 1.0)]
    assert rows(connection, SAMPLES) == [("home-1", ELEVEN, "hvac", 2.0), ("home-1", later, "hvac", 1.0)]
    assert rows(connection, "SELECT load_id, shed_capability_kw FROM ven_load_descriptions") == [
        ("hvac", 1.5)
    ]
    assert rows(connection, "SELECT ven_id, ts, status FROM ven_statuses") == [("home-1", NOW, "online")]
    assert rows(connection, REJECTED) == []
    assert value(connection, "SELECT count(*) FROM ingest_batches") == 1


def test_a_report_that_grows_is_stored_once(
    event: str, home: OpenAdrClient, inbox: ReportInbox, connection: psycopg.Connection
) -> None:
    """A PUT with the intervals of before and new ones: the former are duplicates."""
    made = home.make("/reports", **usage(event, 0.5))
    home.put(f"/reports/{made['id']}", **usage(event, 0.5, 0.25))
    inbox.drain(1)
    drained = inbox.drain(1)
    assert drained is not None
    assert (drained.stored.telemetry_rows, drained.stored.duplicates) == (1, 1)
    assert [kw for *_, kw in rows(connection, TELEMETRY)] == [2.0, 1.0]


def test_other_values_for_the_same_time_are_a_conflict(
    event: str, home: OpenAdrClient, inbox: ReportInbox, connection: psycopg.Connection
) -> None:
    for kwh in (0.5, 0.75):
        home.make("/reports", **usage(event, kwh))
    inbox.drain(100)
    assert [kw for *_, kw in rows(connection, TELEMETRY)] == [2.0]
    assert rows(connection, REJECTED) == [("conflict", "oadr/meter/home-1")]


def test_what_cannot_be_read_is_among_the_rejected(
    vtn: Vtn, event: str, home: OpenAdrClient, inbox: ReportInbox, connection: psycopg.Connection
) -> None:
    home.make("/reports", **usage(event, 0.5, DEMAND="much"))
    vtn.client("nobody", "ven").make("/reports", **usage(event, 0.5))
    inbox.drain(100)
    assert rows(connection, REJECTED) == [
        ("bad_field", "openadr/reports/home"),
        ("no_ven_id", "openadr/reports/nobody"),
    ]
    payload = value(connection, "SELECT payload FROM rejected_messages WHERE reason = 'bad_field'")
    assert json.loads(payload)["clientName"] == "home-1"
    assert [kw for *_, kw in rows(connection, TELEMETRY)] == [2.0]
    assert value(connection, "SELECT count(*) FROM report_inbox") == 0


def test_a_report_of_the_future_is_refused(
    event: str, home: OpenAdrClient, inbox: ReportInbox, connection: psycopg.Connection
) -> None:
    home.make("/reports", **usage(event, *([0.5] * 6)))
    inbox.drain(100)
    assert len(rows(connection, TELEMETRY)) == 5  # up to now
    assert rows(connection, REJECTED) == [("timestamp_ahead", "oadr/meter/home-1")]


def test_a_report_that_was_refused_leaves_no_row(home: OpenAdrClient, connection: psycopg.Connection) -> None:
    assert home.ask("POST", "/reports", usage("no-event", 0.5)).status_code == 409
    assert value(connection, "SELECT count(*) FROM report_inbox") == 0


@pytest.mark.thorough
def test_killed_at_any_statement_it_neither_loses_nor_doubles(
    event: str, home: OpenAdrClient, database_url: str, connection: psycopg.Connection
) -> None:
    home.make("/reports", **usage(event, 0.5, DEMAND="much"))
    home.make("/reports", **usage(event, 0.5, 0.25))
    fuse, deaths = Fuse(database_url), 0
    while True:
        with mortal_connection(database_url, fuse) as mortal:
            dying = opened(mortal)
            fuse.left = deaths + 1
            try:
                dying.drain(100)
            except psycopg.Error:
                deaths += 1
                assert value(connection, "SELECT count(*) FROM report_inbox") == 2
                assert rows(connection, TELEMETRY) == rows(connection, REJECTED) == []
            else:
                break
    assert deaths > 5
    assert value(connection, "SELECT count(*) FROM report_inbox") == 0
    assert [kw for *_, kw in rows(connection, TELEMETRY)] == [2.0, 1.0]
    assert [reason for reason, _ in rows(connection, REJECTED)] == ["bad_field"]
    assert value(connection, "SELECT sum(telemetry_rows) FROM ingest_batches") == 2


def test_two_programs_take_different_reports(
    event: str, home: OpenAdrClient, database_url: str, connection: psycopg.Connection
) -> None:
    """The second gets what the first has not locked."""
    home.make("/reports", **usage(event, 0.5))
    home.make("/reports", **usage(event, 0.5, 0.25))
    with connect(database_url, "tests") as one, connect(database_url, "tests") as other:
        second = opened(other)
        with one.transaction():
            one.execute("SELECT 1 FROM report_inbox ORDER BY inbox_id LIMIT 1 FOR UPDATE")
            second.drain(100)
            assert second.drain(100) is None
        assert second.drain(100) is not None
    assert [kw for *_, kw in rows(connection, TELEMETRY)] == [2.0, 1.0]


class Draining:
    """A drain on its thread."""

    def __init__(self, database_url: str) -> None:
        self._drain = ReportDrain(
            lambda: opened(connect(database_url, "reports")), lambda: NOW, IngestMetrics(lambda: NOW)
        )

    def __enter__(self) -> None:
        self._drain.start()

    def __exit__(self, *_: object) -> None:
        self._drain.stop()


def test_the_thread_is_woken_by_serving(
    event: str,
    home: OpenAdrClient,
    database_url: str,
    connection: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(drains, "POLL_S", 600.0)
    stored = "SELECT count(*) FROM ven_telemetry"
    with Draining(database_url):
        home.make("/reports", **usage(event, 0.5))
        until(lambda: value(connection, stored) == 1)
        home.make("/reports", **usage(event, 0.5, 0.25))
        until(lambda: value(connection, stored) == 2)
        monkeypatch.setattr(drains, "POLL_S", 0.1)
        home.make("/reports", **usage(event, 0.5, 0.25, 0.5))  # ends the long wait, so that it can stop
        until(lambda: value(connection, stored) == 3)


@pytest.mark.thorough
def test_a_report_that_the_database_refuses_is_rejected(
    event: str, home: OpenAdrClient, database_url: str, connection: psycopg.Connection
) -> None:
    """Reports before and behind it are stored."""
    connection.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.used_power_kw = 13 THEN RAISE 'unlucky'; END IF; RETURN NEW; END $$"
    )
    connection.execute(
        "CREATE TRIGGER refuse BEFORE INSERT ON ven_telemetry FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    connection.commit()
    for number, kwh in enumerate((0.5, 3.25, 0.75)):
        report = usage(event, kwh)
        report["resources"][0]["intervalPeriod"]["start"] = f"2026-01-15T0{number}:00:00Z"
        home.make("/reports", **report)
    with Draining(database_url):
        until(lambda: value(connection, "SELECT count(*) FROM report_inbox") == 0, within_s=60)
    assert [kw for *_, kw in rows(connection, TELEMETRY)] == [2.0, 3.0]
    assert rows(connection, REJECTED) == [("refused_by_database", "openadr/reports/home")]


def test_an_openadr_ven_is_in_statistics_and_histories(
    vtn: Vtn, event: str, home: OpenAdrClient, inbox: ReportInbox, engine: Engine
) -> None:
    home.make("/reports", **usage(event, *([0.5] * 4), LOAD_SHED_DELTA_AVAILABLE=1.5))
    inbox.drain(100)
    width = {"slotMinutes": 15, "slotMinutesSince": "2026-01-15T11:00:00Z"}
    slots = vtn.web.simulate_patch("/api/vens/home-1", json=width)
    assert slots.status_code == 200, slots.text
    catch_up(engine, NOW)
    query = {"start": "2026-01-15T11:00:00Z", "end": "2026-01-15T11:59:59Z", "granularity": "1h"}
    query["aggregate"] = "energy"
    [point] = vtn.web.simulate_get("/api/vens/home-1/history", params=query).json["points"]
    assert point["usedEnergyKwh"] == 2.0
    [load] = vtn.web.simulate_get("/api/vens/home-1/loads").json
    assert (load["id"], load["currentPowerKw"], load["shedCapabilityKw"]) == ("hvac", 2.0, 1.5)


def test_old_reports_are_deleted(
    vtn: Vtn, event: str, home: OpenAdrClient, inbox: ReportInbox, engine: Engine
) -> None:
    """By when they were changed last; what they measured stays."""
    home.make("/reports", **usage(event, 0.5))
    inbox.drain(100)
    vtn.clock.advance(days=10)
    home.fetch_token()
    made = home.make("/reports", **usage(event, 0.5, 0.25))
    with engine.begin() as connection:
        assert trim_openadr_reports(connection, NOW + timedelta(days=95), timedelta(days=90)) == 1
    assert [each["id"] for each in home.get("/reports")] == [made["id"]]
