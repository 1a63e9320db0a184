"""The simulated fleet: determined by its seed, believable, and true to the contract."""

import json
import math
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.fleet.backfill import backfill, backfill_length
from local.fleet.homes.control_state import ControlState
from local.fleet.homes.events import ShedEvent, daily_events
from local.fleet.homes.household import Household
from local.fleet.homes.weather import HeatWave
from local.fleet.telemetry.disturbances import BROKEN, break_message, is_broken
from local.fleet.telemetry.messages import Arrival, Message
from local.fleet.telemetry.reports import FleetSettings, Reporter, fleet

pytestmark = pytest.mark.thorough  # programs are started, and ended

SEED = 7
DAY = 1_720_569_600  # 2024-07-10T00:00:00Z
NOON = DAY + 12 * 3_600
FLEET = [Household(SEED, index) for index in range(1, 201)]
DAILY = FleetSettings(5, has_daily_events=True)


def _messages(seed: int = SEED) -> list[Message]:
    return list(backfill(seed, 20, 3, DAILY, NOON))


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert _messages() == _messages()
    assert _messages() != _messages(seed=SEED + 1)


def test_a_backfill_an_hour_later_repeats_the_hours_in_common() -> None:
    """A restart with a backfill must add doubles, which are harmless, and no conflicts, which are not."""
    earlier = {message.payload for message in backfill(SEED, 20, 3, DAILY, NOON)}
    later = {message.payload for message in backfill(SEED, 20, 3, DAILY, NOON + 3_600)}
    assert len(earlier & later) > 0.6 * len(earlier)
    times: dict[tuple[str, float | str], bytes] = {}
    for payload in earlier | later:
        if b'"schemaVersion":"1.0","venId"' in payload or not _is_json(payload):
            continue
        body = json.loads(payload)
        if "venId" in body:
            assert times.setdefault((body["venId"], body["timestamp"]), payload) == payload


def _is_json(payload: bytes) -> bool:
    try:
        json.loads(payload)
    except ValueError:
        return False
    return True


def test_every_home_has_two_to_six_loads_and_every_type_occurs() -> None:
    assert {len(home.loads) for home in FLEET} <= set(range(2, 7))
    kinds = {load.kind for home in FLEET for load in home.loads}
    assert kinds == {"hvac", "ev", "solar", "battery", "water_heater", "pool_heater", "lighting"}
    for home in FLEET:
        assert len({load.load_id for load in home.loads}) == len(home.loads)


@pytest.mark.parametrize("day", [DAY, DAY + 165 * 86_400], ids=["July", "December"])
def test_the_sun_shines_at_noon_and_not_at_night(day: int) -> None:
    for home in FLEET:
        noon, night = (_power(home, day + hour * 3_600, "solar") for hour in (12, 0))
        assert all(power < 0 for power in noon)
        assert all(power == 0 and math.copysign(1, power) == 1 for power in night)
    assert any(home.read(NOON).used_kw < 0 for home in FLEET)


def _power(home: Household, ts: float, kind: str) -> list[float]:
    return [load.power_kw for load in home.read(ts).loads if load.load.kind == kind]


def test_heat_pumps_cycle_and_cars_charge_in_the_evening_and_at_night() -> None:
    day = range(DAY, DAY + 86_400, 300)
    for home in FLEET[:20]:
        pumped = [power for ts in day for power in _power(home, ts, "hvac")]
        assert not pumped or (max(pumped) > 1 and min(pumped) < 0.2)
    charging = [
        sum(sum(_power(home, DAY + hour * 3_600 + 1_800, "ev")) for home in FLEET) for hour in range(24)
    ]
    assert charging[21] > 50
    assert charging[10] == 0


@given(index=st.integers(1, 5_000), ts=st.floats(DAY, DAY + 400 * 86_400))
def test_the_panel_is_the_sum_of_its_loads_and_the_rest(index: int, ts: float) -> None:
    reading = Reporter(Household(SEED, index), DAILY).read(ts)
    assert reading.used_kw == pytest.approx(reading.rest_kw + sum(load.power_kw for load in reading.loads))
    assert reading.shed_kw == pytest.approx(sum(load.shed_kw for load in reading.loads))
    assert reading.shed_kw <= (reading.requested_kw or 0) + 0.002
    for load in reading.loads:
        assert -load.load.capacity_kw <= load.power_kw <= load.load.capacity_kw
        assert load.shed_kw >= 0
        assert 0 <= load.capability_kw <= load.load.capacity_kw
    assert reading.soc is None or 0 <= reading.soc <= 1


def test_the_battery_holds_what_went_in() -> None:
    """State of charge and power tell the same story: 2.5 hours of full power fill it."""
    home = next(home for home in FLEET if any(load.kind == "battery" for load in home.loads))
    capacity_kw = next(load.capacity_kw for load in home.loads if load.kind == "battery")
    for ts, later in pairwise(range(DAY + 36_000, DAY + 50_000, 60)):
        [power_kw] = _power(home, ts + 30, "battery")
        stored_kwh = ((home.read(later).soc or 0) - (home.read(ts).soc or 0)) * capacity_kw * 2.5
        assert stored_kwh == pytest.approx(power_kw / 60, abs=0.02)


def test_the_daily_events() -> None:
    [evening] = daily_events(DAY + 17 * 3_600)
    assert evening.event_id == "evt-2024-07-10-evening"
    assert [*daily_events(DAY + 18 * 3_600 + 300)] == [
        evening
    ]  # it leaves no room for the short one at 18:00
    [short] = daily_events(DAY + 599)
    assert short.event_id == "evt-2024-07-10T0000"
    assert not short.runs_at(DAY + 600)
    assert [*daily_events(DAY + 600)] == [short]  # loads still make up for it
    assert [*daily_events(short.end + short.rebound_s)] == []


def test_nobody_sheds_unasked_unless_daily_events_are_wanted() -> None:
    evening, later = DAY + 17.5 * 3_600, DAY + 19.8 * 3_600
    assert not any(Reporter(home, FleetSettings()).read(evening).event for home in FLEET)
    during = [Reporter(home, DAILY).read(evening) for home in FLEET]
    assert sum(reading.shed_kw for reading in during) > 50
    assert 0.8 < sum(reading.event is not None for reading in during) / len(FLEET) < 1
    assert not any(Reporter(home, DAILY).read(later).shed_kw for home in FLEET)


def test_an_event_is_a_curve() -> None:
    """Down within a tenth of its time, as deep as asked or possible, then more than usual for a while."""
    event = ShedEvent("evt-1", NOON, NOON + 600, 1.0, lag_s=10, ramp_s=20)
    assert [event.depth(NOON + s) for s in (-1, 0, 10, 20, 30, 599, 600)] == [0, 0, 0, 0.5, 1, 1, 0]
    state = ControlState((event,))
    power = {ts: _network(ts, state) for ts in (NOON + 5, NOON + 300, NOON + 610, NOON + 1_499, NOON + 1_501)}
    natural = {ts: _network(ts, ControlState()) for ts in power}
    more = {ts - NOON: power[ts] - natural[ts] for ts in power}
    assert more[5] == 0
    assert more[300] < -20
    assert more[610] > more[1_499] > 0
    assert more[1_501] == 0


def _network(ts: float, state: ControlState) -> float:
    return sum(home.read(ts, state).used_kw for home in FLEET)


def test_a_part_of_the_energy_shed_comes_back() -> None:
    event = ShedEvent("evt-1", NOON, NOON + 1_200, 1.5)
    state = ControlState((event,))
    times = range(NOON, NOON + 3_600, 60)
    more = {ts: _network(ts, state) - _network(ts, ControlState()) for ts in times}
    shed = -sum(kw for ts, kw in more.items() if event.runs_at(ts))
    returned = sum(kw for ts, kw in more.items() if not event.runs_at(ts))
    assert 0.2 * shed < returned < 0.8 * shed


def test_the_truth_is_what_a_home_would_have_drawn_without_any_event() -> None:
    state = ControlState((ShedEvent("evt-1", NOON, NOON + 600, 1.0),))
    for home in FLEET:
        for ts in (NOON + 300, NOON + 700):
            reading = home.read(ts, state)
            assert reading.natural_kw == home.read(ts).used_kw
            if ts < NOON + 600:
                assert reading.natural_kw == pytest.approx(reading.used_kw + reading.shed_kw, abs=0.002)


def test_in_a_heat_wave_heat_pumps_draw_more_each_day_and_nothing_else_does() -> None:
    wave = HeatWave(DAY, DAY + 4 * 86_400, degrees=12)
    hot = [Household(SEED, home.index, heat_wave=wave) for home in FLEET]

    def drawn(homes: list[Household], ts: int, *, by_pumps: bool) -> float:
        loads = (load for home in homes for load in home.read(ts).loads)
        return sum(load.power_kw for load in loads if (load.load.kind == "hvac") == by_pumps)

    times = [NOON + day * 86_400 for day in (0, 2, 4)]
    more = [drawn(hot, ts, by_pumps=True) - drawn(FLEET, ts, by_pumps=True) for ts in times]
    assert 0 < more[0] < more[1] < more[2]
    for ts in times:
        assert drawn(hot, ts, by_pumps=False) == drawn(FLEET, ts, by_pumps=False)


def test_a_steady_home_draws_the_same_at_the_same_time_of_every_day() -> None:
    steady = [Household(SEED, home.index, is_steady=True) for home in FLEET]
    for home in steady:
        first, later = home.read(NOON), home.read(NOON + 9 * 86_400 + 299)
        assert (first.used_kw, first.loads) == (later.used_kw, later.loads)
    assert sum(home.read(NOON).used_kw for home in steady) != sum(
        home.read(NOON + 300).used_kw for home in steady
    )


def test_reports_come_once_an_interval_at_a_phase_of_their_own() -> None:
    reporters = fleet(SEED, 50, FleetSettings(5))
    times = [reporter.next_after(NOON) for reporter in reporters]
    assert len(set(times)) == 5
    for reporter, ts in zip(reporters, times, strict=True):
        assert reporter.next_after(ts) == ts + 5
        assert NOON < ts <= NOON + 5


@given(interval=st.floats(0.1, 86_400), ts=st.floats(DAY, DAY + 1e7))
def test_the_next_report_is_later_and_not_by_more_than_an_interval(interval: float, ts: float) -> None:
    following = Reporter(FLEET[0], FleetSettings(interval)).next_after(ts)
    assert ts < following <= ts + interval + 0.002


def test_what_a_fleet_of_both_generations_says_fits_the_contract() -> None:
    """Broken messages apart, everything names its VEN, its time, and its power."""
    topics = set()
    for reporter in fleet(SEED, 200, FleetSettings(60, has_daily_events=True)):
        ts = reporter.next_after(DAY + 17 * 3_600)
        if is_broken(reporter.home, ts):
            continue
        for arrival in reporter.arrivals(reporter.read(ts), describe=True):
            body = json.loads(arrival.message.payload)
            topic = arrival.message.topic
            topics.add(topic.replace(reporter.home.ven_id, "+"))
            assert body.get("venId", topic.rpartition("/")[2]) == reporter.home.ven_id
            assert isinstance(body["timestamp"], int | float | str)
            assert all({"id", "currentPowerKw"} <= entry.keys() for entry in body["loads"])
            if topic.startswith("ven/loads/"):
                assert all(
                    {"type", "capacityKw", "shedCapabilityKw"} <= entry.keys() for entry in body["loads"]
                )
            else:
                assert isinstance(body.get("usedPowerKw", body.get("power_kw")), float)
    assert topics == {"oadr/meter/+", "volttron/metering", "ven/loads/+"}


def test_now_and_then_a_message_is_late_doubled_or_broken() -> None:
    reporters = fleet(SEED, 100, FleetSettings(5))
    reports = [list(_arrivals(reporter, ts)) for reporter in reporters for ts in range(NOON, NOON + 500, 5)]
    arrivals = [arrival for report in reports for arrival in report]
    broken = sum(
        not _has_power(arrival.message) for arrival in arrivals if "loads" not in arrival.message.topic
    )
    assert 0 < broken < 3 * BROKEN * len(reports)
    doubled = sum(report[-1].message == report[-2].message for report in reports if len(report) > 1)
    assert 0 < doubled < 0.01 * len(reports)
    assert max(report[-1].at - NOON for report in reports) > 500


def _arrivals(reporter: Reporter, ts: float) -> Iterator[Arrival]:
    return reporter.arrivals(reporter.read(ts))


def _has_power(message: Message) -> bool:
    if not _is_json(message.payload):
        return False
    body = json.loads(message.payload)
    power = body.get("usedPowerKw", body.get("power_kw"))
    return isinstance(power, float) and math.isfinite(power)


def test_a_broken_message_is_never_readable() -> None:
    for reporter in fleet(SEED, 60, FleetSettings(5)):
        *_, arrival = _arrivals(reporter, NOON + reporter.home.index)
        if not is_broken(reporter.home, NOON + reporter.home.index):
            assert _has_power(arrival.message)
            assert not _has_power(break_message(reporter.home, NOON, arrival.message))


def test_a_backfill_is_about_as_long_as_foretold_and_describes_every_load_first() -> None:
    messages = list(backfill(SEED, 50, 6, FleetSettings(5), NOON))
    assert len(messages) == pytest.approx(backfill_length(50, 6, 5), rel=0.05)
    described = {message.topic for message in messages[:150] if message.topic.startswith("ven/loads/")}
    assert len(described) > 20
