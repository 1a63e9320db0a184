"""Baselines as series: the same as settlements are made of, for a VEN, an event, and times of no event."""

import io
from collections.abc import Callable
from typing import Any

import polars as pl
import psycopg
import pytest
from falcon import testing
from sqlalchemy import Engine

from ingest.storing.store import Store
from jobs.running.runner import Runner
from schemas.demand_response.baselines import BASELINES
from serving.app import create_app
from serving.events.rules import EventRules
from serving.routes import AppOptions
from tests.integration.published import rows
from tests.integration.test_settlement import (
    DAY,
    END,
    HOUR,
    LANES,
    SETTLED_AT,
    START,
    jobs,
    make_event,
    publish,
    report,
    sixteen_days,
    steady,
    take_part,
)

Read = Callable[..., Any]


@pytest.fixture
def client(store: Store, engine: Engine) -> testing.TestClient:
    """A settled event of three VENs, one of them without earlier days, and of one that left before."""
    sixteen_days(store, "a", used_kw=3.0, shed_kw=2.0)
    sixteen_days(store, "b", used_kw=5.0, shed_kw=1.0)
    sixteen_days(store, "out", used_kw=9.0, shed_kw=0.0)
    publish(store, steady("new", 1.0, START - HOUR, END))
    make_event(engine)
    take_part(engine, "a", "b", "new")
    take_part(engine, "out", status="opted_out", opted_out_at=START - HOUR)
    [settlement] = (job for job in jobs(listed_baselines="all") if job.name == "settlement")
    runner = Runner(engine, lambda: SETTLED_AT)
    runner.catch_up(LANES)
    assert runner.run(settlement) == 1
    return testing.TestClient(create_app(engine, lambda: SETTLED_AT, []))


@pytest.fixture
def read(client: testing.TestClient) -> Read:
    def read(path: str, **params: str) -> Any:
        answer = client.simulate_get(f"/api{path}", params=params)
        assert answer.status_code == 200, answer.text
        return answer.json

    return read


@pytest.mark.thorough
def test_a_series_is_what_the_settlement_is_made_of(read: Read, connection: psycopg.Connection) -> None:
    """By every baseline, of each VEN, with its words; their sum is the portfolio's."""
    settled = rows(
        connection,
        "SELECT ven_id, baseline, baseline_kw, actual_kw, days_used, adjustment, note FROM ven_settlements"
        " WHERE ven_id <> 'out'",
    )
    assert len(settled) == 3 * len(BASELINES)
    for ven_id, baseline, baseline_kw, actual_kw, days_used, adjustment, note in settled:
        series = read("/events/e/baseline", venId=ven_id, baseline=baseline)
        assert mean(series, "baselineKw") == pytest.approx(baseline_kw, abs=0.001)
        assert mean(series, "usedPowerKw") == pytest.approx(actual_kw, abs=0.001)
        words = (series["daysUsed"], series["adjustment"], series["note"])
        assert words == (days_used, adjustment, note)
    portfolio = rows(connection, "SELECT baseline, baseline_kw, actual_kw FROM event_settlements")
    for baseline, baseline_kw, actual_kw in portfolio:
        series = read("/events/e/baseline", baseline=baseline)
        assert (series["vens"], series["venId"]) == (3, ""), "who left before the start is not in it"
        assert mean(series, "baselineKw") == pytest.approx(baseline_kw, abs=0.001)
        assert mean(series, "usedPowerKw") == pytest.approx(actual_kw, abs=0.001)


def mean(series: Any, key: str) -> float:
    points = [point[key] for point in series["points"]]
    assert len(points) == 12
    return float(sum(points) / len(points))


@pytest.mark.thorough
def test_a_baseline_ahead_of_time_is_that_of_an_event_then(read: Read, engine: Engine) -> None:
    """Tomorrow: what was used before the settled event counts, what was used in it does not."""
    series = read("/vens/a/baseline", start="2024-07-11T16:02:00Z", end="2024-07-11T16:30:00Z")
    assert [point["timestamp"] for point in series["points"]] == [
        f"2024-07-11T16:{minute:02}:00Z" for minute in range(0, 30, 5)
    ]
    assert {point["baselineKw"] for point in series["points"]} == {3.0}
    assert {point["usedPowerKw"] for point in series["points"]} == {None}
    assert (series["eventId"], series["venId"], series["vens"]) == ("", "a", 1)
    past = read("/vens/a/baseline", start=START.isoformat(), end=END.isoformat(), baseline="10-of-10")
    assert (mean(past, "baselineKw"), mean(past, "usedPowerKw")) == (3.0, 1.0)
    make_event(engine, "scheduled", "tomorrow", start_time=START + DAY, end_time=END + DAY, started_at=None)
    at_once = read("/events/tomorrow/baseline", venId="a", baseline="10-of-10")
    assert mean(at_once, "baselineKw") == 3.0


def test_slower_meters_are_read_by_their_slots(
    store: Store, engine: Engine, connection: psycopg.Connection
) -> None:
    """A sample each quarter of an hour: its power is that of three slots."""
    for back in range(16, -1, -1):
        for minutes in range(-240, 60, 15):
            at = START - back * DAY + minutes * HOUR / 60
            publish(store, [report("slow", at, 4.0 if back else 1.0, at)])
    connection.execute(
        "INSERT INTO slot_widths (ven_id, since, width_s, source, recorded_at)"
        " VALUES ('slow', '2024-06-01', 900, 'people', '2024-06-01')"
    )
    connection.commit()
    Runner(engine, lambda: SETTLED_AT).catch_up(LANES)
    client = testing.TestClient(create_app(engine, lambda: SETTLED_AT, []))
    query = {"start": START.isoformat(), "end": END.isoformat(), "baseline": "10-of-10"}
    series = client.simulate_get("/api/vens/slow/baseline", params=query).json
    assert (series["daysUsed"], series["note"]) == (10, None)
    assert (mean(series, "baselineKw"), mean(series, "usedPowerKw")) == (4.0, 1.0)


def test_similar_days_are_those_of_the_site(engine: Engine, client: testing.TestClient) -> None:
    """On a holiday, by the calendar of the settings, weekends are alike."""
    path, query = "/api/vens/a/baseline", {"start": START.isoformat(), "end": END.isoformat()}
    query["baseline"] = "10-of-10"
    rules = EventRules(holidays="2024-07-10")
    holiday = testing.TestClient(create_app(engine, lambda: SETTLED_AT, [], AppOptions(event_rules=rules)))
    assert client.simulate_get(path, params=query).json["daysUsed"] == 10
    assert holiday.simulate_get(path, params=query).json["daysUsed"] < 10


@pytest.mark.thorough
@pytest.mark.parametrize("form", ["arrow", "parquet", "csv"])
def test_series_and_performance_in_columns(form: str, client: testing.TestClient, read: Read) -> None:
    for path in ("/events/e/baseline", "/vens/a/baseline"):
        query = {"start": START.isoformat(), "end": END.isoformat()} if "vens" in path else {}
        answer = client.simulate_get(f"/api{path}", params=query | {"format": form})
        expected = read(path, **query)["points"]
        assert frame(form, answer.content).select("baselineKw", "usedPowerKw").to_dicts() == [
            {name: point[name] for name in ("baselineKw", "usedPowerKw")} for point in expected
        ]
    performance = read("/events/e/performance")
    table = frame(form, client.simulate_get("/api/events/e/performance", params={"format": form}).content)
    every = [performance["portfolio"] | {"venId": ""}, *performance["vens"]]
    columns = ["venId", "requestedKwh", "deliveredKwh", "coveragePercent", "daysUsed"]
    found = table.select(columns).with_columns(pl.col("venId").fill_null("")).to_dicts()
    assert found == [{name: row[name] for name in columns} for row in every]


def frame(form: str, content: bytes) -> pl.DataFrame:
    readers = {"arrow": pl.read_ipc_stream, "parquet": pl.read_parquet, "csv": pl.read_csv}
    return readers[form](io.BytesIO(content))


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("path", "status", "word"),
    [
        ("/events/nobody/baseline", 404, "'nobody'"),
        ("/events/e/baseline?venId=nobody", 404, "'nobody'"),
        ("/events/e/baseline?baseline=best", 400, "baseline"),
        ("/vens/nobody/baseline?start=2024-07-10&end=2024-07-11", 404, "'nobody'"),
        ("/vens/a/baseline?end=2024-07-11", 400, "start"),
        ("/vens/a/baseline?start=2024-07-11", 400, "end"),
        ("/vens/a/baseline?start=2024-07-11&end=2024-07-11", 400, "after start"),
        ("/vens/a/baseline?start=2024-07-11&end=2024-07-13", 400, "at most"),
        ("/vens/a/baseline?start=soon&end=2024-07-13", 400, "start"),
    ],
)
def test_series_that_cannot_be_meant(path: str, status: int, word: str, client: testing.TestClient) -> None:
    refused = client.simulate_get(f"/api{path}")
    assert refused.status_code == status, refused.text
    assert word in refused.json["detail"]
