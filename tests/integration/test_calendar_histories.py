"""Histories by local days, weeks and months, over HTTP, beside the plain loop."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from falcon import testing

from jobs.summaries.lanes import refresh_totals
from schemas.times.instants import from_microseconds, parse_iso
from schemas.times.local_days import local_day, midnight_us
from serving.app import create_app
from serving.routes import AppOptions
from tests.integration.published import batch_of, telemetry
from tests.integration.whole_system import EDGES, EVERYTHING, NOW, WholeSystem
from tests.oracle.messages import random_traffic

ZONES = ("Europe/Berlin", "Asia/Kathmandu")
SLOT_H = 1 / 12
HOUR = timedelta(hours=1)
Bounds = tuple[datetime | None, datetime | None]


def label(at: datetime, granularity: str, zone: str) -> Any:
    day = at.astimezone(ZoneInfo(zone)).date()
    match granularity:
        case "1d":
            return day
        case "1w":
            return day - timedelta(days=day.weekday())
        case "1mo":
            return day.replace(day=1)
    return day.year


def plain(points: list[dict[str, Any]], granularity: str, zone: str) -> dict[Any, list[float]]:
    """Fixed buckets of 15 minutes, added up by local date: the sums of their values."""
    totals: dict[Any, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for point in points:
        at, *values = point.values()
        total = totals[label(parse_iso(at), granularity, zone)]
        total[0] += values[0]
        total[1] += values[1]
    return totals


def parameters(bounds: Bounds) -> dict[str, str]:
    return {name: at.isoformat() for name, at in zip(("start", "end"), bounds, strict=True) if at is not None}


@pytest.mark.thorough
@pytest.mark.parametrize("bounds", [EVERYTHING, *EDGES])
def test_days_weeks_and_months_are_those_of_the_plain_loop(system: WholeSystem, bounds: Bounds) -> None:
    traffic = random_traffic(7, 120)
    system.ingest(traffic[:80])
    system.catch_up()
    system.ingest(traffic[80:])
    series = list(system.histories())
    for path, history in (series[0], series[1], series[-1]):  # of the network, a VEN and a load
        for aggregate in ("sum", "energy"):
            expected = history(*bounds, 900, aggregate)["points"]
            for zone in ZONES:
                for granularity in ("1d", "1w", "1mo", "1y"):
                    asked = {"granularity": granularity, "timeZone": zone, "aggregate": aggregate}
                    found = system.get(path, **asked, **parameters(bounds))["points"]
                    totals = plain(expected, granularity, zone)
                    labels = [label(parse_iso(point["timestamp"]), granularity, zone) for point in found]
                    assert labels == list(totals), (path, zone, granularity)
                    for point, total in zip(found, totals.values(), strict=True):
                        assert list(point.values())[1:3] == pytest.approx(total, abs=0.05)


def test_the_mean_of_a_day_is_over_its_hours_with_samples(system: WholeSystem) -> None:
    system.ingest(random_traffic(9, 200))
    system.catch_up()
    asked = {"granularity": "1d", "timeZone": "Europe/Berlin"}
    energies = system.get("/stats/network/history", aggregate="energy", **asked)["points"]
    means = system.get("/stats/network/history", aggregate="mean", **asked)["points"]
    slots = system.oracle.network_history(None, None, 300, "energy")["points"]
    hours: dict[Any, float] = defaultdict(float)
    for slot in slots:
        hours[label(parse_iso(slot["timestamp"]), "1d", "Europe/Berlin")] += SLOT_H
    expected = [each["usedEnergyKwh"] / over for each, over in zip(energies, hours.values(), strict=True)]
    assert [point["usedPowerKw"] for point in means] == pytest.approx(expected, abs=0.01)


def test_the_sites_zone_is_the_default(system: WholeSystem) -> None:
    system.ingest(random_traffic(3, 100))
    system.catch_up()
    client = testing.TestClient(
        create_app(system.engine, lambda: NOW, [], AppOptions(time_zone="Asia/Kolkata"))
    )
    path = "/api/stats/network/history"
    by_default = client.simulate_get(path, params={"granularity": "1d"}).json
    named = {"granularity": "1d", "timeZone": "Asia/Kolkata"}
    assert by_default == client.simulate_get(path, params=named).json
    assert by_default == system.get("/stats/network/history", **named)
    assert by_default["points"][0]["timestamp"].endswith("T18:30:00Z")


@pytest.mark.thorough
@pytest.mark.parametrize("granularity", ["1d", "30d", "1mo", "1y", "999999999y", "999999999w"])
def test_long_ones_and_empty_ones(system: WholeSystem, granularity: str) -> None:
    assert system.get("/stats/network/history", granularity=granularity) == {"points": []}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("granularity=1d&timeZone=Berlin", "did you mean Europe/Berlin?"),
        ("granularity=1d&timeZone=Mars", "IANA time zone"),
        ("granularity=1h&timeZone=..%2FUTC", "IANA time zone"),
        ("granularity=0d", "positive whole number"),
        ("granularity=1q", "1d or 1mo"),
        ("granularity=1d&time_zone=UTC", "did you mean timeZone?"),
    ],
)
def test_what_cannot_be_meant(system: WholeSystem, query: str, words: str) -> None:
    refused = system.client.simulate_get("/api/stats/network/history", query_string=query)
    assert refused.status_code == 400
    assert words in refused.json["detail"]


def test_times_are_utc(system: WholeSystem) -> None:
    system.ingest(random_traffic(3, 50))
    points = system.get("/stats/network/history", granularity="1d", timeZone="Europe/Berlin")["points"]
    assert points
    for point in points:
        at = parse_iso(point["timestamp"]).astimezone(UTC).astimezone(ZoneInfo("Europe/Berlin"))
        assert (at.hour, at.minute) == (0, 0)


@pytest.mark.thorough
@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Kathmandu", "America/St_Johns"])
def test_todays_energy_is_that_of_the_sites_day(zone: str, system: WholeSystem) -> None:
    """It was that of the UTC day, so in a zone ahead of UTC it restarted in the evening."""
    midnight = from_microseconds(midnight_us(local_day(NOW, zone), zone))
    hours = {-30: 8.0, -1: 4.0, 0: 1.0, 1: 2.0}
    system.store.write(
        batch_of(*(telemetry("ven-1", midnight + n * HOUR, used_kw) for n, used_kw in hours.items()))
    )
    system.catch_up()
    with system.engine.begin() as connection:
        refresh_totals(connection, NOW, time_zone=zone)
    client = testing.TestClient(create_app(system.engine, lambda: NOW, [], AppOptions(time_zone=zone)))
    asked = {"granularity": "1d", "aggregate": "energy"}
    history = client.simulate_get("/api/stats/network/history", params=asked).json["points"]
    today = client.simulate_get("/api/stats/network").json["totalHousePowerToday"]
    assert today == history[-1]["usedEnergyKwh"] == pytest.approx(3 / 12)
    tomorrow = testing.TestClient(
        create_app(system.engine, lambda: midnight + 25 * HOUR, [], AppOptions(time_zone=zone))
    )
    assert tomorrow.simulate_get("/api/stats/network").json["totalHousePowerToday"] is None
