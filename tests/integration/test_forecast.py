"""The forecast by load type, from messages to answers: sums by a plain loop, gaps, events, local days."""

import io
import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from statistics import fmean
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from falcon import testing
from sqlalchemy import Engine, insert, text

from ingest.decoding.messages import Received
from ingest.storing.batch import Batch
from ingest.storing.store import Store
from jobs.running.runner import Runner
from jobs.running.schedule import Job, schedule
from jobs.settings import Cadence
from jobs.summaries.forecasts import forecast_load_types
from jobs.summaries.rebuild import rebuild
from schemas.db.connections import connect
from schemas.tables.events import event_participations, events
from schemas.times.time_ranges import TimeRange
from serving.app import create_app
from serving.routes import AppOptions

BERLIN = "Europe/Berlin"
BEGIN = datetime(2026, 3, 2, tzinfo=UTC)
"""A Monday, four weeks before clocks change in Berlin."""

HALF_HOUR = timedelta(minutes=30)
DAY = timedelta(days=1)
SUMS = (
    "SELECT load_type, half_hour, used_kw, used_loads, shed_kw, shed_loads FROM load_type_half_hours"
    " ORDER BY load_type, half_hour"
)


class Fleet:
    """Homes that report, the lanes and the job, and a service; the time is that of its last run."""

    def __init__(self, engine: Engine, database_url: str, zone: str = "UTC") -> None:
        self.engine = engine
        self._connection = connect(database_url, "tests")
        self.store = Store(self._connection, "tests")
        self.now = BEGIN
        self._zone = zone
        jobs = schedule(Cadence.model_validate({"TIME_ZONE": zone}))
        self._lanes = [job for job in jobs if job.has_backlog]
        [self._forecast] = [job for job in jobs if job.name == "forecast"]
        self.runner = Runner(engine, lambda: self.now)
        self.client = testing.TestClient(create_app(engine, lambda: self.now, [], AppOptions(time_zone=zone)))

    def close(self) -> None:
        self._connection.close()

    def report(self, at: datetime, loads: list[dict[str, Any]], ven_id: str = "a") -> None:
        self.report_many([(at, loads)], ven_id)

    def report_many(self, reports: list[tuple[datetime, list[dict[str, Any]]]], ven_id: str = "a") -> None:
        messages = [
            Received(
                f"oadr/meter/{ven_id}",
                json.dumps(
                    {"venId": ven_id, "timestamp": at.timestamp(), "usedPowerKw": 1, "loads": loads}
                ).encode(),
                self.now,
            )
            for at, loads in reports
        ]
        self.store.write(Batch.of(messages, timedelta(days=4000)))

    def describe(self, at: datetime, loads: list[dict[str, Any]], ven_id: str = "a") -> None:
        body = {"venId": ven_id, "timestamp": at.timestamp(), "loads": loads}
        received = Received(f"ven/loads/{ven_id}", json.dumps(body).encode(), self.now)
        self.store.write(Batch.of([received], timedelta(days=4000)))

    def run(self, now: datetime) -> int:
        """The lanes until nothing is pending, then the job until it finds nothing to do."""
        self.now = now
        self.runner.catch_up(self._lanes)
        return self.forecast()

    def forecast(self) -> int:
        rows = 0
        while done := self.runner.run(self._forecast):
            rows += done
        return rows

    def sums(self) -> list[tuple[Any, ...]]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(SUMS))]

    def ask(self, status: int = 200, **parameters: str) -> Any:
        response = self.client.simulate_get("/api/forecast", params=parameters)
        assert response.status_code == status, response.text
        return response.json


@pytest.fixture
def fleet(engine: Engine, database_url: str) -> Iterator[Fleet]:
    made = Fleet(engine, database_url)
    yield made
    made.close()


def entry(
    load_id: str, kind: str, kw: float | None, could_kw: float | None = None, **more: Any
) -> dict[str, Any]:
    said: dict[str, Any] = {"id": load_id, "type": kind}
    said |= {} if kw is None else {"currentPowerKw": kw}
    said |= {} if could_kw is None else {"shedCapabilityKw": could_kw}
    return said | more


def weeks(fleet: Fleet, days: int, power: Any, first: datetime = BEGIN) -> datetime:
    """A report at the middle of each half hour of some days; `power(at)` gives the kW of an `ev`, or None."""
    reports = []
    for number in range(days * 48):
        at = first + number * HALF_HOUR + timedelta(minutes=15)
        if (kw := power(at)) is not None:
            reports.append((at, [entry("ev1", "ev", kw, max(kw, 0.0))]))
    fleet.report_many(reports)
    return first + days * DAY


def test_half_hours_are_those_of_a_plain_loop(fleet: Fleet) -> None:
    """Means of five-minute means of each load, added up by type; export is negative; what is late counts."""
    expected_used = defaultdict[tuple[str, str, datetime], dict[datetime, list[float]]](
        lambda: defaultdict(list)
    )
    expected_shed = defaultdict[tuple[str, str, datetime], list[float]](list)
    for ven_id in ("a", "b"):
        for number in range(40):
            at = BEGIN + timedelta(seconds=137 * number * (1 + (ven_id == "b")))
            solar, ev = -0.1 * number, 0.25 * number
            loads = [entry("s", "solar", solar), entry("e", "ev", ev, ev / 2 if number % 3 else None)]
            fleet.report(at, loads, ven_id)
            half_hour = BEGIN + (at - BEGIN) // HALF_HOUR * HALF_HOUR
            slot = BEGIN + (at - BEGIN) // timedelta(minutes=5) * timedelta(minutes=5)
            expected_used[ven_id, "solar", half_hour][slot].append(solar)
            expected_used[ven_id, "ev", half_hour][slot].append(ev)
            if number % 3:
                expected_shed[ven_id, "ev", half_hour].append(ev / 2)
    fleet.describe(BEGIN + timedelta(minutes=3), [entry("e", "ev", None, 7.0)], "b")
    expected_shed["b", "ev", BEGIN].append(7.0)
    end = BEGIN + timedelta(hours=5)
    fleet.run(end)
    rows = defaultdict[tuple[str, datetime], list[float]](lambda: [0.0, 0, 0.0, 0])
    for (_, kind, half_hour), slots in expected_used.items():
        rows[kind, half_hour][0] += fmean(fmean(each) for each in slots.values())
        rows[kind, half_hour][1] += 1
    for (_, kind, half_hour), values in expected_shed.items():
        rows[kind, half_hour][2] += fmean(values)
        rows[kind, half_hour][3] += 1
    assert_rows(fleet.sums(), rows)
    assert min(row[2] for row in fleet.sums()) < 0
    late = BEGIN + timedelta(minutes=1)
    fleet.report(late, [entry("s", "solar", -9.0)], "c")
    fleet.run(end)
    rows["solar", BEGIN][0] -= 9.0
    rows["solar", BEGIN][1] += 1
    assert_rows(fleet.sums(), rows)


def assert_rows(found: list[tuple[Any, ...]], expected: dict[tuple[str, datetime], list[float]]) -> None:
    assert {row[:2]: list(row[2:]) for row in found} == {
        key: pytest.approx(values) for key, values in expected.items()
    }


def test_a_half_hour_that_is_not_over_waits(fleet: Fleet) -> None:
    fleet.report(BEGIN + timedelta(minutes=10), [entry("e", "ev", 3.0)])
    fleet.run(BEGIN + timedelta(minutes=29))
    assert fleet.sums() == []
    fleet.run(BEGIN + timedelta(minutes=30))
    assert fleet.sums() == [("ev", BEGIN, 3.0, 1, 0.0, 0)]


def test_a_late_description_counts(fleet: Fleet) -> None:
    """It comes by the snapshot lane alone: the history lane reads no descriptions."""
    fleet.report(BEGIN + timedelta(minutes=10), [entry("e", "ev", 3.0)])
    end = BEGIN + timedelta(hours=1)
    fleet.run(end)
    fleet.describe(BEGIN + timedelta(minutes=20), [entry("e", "ev", None, 2.5)])
    fleet.run(end)
    assert fleet.sums() == [("ev", BEGIN, 3.0, 1, 2.5, 1)]


def test_what_people_set_for_a_load_counts(fleet: Fleet) -> None:
    """A type, a shed capability; and what is disabled could not be shed."""
    at = BEGIN + timedelta(minutes=10)
    fleet.report(at, [entry("e", "ev", 3.0, 2.0), entry("x", "ev", 1.0, 1.0)])
    fleet.run(at)
    change = partial(fleet.client.simulate_patch, headers={"Content-Type": "application/json"})
    assert change("/api/vens/a/loads/e", json={"type": "boiler", "shedCapabilityKw": 0.5}).status_code == 200
    assert change("/api/vens/a/loads/x", json={"enabled": False}).status_code == 200
    fleet.run(BEGIN + HALF_HOUR)
    assert fleet.sums() == [("boiler", BEGIN, 3.0, 1, 0.5, 1), ("ev", BEGIN, 1.0, 1, 0.0, 0)]


def test_half_hours_in_an_event_of_the_ven_are_left_out(fleet: Fleet) -> None:
    start = BEGIN + timedelta(minutes=45)
    for ven_id in ("a", "b"):
        for number in range(4):
            at = BEGIN + number * HALF_HOUR + timedelta(minutes=10)
            fleet.report(at, [entry("e", "ev", 2.0 if ven_id == "a" else 5.0, 1.0)], ven_id)
    event = {"event_id": "x", "status": "completed", "start_time": start, "end_time": start + HALF_HOUR}
    event |= {"requested_reduction_kw": 1.0, "notify_at": start, "started_at": start, "created_at": start}
    part = {
        "ven_id": "a",
        "event_id": "x",
        "status": "finished",
        "available_kw": 1,
        "requested_reduction_kw": 1,
    }
    with fleet.engine.begin() as connection:
        connection.execute(insert(events).values(event))
        connection.execute(insert(event_participations).values(part | {"notified_at": start}))
    fleet.run(BEGIN + 4 * HALF_HOUR)
    assert [(row[2], row[3], row[5]) for row in fleet.sums()] == [(7, 2, 2), (5, 1, 1), (5, 1, 1), (7, 2, 2)]


@pytest.mark.thorough
def test_rebuilding_makes_half_hours_anew(fleet: Fleet) -> None:
    fleet.report(BEGIN + timedelta(minutes=10), [entry("e", "ev", 3.0)])
    end = BEGIN + timedelta(hours=1)
    fleet.run(end)
    with fleet.engine.begin() as connection:
        connection.execute(text("UPDATE ven_load_samples SET used_power_kw = 4, shed_capability_kw = 1"))
    list(rebuild(fleet.engine, TimeRange(BEGIN, end)))
    fleet.forecast()
    assert fleet.sums() == [("ev", BEGIN, 4.0, 1, 1.0, 1)]
    with fleet.engine.begin() as connection:
        connection.execute(text("DELETE FROM ven_load_samples"))
        connection.execute(text("DELETE FROM ven_telemetry"))
    list(rebuild(fleet.engine, TimeRange(BEGIN, end)))
    fleet.forecast()
    assert fleet.sums() == []


def test_the_backlog_is_worked_off_in_parts_and_old_half_hours_go(fleet: Fleet) -> None:
    end = weeks(fleet, 50, lambda at: 1.0 if at.hour < 4 else None)
    fleet.now = end
    fleet.runner.catch_up(fleet._lanes)
    with fleet.engine.begin() as connection:
        assert forecast_load_types(connection, end) == 96
        assert connection.execute(text("SELECT count(*) FROM load_type_forecasts")).scalar() == 0
    fleet.run(end)
    sums = fleet.sums()
    assert (sums[0][1], len(sums)) == (end - 44 * DAY, 44 * 8)
    with fleet.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM stale_half_hours")).scalar() == 0


def test_a_steady_load_is_forecast_exactly(fleet: Fleet) -> None:
    """By half hour and kind of day, 48 hours from the half hour of now on, in each format."""

    def power(at: datetime) -> float:
        return at.hour + (100.0 if at.weekday() >= 5 else 0.0)

    friday = BEGIN + 18 * DAY
    weeks(fleet, 18, power)
    now = friday + timedelta(minutes=10)
    fleet.run(now)
    answer = fleet.ask()
    assert (answer["origin"], answer["timeZone"], "note" in answer) == ("2026-03-20T00:00:00Z", "UTC", True)
    assert len(answer["points"]) == 96
    for number, point in enumerate(answer["points"]):
        at = friday + number * HALF_HOUR
        assert point["type"] == "ev"
        assert point["timestamp"] == f"{at:%Y-%m-%dT%H:%M:%SZ}"
        is_weekend = number >= 48
        kw = None if is_weekend else power(at)
        assert [point[f"used{share}Kw"] for share in ("P10", "P50", "P90")] == [kw] * 3
        assert [point[f"shedCapability{share}Kw"] for share in ("P10", "P50", "P90")] == [kw] * 3
        assert (point["usedDays"], point["shedCapabilityDays"]) == ((4, 4) if is_weekend else (14, 14))
    assert answer["note"] == (
        "Too few similar days for the usage of ev and the shed capability of ev:"
        " a forecast needs 5 on which loads reported it at that time."
    )
    check_formats(fleet, answer["points"])
    total = fleet.ask(by="total", start="2026-03-20T18:00:00Z", end="2026-03-20T18:00:00Z")
    assert [(point["timestamp"], point["usedP50Kw"]) for point in total["points"]] == [
        ("2026-03-20T18:00:00Z", 18.0)
    ]


def check_formats(fleet: Fleet, points: list[dict[str, Any]]) -> None:
    read = {"arrow": pl.read_ipc_stream, "parquet": pl.read_parquet, "csv": pl.read_csv}
    for name, reader in read.items():
        response = fleet.client.simulate_get("/api/forecast", params={"format": name})
        assert response.status_code == 200
        frame = reader(io.BytesIO(response.content))
        assert frame.columns == list(points[0])
        assert frame["usedP50Kw"].to_list() == [point["usedP50Kw"] for point in points]


@pytest.mark.parametrize("gap", ["half", "all"])
def test_gaps_are_not_zeros(fleet: Fleet, gap: str) -> None:
    """The loads that report stand for those that are silent; a day without any does not count."""
    reports: dict[str, list[tuple[datetime, list[dict[str, Any]]]]] = {"a": [], "b": []}
    for number in range(11 * 48):
        at = BEGIN + number * HALF_HOUR + timedelta(minutes=15)
        is_gap = at.date() == (BEGIN + 3 * DAY).date()
        for ven_id, each in reports.items():
            if not is_gap or (gap == "half" and ven_id == "a"):
                each.append((at, [entry("e", "ev", 4.0, 2.0)]))
    for ven_id, each in reports.items():
        fleet.report_many(each, ven_id)
    fleet.run(BEGIN + 11 * DAY)
    first = fleet.ask()["points"][0]
    assert (first["usedP10Kw"], first["usedP90Kw"], first["shedCapabilityP10Kw"]) == (8.0, 8.0, 4.0)
    assert first["usedDays"] == (9 if gap == "half" else 8)


def test_what_is_exported_is_negative_and_stays_on_its_side(fleet: Fleet) -> None:
    """P10 is the most that is fed in; what could be shed is not below 0, whatever the level does."""

    def power(at: datetime) -> float:
        return -5.0 + 0.4 * ((at - BEGIN) // DAY) if 8 <= at.hour < 16 else 0.0

    fleet.run(weeks(fleet, 11, power))
    points = fleet.ask()["points"]
    noon, night = points[24], points[4]
    assert noon["usedP10Kw"] < noon["usedP50Kw"] < noon["usedP90Kw"] <= 0
    assert (night["usedP10Kw"], night["usedP90Kw"], noon["shedCapabilityP90Kw"]) == (0, 0, 0)


def test_new_loads_count_and_those_that_are_gone_do_not(fleet: Fleet) -> None:
    """The forecast is for the loads of now, each as those were that reported."""
    weeks(fleet, 11, lambda _at: 3.0)
    end = BEGIN + 11 * DAY
    fleet.report(end - timedelta(minutes=5), [entry("n", "ev", 3.0, 3.0)], "new")
    fleet.report(BEGIN, [entry("o", "ev", 3.0, 3.0), entry("b", "boiler", 1.0)], "gone")
    fleet.run(end)
    points = fleet.ask()["points"]
    assert {point["type"] for point in points} == {"ev"}
    assert points[0]["usedP50Kw"] == pytest.approx(6.0)


@pytest.mark.thorough
@pytest.mark.parametrize(("change", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-07-08", 24)])
def test_days_of_the_site(engine: Engine, database_url: str, change: str, hours: int) -> None:
    """A load that charges at 18:00 in Berlin does so after clocks changed, on days of 23 and 25 hours."""
    zone = ZoneInfo(BERLIN)
    midnight = datetime.fromisoformat(change).replace(tzinfo=zone)
    first = (midnight - timedelta(days=19)).astimezone(UTC)
    fleet = Fleet(engine, database_url, BERLIN)
    try:
        days = (midnight.astimezone(UTC) - first) // DAY
        weeks(fleet, days, lambda at: 7.0 if at.astimezone(zone).hour == 18 else 1.0, first)
        fleet.run(midnight.astimezone(UTC))
        answer = fleet.ask(by="total")
        assert answer["timeZone"] == BERLIN
        shown = [
            (datetime.fromisoformat(point["timestamp"]).astimezone(zone), point["usedP50Kw"])
            for point in answer["points"]
        ]
        assert [at.hour for at, kw in shown if kw == 7.0] == [18] * 4
        today = [at for at, _ in shown if at.date() == midnight.date()]
        assert len(today) == 2 * hours
        assert all(kw is not None for _, kw in shown)
    finally:
        fleet.close()


def test_without_history_the_answer_says_why(fleet: Fleet) -> None:
    assert fleet.ask() == {
        "origin": None,
        "timeZone": "UTC",
        "points": [],
        "note": "There is no forecast yet: the job `forecast` makes it of whole half hours in which loads"
        " reported.",
    }
    assert fleet.ask(type="ev")["points"] == []
    fleet.report(BEGIN + timedelta(minutes=10), [entry("e", "ev", 3.0)])
    fleet.run(BEGIN + timedelta(hours=1))
    answer = fleet.ask(type="ev")
    assert answer["origin"] == "2026-03-02T01:00:00Z"
    assert {point["usedP50Kw"] for point in answer["points"]} == {None}
    assert "Too few similar days for the usage of ev" in answer["note"]
    fleet.now += timedelta(hours=5)
    assert "This forecast is of 2026-03-02T01:00:00Z" in fleet.ask(type="ev")["note"]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("parameters", "status", "detail"),
    [
        ({"type": "ev,nothing"}, 404, "There is no forecast of 'nothing'; the types are ev, hvac, it."),
        ({"type": ""}, 400, "type must be types of loads, separated by commas, such as hvac,ev"),
        ({"by": "ven"}, 400, "by must be type or total"),
        ({"by": "total", "type": "ev"}, 400, "by must be type with type: the total is of all loads"),
        ({"start": "soon"}, 400, "start is 'soon': expected an ISO 8601 time such as 2024-07-10T15:00:00Z"),
        ({"start": "2026-03-03", "end": "2026-03-02"}, 400, "start must not be after end"),
        ({"types": "ev"}, 400, "types is unknown; did you mean type? There are type, by, start, end, format"),
        ({"format": "xml"}, 400, "format must be one of json, arrow, parquet, csv"),
    ],
)
def test_wrong_parameters(fleet: Fleet, parameters: dict[str, str], status: int, detail: str) -> None:
    fleet.report(BEGIN, [entry("e", "ev", 3.0), entry("h", "hvac", 3.0), entry("i", "it", 1.0)])
    fleet.run(BEGIN + timedelta(hours=1))
    assert fleet.ask(status, **parameters)["detail"] == detail


def test_types_are_chosen_and_a_poll_is_cheap(fleet: Fleet) -> None:
    fleet.report(BEGIN, [entry("e", "ev", 3.0), entry("h", "hvac", 3.0), entry("i", "a,b", 1.0)])
    fleet.run(BEGIN + timedelta(hours=1))
    assert {point["type"] for point in fleet.ask(type="ev,hvac")["points"]} == {"ev", "hvac"}
    twice = fleet.client.simulate_get(
        "/api/forecast", query_string=urlencode([("type", "a,b"), ("type", "ev")])
    )
    assert {point["type"] for point in twice.json["points"]} == {"a,b", "ev"}
    first = fleet.client.simulate_get("/api/forecast")
    again = fleet.client.simulate_get("/api/forecast", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    fleet.run(BEGIN + timedelta(hours=2))
    later = fleet.client.simulate_get("/api/forecast", headers={"If-None-Match": first.headers["ETag"]})
    assert later.status_code == 200


def test_the_job_is_on_the_schedule() -> None:
    [job] = [each for each in schedule(Cadence()) if each.name == "forecast"]
    assert isinstance(job, Job)
    assert job.every_s == 300
