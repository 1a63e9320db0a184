"""Groups and types of load with a direction, intervals, spread starts and returns, also while they change."""

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

from ingest.storing.batch import Batch
from ingest.storing.store import Store
from jobs.events.settlement import settle
from jobs.settings import Cadence
from jobs.transforms.events.event_terms import return_delay, start_delay
from serving.app import create_app
from tests.integration.published import telemetry
from tests.integration.test_event_targets import Town
from tests.integration.test_event_terms import STEPS, Home
from tests.integration.test_events import START

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


class Village(Home, Town):
    """VENs with a car, by region, that declare what they understand."""

    def car(self, ven_id: str, region: str, kw: float, understands: str | None = None) -> None:
        """A car that charges, and could charge with twice as much more."""
        Home.home(self, ven_id, 3 * kw, kw, understands)
        self.db.execute("UPDATE vens SET region = %s WHERE ven_id = %s", [region, ven_id])

    def move(self, ven_id: str, region: str) -> None:
        self.db.execute("UPDATE vens SET region = %s WHERE ven_id = %s", [region, ven_id])

    def intervals(self, ven_id: str, number: int = -1) -> list[tuple[float, float]]:
        """From which minute on the VEN's command asks for how much."""
        return [
            ((each["start_ts"] - START.timestamp()) / 60, round(each["targetKw"], 6))
            for each in self.data(ven_id)[number]["intervals"]
        ]

    def sheds(self, ven_id: str) -> list[tuple[float, int, float, str]]:
        """Commands to its load: made at which minute, for how many seconds, for how much, status."""
        query = (
            "SELECT extract(epoch FROM created_at - %s)::float8 / 60, (data->>'durationS')::float8,"
            " (data->>'reduceKw')::float8, status FROM commands WHERE ven_id = %s AND op = 'shedLoad'"
            " ORDER BY 1"
        )
        rows = self.db.execute(query, [START, ven_id]).fetchall()
        return [(round(at, 1), int(duration_s), round(kw, 6), status) for at, duration_s, kw, status in rows]

    def settled_kwh(self) -> dict[str, float]:
        """What was asked of each VEN, by the settlement."""
        with self.engine.begin() as connection:
            assert settle(connection, self.now, Cadence().rules(), "e") is not None
        query = "SELECT ven_id, requested_kwh FROM ven_settlements WHERE baseline = '10-of-10' ORDER BY 1"
        return {ven_id: round(kwh, 4) for ven_id, kwh in self.db.execute(query)}

    def requested_kwh(self) -> float:
        query = "SELECT requested_kwh FROM event_settlements WHERE baseline = '10-of-10'"
        [[kwh]] = self.db.execute(query).fetchall()
        return float(kwh)

    def run(self, *minutes: float) -> None:
        for each in minutes:
            self.at(each)


@pytest.fixture
def village(engine: Engine, connection: psycopg.Connection) -> Village:
    """Two VENs in the north, of which one understands all, and two in the south."""
    made = Village(engine, connection)
    made.client.app = create_app(engine, lambda: made.now, [])
    made.now = START - timedelta(minutes=10)
    made.car("n1", "north", 6.0, '["direction", "intervals"]')
    made.car("n2", "north", 6.0)
    made.car("s1", "south", 6.0, '["direction", "intervals"]')
    made.car("s2", "south", 3.0)
    for group_id in ("north", "south"):
        made.group(group_id, regions=[group_id])
    return made


# Groups and intervals


def test_targets_that_change_amid_an_interval(village: Village) -> None:
    """A new VEN gets the remaining intervals, one that leaves is restored once; requests stay."""
    village.event(kw=2.0, intervals=STEPS, targets={"groups": ["north"]})
    village.run(-5, 0, 10)
    assert village.intervals("n1") == [(0, 2.0), (20, 4.5), (40, 1.0)]
    requests = village.requests()
    village.now = START + 10 * MINUTE
    village.change(targets={"groups": ["south"]})
    assert village.requests() == requests == [(0, 4), (20, 9), (40, 2)]
    village.run(10, 11)
    assert village.intervals("s1") == [(0, 2.666667), (20, 6), (40, 1.333333)]
    assert village.shares("n1") == village.shares("n2") == [(-5, 2), (10, 0)]
    village.run(20, 30, 40, 50, 60, 61)
    for ven_id in ("n1", "n2"):
        assert village.ops(ven_id) == ["event", "restore"]
    assert village.ops("s1") == ["event", "restore"], "it knew all intervals"
    assert village.ops("s2") == ["event", "event", "event", "restore"]
    kwh = village.settled_kwh()
    assert kwh["n1"] == kwh["n2"] == round(2 * 10 / 60, 4)
    assert sum(kwh.values()) == pytest.approx(village.requested_kwh(), abs=1e-3) == 5.0


@pytest.mark.thorough
def test_intervals_and_targets_that_change_at_once(village: Village) -> None:
    village.event(kw=2.0, intervals=STEPS, targets={"groups": ["north"]})
    village.run(-5, 0)
    village.now = START + 10 * MINUTE
    new = [{"durationS": 1_800, "targetKw": 3}, {"durationS": 1_800, "targetKw": 6}]
    village.change(intervals=new, targets={"groups": ["south"]}, endTime=(START + 2 * HOUR).isoformat())
    assert village.requests() == [(0, 4), (10, 3), (30, 6), (60, 2)]
    village.run(10, 11, 30, 60, 119)
    assert village.intervals("s1", 0) == [(10, 2), (30, 4), (60, 1.333333)]
    assert [each["requestedReductionKw"] for each in village.data("s2")] == pytest.approx([1, 2, 2 / 3])
    village.run(120, 121)
    assert village.ops("n1") == ["event", "restore"]
    assert sum(village.settled_kwh().values()) == pytest.approx(village.requested_kwh(), abs=1e-3)


def test_a_group_that_loses_a_member_amid_an_interval(village: Village) -> None:
    """Its share goes to the other VEN, which gets the next intervals for itself alone."""
    village.event(kw=2.0, intervals=STEPS, targets={"groups": ["north"]})
    village.run(-5, 0, 20)
    village.move("n2", "west")
    village.run(25, 26)
    assert village.parts()["n2"] == ("planned", 0)
    assert village.parts()["n1"] == ("notified", 6), "all that it has"
    assert village.intervals("n1") == [(20, 6), (40, 2)]
    village.run(40, 41)
    assert len(village.data("n1")) == 2, "it has been told its share of the last interval"
    assert village.shares("n1") == [(-5, 2), (20, 4.5), (25, 6), (40, 2)]
    village.run(60, 61)
    assert village.ops("n2") == ["event", "event", "restore"]
    assert village.ops("n1") == ["event", "event", "restore"]
    kwh = village.settled_kwh()
    assert kwh["n2"] == round((2 * 20 + 4.5 * 5) / 60, 4)
    assert kwh["n1"] == round((2 * 20 + 4.5 * 5 + 6 * 15 + 2 * 20) / 60, 4)
    assert village.requested_kwh() == 5.0, "as much as was asked of all, whether or not anybody could"


def test_the_history_of_a_ven_says_what_was_asked_when(village: Village, store: Store) -> None:
    """It was the last share for the whole event; of who had left, nothing, and to the end."""
    village.event(kw=2.0, intervals=STEPS, targets={"groups": ["north"]})
    village.run(-5, 0, 20)
    village.move("n2", "west")
    village.run(25, 40, 60)
    at = [START + n * 5 * MINUTE for n in range(-1, 13)]
    samples = [telemetry(ven_id, ts) for ven_id in ("n1", "n2") for ts in at]
    store.write(Batch.of(samples, timedelta(days=9_999)))

    def asked_kw(ven_id: str) -> list[float | None]:
        points = village.client.simulate_get(f"/api/vens/{ven_id}/history").json["points"]
        assert {point.get("eventId", "e") for point in points} == {"e"}
        return [point.get("requestedReductionKw") for point in points]

    assert asked_kw("n1") == [None, *[2] * 4, 4.5, *[6] * 3, *[2] * 4, None]
    assert asked_kw("n2") == [None, *[2] * 4, 4.5, *[None] * 8]


def test_a_member_that_comes_back_in_the_next_interval(village: Village) -> None:
    village.event(kw=2.0, intervals=STEPS, targets={"groups": ["north"]})
    village.run(-5, 0)
    village.move("n1", "west")
    village.run(10, 11)
    village.move("n1", "north")
    village.run(30, 31, 40, 60, 61)
    assert village.ops("n1") == ["event", "restore", "event", "restore"]
    assert village.shares("n1") == [(-5, 2), (10, 0), (30, 4.5), (40, 1)]
    assert village.settled_kwh()["n1"] == round((2 * 10 + 4.5 * 10 + 1 * 20) / 60, 4)


def test_a_member_that_leaves_before_its_own_start(village: Village) -> None:
    """It was never sent the command, and was asked for nothing."""
    village.event(kw=6.0, randomizeStartS=1_800, leadTimeS=0, targets={"groups": ["north"]})
    village.run(0)
    assert village.sent("n1")[0][-1] == "pending"
    village.move("n1", "west")
    village.run(0.01, 1, 60, 61)
    assert [(op, status) for op, _, _, status in village.sent("n1")] == [
        ("event", "expired"),
        ("restore", "pending"),
    ]
    asked_h = 1 - start_delay("e", "n2", 1_800) / HOUR
    assert village.settled_kwh() == {"n1": 0, "n2": pytest.approx(6 * asked_h, abs=0.02)}


# Types of load, in intervals and spread


def test_single_loads_in_intervals(village: Village) -> None:
    """Each step is a new command to the loads, also of a VEN that understands intervals."""
    village.event(kw=2.0, intervals=STEPS, leadTimeS=0, targets={"groups": ["north"], "loadTypes": ["ev"]})
    village.run(-1, 0, 10, 20, 40, 60, 61)
    for ven_id in ("n1", "n2"):
        assert village.sheds(ven_id) == [
            (0, 3_600, 2.0, "expired"),
            (20, 2_400, 4.5, "expired"),
            (40, 1_200, 1.0, "expired"),
        ]
        assert village.ops(ven_id) == ["shedLoad", "shedLoad", "shedLoad", "restore"]
    assert village.settled_kwh() == {"n1": 2.5, "n2": 2.5}
    assert village.requested_kwh() == 5.0


def test_an_interval_without_kw(village: Village) -> None:
    steps = [{"durationS": 1_200, "targetKw": 0}, {"durationS": 2_400, "targetKw": 6}]
    for event_id, targets in (
        ("e", {"groups": ["north"]}),
        ("f", {"groups": ["south"], "loadTypes": ["ev"]}),
    ):
        village.event(event_id, kw=6.0, intervals=steps, leadTimeS=0, targets=targets)
    village.run(0, 10, 20)
    assert village.intervals("n1") == [(0, 0), (20, 3)]
    assert [each["requestedReductionKw"] for each in village.data("n2")] == [0, 3]
    assert [kw for _, _, kw, _ in village.sheds("s1")] == [0, 4]
    assert village.shares("n1") == village.shares("n2") == [(0, 0), (20, 3)]


def test_single_loads_start_and_return_spread_in_intervals(village: Village) -> None:
    village.event(
        kw=2.0,
        intervals=STEPS,
        leadTimeS=0,
        randomizeStartS=1_200,
        staggerReturnS=600,
        targets={"groups": ["north"], "loadTypes": ["ev"]},
    )
    village.run(0, 20, 40, 60, 61)
    longer_s = round(return_delay("e", "n1", 600).total_seconds())
    assert [duration_s for _, duration_s, *_ in village.sheds("n1")] == [
        3_600 + longer_s,
        2_400 + longer_s,
        1_200 + longer_s,
    ]
    due = "SELECT op, next_attempt_at FROM commands WHERE ven_id = 'n1' ORDER BY created_at"
    at = [(op, at - START) for op, at in village.db.execute(due)]
    tick = timedelta(milliseconds=1)
    assert at == [
        ("shedLoad", start_delay("e", "n1", 1_200)),
        ("shedLoad", 20 * MINUTE + tick),
        ("shedLoad", 40 * MINUTE + tick),
        ("restore", HOUR + return_delay("e", "n1", 600)),
    ]
    begins_h = start_delay("e", "n1", 1_200) / HOUR
    expected = 2 * (1 / 3 - begins_h) + 4.5 / 3 + 1 / 3
    assert village.settled_kwh()["n1"] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("limit", ["importLimitKw", "exportLimitKw"])
def test_a_limit_of_single_loads_is_refused(limit: str, village: Village) -> None:
    """Commands to loads do not have it, so VENs would not learn of it."""
    assert f"{limit} must be left out" in village.refused(400, targets={"loadTypes": ["ev"]}, **{limit: 0})
    wish: dict[str, Any] = {limit: 0}
    village.event(leadTimeS=0, **wish)
    for _ in ("before", "while it runs"):
        assert limit in village.refused(400, "e", targets={"loadTypes": ["ev"]})
        village.run(0)
    without: dict[str, Any] = {limit: None}
    village.change(targets={"loadTypes": ["ev"]}, **without)
    assert limit in village.refused(400, "e", **{limit: 5})


def test_types_of_load_instead_of_all_amid_an_interval(village: Village) -> None:
    """A VEN with the intervals is restored, and gets each step as a command to its load."""
    village.event(kw=2.0, intervals=STEPS, leadTimeS=0, targets={"groups": ["north"]})
    village.run(0)
    village.now = START + 10 * MINUTE
    village.change(targets={"loadTypes": ["ev"]})
    village.run(10, 11, 20, 40, 60, 61)
    for ven_id in ("n1", "n2"):
        assert village.ops(ven_id) == ["event", "restore", "shedLoad", "shedLoad", "shedLoad", "restore"]
        assert [kw for _, _, kw, _ in village.sheds(ven_id)] == [2, 4.5, 1]
    assert sum(village.settled_kwh().values()) == pytest.approx(village.requested_kwh(), abs=1e-3)


# More, of groups


def test_a_group_is_asked_for_more_in_intervals(village: Village) -> None:
    """Members that understand a direction; one that joins gets the rest, one that leaves is restored once."""
    wish: dict[str, Any] = {"direction": "increase", "intervals": STEPS, "targets": {"groups": ["north"]}}
    preview = village.preview(2.0, **wish)
    assert [(ven["venId"], ven["requestedReductionKw"]) for ven in preview["vens"]] == [("n1", 4.0)]
    assert preview["passedOver"] == [{"venId": "n2", "reason": "unable to increase"}]
    assert (preview["availableKw"], preview["sharedReductionKw"]) == (12.0, 4.0)
    made = village.event(kw=2.0, **wish)
    assert made["notes"] == preview["notes"] == [{"reason": "unable to increase", "vens": 1}]
    village.run(-5, 0)
    assert village.parts() == {"n1": ("notified", 4)}
    village.now = START + 10 * MINUTE
    village.change(targets={"groups": ["north", "south"]})
    village.run(10, 20)
    assert (village.parts()["n1"], village.parts()["s1"]) == (("notified", 4.5), ("notified", 4.5))
    assert {each["direction"] for ven_id in ("n1", "s1") for each in village.data(ven_id)} == {"increase"}
    assert village.intervals("s1") == [(0, 2), (20, 4.5), (40, 1)]
    village.move("n1", "west")
    village.run(30, 31, 60, 61)
    assert village.ops("n1")[-1] == "restore"
    assert village.ops("n1").count("restore") == village.ops("s1").count("restore") == 1
    assert village.ops("n2") == village.ops("s2") == []
    kwh = village.settled_kwh()
    assert kwh["n1"] == round((4 * 10 + 2 * 10 + 4.5 * 10) / 60, 4)
    assert village.requested_kwh() == 5.0


@pytest.mark.parametrize("group_id", ["north", "cars"])
def test_more_cannot_be_asked_of_types_of_load_but_of_a_group_of_them(
    group_id: str, village: Village
) -> None:
    village.group("cars", loadTypes=["ev"])
    village.event(direction="increase", targets={"groups": [group_id]})
    assert "direction" in village.refused(400, "e", targets={"loadTypes": ["ev"]})
    village.run(-5, 0)
    assert "direction" in village.refused(409, "e", targets={"loadTypes": ["ev"]}, direction="reduce")
    assert "direction" in village.refused(400, "e", targets={"loadTypes": ["ev"]})
    assert village.parts().keys() == ({"n1"} if group_id == "north" else {"n1", "s1"})


def test_a_dry_run_of_single_loads_in_intervals(village: Village) -> None:
    """What is shared out at the start; nothing is written."""
    before = village.everything()
    preview = village.preview(
        2.0,
        intervals=STEPS,
        randomizeStartS=600,
        staggerReturnS=600,
        targets={"groups": ["south"], "loadTypes": ["ev"]},
    )
    assert [(ven["venId"], ven["requestedReductionKw"]) for ven in preview["vens"]] == [
        ("s1", 2.667),
        ("s2", 1.333),
    ]
    assert (preview["availableKw"], preview["sharedReductionKw"]) == (9, 4)
    assert (village.everything(), village.requests()) == (before, [])
    village.event(kw=2.0, intervals=STEPS, leadTimeS=0, targets={"groups": ["south"], "loadTypes": ["ev"]})
    village.run(0)
    shares = {ven_id: round(kw, 3) for ven_id, (_, kw) in village.parts().items()}
    assert shares == {ven["venId"]: ven["requestedReductionKw"] for ven in preview["vens"]}


# A stop amid all of it


@pytest.mark.parametrize("how", ["stop", "cancel"])
def test_everybody_is_restored_once(how: str, village: Village) -> None:
    """VENs that left, joined or stayed, of an event that is cancelled within an interval."""
    village.event(kw=2.0, intervals=STEPS, staggerReturnS=600, targets={"groups": ["north"]})
    village.run(-5, 0)
    village.move("n2", "west")
    village.move("s2", "north")
    village.run(10, 11, 20, 21)
    if how == "stop":
        village.client.simulate_post("/api/events/e/stop")
    else:
        village.client.simulate_delete("/api/events/e")
    village.run(25, 26, 60, 61)
    for ven_id in ("n1", "n2", "s2"):
        assert village.ops(ven_id).count("restore") == 1, ven_id
        assert village.ops(ven_id)[-1] == "restore"
    assert village.ops("s1") == []
    assert village.settled_kwh()["n2"] == round(2 * 10 / 60, 4)
