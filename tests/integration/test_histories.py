"""Both ways of reading a history, and the latest of one VEN: whatever is pending, kept, or asked for."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from jobs.storage.retention import drop_raw_days
from schemas.times.instants import microseconds
from serving.db.pool import ConnectionPool
from serving.fleet.latest import LatestReader
from serving.history import limits
from serving.history.planner import Aggregate, HistoryRequest
from serving.history.points import Point
from serving.history.service import Histories, History
from serving.page import Page
from tests.examples import costly
from tests.integration.published import NOW, THREE, telemetry
from tests.integration.whole_system import WholeSystem
from tests.oracle.messages import Published, random_traffic

DAY = timedelta(days=1)
FIRST = datetime(2024, 7, 8, tzinfo=UTC)


def histories(system: WholeSystem) -> Histories:
    return Histories(system.engine, ConnectionPool.for_engine(system.engine), lambda: NOW)


def points(history: History) -> tuple[list[Point], str | None]:
    found = list(history)
    return found, history.warning


@st.composite
def windows(draw: st.DrawFn) -> HistoryRequest:
    start = FIRST + timedelta(microseconds=draw(st.integers(0, 3 * 86_400_000_000)))
    length = timedelta(microseconds=draw(st.sampled_from((0, 1)) | st.integers(0, 86_400_000_000)))
    aggregate: Aggregate = draw(st.sampled_from(("sum", "energy", "mean")))
    granularity_s = draw(st.sampled_from((60, 300, 780, 3_600) if aggregate == "sum" else (300, 900, 3_600)))
    end_us = draw(st.sampled_from((microseconds(start + length) + 1, None)))
    return HistoryRequest(microseconds(start), end_us, granularity_s, aggregate)


@pytest.mark.thorough
def test_in_one_trip_or_in_parts_it_is_the_same(system: WholeSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    """With batches pending in either lane, and raw rows gone for the first day."""
    traffic = random_traffic(3, 1_500, shuffled=True)
    for position in range(0, 1_500, 300):
        system.ingest(traffic[position : position + 300])
        if position in {0, 600}:
            system.run(position // 600)
    system.catch_up()
    with system.engine.begin() as connection:
        drop_raw_days(connection, NOW, {0: 2 * DAY})
    system.ingest([Published(each.topic, each.payload) for each in [telemetry("late", NOW, 7.0)]])
    told: list[float] = []
    reading = Histories(system.engine, ConnectionPool.for_engine(system.engine, told.append), lambda: NOW)
    seen = draws = 0

    @costly(2)
    @given(windows())
    def agree(window: HistoryRequest) -> None:
        nonlocal seen, draws
        draws += 1
        for ask in (
            partial(reading.network, window),
            partial(reading.ven, "late", window),
            partial(reading.ven, known[0], window),
            partial(reading.load, *known, window),
        ):
            (soon, warning), trips = points(ask()), len(told)
            with monkeypatch.context() as patched:
                patched.setattr(limits, "SMALL_POINTS", 0)
                late, late_warning = points(ask())
            assert len(told) == trips
            assert warning == late_warning
            assert list(map(_values, soon)) == [pytest.approx(_values(point), abs=0.0015) for point in late]
            seen += len(soon)

    vens = system.get("/vens")
    known = next((ven["id"], load["id"]) for ven in vens for load in ven["loads"])
    agree()
    assert seen > 10 * draws
    assert len(told) > 2 * draws, "most questions take one trip"


def _values(point: Any) -> tuple[float, ...]:
    at, used, shed, *_ = structs.astuple(point)
    return at.timestamp(), used, shed


def test_what_is_kept_may_have_moved_since_the_last_question(system: WholeSystem) -> None:
    early = [telemetry("a", FIRST + timedelta(hours=hour, minutes=2), 1.0) for hour in range(72)]
    system.ingest([Published(each.topic, each.payload) for each in early])
    system.catch_up()
    window = HistoryRequest(microseconds(FIRST + timedelta(minutes=1)), microseconds(FIRST + 2 * DAY), 3600)
    reading = histories(system)
    exact, warning = points(reading.ven("a", window))
    assert (len(exact), warning) == (48, None)
    with system.engine.begin() as connection:
        drop_raw_days(connection, FIRST + 4 * DAY, {0: 3 * DAY})
    coarse, warning = points(reading.ven("a", window))
    assert len(coarse) == 47  # the first five minutes begin before the range
    assert warning is not None
    assert "no raw rows" in warning


@pytest.mark.thorough
@pytest.mark.parametrize("days", [0, 1, 9, 400, -3])
def test_the_latest_is_found_on_whatever_day_it_was_said(system: WholeSystem, days: int) -> None:
    """Partitions of other days are not looked at, unless something is pending of them."""
    latest = LatestReader(ConnectionPool.for_engine(system.engine), lambda: NOW)
    system.ingest([Published(t.topic, t.payload) for t in [telemetry("b", THREE, 2.0)]])
    assert latest.ven("b").metrics.current_power_kw == 2.0
    said = telemetry("a", THREE - days * DAY, 5.0, loads=[{"id": "l", "currentPowerKw": 3.0}])
    system.ingest([Published(said.topic, said.payload)])
    for _ in range(2):
        assert latest.ven("a").metrics.current_power_kw == 5.0
        assert [load.current_power_kw for load in latest.loads("a", Page())] == [3.0]
        assert latest.load("a", "l").current_power_kw == 3.0
        assert latest.ven("b").metrics.current_power_kw == 2.0
        system.catch_up()


def test_pages_of_loads(system: WholeSystem) -> None:
    loads = [{"id": f"l{number}", "currentPowerKw": float(number)} for number in range(5)]
    said = telemetry("a", THREE, 1.0, loads=loads)
    system.ingest([Published(said.topic, said.payload)])
    latest = LatestReader(ConnectionPool.for_engine(system.engine), lambda: NOW)
    for _ in range(2):
        assert [load.id for load in latest.loads("a", Page(2))] == ["l0", "l1"]
        assert [load.id for load in latest.loads("a", Page(2, "l1"))] == ["l2", "l3"]
        assert [load.id for load in latest.loads("a", Page(None, "l3"))] == ["l4"]
        assert latest.loads("a", Page(2, "l4")) == []
        system.catch_up()
