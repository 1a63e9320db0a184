"""The energy of today is that of the site's day, of 23 to 25 hours, beside the plain loop."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text

from analysis import DatabaseGrid
from jobs.summaries.rebuild import rebuild, whole_range
from schemas.db.connections import engine_for
from tests.integration.whole_system import WholeSystem
from tests.oracle.compare import assert_same
from tests.oracle.messages import Published

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
KW = 12.0
"""One kWh in each slot of five minutes with a sample."""

DAYS = [
    ("UTC", "2024-07-11T00:00Z", 24),
    ("Asia/Kathmandu", "2024-07-10T18:15Z", 24),
    ("Europe/Berlin", "2024-03-31T22:00Z", 23),
    ("Europe/Berlin", "2024-10-27T23:00Z", 25),
    ("America/Sao_Paulo", "2018-11-05T02:00Z", 23),  # it began at 01:00
    ("America/Sao_Paulo", "2018-11-04T03:00Z", 24),  # it ended there
    ("America/Havana", "2024-11-04T05:00Z", 25),  # had midnight twice
    ("America/St_Johns", "2006-10-29T02:30Z", 24),  # came back for an hour, a minute after it was over
    ("Pacific/Apia", "2011-12-30T10:00Z", 24),  # the day after it never was
]
"""A zone, the end of one of its days, and the hours of that day."""


def report(at: datetime) -> Published:
    body = {"venId": "house", "timestamp": at.timestamp(), "usedPowerKw": KW}
    return Published("volttron/metering", json.dumps(body).encode())


@contextmanager
def house_at(engine: Engine, database_url: str, zone: str, now: datetime) -> Iterator[WholeSystem]:
    system = WholeSystem(engine, database_url, zone=zone, now=now)
    system.empty()
    yield system
    system.close()


def today_kwh(system: WholeSystem) -> float | None:
    kwh: float | None = system.get("/stats/network")["totalHousePowerToday"]
    return kwh


@pytest.mark.thorough
@pytest.mark.parametrize(("zone", "end_text", "hours"), DAYS)
def test_a_day_has_its_hours(engine: Engine, database_url: str, zone: str, end_text: str, hours: int) -> None:
    end = datetime.fromisoformat(end_text)
    with house_at(engine, database_url, zone, end - SECOND) as system:
        system.ingest([report(end - back * HOUR) for back in range(1, 31)])
        system.catch_up()
        assert today_kwh(system) == hours
        with DatabaseGrid(engine_for(database_url, "tests"), lambda: end - SECOND, site_zone=zone) as grid:
            assert grid.network().item(0, "total_house_power_today") == hours
        assert_same(system.get("/stats/network"), system.oracle.network_stats(system.now, zone))
        day = system.get("/stats/network/history", granularity="1d", aggregate="energy", timeZone=zone)
        assert day["points"][-1]["usedEnergyKwh"] == hours
        system.now = end
        assert today_kwh(system) is None
        system.catch_up()
        assert today_kwh(system) is None


def test_the_first_sample_of_a_day_counts_for_it(engine: Engine, database_url: str) -> None:
    midnight = datetime(2018, 11, 4, 3, tzinfo=UTC)  # 01:00 in Sao Paulo
    with house_at(engine, database_url, "America/Sao_Paulo", midnight + 300 * SECOND) as system:
        system.ingest([report(midnight - SECOND), report(midnight), report(midnight + 299 * SECOND)])
        system.catch_up()
        assert today_kwh(system) == 1


def test_a_rebuild_says_the_same(engine: Engine, database_url: str) -> None:
    end = datetime(2024, 3, 31, 22, tzinfo=UTC)
    with house_at(engine, database_url, "Europe/Berlin", end - SECOND) as system:
        system.ingest([report(end - back * HOUR) for back in range(1, 31)])
        system.catch_up()
        with engine.begin() as connection:
            connection.execute(text("UPDATE ven_history SET used_power_kw_sum = 2 * used_power_kw_sum"))
            connection.execute(text("UPDATE network_energy SET used_energy_kwh = 0"))
            within = whole_range(connection, None, None)
        assert within is not None
        assert sum(chunk.differences.height for chunk in rebuild(engine, within)) > 0
        system.catch_up()
        assert today_kwh(system) == 23
