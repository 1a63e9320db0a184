"""Temperatures are imported by hand, and events are measured by days as hot as theirs."""

import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from falcon import testing
from sqlalchemy import Engine, insert, update

from ingest.storing.store import Store
from jobs.events.settlement import LOOK_EVERY
from jobs.running.runner import Runner
from jobs.running.schedule import Job
from schemas.tables.registry import vens
from schemas.tables.weather import temperatures
from serving.app import create_app
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
    run_jobs,
    steady,
    take_part,
)

Import = Callable[..., subprocess.CompletedProcess[str]]
NAME = "caiso-weather-4-of-90"
[SETTLEMENT] = (job for job in jobs(listed_baselines=NAME) if job.name == "settlement")
STORED = "SELECT region, ts, temperature_c FROM temperatures ORDER BY 1, 2"
MEASURED = (
    f"SELECT revision, ven_id, baseline_kw, days_used, note FROM ven_settlements WHERE baseline = '{NAME}'"
    " ORDER BY revision, ven_id"
)


@pytest.fixture
def weather(database_url: str, tmp_path: Path) -> Import:
    path = tmp_path / "degrees.csv"

    def run(*lines: str, **options: str) -> subprocess.CompletedProcess[str]:
        path.write_text("\n".join(["timestamp,temperature_c", *lines]), encoding="utf-8")
        extra = [word for name, value in options.items() for word in (f"--{name}", value)]
        return run_jobs(database_url, "weather", str(path), *extra)

    return run


@pytest.mark.thorough
def test_a_file_is_imported_once(weather: Import, connection: psycopg.Connection) -> None:
    """Again it changes nothing; a changed value replaces the old one; a wrong line keeps all of it out."""
    first = weather("2024-07-10T00:00:00Z,20", "2024-07-10T01:00:00Z,21")
    assert (first.returncode, first.stdout) == (0, "2 temperatures new, 0 changed, 0 as before\n"), (
        first.stderr
    )
    when = rows(connection, "SELECT recorded_at FROM temperatures ORDER BY ts")
    connection.commit()
    again = weather("2024-07-10T01:00:00Z,22", "2024-07-10T00:00:00Z,20", "2024-07-10T02:00:00Z,23")
    assert again.stdout == "1 temperatures new, 1 changed, 1 as before\n"
    wrong = weather("2024-07-10T03:00:00Z,24", "2024-07-10T04:00:00Z,warm")
    assert (wrong.returncode, "line 3: temperature_c is 'warm'" in wrong.stderr) == (2, True)
    midnight = datetime.fromisoformat("2024-07-10T00:00Z")
    assert rows(connection, STORED) == [
        ("", midnight + hour * HOUR, 20.0 + 2 * hour - (hour == 2)) for hour in range(3)
    ]
    after = rows(connection, "SELECT recorded_at FROM temperatures ORDER BY ts")
    assert (after[0] == when[0], after[1] > when[1]) == (True, True)


@pytest.mark.thorough
def test_a_region_without_vens_is_pointed_out(
    weather: Import, engine: Engine, connection: psycopg.Connection
) -> None:
    with engine.begin() as changing:
        changing.execute(insert(vens).values(ven_id="a", region="north", created_at=START))
    assert weather("2024-07-10,20", region="north").stdout == "1 temperatures new, 0 changed, 0 as before\n"
    stranger = weather("2024-07-10,20", region="nroth").stdout
    assert stranger.startswith("No VEN is in the region 'nroth'")
    assert [region for region, *_ in rows(connection, STORED)] == ["north", "nroth"]


def record(engine: Engine, region: str, maxima: dict[int, float], recorded_at: datetime) -> None:
    """By the hour, on days before the event."""
    midnight = START.replace(hour=0)
    values = [
        {
            "region": region,
            "ts": midnight - back * DAY + hour * HOUR,
            "temperature_c": highest - abs(hour - 15),
            "recorded_at": recorded_at,
        }
        for back, highest in maxima.items()
        for hour in range(24)
    ]
    with engine.begin() as connection:
        connection.execute(insert(temperatures), values)


def cooled(store: Store, engine: Engine, maxima: dict[int, float]) -> None:
    """Two homes that use 0.1 kW a degree in the event's hour, and 2 kW in the event; one is in the north."""
    for ven_id in ("a", "b"):
        for back, degrees in maxima.items():
            first = START - back * DAY
            publish(store, steady(ven_id, 0.1 * degrees if back else 2.0, first, first + HOUR))
        publish(store, steady(ven_id, 1.5, START - HOUR, START))
    with engine.begin() as connection:
        connection.execute(update(vens).where(vens.c.ven_id == "b").values(region="north"))


WEEKDAYS = [back for back in range(1, 40) if (START - back * DAY).weekday() < 5]
MAXIMA = {back: 18.0 + number % 14 for number, back in enumerate(WEEKDAYS)} | {0: 30.0}


def settle(engine: Engine, now: datetime, job: Job = SETTLEMENT) -> int:
    runner = Runner(engine, lambda: now)
    runner.catch_up(LANES)
    return runner.run(job)


def test_an_event_is_measured_by_days_as_hot(
    store: Store, engine: Engine, connection: psycopg.Connection
) -> None:
    """By the series of the region where there is one, else by that of the site."""
    cooled(store, engine, MAXIMA)
    make_event(engine)
    take_part(engine, "a", "b")
    record(engine, "", MAXIMA, START)
    record(engine, "north", MAXIMA | {0: 20.0}, START)
    assert settle(engine, SETTLED_AT) == 1
    [(_, _, hot_kw, hot_days, _), (_, _, mild_kw, *_)] = rows(connection, MEASURED)
    assert (hot_kw, hot_days) == (pytest.approx(3.0, abs=0.06), 4)
    assert mild_kw == pytest.approx(2.0, abs=0.06)
    client = testing.TestClient(create_app(engine, lambda: SETTLED_AT, []))
    for ven_id, kw in (("a", hot_kw), ("b", mild_kw)):
        series = client.simulate_get(f"/api/events/e/baseline?venId={ven_id}&baseline={NAME}").json
        assert [point["baselineKw"] for point in series["points"]] == [pytest.approx(kw, abs=0.001)] * 12
    [method] = [each for each in client.simulate_get("/api/baselines").json if each["name"] == NAME]
    assert (method["chosenBy"], method["lookBackDays"]) == ("temperature", 90)
    assert method["weekday"] == {"highest": 4, "last": 90, "fewest": 4}


@pytest.mark.thorough
def test_temperatures_that_come_late_make_a_revision(
    store: Store, engine: Engine, connection: psycopg.Connection
) -> None:
    """Until they arrive a note names them as missing, for each VEN and for the portfolio."""
    cooled(store, engine, MAXIMA)
    make_event(engine)
    take_part(engine, "a", "b")
    assert settle(engine, SETTLED_AT) == 1
    [(_, _, kw, _, note), _] = rows(connection, MEASURED)
    assert (kw, note) == (1.5, "too few temperatures of the event's day: the hour before the event stands in")
    portfolio = f"SELECT note FROM event_settlements WHERE baseline = '{NAME}'"
    [[words]] = rows(connection, portfolio)
    assert words == "for 2 of 2 VENs the hour before the event stands in"
    connection.commit()
    later = SETTLED_AT + LOOK_EVERY + timedelta(minutes=1)
    assert settle(engine, later) == 0, "nothing has come"
    record(engine, "", MAXIMA, later + timedelta(minutes=1))
    last = END + 4 * HOUR
    assert settle(engine, last) == 1
    assert rows(connection, MEASURED)[-1][:3] == (2, "b", pytest.approx(3.0, abs=0.06))
    connection.commit()
    assert settle(engine, last + LOOK_EVERY + timedelta(minutes=1)) == 0
