"""The simulated fleet obeys: every command of the contract, in both generations' words, once."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from local.fleet.control.commands import CommandHandler
from local.fleet.homes.behaviour import ResponseBehaviour
from local.fleet.homes.household import Household, HouseholdReading, LoadReading
from local.fleet.homes.truth import truth
from local.fleet.telemetry.messages import description, dialect_of, load_entry, telemetry
from local.fleet.telemetry.reports import FleetSettings, Reporter

SEED = 7
EVENING = 1_720_569_600 + 19.75 * 3_600  # 2024-07-10T19:45:00Z
OBEDIENT = ResponseBehaviour(opt_out=0, mute=0)
HOMES = [Household(SEED, index) for index in range(1, 201)]
NEW = next(
    home
    for home in HOMES
    if not dialect_of(home).is_shared
    and all(
        sum(load.capability_kw > 0.5 for load in home.read(ts).loads) > 1
        for ts in (EVENING, EVENING + 150, EVENING + 300)
    )
)
OLD = next(home for home in HOMES if dialect_of(home).is_shared)


@dataclass
class Ven:
    """One VEN that gets commands at times of the test."""

    home: Household = NEW
    behaviour: ResponseBehaviour = OBEDIENT
    now: float = EVENING
    commands: CommandHandler = field(init=False)
    count: int = 0

    def __post_init__(self) -> None:
        self.reporter = Reporter(self.home, FleetSettings(5))
        self.commands = CommandHandler([self.reporter], self.behaviour, lambda: self.now)

    def tell(self, op: str, correlation_id: str = "", **data: Any) -> dict[str, Any]:
        """The body of the acknowledgement."""
        self.count += 1
        told = self.commands.handle(command(op, self.home, correlation_id or f"c-{self.count}", **data))
        assert told is not None
        body: dict[str, Any] = json.loads(told.answers[0].message.payload)
        return body

    def read(self, after_s: float = 0) -> HouseholdReading:
        return self.reporter.read(self.now + after_s, self.commands.state(self.home.ven_id))

    def load(self, load_id: str, after_s: float = 0) -> LoadReading:
        return next(each for each in self.read(after_s).loads if each.load.load_id == load_id)


def command(op: str, home: Household, correlation_id: str = "c-1", **data: Any) -> bytes:
    return json.dumps(
        {"op": op, "correlationId": correlation_id, "venId": home.ven_id, "data": data}
    ).encode()


def event(**more: Any) -> dict[str, Any]:
    return {"event_id": "evt-9", "start_ts": EVENING, "duration_s": 600, "requestedReductionKw": 0.5} | more


def test_a_ven_sheds_while_an_event_that_it_was_told_of_runs() -> None:
    ven = Ven()
    body = ven.tell("event", **event())
    assert (body["status"], body["event_id"], body["correlationId"]) == ("accepted", "evt-9", "c-1")
    assert (body["requested_shed_kw"], body["actual_shed_kw"]) == (0.5, 0.5)
    assert sum(circuit["shed_kw"] for circuit in body["circuits_curtailed"]) == 0.5
    assert ven.read(0.1).shed_kw == 0  # nobody sheds at once
    assert ven.read(300).shed_kw == pytest.approx(0.5, abs=0.01)
    assert ven.read(600).shed_kw == 0
    assert ven.read(600).event is None


def test_a_ven_uses_more_where_it_is_asked_to() -> None:
    ven = Ven()
    body = ven.tell("event", **event(direction="increase", requestedReductionKw=1.0))
    assert body["status"] == "accepted"
    reading = ven.read(300)
    assert reading.used_kw - reading.natural_kw == pytest.approx(1.0, abs=0.01)
    assert reading.shed_kw == 0
    assert all(each.power_kw <= each.load.capacity_kw for each in reading.loads)
    assert ven.read(601).used_kw == ven.read(601).natural_kw
    assert json.loads(description(NEW, dialect_of(NEW), reading).payload)["understands"][0] == "direction"


def test_a_ven_follows_intervals_and_goes_on_when_it_is_told_again() -> None:
    ven = Ven()
    steps = [
        {"start_ts": EVENING, "duration_s": 200, "targetKw": 0.2},
        {"start_ts": EVENING + 200, "duration_s": 400, "targetKw": 0.5},
    ]
    ven.tell("event", **event(requestedReductionKw=0.2, intervals=steps))
    for after_s, kw in ((150, 0.2), (199, 0.2), (201, 0.5), (599, 0.5), (600, 0)):
        assert ven.read(after_s).shed_kw == pytest.approx(kw, abs=0.011), after_s
    assert ven.read(250).requested_kw == 0.5
    ven.now += 300
    ven.tell("event", **event(requestedReductionKw=0.4, intervals=[]))
    assert ven.read(1).shed_kw == pytest.approx(0.4, abs=0.011), "it has got down already"


def test_a_ven_keeps_to_limits_of_its_panel() -> None:
    ven = Ven()
    natural_kw = ven.read(300).used_kw
    ven.tell("event", **event(requestedReductionKw=0.0, importLimitKw=natural_kw - 0.3))
    assert ven.read(300).used_kw == pytest.approx(natural_kw - 0.3, abs=0.01)
    noon = EVENING - 8 * 3_600
    roof = next(home for home in HOMES if home.read(noon).used_kw < -0.5)
    feeding = Ven(roof, now=noon)
    feeding.tell("event", **event(start_ts=noon, requestedReductionKw=0.0, exportLimitKw=0.1))
    assert feeding.read(300).used_kw == pytest.approx(-0.1, abs=0.01)


def test_a_report_in_an_event_says_what_it_is_asked_and_gives() -> None:
    for home in (NEW, OLD):
        ven = Ven(home)
        ven.tell("event", **event())
        reading = ven.read(300)
        body = json.loads(telemetry(home, dialect_of(home), reading).payload)
        assert (body["eventId"], body["requestedReductionKw"]) == ("evt-9", 0.5)
        assert body.get("shedPowerKw", body.get("shed_kw")) == reading.shed_kw > 0
        assert body["baselinePowerKw"] == round(reading.used_kw + reading.shed_kw, 3)


def test_after_an_event_a_brief_ven_says_that_its_loads_shed_nothing() -> None:
    """A missing value keeps the last one: a load that stops shedding must report that."""
    brief = next(home for home in HOMES if dialect_of(home).is_brief and home.read(EVENING).loads)
    ven = Ven(brief)
    ven.tell("event", **event())
    for after_s, says in ((-1, False), (300, True), (601, True)):
        entries = json.loads(telemetry(brief, dialect_of(brief), ven.read(after_s)).payload)["loads"]
        assert all(("shedPowerKw" in entry) == says for entry in entries)


def test_restore_brings_loads_back_within_seconds_and_they_make_up_for_it() -> None:
    ven = Ven()
    ven.tell("event", **event(requestedReductionKw=5))
    ven.now += 300
    assert ven.read().shed_kw > 0
    assert ven.tell("restore", event_id="evt-9")["status"] == "success"
    assert ven.read(3).shed_kw == 0
    assert ven.read(3).event is None
    assert ven.read(3).used_kw > ven.read(3).natural_kw
    assert truth(ven.home, ven.read(3)) == {
        "venId": ven.home.ven_id,
        "timestamp": ven.now + 3,
        "eventId": None,
        "counterfactualKw": ven.home.read(ven.now + 3).used_kw,
        "actualKw": ven.read(3).used_kw,
    }


def test_restore_without_an_event_ends_all_of_them_and_those_ahead_never_begin() -> None:
    ven = Ven()
    ven.tell("event", **event())
    ven.tell("event", **event(event_id="evt-later", start_ts=EVENING + 3_600))
    ven.now += 60
    ven.tell("restore", event_id="evt-unknown")
    assert ven.read().event is not None
    assert ven.tell("restore")["status"] == "success"
    assert [ven.read(s).event for s in (3, 3_600 - 60 + 100)] == [None, None]


def test_an_event_told_again_goes_on_with_its_new_end() -> None:
    ven = Ven()
    ven.tell("event", **event())
    ven.now += 300
    ven.tell("event", **event(duration_s=1_200, requestedReductionKw=0.3))
    assert ven.read().shed_kw == pytest.approx(0.3, abs=0.01)  # and does not begin anew
    assert ven.read(800).event is not None


def test_set_load_takes_effect_in_what_is_reported_and_in_how_it_is_shed() -> None:
    ven = Ven()
    ven.tell("event", **event(requestedReductionKw=0.2))
    first, *_, last = [each.load.load_id for each in ven.read(300).loads if each.capability_kw > 0.25]
    assert ven.load(first, 300).shed_kw == pytest.approx(0.2)
    assert ven.tell("setLoad", loadId=last, priority=0)["data"] == {"updated": {"priority": 0}}
    assert ven.load(last, 300).shed_kw == pytest.approx(0.2)
    ven.tell("setLoad", loadId=last, enabled=False)
    assert ven.load(last, 300).shed_kw == 0
    assert ven.load(first, 300).shed_kw == pytest.approx(0.2)
    ven.tell("setLoad", loadId=last, capacityKw=0.1)
    entry: Any = load_entry(ven.load(last, 300))
    assert (entry["enabled"], entry["priority"], entry["capacityKw"]) == (False, 0, 0.1)
    assert entry["currentPowerKw"] <= 0.1
    ven.tell("setLoad", loadId=last, enabled=None, priority=None, capacityKw=None)
    assert load_entry(ven.load(last)) == load_entry(Ven().load(last))


def test_shed_load_limits_one_load() -> None:
    ven = Ven()
    other, wanted, *_ = (each for each in ven.read().loads if each.capability_kw > 0.25)
    body = ven.tell("shedLoad", loadId=wanted.load.load_id, reduceKw=0.25, durationS=300)
    assert body["data"] == {"limitKw": round(wanted.power_kw - 0.25, 3), "until": EVENING + 300}
    assert ven.load(wanted.load.load_id, 150).shed_kw == pytest.approx(0.25)
    assert ven.load(other.load.load_id, 150).shed_kw == 0
    assert ven.load(wanted.load.load_id, 300).shed_kw == 0
    ven.tell("setLoad", loadId=wanted.load.load_id, enabled=False)
    assert ven.tell("shedLoad", loadId=wanted.load.load_id, reduceKw=1, durationS=9)["status"] == "rejected"


def test_shed_panel_answers_what_it_can() -> None:
    ven = Ven()
    body = ven.tell("shedPanel", requestedReductionKw=100, durationS=600, eventId="evt-p")
    data = body["data"]
    assert 0 < data["acceptedReduceKw"] < 100
    assert data["targetKw"] == pytest.approx(ven.home.read(EVENING).used_kw - data["acceptedReduceKw"])
    assert data["until"] == EVENING + 600
    reading = ven.read(300)
    assert reading.event is not None
    assert (reading.event.event_id, reading.requested_kw) == ("evt-p", 100)


def test_settings_are_applied_and_told() -> None:
    ven = Ven()
    first = ven.reporter.next_after(EVENING)
    assert ven.reporter.next_after(first) - first == 5
    body = ven.tell("set", report_interval_seconds=30)
    assert body["data"] == {"applied": {"report_interval_seconds": 30}}
    state = ven.commands.state(ven.home.ven_id)
    first = ven.reporter.next_after(EVENING, state)
    assert ven.reporter.next_after(first, state) - first == 30
    target_kw = ven.read().used_kw - 0.4
    ven.tell("setConfig", target_power_kw=target_kw)
    assert ven.read().used_kw == pytest.approx(target_kw, abs=0.002)
    assert ven.tell("get", what="config")["data"]["config"] == {
        "report_interval_seconds": 30,
        "target_power_kw": target_kw,
    }
    assert ven.tell("setConfig", report_interval_seconds=0)["status"] == "rejected"


def test_get_and_ping() -> None:
    ven = Ven()
    assert ven.tell("ping")["data"] == {"pong": True, "ts": EVENING}
    assert ven.tell("get", what="status")["data"]["status"]["usedPowerKw"] == ven.read().used_kw
    assert len(ven.tell("get", what="loads")["data"]["loads"]) == len(ven.home.loads)
    assert ven.tell("get", what="weather")["status"] == "rejected"


def test_older_vens_answer_with_ok() -> None:
    ven = Ven(OLD)
    body = ven.tell("event", **event())
    assert body.keys() == {"op", "correlationId", "venId", "ts", "ok", "data"}
    assert (body["ok"], body["data"]) == (True, {"event_id": "evt-9"})
    assert ven.tell("setLoad", loadId="none")["ok"] is False


@pytest.mark.parametrize(
    ("op", "data", "status"),
    [
        ("dance", {}, "rejected"),
        ("setLoad", {"loadId": "none", "enabled": True}, "rejected"),
        ("setLoad", {"loadId": "lighting1", "enabled": "yes"}, "error"),
        ("shedLoad", {"loadId": "none", "reduceKw": 1, "durationS": 9}, "rejected"),
        ("event", {"event_id": "evt-9"}, "error"),
        ("event", event(start_ts="soon"), "error"),
        ("event", event(duration_s=None), "error"),
        ("event", event(end_ts=EVENING - 1), "error"),
    ],
)
def test_what_cannot_be_done_is_said(op: str, data: dict[str, Any], status: str) -> None:
    ven = Ven()
    assert ven.tell(op, **data)["status"] == status
    assert ven.read(10) == Ven().read(10)


def test_a_command_that_comes_again_changes_nothing_and_is_answered_alike() -> None:
    ven = Ven()
    first = ven.tell("event", "c-1", **event())
    ven.tell("restore", "c-2")
    ven.now += 60
    assert ven.tell("event", "c-1", **event()) == first
    assert ven.read().event is None


def test_some_opt_out_and_always_of_the_same_events() -> None:
    verdicts = {
        event_id: [
            Ven(home, ResponseBehaviour(0.2, 0)).tell("event", **event(event_id=event_id)) for home in HOMES
        ]
        for event_id in ("evt-a", "evt-b")
    }
    refused = {
        event_id: {
            body["venId"] for body in bodies if body.get("ok") is False or body.get("status") == "rejected"
        }
        for event_id, bodies in verdicts.items()
    }
    assert all(0.05 < len(vens) / len(HOMES) < 0.15 for vens in refused.values())
    assert refused["evt-a"] != refused["evt-b"]
    for home in HOMES:
        ven = Ven(home, ResponseBehaviour(0.2, 0))
        ven.tell("event", **event(event_id="evt-a"))
        assert (ven.read(100).event is None) == (home.ven_id in refused["evt-a"])


def test_some_leave_in_the_middle_and_are_not_asked_back() -> None:
    left = []
    for home in HOMES:
        ven = Ven(home, ResponseBehaviour(0.2, 0))
        ven.tell("event", **event())
        if ven.read(100).event and not ven.read(590).event:
            left.append(home)
            ven.now += 500
            body = ven.tell("event", **event(requestedReductionKw=0.7))
            assert body.get("ok", body.get("status")) in {False, "rejected"}
            assert ven.read(10).event is None
    assert 0.05 < len(left) / len(HOMES) < 0.15


def test_answers_take_their_time_some_come_twice_and_some_never() -> None:
    times = []
    for home in HOMES:
        ven = Ven(home, ResponseBehaviour(0, 0.1))
        told = ven.commands.handle(command("event", home, **event()))
        times.append([answer.at - EVENING for answer in told.answers] if told else [])
        assert not told or len({answer.message.payload for answer in told.answers}) <= 1
    heard = [each for each in times if each]
    assert 0.02 < sum(not each for each in times) / len(HOMES) < 0.2
    assert 0 < sum(len(each) == 2 for each in heard) < 0.1 * len(heard)
    assert all(0.2 <= each[0] <= 12 for each in heard)
    assert sum(each[0] > 2 for each in heard) < 0.15 * len(heard)


def test_who_never_answers_may_obey_all_the_same() -> None:
    silent = [home for home in HOMES if ResponseBehaviour(0, 0.1).is_mute(home)]
    obeying = 0
    for home in silent:
        ven = Ven(home, ResponseBehaviour(0, 0.1))
        ven.commands.handle(command("event", home, **event()))
        obeying += ven.read(300).event is not None
    assert 0 < obeying < len(silent)


@pytest.mark.parametrize("payload", [b"", b"[]", b"\xff", command("ping", Household(SEED, 999))])
def test_what_is_not_for_us_is_left_alone(payload: bytes) -> None:
    assert Ven().commands.handle(payload) is None
