"""Measuring events: settled once, again when late data change a figure, and followed while they run."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import psycopg
import pytest
from falcon import testing
from sqlalchemy import Engine, insert

from ingest.decoding.messages import Received
from ingest.storing.store import Store
from jobs.events.progress import CATCH_UP, Progress
from jobs.running.runner import Runner
from jobs.running.schedule import Job, schedule
from jobs.settings import Cadence
from jobs.transforms.events.event_terms import start_delay
from schemas.api.performance import EventPerformance
from schemas.db.channels import EVENTS
from schemas.db.connections import engine_for
from schemas.demand_response.baselines import BASELINES, GENERIC
from schemas.tables.events import commands, event_participations, events
from serving.app import create_app
from tests.conftest import REPOSITORY
from tests.integration.published import batch_of, rows, value
from tests.servers import DatabaseServer, cloned_database

HOUR, SLOT, DAY = timedelta(hours=1), timedelta(minutes=5), timedelta(days=1)
START = datetime(2024, 7, 10, 16, tzinfo=UTC)
"""A Wednesday."""
END = START + HOUR
SETTLED_AT = END + timedelta(minutes=5)

At = Callable[[datetime], Runner]


@pytest.fixture(scope="module")
def partitioned(module_database_url: str) -> str:
    """The name of a database with the partitions of all days before the event: ingest would make each."""
    days = [(START - back * DAY).date() for back in range(-2, 32)]
    with psycopg.connect(module_database_url) as connection:
        connection.execute("SELECT ensure_raw_partitions(%s::date[])", [days])
        return connection.info.dbname


@pytest.fixture
def database_url(postgres: DatabaseServer, partitioned: str) -> Iterator[str]:
    with cloned_database(postgres, "test", partitioned) as url:
        yield url


@pytest.fixture
def at(engine: Engine) -> At:
    """A runner whose clock stands still."""
    return lambda now: Runner(engine, lambda: now)


def jobs(**changed: Any) -> tuple[Job, ...]:
    return schedule(Cadence().model_copy(update=changed))


JOBS = jobs()
LANES = tuple(job for job in JOBS if job.has_backlog)
[SETTLEMENT] = (job for job in JOBS if job.name == "settlement")


def report(ven_id: str, ts: datetime, used_kw: float, received_at: datetime) -> Received:
    said = {"venId": ven_id, "timestamp": ts.timestamp(), "usedPowerKw": used_kw}
    return Received("volttron/metering", json.dumps(said).encode(), received_at)


def steady(ven_id: str, used_kw: float, start: datetime, end: datetime) -> Iterator[Received]:
    """A report in each slot, received when it was made."""
    while start < end:
        yield report(ven_id, start, used_kw, start)
        start += SLOT


def publish(store: Store, messages: Iterator[Received] | list[Received]) -> None:
    store.write(batch_of(*messages))


def sixteen_days(store: Store, ven_id: str, used_kw: float, shed_kw: float, days: int = 16) -> None:
    """The same usage from noon to five on the days before, and less in the event's hour."""
    for back in range(days, 0, -1):
        publish(store, steady(ven_id, used_kw, START - back * DAY - 4 * HOUR, START - back * DAY + HOUR))
    publish(store, steady(ven_id, used_kw, START - 4 * HOUR, START))
    publish(store, steady(ven_id, used_kw - shed_kw, START, END))


def make_event(engine: Engine, status: str = "completed", event_id: str = "e", **changed: Any) -> None:
    over = status in {"completed", "cancelled"}
    row = {
        "event_id": event_id,
        "status": status,
        "start_time": START,
        "end_time": END,
        "requested_reduction_kw": 4.0,
        "notify_at": START - timedelta(minutes=10),
        "started_at": START,
        "ended_at": END if over else None,
        "created_at": START - HOUR,
    }
    with engine.begin() as connection:
        connection.execute(insert(events).values(row | changed))


def take_part(engine: Engine, *ven_ids: str, event_id: str = "e", **changed: Any) -> None:
    row: dict[str, Any] = {
        "event_id": event_id,
        "status": "finished",
        "available_kw": 2.0,
        "requested_reduction_kw": 2.0,
    }
    row["notified_at"] = START - 2 * DAY
    with engine.begin() as connection:
        for ven_id in ven_ids:
            connection.execute(insert(event_participations).values(row | {"ven_id": ven_id} | changed))


def revisions(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    """Of the portfolio by the first baseline."""
    return rows(
        connection,
        "SELECT revision, round(delivered_kw::numeric, 3)::float8 FROM event_settlements"
        " WHERE baseline = '10-of-10-adjusted' ORDER BY 1",
    )


# Settled once


@pytest.mark.thorough
def test_an_event_is_settled_by_every_baseline(
    store: Store, engine: Engine, at: At, connection: psycopg.Connection
) -> None:
    sixteen_days(store, "a", used_kw=3.0, shed_kw=2.0)
    sixteen_days(store, "b", used_kw=5.0, shed_kw=1.0)
    publish(store, steady("new", 1.0, START + HOUR / 2, END))
    make_event(engine)
    take_part(engine, "a", "b", "new")
    at(SETTLED_AT).catch_up(LANES)
    assert at(SETTLED_AT).run(SETTLEMENT) == 1
    found = rows(
        connection,
        "SELECT baseline, requested_kw, baseline_kw, actual_kw, delivered_kw, delivered_kwh,"
        " performance_percent, rrmse_percent, days_used FROM event_settlements WHERE revision = 1",
    )
    assert {row[0] for row in found} == set(GENERIC)
    by_name = {row[0]: row[1:] for row in found}
    assert by_name["high-5-of-10-adjusted"] == pytest.approx((4.0, 8.0, 5.0, 3.0, 3.0, 75.0, 0.0, 5))
    assert by_name["10-of-10"] == pytest.approx((4.0, 8.0, 5.0, 3.0, 3.0, 75.0, 0.0, 10))
    [[delivered_kwh, coverage, note]] = rows(
        connection,
        "SELECT delivered_kwh, coverage_percent, note FROM ven_settlements"
        " WHERE ven_id = 'new' AND baseline = '10-of-10'",
    )
    assert (delivered_kwh, coverage, note) == (None, 0.0, "no samples to make a baseline of")
    assert value(connection, "SELECT count(*) FROM ven_settlements") == 3 * len(GENERIC)
    assert value(connection, "SELECT actual_reduction_kw FROM events") == pytest.approx(3.0)


def test_whoever_opted_out_before_the_start_is_not_counted(
    store: Store, engine: Engine, at: At, connection: psycopg.Connection
) -> None:
    for ven_id in ("early", "late"):
        sixteen_days(store, ven_id, used_kw=3.0, shed_kw=2.0)
    make_event(engine)
    take_part(engine, "early", status="opted_out", opted_out_at=START - timedelta(minutes=1))
    at_once: dict[str, Any] = {
        "notified_at": START + timedelta(seconds=1),
        "opted_out_at": START + timedelta(seconds=5),
    }
    take_part(engine, "at once", status="opted_out", **at_once)
    take_part(engine, "after a yes", status="opted_out", **at_once, acknowledged_at=START)
    take_part(engine, "moved", status="finished", released_at=START)
    take_part(engine, "late", status="opted_out", opted_out_at=START + timedelta(minutes=30))
    at(SETTLED_AT).catch_up(LANES)
    at(SETTLED_AT).run(SETTLEMENT)
    assert revisions(connection) == [(1, 2.0)]
    noted = "SELECT ven_id FROM ven_settlements WHERE note LIKE 'opted out%' GROUP BY 1"
    assert rows(connection, noted) == [("at once",), ("early",), ("moved",)]


def test_what_was_asked_over_time_counts_where_the_request_was_changed(
    store: Store, engine: Engine, at: At, connection: psycopg.Connection
) -> None:
    """4 kW for a quarter of an hour, then 2 kW; also of an event that was stopped after half an hour."""
    sixteen_days(store, "a", used_kw=3.0, shed_kw=2.0)
    make_event(engine, requested_reduction_kw=2.0)
    make_event(engine, event_id="stopped", requested_reduction_kw=2.0, ended_at=START + HOUR / 2)
    make_event(engine, event_id="unchanged", requested_reduction_kw=2.0)
    take_part(engine, "a")
    connection.execute(
        "INSERT INTO event_requests (event_id, at, requested_reduction_kw)"
        " SELECT event_id, %(start)s + minutes * interval '1 minute', kw"
        " FROM unnest(array['e', 'stopped']) event_id,"
        " unnest(array[0, 15], array[4.0, 2.0]) request (minutes, kw)",
        {"start": START},
    )
    connection.commit()
    at(SETTLED_AT).catch_up(LANES)
    for _ in range(3):
        assert at(SETTLED_AT).run(SETTLEMENT) == 1
    found = rows(
        connection,
        "SELECT event_id, requested_kw, requested_kwh, performance_percent FROM event_settlements"
        " WHERE baseline = '10-of-10-adjusted' ORDER BY 1",
    )
    assert [row[:3] for row in found] == [
        ("e", pytest.approx(2.5), pytest.approx(2.5)),
        ("stopped", pytest.approx(3.0), pytest.approx(1.5)),
        ("unchanged", pytest.approx(2.0), pytest.approx(2.0)),
    ]
    assert found[0][3] == pytest.approx(80.0)


def test_an_event_that_asks_for_more_in_steps_is_measured_alike(
    store: Store, engine: Engine, at: At, connection: psycopg.Connection
) -> None:
    """2 kW for 20 minutes, then 5 kW: 4 kWh. One home uses 2 kW more, the other 1 kW less: 1 of 4 kWh."""
    sixteen_days(store, "a", used_kw=3.0, shed_kw=-2.0)
    sixteen_days(store, "b", used_kw=5.0, shed_kw=1.0)
    make_event(engine, direction="increase", requested_reduction_kw=2.0)
    take_part(engine, "a", "b")
    connection.execute(
        "INSERT INTO event_requests VALUES ('e', %(start)s, 2), ('e', %(start)s + interval '20 min', 5)",
        {"start": START},
    )
    connection.execute(
        "INSERT INTO event_shares SELECT ven_id, 'e', at, kw / 2.0 FROM unnest(array['a', 'b']) ven_id,"
        " unnest(array[%(start)s, %(start)s + interval '20 min'], array[2, 5]) share (at, kw)",
        {"start": START},
    )
    connection.commit()
    at(SETTLED_AT).catch_up(LANES)
    assert at(SETTLED_AT).run(SETTLEMENT) == 1
    figures = "requested_kw, requested_kwh, delivered_kw, delivered_kwh, performance_percent"
    by = "WHERE baseline = '10-of-10'"
    [portfolio] = rows(connection, f"SELECT {figures} FROM event_settlements {by}")
    assert portfolio == pytest.approx((4.0, 4.0, 1.0, 1.0, 25.0))
    vens = rows(connection, f"SELECT {figures} FROM ven_settlements {by} ORDER BY ven_id")
    assert vens == [pytest.approx((2.0, 2.0, 2.0, 2.0, 100.0)), pytest.approx((2.0, 2.0, -1.0, -1.0, -50.0))]
    for number in range(4):
        assert sum(row[number] for row in vens) == pytest.approx(portfolio[number]), "parts sum to the whole"


def test_a_ven_whose_start_was_delayed_is_asked_for_nothing_before_it(
    store: Store, engine: Engine, at: At, connection: psycopg.Connection
) -> None:
    sixteen_days(store, "a", used_kw=3.0, shed_kw=2.0)
    make_event(engine, requested_reduction_kw=2.0, randomize_start_s=1_800.0)
    take_part(engine, "a")
    at(SETTLED_AT).catch_up(LANES)
    assert at(SETTLED_AT).run(SETTLEMENT) == 1
    asked_h = 1 - start_delay("e", "a", 1_800) / HOUR
    assert 0.5 < asked_h < 0.99
    query = "SELECT requested_kwh FROM {} WHERE baseline = '10-of-10'"
    assert value(connection, query.format("ven_settlements")) == pytest.approx(2 * asked_h)
    assert value(connection, query.format("event_settlements")) == pytest.approx(2)


def test_a_dry_run_says_what_similar_events_delivered(store: Store, engine: Engine, at: At) -> None:
    """Of about the same time of day and length, as settled by the primary baseline."""
    sixteen_days(store, "a", used_kw=3.0, shed_kw=2.0)
    make_event(engine, requested_reduction_kw=4.0)
    take_part(engine, "a")
    at(SETTLED_AT).catch_up(LANES)
    assert at(SETTLED_AT).run(SETTLEMENT) == 1
    client = testing.TestClient(create_app(engine, lambda: SETTLED_AT, []))

    def similar(start_h: float, hours: float) -> Any:
        start = START + DAY + start_h * HOUR
        wish = {"startTime": start.isoformat(), "endTime": (start + hours * HOUR).isoformat()}
        body = {**wish, "requestedReductionKw": 1}
        preview = client.simulate_post("/api/events", params={"dryRun": "1"}, json=body).json
        return preview["similarEvents"], preview["similarPerformancePercent"]

    event = {
        "eventId": "e",
        "startTime": "2024-07-10T16:00:00Z",
        "endTime": "2024-07-10T17:00:00Z",
        "vens": 1,
        "requestedKw": 4.0,
        "deliveredKw": 2.0,
        "performancePercent": 50.0,
    }
    for start_h, hours in ((0.0, 1.0), (2, 2), (-2, 0.5), (22, 1)):
        assert similar(start_h, hours) == ([event], 50.0)
    for start_h, hours in ((2.1, 1), (12, 1), (-2.1, 1), (0, 2.1), (0, 0.4)):
        assert similar(start_h, hours) == ([], None)


def test_whoever_another_event_took_over_counts_until_then(
    store: Store, engine: Engine, at: At, connection: psycopg.Connection
) -> None:
    sixteen_days(store, "a", used_kw=3.0, shed_kw=2.0)
    make_event(engine)
    take_part(engine, "a", finished_at=START + HOUR / 2)
    at(SETTLED_AT).catch_up(LANES)
    at(SETTLED_AT).run(SETTLEMENT)
    measured = "SELECT delivered_kw, delivered_kwh, coverage_percent FROM ven_settlements"
    assert rows(connection, f"{measured} WHERE baseline = '10-of-10'") == [
        (pytest.approx(1.0), pytest.approx(1.0), 50.0)
    ]


def test_a_ven_in_two_events_at_once_counts_once(
    store: Store, engine: Engine, at: At, connection: psycopg.Connection
) -> None:
    """2 kW less for an hour are 2 kWh, although two events had the VEN, one for 20 minutes."""
    sixteen_days(store, "a", used_kw=3.0, shed_kw=2.0)
    taken_at = START + HOUR / 3
    make_event(engine)
    make_event(engine, event_id="urgent", priority=1)
    take_part(engine, "a", finished_at=taken_at)
    take_part(engine, "a", event_id="urgent", notified_at=taken_at)
    at(SETTLED_AT).catch_up(LANES)
    assert [at(SETTLED_AT).run(SETTLEMENT), at(SETTLED_AT).run(SETTLEMENT)] == [1, 1]
    energies = dict(
        rows(
            connection,
            "SELECT event_id, delivered_kwh FROM event_settlements WHERE baseline = '10-of-10'",
        )
    )
    assert energies == {"e": pytest.approx(2 / 3), "urgent": pytest.approx(4 / 3)}


def test_performance_is_against_every_share_over_time(
    store: Store, engine: Engine, at: At, connection: psycopg.Connection
) -> None:
    """4 kW for a quarter of an hour; away, and asked for nothing, at the end: once it was asked for 0."""
    sixteen_days(store, "a", used_kw=3.0, shed_kw=2.0)
    make_event(engine)
    take_part(engine, "a", requested_reduction_kw=0.0)
    shares = "INSERT INTO event_shares VALUES ('a', 'e', %s, 4), ('a', 'e', %s, 0)"
    connection.execute(shares, [START - HOUR, START + HOUR / 4])
    at(SETTLED_AT).catch_up(LANES)
    assert at(SETTLED_AT).run(SETTLEMENT) == 1
    figures = "SELECT requested_kw, requested_kwh, performance_percent FROM ven_settlements"
    assert rows(connection, f"{figures} WHERE baseline = '10-of-10'") == [
        (pytest.approx(1.0), pytest.approx(1.0), pytest.approx(200))
    ]


def test_a_hole_in_the_baseline_is_not_covered(
    store: Store, engine: Engine, at: At, connection: psycopg.Connection
) -> None:
    """No similar day has samples of the last two slots."""
    sixteen_days(store, "a", used_kw=3.0, shed_kw=2.0)
    make_event(engine)
    take_part(engine, "a")
    at(SETTLED_AT).catch_up(LANES)
    last_slots = [END - slot * SLOT - day * DAY for slot in (1, 2) for day in range(1, 32)]
    connection.execute("DELETE FROM ven_history WHERE bucket = ANY(%s)", [last_slots])
    assert at(SETTLED_AT).run(SETTLEMENT) == 1
    figures = "SELECT delivered_kw, delivered_kwh, round(coverage_percent) FROM ven_settlements"
    assert rows(connection, f"{figures} WHERE baseline = '10-of-10'") == [
        (pytest.approx(2.0 * 10 / 12), pytest.approx(2.0 * 10 / 12), 83)
    ]


@pytest.mark.thorough
def test_the_baselines_of_a_setting_are_computed(
    store: Store, engine: Engine, at: At, connection: psycopg.Connection
) -> None:
    sixteen_days(store, "a", used_kw=3.0, shed_kw=2.0)
    make_event(engine)
    take_part(engine, "a")
    at(SETTLED_AT).catch_up(LANES)
    [settlement] = [job for job in jobs(listed_baselines="all") if job.name == "settlement"]
    assert at(SETTLED_AT).run(settlement) == 1
    assert rows(connection, "SELECT baseline, delivered_kw FROM event_settlements ORDER BY 1") == [
        (name, pytest.approx(2.0)) for name in sorted(BASELINES)
    ]
    # The other baselines are no longer computed: that is another settlement.
    [few] = [job for job in jobs(listed_baselines="10-of-10") if job.name == "settlement"]
    late(store, at, report("a", START + SLOT / 2, 1.0, LATER + HOUR))
    assert at(LATER + 2 * HOUR).run(few) == 1
    names = "SELECT baseline FROM event_settlements WHERE revision = 2 ORDER BY 1"
    assert rows(connection, names) == [("10-of-10",), ("10-of-10-adjusted",), ("last-samples",)]


def test_it_waits_for_the_grace_and_for_the_history_lane(
    store: Store, engine: Engine, at: At, connection: psycopg.Connection
) -> None:
    sixteen_days(store, "a", used_kw=3.0, shed_kw=2.0)
    make_event(engine)
    take_part(engine, "a")
    assert at(SETTLED_AT).run(SETTLEMENT) == 0  # nothing is consumed yet
    at(SETTLED_AT).catch_up(LANES)
    assert at(END + timedelta(minutes=1)).run(SETTLEMENT) == 0
    assert revisions(connection) == []
    # What comes after the grace need not be waited for.
    publish(store, [report("a", SETTLED_AT, 3.0, SETTLED_AT)])
    assert at(SETTLED_AT).run(SETTLEMENT) == 1
    assert revisions(connection) == [(1, 2.0)]


def test_events_that_never_began_or_are_not_over_are_left_alone(
    store: Store, engine: Engine, at: At, connection: psycopg.Connection
) -> None:
    publish(store, steady("a", 1.0, START, END))
    make_event(engine, "cancelled", "never", started_at=None, ended_at=START - HOUR)
    make_event(engine, "scheduled", "waits", started_at=None)
    at(SETTLED_AT).catch_up(LANES)
    assert at(SETTLED_AT).run(SETTLEMENT) == 0
    assert value(connection, "SELECT count(*) FROM event_settlements") == 0


def test_a_stopped_event_is_measured_to_its_stop(
    store: Store, engine: Engine, at: At, connection: psycopg.Connection
) -> None:
    sixteen_days(store, "a", used_kw=3.0, shed_kw=2.0)
    make_event(engine, "cancelled", ended_at=START + HOUR / 2)
    take_part(engine, "a")
    at(SETTLED_AT).catch_up(LANES)
    assert at(SETTLED_AT).run(SETTLEMENT) == 1
    [[kw, kwh]] = rows(
        connection, "SELECT delivered_kw, delivered_kwh FROM ven_settlements WHERE baseline = '10-of-10'"
    )
    assert (kw, kwh) == pytest.approx((2.0, 1.0))


def test_an_event_that_began_amid_a_slot_counts_only_its_samples(
    store: Store, engine: Engine, at: At, connection: psycopg.Connection
) -> None:
    """From 16:04 on 1 kW, 3 kW before; the slot's mean, 2.6, is not the event's."""
    sixteen_days(store, "a", used_kw=3.0, shed_kw=0.0)
    start = END + timedelta(minutes=4)
    minutes = [END + timedelta(minutes=n) for n in range(10)]
    publish(store, [report("a", at_, 3.0 if at_ < start else 1.0, at_) for at_ in minutes])
    make_event(engine, start_time=start, started_at=start, end_time=END + 2 * SLOT, ended_at=END + 2 * SLOT)
    take_part(engine, "a")
    at(SETTLED_AT).catch_up(LANES)
    assert at(SETTLED_AT + HOUR).run(SETTLEMENT) == 1
    [[actual_kw, kwh]] = rows(
        connection, "SELECT actual_kw, delivered_kwh FROM ven_settlements WHERE baseline = 'last-samples'"
    )
    assert actual_kw == pytest.approx(1.0)
    assert kwh == pytest.approx(2.0 * 6 / 60)


def test_two_schedulers_settle_once(
    store: Store, engine: Engine, database_url: str, at: At, connection: psycopg.Connection
) -> None:
    sixteen_days(store, "a", used_kw=3.0, shed_kw=2.0)
    make_event(engine)
    take_part(engine, "a")
    at(SETTLED_AT).catch_up(LANES)

    [settlement] = [job for job in jobs() if job.name == "settlement"]

    def work(_worker: int) -> int:
        own = engine_for(database_url, "jobs")
        try:
            return sum(Runner(own, lambda: SETTLED_AT).run(settlement) for _ in range(5))
        finally:
            own.dispose()

    with ThreadPoolExecutor(3) as pool:
        assert sum(pool.map(work, range(3))) == 1
    assert revisions(connection) == [(1, 2.0)]
    assert at(SETTLED_AT + 5 * DAY).run(SETTLEMENT) == 0


# As reports of OpenADR


def make_openadr_event(
    engine: Engine, *payload_types: str, units: str = "KWH", intervals: int = 1, **fields: Any
) -> None:
    """The object that the event is, of a utility that requests reports; `a` is the VEN of a client."""
    requested = [{"payloadType": each, "units": units, **fields} for each in payload_types]
    period = {"start": START.isoformat(), "duration": f"PT{60 // intervals}M"}
    parts = [{"id": 10 + number, "payloads": []} for number in range(intervals)]
    body = json.dumps(
        {"programID": "p", "reportDescriptors": requested, "intervalPeriod": period, "intervals": parts}
    )
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO openadr_events (object_id, client_id, body, created_at, modified_at, program_id,"
            " event_id) VALUES ('o', 'utility', %s, now(), now(), 'p', 'e')",
            (body,),
        )
        connection.exec_driver_sql(
            "INSERT INTO openadr_vens (object_id, client_id, body, created_at, modified_at, ven_name, ven_id)"
            " VALUES ('v', 'home', '{}', now(), now(), 'Home of A', 'a')"
        )


def reported(connection: psycopg.Connection) -> dict[str, Any]:
    """Client, name and values of each report, by the name of its resource."""
    found = rows(connection, "SELECT client_id, event_id, program_id, body FROM openadr_reports")
    assert {(event_id, program_id) for _, event_id, program_id, _ in found} <= {("o", "p")}
    return {
        resource["resourceName"]: (
            client_id,
            body["reportName"],
            {each["type"]: each["values"][0] for each in resource["intervals"][0]["payloads"]},
        )
        for client_id, *_, body in found
        for resource in body["resources"]
    }


def test_a_settlement_is_reported_to_whom_it_concerns(
    store: Store, engine: Engine, at: At, connection: psycopg.Connection
) -> None:
    """The client of a VEN reads its own report; the utility the others, and that of all together."""
    make_openadr_event(engine, "BASELINE", "USAGE", "DELTA_USAGE", "DATA_QUALITY")
    sixteen_days(store, "a", used_kw=3.0, shed_kw=2.0)
    sixteen_days(store, "b", used_kw=5.0, shed_kw=1.0)
    make_event(engine)
    take_part(engine, "a", "b", "silent")
    at(SETTLED_AT).catch_up(LANES)
    assert at(SETTLED_AT).run(SETTLEMENT) == 1
    name = f"{Cadence().rules().primary}, revision 1"
    known = {"BASELINE": 3.0, "USAGE": 1.0, "DELTA_USAGE": -2.0, "DATA_QUALITY": "OK"}
    found = reported(connection)
    assert found["Home of A"] == ("home", name, known)
    assert found["b"][0] == "utility"
    assert found["b"][2]["DELTA_USAGE"] == -1.0
    assert found["silent"] == ("utility", name, {"DATA_QUALITY": "MISSING"})
    of_all = found["AGGREGATED_REPORT"]
    assert (of_all[0], of_all[2]["DELTA_USAGE"]) == ("utility", -3.0)


def test_a_revision_replaces_the_reports(
    store: Store, engine: Engine, at: At, connection: psycopg.Connection
) -> None:
    make_openadr_event(engine, "DELTA_USAGE", units="KW")
    settled(store, engine, at)
    assert reported(connection)["Home of A"][2] == {"DELTA_USAGE": -2.0}
    late(store, at, *(report("a", START + n * SLOT + SLOT / 2, 2.0, LATER + HOUR) for n in range(12)))
    at(LATER).run(SETTLEMENT)
    at(LATER + 2 * HOUR).run(SETTLEMENT)
    found = reported(connection)
    assert found.keys() == {"Home of A", "AGGREGATED_REPORT"}
    assert found["Home of A"][1].endswith(", revision 2")
    assert found["Home of A"][2] == {"DELTA_USAGE": -1.5}
    assert value(connection, "SELECT count(*) FROM openadr_reports") == 2


def by_interval(connection: psycopg.Connection, kind: str) -> dict[str, list[list[tuple[int, int, float]]]]:
    """Of each resource its reports: id, start in minutes, and value of a type, interval by interval."""
    found: dict[str, list[list[tuple[int, int, float]]]] = {}
    for (body,) in rows(connection, "SELECT body FROM openadr_reports"):
        [resource] = body["resources"]
        values = [
            (
                each["id"],
                round((datetime.fromisoformat(each["intervalPeriod"]["start"]) - START).total_seconds() / 60),
                payload["values"][0],
            )
            for each in resource["intervals"]
            for payload in each["payloads"]
            if payload["type"] == kind
        ]
        found.setdefault(resource["resourceName"], []).append(values)
    return {name: sorted(reports) for name, reports in found.items()}


def shed_by_part(store: Store, ven_id: str, *shed_kw: float) -> None:
    """A VEN that uses 3 kW, and in each part of the event's hour so much less."""
    for back in range(16, 0, -1):
        publish(store, steady(ven_id, 3.0, START - back * DAY - 4 * HOUR, START - back * DAY + HOUR))
    publish(store, steady(ven_id, 3.0, START - 4 * HOUR, START))
    part = HOUR / len(shed_kw)
    for number, kw in enumerate(shed_kw):
        publish(store, steady(ven_id, 3.0 - kw, START + number * part, START + (number + 1) * part))


def test_a_settlement_is_reported_by_the_event_s_intervals(
    store: Store, engine: Engine, at: At, connection: psycopg.Connection
) -> None:
    """Each VEN's and the portfolio's add up to what the settlement has."""
    make_openadr_event(engine, "BASELINE", "USAGE", "DELTA_USAGE", intervals=3)
    shed_by_part(store, "a", 2.0, 1.0, 0.35)
    shed_by_part(store, "b", 0.0, 0.7, 1.1)
    make_event(engine)
    take_part(engine, "a", "b")
    at(SETTLED_AT).catch_up(LANES)
    assert at(SETTLED_AT).run(SETTLEMENT) == 1
    delta = by_interval(connection, "DELTA_USAGE")
    assert delta["Home of A"] == [[(10, 0, -0.667), (11, 20, -0.333), (12, 40, -0.117)]]
    assert delta["AGGREGATED_REPORT"] == [[(10, 0, -0.667), (11, 20, -0.566), (12, 40, -0.484)]]
    query = "SELECT ven_id, delivered_kwh, baseline_kw, actual_kw FROM ven_settlements WHERE baseline = %s"
    primary = Cadence().rules().primary
    of_all = rows(connection, query.replace("ven_id", "''").replace("ven_", "event_") % repr(primary))
    names = {"a": "Home of A", "": "AGGREGATED_REPORT", "b": "b"}
    settled_rows = [*rows(connection, query % repr(primary)), *of_all]
    assert len(settled_rows) == 3
    for ven_id, delivered_kwh, baseline_kw, actual_kw in settled_rows:
        for kind, kwh in (("DELTA_USAGE", -delivered_kwh), ("BASELINE", baseline_kw), ("USAGE", actual_kw)):
            [values] = by_interval(connection, kind)[names[ven_id]]
            assert sum(round(each * 1000) for *_, each in values) == round(kwh * 1000)


def test_descriptors_choose_intervals_and_their_width(
    store: Store, engine: Engine, at: At, connection: psycopg.Connection
) -> None:
    """Of an event that was stopped in its last interval."""
    choice: dict[str, Any] = {
        "startInterval": 0,
        "numIntervals": 1,
        "repeat": -1,
        "reportIntervals": "SUB_INTERVALS",
    }
    make_openadr_event(engine, "DELTA_USAGE", intervals=4, **choice)
    shed_by_part(store, "a", 0.6, 1.2, 1.8, 2.4)
    make_event(engine, ended_at=END - timedelta(minutes=7))
    take_part(engine, "a")
    at(SETTLED_AT).catch_up(LANES)
    assert at(SETTLED_AT).run(SETTLEMENT) == 1
    assert by_interval(connection, "DELTA_USAGE")["Home of A"] == [
        [(10, 0, -0.05), (10, 5, -0.05), (10, 10, -0.05)],
        [(11, 15, -0.1), (11, 20, -0.1), (11, 25, -0.1)],
        [(12, 30, -0.15), (12, 35, -0.15), (12, 40, -0.15)],
        [(13, 45, -0.2), (13, 50, -0.12)],
    ]


@pytest.mark.parametrize("requested", [(), ("USAGE",)])
def test_without_a_request_nothing_is_reported(
    requested: tuple[str, ...], store: Store, engine: Engine, at: At, connection: psycopg.Connection
) -> None:
    """USAGE alone is asked of VENs."""
    make_openadr_event(engine, *requested)
    settled(store, engine, at)
    assert reported(connection) == {}


# And again


def settled(store: Store, engine: Engine, at: At) -> None:
    """One VEN that sheds 2 kW, settled; the hours after the event have come in, and have been looked at."""
    sixteen_days(store, "a", used_kw=3.0, shed_kw=2.0)
    make_event(engine)
    take_part(engine, "a")
    at(SETTLED_AT).catch_up(LANES)
    assert at(SETTLED_AT).run(SETTLEMENT) == 1


LATER = END + 12 * HOUR


def late(store: Store, at: At, *messages: Received) -> None:
    publish(store, list(messages))
    at(LATER).catch_up(LANES)


def test_late_telemetry_of_the_event_makes_a_revision_beside_the_first(
    store: Store, engine: Engine, at: At, connection: psycopg.Connection
) -> None:
    settled(store, engine, at)
    first = rows(connection, "SELECT * FROM event_settlements ORDER BY baseline")
    at(LATER).run(SETTLEMENT)
    late(store, at, *(report("a", START + n * SLOT + SLOT / 2, 2.0, LATER + HOUR) for n in range(12)))
    assert at(LATER + timedelta(minutes=9)).run(SETTLEMENT) == 0
    assert at(LATER + 2 * HOUR).run(SETTLEMENT) == 1
    assert revisions(connection) == [(1, 2.0), (2, 1.5)]
    assert rows(connection, "SELECT * FROM event_settlements WHERE revision = 1 ORDER BY baseline") == first
    assert value(connection, "SELECT actual_reduction_kw FROM events") == pytest.approx(1.5)
    assert at(LATER + 3 * HOUR).run(SETTLEMENT) == 0


def test_late_telemetry_of_a_similar_day_makes_a_revision(
    store: Store, engine: Engine, at: At, connection: psycopg.Connection
) -> None:
    settled(store, engine, at)
    at(LATER).run(SETTLEMENT)
    day = START - DAY
    late(store, at, *(report("a", day + n * SLOT + SLOT / 2, 7.0, LATER + HOUR) for n in range(12)))
    assert at(LATER + 2 * HOUR).run(SETTLEMENT) == 1
    assert revisions(connection) == [(1, 2.0), (2, 2.2)]  # one of ten days has 5 kW now


def test_what_changes_no_figure_makes_no_revision(
    store: Store, engine: Engine, at: At, connection: psycopg.Connection
) -> None:
    """The same again, another VEN's, another hour's, and a weekend's."""
    settled(store, engine, at)
    at(LATER).run(SETTLEMENT)
    late(
        store,
        at,
        report("a", START + SLOT / 2, 1.0, LATER + HOUR),
        report("stranger", START, 50.0, LATER + HOUR),
        report("a", START - 9 * HOUR, 50.0, LATER + HOUR),
        report("a", START - 3 * DAY + SLOT / 2, 50.0, LATER + HOUR),
    )
    assert at(LATER + 2 * HOUR).run(SETTLEMENT) == 0
    assert revisions(connection) == [(1, 2.0)]


def test_the_hours_after_the_event_complete_the_same_day_baseline(
    store: Store, engine: Engine, at: At, connection: psycopg.Connection
) -> None:
    settled(store, engine, at)
    same_day = "SELECT revision, baseline_kw, note IS NULL FROM event_settlements"
    same_day += " WHERE baseline = 'same-day-3+2' ORDER BY 1"
    assert rows(connection, same_day) == [(1, pytest.approx(3.0), False)]
    publish(store, steady("a", 8.0, END, END + 4 * HOUR))
    at(LATER).catch_up(LANES)
    assert at(END + 3 * HOUR).run(SETTLEMENT) == 0  # the grace is for these hours as well
    assert at(END + 3 * HOUR + timedelta(minutes=10)).run(SETTLEMENT) == 1
    assert rows(connection, same_day)[1] == (2, pytest.approx((3 * 3 + 2 * 8) / 5), True)


def test_after_some_days_nothing_is_looked_at(
    store: Store, engine: Engine, at: At, connection: psycopg.Connection
) -> None:
    settled(store, engine, at)
    late(store, at, report("a", START + SLOT / 2, 9.0, END + 8 * DAY))
    assert at(END + 8 * DAY).run(SETTLEMENT) == 0
    assert revisions(connection) == [(1, 2.0)]


def test_what_retention_lets_go_changes_no_settlement(
    store: Store, engine: Engine, at: At, connection: psycopg.Connection
) -> None:
    settled(store, engine, at)
    connection.execute("DELETE FROM ven_history WHERE bucket < '2024-07-09'")
    connection.execute("INSERT INTO horizons VALUES (300, '2024-07-09')")
    assert at(LATER).run(SETTLEMENT) == 0
    assert revisions(connection) == [(1, 2.0)]


def test_other_events_are_no_baseline_days(
    store: Store, engine: Engine, at: At, connection: psycopg.Connection
) -> None:
    """The day before, in another event, it used much; who opted out of that one keeps the day."""
    for ven_id in ("a", "b"):
        sixteen_days(store, ven_id, used_kw=3.0, shed_kw=2.0)
        publish(store, [report(ven_id, START - DAY + n * SLOT + SLOT / 2, 11.0, END) for n in range(12)])
    first, last = START - DAY, END - DAY
    make_event(engine, event_id="other", start_time=first, started_at=first, end_time=last, ended_at=last)
    make_event(engine)
    take_part(engine, "a", "b")
    take_part(engine, "a", event_id="other")
    take_part(engine, "b", event_id="other", status="opted_out", opted_out_at=START - 2 * DAY)
    at(SETTLED_AT).catch_up(LANES)
    runner = at(SETTLED_AT)
    assert [runner.run(SETTLEMENT), runner.run(SETTLEMENT), runner.run(SETTLEMENT)] == [1, 1, 0]
    kw = "SELECT ven_id, baseline_kw FROM ven_settlements WHERE event_id = 'e' AND baseline = 'high-5-of-10'"
    assert rows(connection, f"{kw} ORDER BY 1") == [
        ("a", pytest.approx(3.0)),
        ("b", pytest.approx((4 * 3 + 7) / 5)),
    ]


def test_days_further_back_are_read_for_whom_the_last_ones_do_not_do(
    store: Store, engine: Engine, at: At, connection: psycopg.Connection
) -> None:
    """Its last eight similar days have no samples; the other VEN has nothing but these."""
    for ven_id, days in (("a", range(9, 40)), ("b", range(1, 16))):
        for back in reversed(days):
            publish(store, steady(ven_id, 2.0 + back / 100, *hours(back)))
        publish(store, steady(ven_id, 3.0, START - 4 * HOUR, START))
        publish(store, steady(ven_id, 1.0, START, END))
    make_event(engine)
    take_part(engine, "a", "b")
    at(SETTLED_AT).catch_up(LANES)
    assert at(SETTLED_AT).run(SETTLEMENT) == 1
    similar = [back for back in range(1, 40) if (START - back * DAY).weekday() < 5]
    for ven_id, days_of in (("a", [back for back in similar if back >= 9]), ("b", similar)):
        [[mean_kw, days_used]] = rows(
            connection,
            "SELECT baseline_kw, days_used FROM ven_settlements"
            f" WHERE baseline = '10-of-10' AND ven_id = '{ven_id}'",
        )
        assert (mean_kw, days_used) == (pytest.approx(2.0 + sum(days_of[:10]) / 1000), 10)


def hours(back: int) -> tuple[datetime, datetime]:
    """From noon to five, so many days before the event."""
    return START - back * DAY - 4 * HOUR, START - back * DAY + HOUR


# By hand


def run_jobs(database_url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jobs", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.thorough
def test_settling_by_hand(
    store: Store, engine: Engine, database_url: str, at: At, connection: psycopg.Connection
) -> None:
    sixteen_days(store, "a", used_kw=3.0, shed_kw=2.0)
    make_event(engine)
    take_part(engine, "a")
    at(SETTLED_AT).catch_up(LANES)
    told = "by 10-of-10-adjusted, delivered: 2.000 kW\n"
    assert run_jobs(database_url, "settle", "e").stdout.endswith(f"revision 1 made; {told}")
    assert run_jobs(database_url, "settle", "e").stdout == f"revision 1 still holds; {told}"
    unknown = run_jobs(database_url, "settle", "x")
    assert (unknown.returncode, unknown.stderr) == (2, "There is no event 'x' that has run and is over.\n")
    assert revisions(connection) == [(1, 2.0)]


# While it runs


def command(engine: Engine, ven_id: str, took_ms: int, status: str = "acknowledged") -> None:
    row = {
        "ven_id": ven_id,
        "command_id": f"c-{ven_id}",
        "op": "event",
        "event_id": "e",
        "data": {},
        "status": status,
        "attempts": 1,
        "created_at": START,
        "next_attempt_at": START,
        "sent_at": START,
        "acknowledged_at": START + timedelta(milliseconds=took_ms),
        "expires_at": END,
    }
    with engine.begin() as connection:
        connection.execute(insert(commands).values(row))


def test_a_running_event_is_followed(
    store: Store, engine: Engine, at: At, connection: psycopg.Connection
) -> None:
    """Half an hour into it; one VEN has not reported since the start, one joined late, one has opted out."""
    half = START + HOUR / 2
    for ven_id, shed_kw in (("a", 2.0), ("b", 1.0), ("out", 2.0)):
        for back in range(16, 0, -1):
            publish(store, steady(ven_id, 3.0, START - back * DAY - 4 * HOUR, START - back * DAY + HOUR))
        publish(store, steady(ven_id, 3.0, START - 4 * HOUR, START))
        publish(store, steady(ven_id, 3.0 - shed_kw, START, half))
    publish(store, steady("silent", 3.0, START - 4 * HOUR, START))
    make_event(engine, "active")
    take_part(engine, "a", "silent", status="started")
    take_part(engine, "out", status="opted_out", opted_out_at=START - timedelta(minutes=1))
    command(engine, "a", took_ms=400)
    command(engine, "out", took_ms=200)
    command(engine, "silent", took_ms=9000, status="sent")
    at(half).catch_up(LANES)
    [job] = (job for job in jobs() if job.name == "progress")
    connection.execute(f"LISTEN {EVENTS}".encode())
    assert at(half).run(job) == 1
    progress = (
        "SELECT current_reduction_kw, delivered_kwh, vens_responding, avg_response_ms, efficiency_percent,"
        " refreshed_at FROM event_progress"
    )
    assert rows(connection, progress) == [
        (pytest.approx(2.0), pytest.approx(1.0), 1, pytest.approx(300), pytest.approx(50), half)
    ]
    told = next(connection.notifies(timeout=10))
    assert (told.channel, told.payload) == (EVENTS, "e")
    take_part(engine, "b", status="started")
    publish(store, [*steady("a", 1.0, half, half + SLOT), *steady("b", 1.0, half, half + SLOT)])
    at(half).catch_up(LANES)
    assert at(half + SLOT).run(job) == 1
    [[now_kw, kwh, *_]] = rows(connection, progress)
    assert now_kw == pytest.approx(2.0 + 2.0)
    assert kwh == pytest.approx(2.0 * 35 / 60 + 1.0 * 30 / 60 + 2.0 * 5 / 60)
    delivered = dict(rows(connection, "SELECT ven_id, delivered_kwh FROM event_reductions"))
    expected = {"a": 2.0 * 35 / 60, "b": 1.0 * 30 / 60 + 2.0 * 5 / 60}
    assert {ven_id: delivered[ven_id] for ven_id in "ab"} == pytest.approx(expected)
    assert (delivered["silent"], delivered["out"]) == (None, None)
    assert value(connection, "SELECT count(*) FROM event_settlements") == 0


def test_what_vens_delivered_before_they_left_counts_while_it_runs(
    store: Store, engine: Engine, at: At, connection: psycopg.Connection
) -> None:
    """As in the settlement. All of their energy was lost from the provisional figure when they left."""
    quarter, half = START + HOUR / 4, START + HOUR / 2
    for ven_id in ("stays", "taken", "released", "before"):
        sixteen_days(store, ven_id, used_kw=3.0, shed_kw=2.0)
    make_event(engine, "active")
    make_event(engine, "active", event_id="urgent", priority=1)
    take_part(engine, "stays", status="started")
    take_part(engine, "taken", finished_at=quarter)
    take_part(engine, "taken", event_id="urgent", status="started", notified_at=quarter)
    take_part(engine, "released", status="planned", released_at=half)
    take_part(engine, "before", finished_at=START - timedelta(minutes=1))
    at(END).catch_up(LANES)
    [job] = (job for job in jobs() if job.name == "progress")
    assert at(END - SLOT).run(job) == 2
    delivered = "SELECT ven_id, delivered_kwh FROM event_reductions WHERE event_id = 'e'"
    expected = {"stays": 2 * 55 / 60, "taken": 0.5, "released": 1.0, "before": None}
    assert dict(rows(connection, delivered)) == {
        ven_id: pytest.approx(kwh) for ven_id, kwh in expected.items()
    }
    progress = (
        "SELECT current_reduction_kw, delivered_kwh, vens_reporting FROM event_progress ORDER BY event_id"
    )
    assert rows(connection, progress) == [
        (pytest.approx(2), pytest.approx(2 * 55 / 60 + 1.5), 1),
        (pytest.approx(2), pytest.approx(2 * 40 / 60), 1),
    ]


@pytest.mark.thorough
@pytest.mark.parametrize("asked_kw", [4.0, 0.0])
def test_an_event_that_asks_for_more_is_followed(
    asked_kw: float, store: Store, engine: Engine, at: At, connection: psycopg.Connection
) -> None:
    """Usage above the baseline counts, against what the present interval asks for, if anything."""
    half = START + HOUR / 2
    sixteen_days(store, "a", used_kw=3.0, shed_kw=-2.0)
    make_event(engine, "active", direction="increase", requested_reduction_kw=9.0)
    take_part(engine, "a", status="started")
    connection.execute(
        "INSERT INTO event_requests VALUES ('e', %s, 9), ('e', %s, %s)", [START, half, asked_kw]
    )
    connection.commit()
    at(END).catch_up(LANES)
    [job] = (job for job in jobs() if job.name == "progress")
    assert at(END - SLOT).run(job) == 1
    progress = "SELECT current_reduction_kw, delivered_kwh, efficiency_percent FROM event_progress"
    percent = pytest.approx(50) if asked_kw else None
    assert rows(connection, progress) == [(pytest.approx(2), pytest.approx(2 * 55 / 60), percent)]
    client = testing.TestClient(create_app(engine, lambda: END, []))
    so_far = client.simulate_get("/api/events/e/performance").json["portfolio"]
    asked_kwh = 9 / 2 + asked_kw * 25 / 60
    assert so_far["requestedKwh"] == pytest.approx(asked_kwh, abs=0.001)
    assert so_far["performancePercent"] == pytest.approx(100 * (2 * 55 / 60) / asked_kwh, abs=0.001)


def test_whoever_falls_silent_stops_counting(
    store: Store, engine: Engine, at: At, connection: psycopg.Connection
) -> None:
    """The reduction stayed as it was with the fleet offline. Reports every 5 minutes: 15 minutes."""
    for ven_id in ("a", "b"):
        sixteen_days(store, ven_id, used_kw=3.0, shed_kw=0.0)
        publish(store, [report(ven_id, START + n * SLOT + SLOT / 2, 0.0, START + n * SLOT) for n in range(3)])
    publish(store, [report("b", END - 2 * SLOT, 1.0, END - 2 * SLOT)])
    make_event(engine, "active")
    take_part(engine, "a", "b", status="started")
    at(END).catch_up(LANES)
    connection.execute("UPDATE ven_snapshots SET heard_at = %s WHERE ven_id = 'a'", [START + 2 * SLOT])
    progress = "SELECT current_reduction_kw, vens_reporting FROM event_progress"
    follow = Progress(Cadence().rules()).follow_events
    for slots, reporting in [(4, 2), (6, 1)]:
        with engine.begin() as followed:
            follow(followed, START + slots * SLOT)
        latest = "SELECT sum(3 - used_power_kw) FROM ven_snapshots"
        counted = value(connection, latest if reporting == 2 else f"{latest} WHERE ven_id = 'b'")
        assert rows(connection, progress) == [(pytest.approx(counted), reporting)]
    connection.execute("UPDATE ven_snapshots SET status = 'offline'")
    with engine.begin() as followed:
        follow(followed, START + 7 * SLOT)
    assert rows(connection, progress) == [(0.0, 0)]


def test_baselines_are_ready_when_the_event_starts(
    store: Store, engine: Engine, at: At, connection: psycopg.Connection
) -> None:
    """What was known then counts, but for the one without similar days: the hour before the start does."""
    sixteen_days(store, "a", used_kw=3.0, shed_kw=2.0)
    publish(
        store, [*steady("new", 9.0, START - 2 * HOUR, START - HOUR), *steady("new", 2.0, START - HOUR, END)]
    )
    make_event(engine, "scheduled", started_at=None)
    take_part(engine, "a", "new", status="acknowledged")
    at(END).catch_up(LANES)
    [job] = (job for job in jobs() if job.name == "progress")
    early = START - timedelta(minutes=5)
    assert at(early).run(job) == 0
    assert value(connection, "SELECT count(*) FROM event_progress") == 0
    connection.execute("UPDATE events SET status = 'active'")
    connection.execute("DELETE FROM ven_history WHERE ven_id = 'a' AND bucket < %s", [START])
    assert at(START + HOUR / 2).run(job) == 1
    assert rows(connection, "SELECT current_reduction_kw, delivered_kwh FROM event_progress") == [
        (pytest.approx(2.0), pytest.approx(1.0))
    ]


def test_baselines_of_a_large_fleet_follow_one_another_without_a_pause(
    store: Store, engine: Engine, at: At, connection: psycopg.Connection
) -> None:
    """Of an event that starts at once each cycle measured two thousand VENs more."""
    for ven_id in "abcde":
        sixteen_days(store, ven_id, used_kw=3.0, shed_kw=2.0)
    make_event(engine, "active")
    take_part(engine, *"abcde", status="notified")
    at(END).catch_up(LANES)
    progress = Progress(Cadence().rules(), most_vens=2)
    steps = (progress.follow_events, progress.make_missing_baselines)
    at(START + HOUR / 2).run(Job("progress", 5, "", steps, rounds=9))
    measured = "SELECT vens_reporting, current_reduction_kw FROM event_progress"
    assert rows(connection, measured) == [(5, pytest.approx(10.0))]


def test_a_cycle_makes_baselines_for_some_seconds_at_most(
    store: Store, engine: Engine, at: At, connection: psycopg.Connection
) -> None:
    """Its lease would expire, and another scheduler would start again."""
    for ven_id in "abc":
        sixteen_days(store, ven_id, used_kw=3.0, shed_kw=2.0)
    make_event(engine, "active")
    take_part(engine, *"abc", status="notified")
    at(END).catch_up(LANES)
    progress, now = Progress(Cadence().rules(), most_vens=1), START + HOUR / 2
    with engine.begin() as followed:
        assert progress.follow_events(followed, now) == 1
        assert progress.make_missing_baselines(followed, now + CATCH_UP + timedelta(seconds=1)) == 0
        assert progress.make_missing_baselines(followed, now + CATCH_UP) == 2
    assert value(connection, "SELECT vens_reporting FROM event_progress") == 2


def test_where_nobody_takes_part_nothing_is_delivered(
    engine: Engine, at: At, connection: psycopg.Connection
) -> None:
    """That is known, and so it is zero: an efficiency of null looked as if no event ran."""
    make_event(engine, "active")
    take_part(engine, "out", status="opted_out", opted_out_at=START - timedelta(minutes=1))
    with engine.begin() as followed:
        Progress(Cadence().rules()).follow_events(followed, START + SLOT)
    progress = "SELECT current_reduction_kw, delivered_kwh, efficiency_percent FROM event_progress"
    assert rows(connection, progress) == [(0.0, 0.0, 0.0)]
    connection.execute("UPDATE events SET status = 'completed', ended_at = end_time")
    at(END + HOUR).run(SETTLEMENT)
    settled = "SELECT DISTINCT delivered_kw, delivered_kwh, performance_percent, note FROM event_settlements"
    assert rows(connection, settled) == [(0.0, 0.0, 0.0, "nobody took part")]
    assert value(connection, "SELECT actual_reduction_kw FROM events") == 0


def test_who_answered_is_known_of_an_event_that_nobody_followed(
    engine: Engine, at: At, connection: psycopg.Connection
) -> None:
    """The jobs were away from before its start until after its end."""
    make_event(engine)
    take_part(engine, "a", "silent")
    command(engine, "a", took_ms=400)
    command(engine, "silent", took_ms=9000, status="sent")
    at(END + HOUR).run(SETTLEMENT)
    answered = "SELECT vens_responding, avg_response_ms FROM event_progress"
    assert rows(connection, answered) == [(1, pytest.approx(400))]


def test_following_reads_old_slots_once_and_what_it_says_stays_true(
    store: Store, engine: Engine, at: At, connection: psycopg.Connection
) -> None:
    sixteen_days(store, "a", used_kw=3.0, shed_kw=2.0)
    make_event(engine, "active")
    take_part(engine, "a", status="started")
    at(END).catch_up(LANES)
    [job] = (job for job in jobs() if job.name == "progress")
    for minutes in range(1, 60, 7):
        now = START + timedelta(minutes=minutes)
        assert at(now).run(job) == 1
        kwh = value(connection, "SELECT delivered_kwh FROM event_progress")
        assert kwh == pytest.approx(2.0 * minutes / 60)


# Over HTTP


@pytest.fixture
def client(engine: Engine) -> testing.TestClient:
    return testing.TestClient(create_app(engine, lambda: SETTLED_AT, []))


def performance(client: testing.TestClient, query: str = "") -> Any:
    answer = client.simulate_get(f"/api/events/e/performance{query}")
    assert answer.status_code == 200, answer.text
    msgspec.json.decode(answer.content, type=EventPerformance)
    return answer.json


def test_performance_is_what_was_settled(
    store: Store, engine: Engine, at: At, client: testing.TestClient
) -> None:
    settled(store, engine, at)
    at(LATER).run(SETTLEMENT)
    late(store, at, *(report("a", START + n * SLOT + SLOT / 2, 2.0, LATER + HOUR) for n in range(12)))
    assert at(LATER + 2 * HOUR).run(SETTLEMENT) == 1
    newest = performance(client)
    figures = {
        "requestedKw": 2.0,
        "requestedKwh": 2.0,
        "baselineKw": 3.0,
        "actualKw": 1.5,
        "deliveredKw": 1.5,
        "deliveredKwh": 1.5,
        "deliveredLowKw": 1.5,
        "deliveredHighKw": 1.5,
        "performancePercent": 75.0,
        "coveragePercent": 100.0,
        "rrmsePercent": 0.0,
        "daysUsed": 10,
        "adjustment": "multiplicative",
        "adjustmentKw": 0.0,
        "adjustmentReason": "the baseline is positive, before the event and during it",
        "note": None,
    }
    assert newest["vens"] == [figures | {"venId": "a"}]
    assert newest["portfolio"] == figures | {
        "requestedKw": 4.0,
        "requestedKwh": 4.0,
        "performancePercent": 37.5,
        "adjustmentReason": "multiplicative for 1 VENs",
    }
    assert newest["baseline"]["name"] == "10-of-10-adjusted"
    assert (newest["revision"], newest["provisional"], newest["intervalPercent"]) == (2, False, 90)
    assert newest["revisions"] == [
        {"revision": 1, "settledAt": "2024-07-10T17:05:00Z"},
        {"revision": 2, "settledAt": "2024-07-11T07:00:00Z"},
    ]
    first = performance(client, "?revision=1&baseline=same-day-3+2")
    assert (first["revision"], first["settledAt"]) == (1, "2024-07-10T17:05:00Z")
    assert first["baseline"]["name"] == "same-day-3+2"
    assert first["portfolio"]["deliveredKw"] == 2.0
    assert first["portfolio"]["note"] == "for 1 of 1 VENs the hour before the event stands in"
    assert {each["deliveredLowKw"] for each in (first["portfolio"], *first["vens"])} == {None}
    detail = client.simulate_get("/api/events/e").json
    assert detail["actualReductionKw"] == 1.5


def test_performance_is_provisional_until_it_is_settled(
    store: Store, engine: Engine, at: At, client: testing.TestClient
) -> None:
    sixteen_days(store, "a", used_kw=3.0, shed_kw=2.0)
    make_event(engine, "active")
    take_part(engine, "a", status="started")
    half = START + HOUR / 2
    at(half).catch_up(LANES)
    [job] = (job for job in jobs() if job.name == "progress")
    at(half).run(job)
    provisional = performance(client)
    assert (provisional["provisional"], provisional["revision"], provisional["vens"]) == (True, None, [])
    assert provisional["portfolio"]["deliveredKwh"] == 1.0
    assert provisional["portfolio"]["deliveredKw"] == 2.0
    assert provisional["portfolio"]["performancePercent"] == 50.0
    assert client.simulate_get("/api/stats/network").json["networkEfficiency"] == 50.0
    other = client.simulate_get("/api/events/e/performance?baseline=10-of-10")
    assert (other.status_code, "not settled yet" in other.json["detail"]) == (409, True)
    assert client.simulate_get("/api/events/e/performance?revision=1").status_code == 404


def test_a_baseline_that_was_not_computed_names_those_that_were(
    store: Store, engine: Engine, at: At, client: testing.TestClient
) -> None:
    settled(store, engine, at)
    answer = client.simulate_get("/api/events/e/performance?baseline=pjm-4-of-5")
    assert (answer.status_code, "10-of-10-adjusted" in answer.json["detail"]) == (404, True)
    assert performance(client)["baselines"] == list(GENERIC)


def test_the_baselines_are_listed_with_their_parameters(client: testing.TestClient) -> None:
    methods = {each["name"]: each for each in client.simulate_get("/api/baselines").json}
    assert list(methods) == list(BASELINES)
    assert [name for name, method in methods.items() if method["isPrimary"]] == ["10-of-10-adjusted"]
    assert {name for name, method in methods.items() if method["isComputed"]} == set(GENERIC)
    pjm, site = methods["pjm-4-of-5"], methods["10-of-10-adjusted"]
    assert (pjm["weekday"], pjm["weekend"]) == (
        {"highest": 4, "last": 5, "fewest": 4},
        {"highest": 2, "last": 3, "fewest": 2},
    )
    assert (pjm["lowUsagePercent"], pjm["adjustment"]["capPercent"], pjm["sourceRead"]) == (25.0, None, False)
    assert (site["lookBackDays"], site["adjustment"]["capPercent"]) == (45, 20)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        ("x/performance", 404, "There is no event 'x'."),
        ("e/performance", 409, "Event 'e' is scheduled, and nothing of it is measured yet."),
        ("e/performance?revision=2", 404, "Event 'e' has no revision 2: it is not settled yet."),
        ("e/performance?revision=0", 400, "revision must be a whole number from 1 on"),
        ("e/performance?baseline=11-of-10", 400, f"baseline must be one of {', '.join(BASELINES)}"),
    ],
)
def test_what_there_is_nothing_to_say_of(
    path: str, status: int, detail: str, engine: Engine, client: testing.TestClient
) -> None:
    make_event(engine, "scheduled", started_at=None)
    answer = client.simulate_get(f"/api/events/{path}")
    assert (answer.status_code, answer.json["detail"]) == (status, detail)
