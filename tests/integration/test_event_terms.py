"""Events with a direction, in intervals, with spread starts and returns: VENs and commands."""

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

from ingest.decoding.messages import Received
from ingest.storing.store import Store
from jobs.transforms.events.event_terms import return_delay, start_delay
from schemas.db.channels import EVENTS
from schemas.db.connections import connect
from tests.integration.published import NOW, THREE, batch_of, rows
from tests.integration.test_events import START, Grid, minute

SECOND = timedelta(seconds=1)
STEPS = [{"durationS": 1_200, "targetKw": 4.0}, {"durationS": 1_200, "targetKw": 9.0}]


class Home(Grid):
    """A grid whose VENs declare what they understand."""

    def home(
        self, ven_id: str, capacity_kw: float, used_kw: float, understands: str | None, **load: Any
    ) -> None:
        """One with a load that could be shed by all that it uses."""
        self.ven(ven_id, used_kw, **load)
        self.db.execute(
            "UPDATE load_snapshots SET capacity_kw = %s, used_power_kw = %s, load_type = %s"
            " WHERE ven_id = %s",
            [capacity_kw, used_kw, load.get("load_type", "ev"), ven_id],
        )
        if understands is not None:
            self.db.execute("INSERT INTO ven_abilities VALUES (%s, %s, now())", [ven_id, understands])

    def data(self, ven_id: str) -> list[dict[str, Any]]:
        """The contents of its `event` commands, in the order of creation."""
        query = "SELECT data FROM commands WHERE ven_id = %s AND op = 'event' ORDER BY created_at"
        return [data for [data] in self.db.execute(query, [ven_id])]

    def shares(self, ven_id: str) -> list[tuple[float, float]]:
        """Since which minute after the start it has been asked for how much."""
        query = (
            "SELECT extract(epoch FROM at - %s)::float8 / 60, requested_reduction_kw FROM event_shares"
            " WHERE ven_id = %s ORDER BY 1"
        )
        return [(at, round(kw, 6)) for at, kw in self.db.execute(query, [START, ven_id])]

    def requests(self) -> list[tuple[float, float]]:
        query = (
            "SELECT extract(epoch FROM at - %s)::float8 / 60, requested_reduction_kw FROM event_requests"
            " ORDER BY 1"
        )
        return list(self.db.execute(query, [START]))


@pytest.fixture
def homes(engine: Engine, connection: psycopg.Connection) -> Home:
    grid = Home(engine, connection)
    grid.now = START - timedelta(minutes=10)
    return grid


# What VENs understand


def said(topic: str, payload: str) -> Received:
    return Received(topic, payload.encode(), NOW)


def test_the_newest_word_of_what_a_ven_understands_counts(
    store: Store, connection: psycopg.Connection
) -> None:
    """In any order; a report without a list changes nothing, and a bad list is rejected alone."""
    at = THREE.timestamp()
    words = {
        0: '"understands": ["intervals", "direction", "intervals"], ',
        60: '"understands": ["direction"], ',
        -60: '"understands": [], ',
        90: "",
        120: '"understands": "all", ',
    }
    for after_s, word in words.items():
        payload = f'{{{word}"timestamp": {at + after_s}, "loads": [{{"id": "l"}}]}}'
        store.write(batch_of(said("ven/loads/a", payload)))
    abilities = "SELECT ven_id, understands::text, said_at FROM ven_abilities ORDER BY 1"
    assert rows(connection, abilities) == [("a", '["direction"]', THREE + 60 * SECOND)]
    assert rows(connection, "SELECT reason, detail FROM rejected_messages") == [
        ("bad_field", "understands: Expected `array | null`, got `str`")
    ]
    answers = (
        '{"correlationId": "1", "ok": true, "data": {"understands": ["intervals"], "loads": []}}',
        '{"correlationId": "2", "status": "success", "understands": []}',
    )
    for answer, expected in zip(answers, ('["intervals"]', "[]"), strict=True):
        store.write(batch_of(said("ven/ack/a", answer), said("ven/ack/unknown", answer)))
        assert [row[:2] for row in rows(connection, abilities)] == [("a", expected)]
    loads = "SELECT count(*) FROM ven_load_descriptions"
    assert rows(connection, loads) == [(5,)]


# More


def test_who_is_asked_for_more(homes: Home) -> None:
    """VENs that understand a direction, by what they could use more than now; a roof could use nothing."""
    homes.home("a", 5.0, 1.0, '["direction"]')
    homes.home("b", 3.0, 1.0, '["direction", "intervals"]')
    homes.home("full", 3.0, 3.0, '["direction"]')
    homes.home("roof", 9.0, -2.0, '["direction"]', load_type="Solar")
    homes.home("older", 5.0, 1.0, None)
    homes.home("other", 5.0, 1.0, '["intervals"]')
    preview = homes.preview(3.0, direction="increase")
    assert {ven["venId"]: ven["availableKw"] for ven in preview["vens"]} == {"a": 4.0, "b": 2.0}
    made = homes.event(kw=3.0, direction="increase")
    assert made["direction"] == "increase"
    homes.at(-5)
    assert homes.parts() == {"a": ("notified", 2.0), "b": ("notified", 1.0)}
    assert homes.notes() == {"unable to increase": 2, "no flexibility": 2}
    [told] = homes.data("a")
    assert (told["direction"], told["requestedReductionKw"]) == ("increase", 2.0)
    assert homes.sent("older") == homes.sent("other") == []


def test_a_direction_is_fixed_once_vens_have_been_told(homes: Home) -> None:
    homes.home("a", 5.0, 1.0, '["direction"]')
    homes.event(direction="reduce", leadTimeS=0)
    homes.change(direction="increase")
    homes.at(0)
    assert homes.parts() == {"a": ("notified", 4.0)}
    answer = homes.client.simulate_patch("/api/events/e", json={"direction": "reduce"})
    assert (answer.status_code, "direction" in answer.json["detail"]) == (409, True)
    homes.change(direction="increase", endTime=minute(50))


# Intervals


def test_intervals_are_told_ahead_or_each_at_its_start(homes: Home) -> None:
    """`a` has all of them from its first command; `b` gets each at its start, as a new request."""
    homes.home("a", 9.0, 6.0, '["intervals"]')
    homes.home("b", 9.0, 6.0, None)
    made = homes.event(kw=2.0, intervals=STEPS)
    shown = [{**STEPS[0], "offsetS": 0.0}, {**STEPS[1], "offsetS": 1_200.0}]
    assert made["intervals"] == shown
    assert homes.requests() == [(0.0, 4.0), (20.0, 9.0), (40.0, 2.0)]
    for minutes in (-5, 0, 10, 20, 30, 40, 50):
        homes.at(minutes)
    assert [each["requestedReductionKw"] for each in homes.data("b")] == [2.0, 4.5, 1.0]
    [told] = homes.data("a")
    assert [(each["start_ts"] - START.timestamp(), each["duration_s"]) for each in told["intervals"]] == [
        (0, 1_200),
        (1_200, 1_200),
        (2_400, 1_200),
    ]
    assert [each["targetKw"] for each in told["intervals"]] == [2.0, 4.5, 1.0]
    expected = [(-5.0, 2.0), (20.0, 4.5), (40.0, 1.0)]
    assert homes.shares("a") == homes.shares("b") == expected
    homes.change(intervals=shown)
    homes.at(51)
    assert (len(homes.data("a")), len(homes.data("b"))) == (1, 3), "nothing has changed"


def test_a_step_without_commands_is_notified(homes: Home, database_url: str) -> None:
    """Shares that need no command, since the first one had all intervals, stayed as they were in lists."""
    homes.home("a", 9.0, 6.0, '["intervals"]')
    event_id = homes.event(kw=2.0, intervals=STEPS)["id"]
    for minutes in (-5, 0, 10):
        homes.at(minutes)
    with connect(database_url, "tests") as listener:
        listener.execute(f"LISTEN {EVENTS}".encode())
        homes.at(20)
        assert len(homes.data("a")) == 1
        assert [each.payload for each in listener.notifies(timeout=20, stop_after=1)] == [event_id]


def test_intervals_that_are_changed_are_told_again(homes: Home) -> None:
    """Before it starts all of them; while it runs from now on: what was asked until now stays."""
    homes.home("a", 9.0, 6.0, '["intervals"]')
    homes.home("b", 9.0, 6.0, None)
    homes.event(kw=2.0)
    homes.change(intervals=STEPS)
    homes.at(-5)
    homes.at(5)
    homes.now = START + timedelta(minutes=10)
    homes.change(intervals=[{"durationS": 1_800, "targetKw": 4}, {"durationS": 1_800, "targetKw": 6}])
    assert homes.requests() == [(0.0, 4.0), (30.0, 6.0)]
    homes.at(10)
    assert len(homes.data("a")) == 2
    assert [each["targetKw"] for each in homes.data("a")[1]["intervals"]] == [2.0, 3.0]
    homes.at(20)
    homes.now = START + timedelta(minutes=25)
    homes.change(intervals=None, requestedReductionKw=8)
    assert homes.requests() == [(0.0, 4.0), (25.0, 8.0)]
    homes.at(25)
    homes.at(35)
    assert "intervals" not in homes.data("a")[-1]
    assert sum(homes.shares(ven_id)[-1][1] for ven_id in "ab") == 8
    assert {homes.shares(ven_id)[-1][0] for ven_id in "ab"} == {25.0}


def test_one_interval_is_as_good_as_none(homes: Home) -> None:
    """The same shares, at the same times, in the same commands, but for those who understand intervals."""
    for ven_id in "abcd":
        homes.home(ven_id, 9.0, 6.0, None)
    homes.event("plain", kw=5.0, venIds=["a", "b"])
    one = [{"durationS": 3_600, "targetKw": 5.0}]
    homes.event("one", kw=5.0, venIds=["c", "d"], intervals=one)
    for minutes in (-5, 0, 30):
        homes.at(minutes)
    homes.answer("b", "rejected", "plain")
    homes.answer("d", "rejected", "one")
    for minutes in (31, 32):
        homes.at(minutes)
    for plain, other in (("a", "c"), ("b", "d")):
        assert homes.shares(plain) == homes.shares(other)
        assert [each | {"event_id": ""} for each in homes.data(plain)] == [
            each | {"event_id": ""} for each in homes.data(other)
        ]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("wish", "word"),
    [
        ({"intervals": [{"durationS": 3_601, "targetKw": 1}]}, "intervals[0].durationS"),
        ({"intervals": [{"durationS": 60, "targetKw": -1}]}, "intervals[0].targetKw"),
        ({"intervals": [{"durationS": 60, "targetKw": 1, "offsetS": 60}]}, "intervals[0].offsetS"),
        ({"direction": "sideways"}, "direction"),
        ({"direction": "increase", "targets": {"loadTypes": ["ev"]}}, "direction must be reduce"),
        ({"randomizeStartS": 3_600}, "randomizeStartS"),
        ({"staggerReturnS": -1}, "staggerReturnS"),
        ({"importLimitKw": -1}, "importLimitKw"),
    ],
)
def test_what_is_refused_names_its_field(wish: dict[str, Any], word: str, homes: Home) -> None:
    body = {"startTime": minute(0), "endTime": minute(60), "requestedReductionKw": 1, **wish}
    response = homes.client.simulate_post("/api/events", json=body)
    assert response.status_code == 400
    assert word in response.json["detail"]


def test_an_end_before_the_last_interval_is_refused(homes: Home) -> None:
    homes.event(intervals=STEPS)
    response = homes.client.simulate_patch("/api/events/e", json={"endTime": minute(39)})
    assert response.status_code == 400
    assert "intervals[1].durationS reaches 60 s beyond endTime" in response.json["detail"]
    homes.change(endTime=minute(40))
    assert homes.requests() == [(0.0, 4.0), (20.0, 9.0)]


# Spread, and limits


def test_an_end_before_the_last_start_is_refused(homes: Home) -> None:
    homes.event(randomizeStartS=1_200)
    homes.at(0)
    response = homes.client.simulate_patch("/api/events/e", json={"endTime": minute(20)})
    assert (response.status_code, "randomizeStartS" in response.json["detail"]) == (400, True)


def test_starts_and_returns_are_spread(homes: Home) -> None:
    for number in range(20):
        homes.home(f"v{number}", 9.0, 6.0, None)
    homes.event(randomizeStartS=600, staggerReturnS=300, leadTimeS=0)
    for minutes in (0, 60):
        homes.at(minutes)
    query = "SELECT op, ven_id, next_attempt_at, data FROM commands WHERE event_id = 'e'"
    starts = set()
    for op, ven_id, at, data in homes.db.execute(query):
        if op == "event":
            delay = start_delay("e", ven_id, 600)
            assert data["start_ts"] == pytest.approx((START + delay).timestamp())
            assert at - START - delay <= timedelta(milliseconds=2)
            starts.add(at)
        else:
            end = START + timedelta(hours=1)
            assert at == end + return_delay("e", ven_id, 300)
    assert len(starts) == 20


def test_a_restore_that_is_yet_to_come_goes_before_the_next_event(homes: Home) -> None:
    """Later it would end that one. Withdrawn, it left a VEN in an event that had been stopped."""
    homes.home("a", 9.0, 6.0, None)
    homes.event(staggerReturnS=3_600, end=60, leadTimeS=0)
    homes.at(0)
    homes.client.simulate_post("/api/events/e/stop")
    homes.at(1)
    homes.event("next", start=70, end=80, leadTimeS=4_080)
    homes.at(2)
    query = "SELECT op, status, next_attempt_at FROM commands WHERE ven_id = 'a' ORDER BY created_at"
    [_, restore, told] = homes.db.execute(query)
    assert restore == ("restore", "pending", homes.now)
    assert told == ("event", "pending", homes.now + timedelta(milliseconds=1))


@pytest.mark.parametrize(("stopped_at", "is_at_once"), [(-4, True), (0.01, True), (31, False)])
def test_who_has_not_started_is_restored_at_once(stopped_at: float, homes: Home, *, is_at_once: bool) -> None:
    """An event that is called off before a VEN starts: with a return that is staggered it would start."""
    homes.home("a", 9.0, 6.0, None)
    homes.event(randomizeStartS=1_800, staggerReturnS=3_600)
    homes.at(-5)
    homes.at(stopped_at)
    homes.client.simulate_post("/api/events/e/stop")
    homes.look()
    [at] = homes.db.execute("SELECT next_attempt_at FROM commands WHERE op = 'restore'").fetchall()[0]
    assert at - homes.now == (timedelta(0) if is_at_once else return_delay("e", "a", 3_600))


def test_a_stagger_that_is_changed_is_told_again(homes: Home) -> None:
    """It moves the end in a VEN's command."""
    homes.home("a", 9.0, 6.0, None)
    homes.event(leadTimeS=0)
    homes.at(0)
    homes.now = START + timedelta(minutes=1)
    homes.change(staggerReturnS=600)
    homes.at(1)
    homes.at(2)
    end = START + timedelta(hours=1)
    ends = [end.timestamp(), (end + return_delay("e", "a", 600)).timestamp()]
    assert [each["end_ts"] for each in homes.data("a")] == ends


def test_limits_are_told_to_who_understands_them_and_again_when_they_change(homes: Home) -> None:
    homes.home("a", 9.0, 6.0, '["importLimitKw"]')
    homes.home("b", 9.0, 6.0, None)
    made = homes.event(importLimitKw=5, leadTimeS=0)
    assert (made["importLimitKw"], "exportLimitKw" in made) == (5, False)
    homes.at(0)
    homes.now = START + timedelta(minutes=1)
    homes.change(importLimitKw=4, exportLimitKw=0)
    homes.at(1)
    homes.change(importLimitKw=None)
    homes.at(2)
    assert [each.get("importLimitKw") for each in homes.data("a")] == [5, 4, None]
    assert [each.get("importLimitKw") for each in homes.data("b")] == [None, None, None]
    homes.at(3)
    assert len(homes.data("a")) == 3
