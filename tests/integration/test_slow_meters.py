"""Meters that are slower than five minutes: energy is whole, gaps stay gaps, whatever changes and when."""

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from falcon import testing
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from ingest.storing.store import Store
from jobs.events.records import read_usage, read_usage_of_most
from jobs.running.runner import Runner
from jobs.running.schedule import schedule
from jobs.settings import Cadence
from jobs.summaries.rebuild import rebuild, verify, whole_range
from schemas.archive.folder import ArchiveFolder
from schemas.times.time_ranges import TimeRange
from serving.app import create_app
from tests.examples import costly
from tests.integration.archived_days import archive, drop
from tests.integration.published import batch_of, rows, telemetry, value
from tests.integration.recomputed import assert_energy_equals_a_rebuild
from tests.integration.test_settlement import DAY, END, HOUR, LANES, SETTLEMENT, START, make_event, take_part
from tests.integration.whole_system import (
    EDGES,
    EVERYTHING,
    SLOTTED,
    WholeSystem,
    check_history,
    check_totals,
)
from tests.oracle.messages import Published, traffic

NOW = datetime(2024, 7, 10, 18, tzinfo=UTC)
MIDNIGHT = datetime(2024, 7, 9, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
VENS = ("ven-1", "ven-2", "ven-3")
ALWAYS = "1970-01-01T00:00:00Z"


def reports(ven_id: str, start: datetime, end: datetime, every_min: int, used_kw: float) -> Iterator[Any]:
    while start < end:
        yield telemetry(ven_id, start, used_kw)
        start += every_min * MINUTE


@pytest.fixture
def client(engine: Engine) -> testing.TestClient:
    return testing.TestClient(create_app(engine, lambda: NOW, []))


Patch = Callable[..., Any]


@pytest.fixture
def patch(client: testing.TestClient) -> Patch:
    def patch(ven_id: str, **said: Any) -> Any:
        return client.simulate_patch(f"/api/vens/{ven_id}", json=said)

    return patch


Get = Callable[..., Any]


@pytest.fixture
def get(client: testing.TestClient) -> Get:
    def get(path: str, **parameters: str) -> Any:
        response = client.simulate_get(f"/api{path}", params=parameters)
        assert response.status_code == 200, response.text
        return response.json

    return get


def energies(get: Get, path: str, start: str, end: str, granularity: str = "5m") -> dict[str, float]:
    asked = {"start": start, "end": end, "granularity": granularity, "aggregate": "energy"}
    return {point["timestamp"][11:16]: point["usedEnergyKwh"] for point in get(path, **asked)["points"]}


def catch_up(engine: Engine) -> None:
    Runner(engine, lambda: NOW).catch_up(LANES)


# Energy


@pytest.mark.parametrize("every_min", [15, 30])
def test_the_energy_of_a_day_is_whole(
    store: Store, engine: Engine, get: Get, patch: Patch, every_min: int
) -> None:
    store.write(batch_of(*reports("slow", MIDNIGHT, MIDNIGHT + DAY, every_min, 3.0)))
    catch_up(engine)
    day = ("2024-07-09T00:00:00Z", "2024-07-09T23:59:59Z", "24h")
    assert energies(get, "/vens/slow/history", *day) == {"00:00": pytest.approx(72 * 5 / every_min)}
    assert patch("slow", slotMinutes=every_min, slotMinutesSince=ALWAYS).status_code == 200
    for path in ("/vens/slow/history", "/stats/network/history"):
        assert energies(get, path, *day) == {"00:00": 72.0}
    catch_up(engine)
    for path in ("/vens/slow/history", "/stats/network/history"):
        assert energies(get, path, *day) == {"00:00": 72.0}
        quarter = energies(get, path, *day[:2])
        assert (len(quarter), set(quarter.values())) == (288, {0.25})


def test_gaps_stay_gaps_and_a_range_cuts_no_energy_off(
    store: Store, engine: Engine, get: Get, patch: Patch
) -> None:
    """Half-hourly, nothing at 01:00: a range from 00:20 on has its part of the slot that began before."""
    for at_min, used_kw in ((0, 6.0), (30, 12.0), (90, 24.0)):
        store.write(batch_of(telemetry("slow", MIDNIGHT + at_min * MINUTE, used_kw)))
    catch_up(engine)
    patch("slow", slotMinutes=30, slotMinutesSince=ALWAYS)
    found = energies(get, "/vens/slow/history", "2024-07-09T00:20:00Z", "2024-07-09T01:34:59.999999Z")
    expected = (
        {"00:20": 0.5, "00:25": 0.5} | {f"00:{minute}": 1.0 for minute in range(30, 60, 5)} | {"01:30": 2.0}
    )
    assert found == expected
    # A slot that the range cuts has only the samples inside of it: none of 00:00 here, that of 01:30 there.
    found = energies(get, "/vens/slow/history", "2024-07-09T00:22:00Z", "2024-07-09T01:36:00Z")
    del expected["00:20"]
    assert found == expected | {"01:35": 2.0}


def test_loads_have_the_slots_of_their_ven(store: Store, engine: Engine, get: Get, patch: Patch) -> None:
    entry = [{"id": "pv", "currentPowerKw": -1.2}]
    store.write(batch_of(telemetry("slow", MIDNIGHT, 1.0, loads=entry)))
    catch_up(engine)
    patch("slow", slotMinutes=15, slotMinutesSince=ALWAYS)
    found = energies(get, "/vens/slow/loads/pv/history", "2024-07-09T00:00:00Z", "2024-07-09T01:00:00Z")
    assert found == {"00:00": -0.1, "00:05": -0.1, "00:10": -0.1}


# Set by people


def test_people_set_a_width_from_a_half_hour_on(
    store: Store, engine: Engine, get: Get, patch: Patch, connection: psycopg.Connection
) -> None:
    store.write(batch_of(telemetry("slow", NOW - DAY, 3.0)))
    catch_up(engine)
    before = get("/vens/slow")
    assert [before[key] for key in ("slotMinutes", "slotMinutesSince", "slotMinutesSource")] == [
        5,
        None,
        "default",
    ]
    assert patch("slow", **before).status_code == 200
    assert value(connection, "SELECT count(*) FROM slot_widths") == 0
    after = patch("slow", slotMinutes=15).json
    assert (after["slotMinutes"], after["slotMinutesSource"]) == (15, "people")
    assert after["slotMinutesSince"] == "2024-07-10T18:00:00Z"
    assert patch("slow", **after).json == after
    earlier = patch("slow", slotMinutesSince="2024-07-01T10:44:00Z").json
    assert (earlier["slotMinutes"], earlier["slotMinutesSince"]) == (15, "2024-07-01T10:30:00Z")
    wider = patch("slow", slotMinutes=30, slotMinutesSince=earlier["slotMinutesSince"]).json
    assert (wider["slotMinutes"], wider["slotMinutesSince"]) == (30, "2024-07-01T10:30:00Z")
    assert value(connection, "SELECT count(*) FROM slot_widths") == 1
    assert get("/vens")[0]["slotMinutes"] == 30
    assert patch("slow", slotMinutes=None).json == before
    assert value(connection, "SELECT count(*) FROM slot_widths") == 0


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ({"slotMinutes": 10}, "slotMinutes"),
        ({"slotMinutes": "15"}, "slotMinutes"),
        ({"slotMinutes": 15, "slotMinutesSince": "soon"}, "slotMinutesSince"),
        ({"slotMinutes": 15, "slotMinutesSince": "2024-07-10T18:00:01Z"}, "slotMinutesSince"),
    ],
)
def test_what_is_no_width_is_refused(store: Store, patch: Patch, said: dict[str, Any], name: str) -> None:
    store.write(batch_of(telemetry("slow", NOW, 3.0)))
    response = patch("slow", **said)
    assert (response.status_code, name in response.json["detail"]) == (400, True)


def test_a_ven_is_registered_with_its_width(client: testing.TestClient) -> None:
    said = {"id": "new", "name": "n", "location": {"lat": 1.0, "lon": 2.0}, "slotMinutes": 30}
    answer = client.simulate_post("/api/vens", json=said)
    assert (answer.status_code, answer.json["slotMinutes"], answer.json["slotMinutesSince"]) == (
        201,
        30,
        ALWAYS,
    )


# In any order, beside the plain loop

widths = st.lists(
    st.tuples(
        st.sampled_from(VENS),
        st.sampled_from((5, 15, 30)),
        st.integers(0, 4 * 48).map(lambda half: half * 30),
    ),
    max_size=4,
)


def set_widths(system: WholeSystem, changes: list[tuple[str, int, int]]) -> None:
    for ven_id, minutes, since_min in changes:
        since = min(datetime(2024, 7, 7, tzinfo=UTC) + since_min * MINUTE, NOW)
        if ven_id in system.oracle.known_vens():
            body = {"slotMinutes": minutes, "slotMinutesSince": since.isoformat()}
            assert system.client.simulate_patch(f"/api/vens/{ven_id}", json=body).status_code == 200
            system.oracle.set_slot_width(ven_id, since, minutes * 60)


@pytest.mark.thorough
@costly(6)
@given(
    messages=traffic(max_size=40, shrink_messages=False),
    changes=widths,
    later=widths,
    seed=st.integers(0, 2**32 - 1),
)
def test_mixed_widths_equal_the_plain_loop(
    system: WholeSystem, messages: list[Published], changes: list[Any], later: list[Any], seed: int
) -> None:
    """Widths that change amid a day, rows before and after the change, pending or not."""
    system.empty()
    chance = random.Random(seed)
    half = chance.randint(0, len(messages))
    ingest(system, messages[:half])
    system.run(chance.randrange(2))
    set_widths(system, changes)
    ingest(system, messages[half:])
    system.run(chance.randrange(2))
    set_widths(system, later)
    bounds = chance.choice((EVERYTHING, *EDGES))
    check_history(system, bounds, chance.choice(SLOTTED), "energy")
    system.catch_up()
    check_totals(system)
    for aggregate in ("energy", "mean"):
        check_history(system, chance.choice((EVERYTHING, *EDGES)), chance.choice(SLOTTED), aggregate)
        check_history(system, EVERYTHING, "5m", aggregate)
    check_history(system, EDGES[1], "5m", "sum")
    within = range_of(system)
    assert [chunk.differences.rows() for chunk in verify(system.engine, within)] == [[]]
    assert all(chunk.differences.is_empty() for chunk in rebuild(system.engine, within, most_rows=10))


def ingest(system: WholeSystem, messages: list[Published]) -> None:
    if messages:
        system.ingest(messages)


def range_of(system: WholeSystem) -> Any:
    with system.engine.connect() as connection:
        return whole_range(connection, NOW - 60 * DAY, NOW + HOUR)


# Measuring


@pytest.mark.thorough
@pytest.mark.parametrize("every_min", [5, 15, 30])
def test_slow_meters_have_similar_days_and_are_settled_whole(
    store: Store, engine: Engine, connection: psycopg.Connection, patch: Patch, every_min: int
) -> None:
    """3 kW on similar days, 1 kW in the event of an hour: 2 kWh, whatever the meter."""
    for back in range(16, -1, -1):
        start = START - back * DAY
        store.write(batch_of(*reports("slow", start - 4 * HOUR, start, every_min, 3.0)))
        store.write(batch_of(*reports("slow", start, start + HOUR, every_min, 3.0 if back else 1.0)))
    catch_up(engine)
    patch("slow", slotMinutes=every_min, slotMinutesSince=ALWAYS)
    make_event(engine)
    take_part(engine, "slow")
    assert Runner(engine, lambda: END + 5 * MINUTE).run(SETTLEMENT) == 1
    found = rows(
        connection,
        "SELECT days_used, coverage_percent, delivered_kwh, baseline_kw, note FROM ven_settlements"
        " WHERE baseline = '10-of-10-adjusted'",
    )
    assert found == [(10, 100.0, pytest.approx(2.0), pytest.approx(3.0), None)]


def test_a_series_of_a_slow_meter_is_whole(store: Store, engine: Engine, get: Get, patch: Patch) -> None:
    """Once it had a baseline, and usage, in each third slot at most."""
    for back in range(16, -1, -1):
        start = START - back * DAY
        store.write(batch_of(*reports("slow", start - 4 * HOUR, start + HOUR, 15, 3.0)))
    catch_up(engine)
    patch("slow", slotMinutes=15, slotMinutesSince=ALWAYS)
    asked = {"start": START.isoformat(), "end": END.isoformat(), "baseline": "10-of-10"}
    series = get("/vens/slow/baseline", **asked)
    assert series["daysUsed"] == 10
    assert [(each["baselineKw"], each["usedPowerKw"]) for each in series["points"]] == [(3.0, 3.0)] * 12


def test_usage_read_in_one_pass_is_that_read_by_ven(store: Store, engine: Engine, patch: Patch) -> None:
    """Of meters of each width, one with gaps, one that is not asked for, and one without a report."""
    chance = random.Random(3)
    for ven_id, every_min in (("a", 5), ("b", 15), ("c", 30), ("d", 5), ("unasked", 5)):
        each = list(reports(ven_id, MIDNIGHT, MIDNIGHT + 6 * HOUR, every_min, chance.random()))
        store.write(batch_of(*chance.sample(each, len(each) * 2 // 3)))
    catch_up(engine)
    for ven_id, minutes in (("b", 15), ("c", 30)):
        patch(ven_id, slotMinutes=minutes, slotMinutesSince=ALWAYS)
    ven_ids = ["d", "none", "c", "a", "b"]
    within = [
        TimeRange(MIDNIGHT + 5 * MINUTE, MIDNIGHT + HOUR),
        TimeRange(MIDNIGHT + 2 * HOUR, MIDNIGHT + 5 * HOUR),
    ]
    with engine.connect() as connection:
        one, other = (read(connection, ven_ids, within) for read in (read_usage, read_usage_of_most))
    assert one.ven_ids == other.ven_ids
    assert (one.slots == other.slots).all()
    assert np.isfinite(one.kw[[0, 2, 3, 4]]).any(axis=1).all()
    np.testing.assert_array_equal(one.kw, other.kw)
    # A large fleet is read in several passes, each by a range of ids, in which not all need be asked for.
    with engine.connect() as connection:
        parts = [
            read_usage_of_most(connection, some, within, (some[0], some[-1])) for some in (["a", "c"], ["d"])
        ]
    np.testing.assert_array_equal(parts[0].kw, one.kw[[3, 2]])
    np.testing.assert_array_equal(parts[1].kw, one.kw[[0]])


def test_a_width_that_is_set_later_makes_a_revision(
    store: Store, engine: Engine, connection: psycopg.Connection, patch: Patch
) -> None:
    for back in range(16, -1, -1):
        start = START - back * DAY
        store.write(batch_of(*reports("slow", start - 4 * HOUR, start, 15, 3.0)))
        store.write(batch_of(*reports("slow", start, start + HOUR, 15, 3.0 if back else 1.0)))
    catch_up(engine)
    make_event(engine)
    take_part(engine, "slow")
    Runner(engine, lambda: END + 5 * MINUTE).run(SETTLEMENT)
    settled = (
        "SELECT revision, delivered_kwh, coverage_percent FROM ven_settlements WHERE baseline = '10-of-10'"
        " ORDER BY 1"
    )
    [(_, delivered_kwh, coverage)] = rows(connection, settled)
    assert (delivered_kwh is None or delivered_kwh < 1, coverage < 40) == (True, True)
    patch("slow", slotMinutes=15, slotMinutesSince=ALWAYS)
    Runner(engine, lambda: NOW + HOUR).run(SETTLEMENT)
    assert rows(connection, settled)[1:] == [(2, pytest.approx(2.0), 100.0)]


def test_an_event_within_a_slot_is_measured_by_the_mean_of_the_slot(
    store: Store, engine: Engine, connection: psycopg.Connection, patch: Patch
) -> None:
    """From 16:10 to 17:00: what of the half-hour lies in the event counts, with the mean of the half-hour."""
    for back in range(16, -1, -1):
        start = START - back * DAY
        store.write(batch_of(*reports("slow", start - 4 * HOUR, start, 30, 3.0)))
        store.write(batch_of(*reports("slow", start, start + HOUR, 30, 3.0 if back else 1.0)))
    catch_up(engine)
    patch("slow", slotMinutes=30, slotMinutesSince=ALWAYS)
    make_event(engine, start_time=START + 8 * MINUTE, started_at=START + 8 * MINUTE)
    take_part(engine, "slow")
    Runner(engine, lambda: END + 5 * MINUTE).run(SETTLEMENT)
    settled = "SELECT delivered_kwh, coverage_percent FROM ven_settlements WHERE baseline = '10-of-10'"
    assert rows(connection, settled) == [(pytest.approx(2 * 52 / 60), 100.0)]


# Learned

WIDTHS = tuple(job for job in schedule(Cadence()) if job.name == "widths")


def learn(engine: Engine, now: datetime) -> int:
    return Runner(engine, lambda: now).run(WIDTHS[0])


@pytest.mark.thorough
@pytest.mark.parametrize("every_min", [10, 15, 30])
def test_a_width_is_learned_from_the_spacing_of_reports(
    store: Store, engine: Engine, connection: psycopg.Connection, get: Get, every_min: int
) -> None:
    """From the first report on; what depends on it is computed again; a second run changes nothing."""
    first = datetime(2024, 7, 6, 9, 40, tzinfo=UTC)
    store.write(batch_of(*reports("slow", first, NOW, every_min, 3.0), *reports("fast", first, NOW, 5, 1.0)))
    catch_up(engine)
    assert learn(engine, NOW) == 1
    assert rows(connection, "SELECT ven_id, since, width_s, source FROM slot_widths") == [
        ("slow", datetime(2024, 7, 6, 9, 30, tzinfo=UTC), max(every_min, 15) * 60, "learned")
    ]
    assert get("/vens/slow")["slotMinutesSource"] == "learned"
    catch_up(engine)
    day = ("2024-07-09T00:00:00Z", "2024-07-09T23:59:59Z", "24h")
    assert energies(get, "/stats/network/history", *day) == {"00:00": 96.0}
    assert_energy_equals_a_rebuild(connection)
    assert learn(engine, NOW) == 0


def test_a_width_is_learned_from_archived_days(
    store: Store, engine: Engine, connection: psycopg.Connection, tmp_path: Path
) -> None:
    """It begins where the archive has its first report, not where retention has left one."""
    slower = datetime(2024, 7, 7, 14, tzinfo=UTC)
    store.write(batch_of(*reports("m", slower - DAY, slower, 5, 3.0), *reports("m", slower, NOW, 15, 3.0)))
    catch_up(engine)
    folder = ArchiveFolder(tmp_path.as_uri())
    archive(engine, folder)
    drop(engine)
    [widths] = (
        job
        for job in schedule(Cadence.model_validate({"ARCHIVE_URL": tmp_path.as_uri()}))
        if job.name == "widths"
    )
    assert Runner(engine, lambda: NOW).run(widths) == 1
    assert rows(connection, "SELECT since, width_s FROM slot_widths") == [(slower, 900)]


def test_a_meter_that_changes_amid_a_day_is_learned_from_then_on(
    store: Store, engine: Engine, connection: psycopg.Connection
) -> None:
    """Slower from 14:00 on the 7th, faster from 11:00 on the 10th: between, and no less, slots are wide."""
    slower, faster = datetime(2024, 7, 7, 14, tzinfo=UTC), datetime(2024, 7, 10, 11, tzinfo=UTC)
    store.write(
        batch_of(*reports("m", slower - 2 * DAY, slower, 5, 3.0), *reports("m", slower, faster, 15, 3.0))
    )
    store.write(batch_of(*reports("m", faster, NOW + 3 * DAY, 5, 3.0)))
    catch_up(engine)
    learned = [learn(engine, datetime(2024, 7, day, 1, tzinfo=UTC)) for day in range(7, 14)]
    assert learned == [0, 0, 0, 1, 0, 1, 0]
    assert rows(connection, "SELECT since, width_s FROM slot_widths ORDER BY since") == [
        (slower, 900),
        (datetime(2024, 7, 11, tzinfo=UTC), 300),
    ]


def test_what_people_set_is_not_learned_away(
    store: Store, engine: Engine, connection: psycopg.Connection, patch: Patch
) -> None:
    store.write(batch_of(*reports("slow", NOW - 4 * DAY, NOW, 15, 3.0)))
    catch_up(engine)
    patch("slow", slotMinutes=30, slotMinutesSince=ALWAYS)
    assert learn(engine, NOW) == 0
    assert rows(connection, "SELECT width_s, source FROM slot_widths") == [(1800, "people")]


@pytest.mark.parametrize("gaps", [0.4, 0.7])
def test_gaps_of_a_fast_meter_are_no_slower_meter(
    store: Store, engine: Engine, connection: psycopg.Connection, gaps: float
) -> None:
    """A VEN that is away for hours has fewer slots, not wider ones."""
    chance = random.Random(7)
    hours = [hour for hour in range(4 * 24) if chance.random() > gaps]
    for hour in hours:
        start = MIDNIGHT - 3 * DAY + hour * HOUR
        store.write(batch_of(*reports("gappy", start, start + HOUR, 5, 3.0)))
    catch_up(engine)
    assert learn(engine, NOW) == 0
    assert value(connection, "SELECT count(*) FROM slot_widths") == 0
