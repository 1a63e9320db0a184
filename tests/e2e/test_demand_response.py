"""An event from the request to the settlement: homes that respond, and know what they did.

The homes are steady: at a time of day they draw the same on every day, in steps of five minutes, so every
baseline of similar days is what they would have drawn. What is left between measured and true is a sample
that comes too late, broken, or at the edge of the window, as some do: so much is tolerated, and no more.
"""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import fmean
from typing import Any, Self

import pytest

from local.environment import REPOSITORY
from local.fleet.homes.behaviour import ResponseBehaviour
from local.fleet.homes.events import ShedEvent
from local.fleet.homes.household import Household
from tests.e2e.stack import running_stack

pytestmark = [pytest.mark.xdist_group("local"), pytest.mark.thorough]

VENS, SEED, OPT_OUT = 10, 4, 0.3
ARRIVES_WITHIN_S, MOVES_WITHIN_S, SETTLES_WITHIN_S = 180, 20, 60
AHEAD, LENGTH = timedelta(seconds=4), timedelta(seconds=20)
TOLD_AHEAD = timedelta(seconds=30)
"""The lead time of events that VENs are to follow from the first second on."""
ON_TIME_S, ASKED_WITHIN_S = 1.0, 1.0
ROUNDING_KW = 0.002


def past_days(today: datetime) -> int:
    """So many hold seven working days, or six of weekends.

    Each of six working days is predicted from five others, each of five weekend days from four: as few as a
    baseline accepts. One more is there, since the fleet loses some reports, and with them a slot of a day.
    """
    return 22 if today.weekday() >= 5 else 11


def homes() -> list[Household]:
    return [Household(SEED, number, is_steady=True) for number in range(1, VENS + 1)]


FEEDING_IN = {home.ven_id for home in homes() if {"solar", "battery"} & {load.kind for load in home.loads}}
"""Homes that may, at some times of day, use nothing on the whole: then no share of that can be missed."""


@dataclass
class Site:
    """A running system, and the fleet's truth."""

    http_url: str
    mqtt_url: str
    truth: Path

    def ask(self, path: str, body: object = None, method: str | None = None) -> Any:
        """The answer; POST where there is a body, empty or not."""
        content = None if body is None else json.dumps(body).encode() if body else b""
        headers = {"Content-Type": "application/json"} if content else {}
        url = f"{self.http_url}/api{path}"
        request = urllib.request.Request(url, content, headers, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
                return json.load(response)
        except urllib.error.HTTPError as error:
            return json.load(error)

    def until(self, path: str, is_so: Callable[[Any], object], within_s: float) -> Any:
        """The first answer that satisfies."""
        deadline = time.monotonic() + within_s
        while not is_so(answer := self.ask(path)):
            assert time.monotonic() < deadline, f"{path} still answers {json.dumps(answer)}"
            time.sleep(0.1)  # nobody signals that an answer has changed: it is asked for
        return answer

    def make_event(
        self, event_id: str, requested_kw: float, ahead: timedelta = AHEAD, **more: Any
    ) -> dict[str, Any]:
        """An event that starts a little later."""
        start = datetime.now(UTC) + ahead
        times = {"startTime": start.isoformat(), "endTime": (start + LENGTH).isoformat()}
        wish = {"id": event_id, **times, "requestedReductionKw": requested_kw, **more}
        made: dict[str, Any] = self.ask("/events", wish)
        assert made["status"] == "scheduled", made
        return made | times

    def settled(self, event_id: str) -> dict[str, Any]:
        """What it delivered, when that is not provisional any more."""
        path, is_final = f"/events/{event_id}/performance", lambda answer: answer.get("provisional") is False
        performance: dict[str, Any] = self.until(path, is_final, SETTLES_WITHIN_S)
        return performance

    def truths(self, begin: float, end: float) -> dict[str, list[dict[str, Any]]]:
        """What each VEN knows of a time: a line for each of its reports."""
        lines = [json.loads(line) for line in self.truth.read_text().splitlines()]
        during = [line for line in lines if begin <= line["timestamp"] < end]
        return {home.ven_id: [line for line in during if line["venId"] == home.ven_id] for home in homes()}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("events")
    with running_stack(directory) as urls:
        site = Site(urls["http_url"], urls["mqtt_url"], directory / "truth.jsonl")
        fleet = ["--mqtt-url", site.mqtt_url, "--vens", str(VENS), "--seed", str(SEED), "--steady"]
        past = ["--interval", "300", "--backfill", str(24 * past_days(datetime.now(UTC))), "--once"]
        with running("local.fleet", *fleet, *past) as backfill:
            assert backfill.wait(ARRIVES_WITHIN_S) == 0
        settings = ["--interval", "1", "--opt-out", str(OPT_OUT), "--mute", "0", "--truth", str(site.truth)]
        with running("local.fleet", *fleet, *settings):
            site.until("/stats/network", lambda network: network["onlineVens"] == VENS, ARRIVES_WITHIN_S)
            yield site


@contextmanager
def running(module: str, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-m", module, *words], cwd=REPOSITORY)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def _seconds(instant: str) -> float:
    return datetime.fromisoformat(instant).timestamp()


def _statuses(event: dict[str, Any]) -> dict[str, str]:
    return {ven["venId"]: ven["status"] for ven in event["vens"]}


def _event_that_some_refuse(first: int) -> tuple[str, set[str]]:
    """An event, by its id, that a few homes refuse and most do not: they decide by the id."""
    behaviour = ResponseBehaviour(opt_out=OPT_OUT)
    for number in range(first, first + 1_000):
        event_id = f"evt-{number}"
        refusing = {home.ven_id for home in homes() if behaviour.opts_out(home, event_id)}
        if 1 <= len(refusing) <= VENS // 3:
            return event_id, refusing
    raise AssertionError("no such event")


def _event_that_nobody_leaves(first: int) -> str:
    """An event, by its id, that all homes accept, and stay in to its end."""
    behaviour = ResponseBehaviour(opt_out=OPT_OUT)
    for number in range(first, first + 10_000):
        event = ShedEvent(f"evt-{number}", 0, 1)
        if all(behaviour.stay(home, event) == 1 for home in homes()):
            return f"evt-{number}"
    raise AssertionError("no such event")


def test_an_event_from_the_request_to_the_settlement(site: Site) -> None:
    event_id, refusing = _event_that_some_refuse(1)
    requested_kw = round(0.5 * site.ask("/stats/network")["controllablePowerKw"], 3)
    made = site.make_event(event_id, requested_kw)
    begin, end = _seconds(made["startTime"]), _seconds(made["endTime"])

    told = site.until(f"/events/{event_id}", lambda event: event["vens"], MOVES_WITHIN_S)
    refused = refusing & _statuses(told).keys()
    site.until(f"/events/{event_id}", lambda event: event["status"] == "active", MOVES_WITHIN_S)
    assert time.time() < begin + ON_TIME_S + ASKED_WITHIN_S
    site.until(
        f"/events/{event_id}",
        lambda event: {ven for ven, status in _statuses(event).items() if status == "opted_out"} >= refused,
        MOVES_WITHIN_S,
    )
    current = site.until(
        "/events/current", lambda event: (event["currentReductionKw"] or 0) > requested_kw / 4, MOVES_WITHIN_S
    )
    assert current["id"] == event_id
    assert current["vensResponding"] >= 1
    assert 100 < current["avgResponseMs"] < 15_000
    site.until("/stats/network", lambda network: (network["networkEfficiency"] or 0) > 25, MOVES_WITHIN_S)

    over = site.until(
        f"/events/{event_id}", lambda event: event["status"] == "completed", MOVES_WITHIN_S + LENGTH.seconds
    )
    assert time.time() < end + ON_TIME_S + ASKED_WITHIN_S
    assert set(_statuses(over).values()) <= {"finished", "opted_out"}
    for ven_id in _statuses(over):
        sent = site.ask(f"/vens/{ven_id}/commands")
        answers = {each["status"] for each in sent if (each["op"], each["eventId"]) == ("event", event_id)}
        assert ("rejected" if ven_id in refused else "acknowledged") in answers
    performance = site.settled(event_id)
    assert _compare(site, over, performance, refused) > 1
    assert site.ask(f"/events/{event_id}")["actualReductionKw"] == performance["portfolio"]["deliveredKw"]


@dataclass
class Truth:
    """What a home knows that it delivered, mean kW; and how much one lost sample changes of that."""

    delivered_kw: float
    tolerance_kw: float
    took_part: bool

    @classmethod
    def of(cls, lines: list[dict[str, Any]]) -> Self:
        saved = [line["counterfactualKw"] - line["actualKw"] for line in lines]
        tolerance_kw = (max(saved) - min(saved)) / (len(saved) - 1) + ROUNDING_KW
        return cls(fmean(saved), tolerance_kw, any(line["eventId"] for line in lines))


def _compare(site: Site, event: dict[str, Any], performance: dict[str, Any], refused: set[str]) -> float:
    """What was measured is what the homes know that they did: by VEN, and in all, which is answered."""
    begin, end = _seconds(event["startTime"]), _seconds(event["endTime"])
    truths = {ven_id: Truth.of(lines) for ven_id, lines in site.truths(begin, end).items()}
    vens = {ven["venId"]: ven for ven in performance["vens"]}
    for ven_id, ven in vens.items():
        truth = truths[ven_id]
        assert ven["deliveredKw"] == pytest.approx(truth.delivered_kw, abs=truth.tolerance_kw), ven
        if ven["rrmsePercent"] is None:
            assert ven_id in FEEDING_IN, ven
        else:
            assert ven["rrmsePercent"] < 1, ven
        assert ven["daysUsed"] >= 4, ven
    assert not any(truths[ven_id].took_part for ven_id in refused)
    counted = [truths[ven_id] for ven_id in vens.keys() - refused]
    true_kw = sum(truth.delivered_kw for truth in counted)
    portfolio = performance["portfolio"]
    tolerance_kw = sum(truth.tolerance_kw for truth in counted)
    assert portfolio["deliveredKw"] == pytest.approx(true_kw, abs=tolerance_kw)
    hours = (end - begin) / 3_600
    assert portfolio["deliveredKwh"] == pytest.approx(true_kw * hours, abs=tolerance_kw * hours + ROUNDING_KW)
    assert portfolio["performancePercent"] == pytest.approx(
        100 * true_kw / event["requestedReductionKw"], abs=100 * tolerance_kw / event["requestedReductionKw"]
    )
    return true_kw


def test_an_event_that_is_stopped_lets_everybody_go(site: Site) -> None:
    event_id, refusing = _event_that_some_refuse(2_000)
    site.until("/stats/network", lambda network: network["currentLoadReductionKw"] == 0, LENGTH.seconds)
    requested_kw = round(0.5 * site.ask("/stats/network")["controllablePowerKw"], 3)
    site.make_event(event_id, requested_kw)
    site.until(
        "/stats/network",
        lambda network: network["currentLoadReductionKw"] > requested_kw / 4,
        MOVES_WITHIN_S + AHEAD.seconds,
    )
    stopped_at = datetime.now(UTC)
    assert site.ask(f"/events/{event_id}/stop", {}) == {"eventId": event_id, "status": "stopping"}
    over = site.until(f"/events/{event_id}", lambda event: event["status"] == "completed", MOVES_WITHIN_S)
    released = {ven_id for ven_id, status in _statuses(over).items() if status == "finished"}
    assert released
    for ven_id in released:
        site.until(
            f"/vens/{ven_id}/commands",
            lambda sent: (
                ("restore", event_id, "acknowledged")
                in [(each["op"], each["eventId"], each["status"]) for each in sent]
            ),
            MOVES_WITHIN_S,
        )
    site.until("/stats/network", lambda network: network["currentLoadReductionKw"] == 0, MOVES_WITHIN_S)
    for ven_id in released:
        assert site.ask(f"/vens/{ven_id}")["metrics"]["activeEventId"] is None
    performance = site.settled(event_id)
    _compare(site, over | {"endTime": stopped_at.isoformat()}, performance, refusing & _statuses(over).keys())


def test_an_event_of_two_intervals(site: Site) -> None:
    """Homes get both in one command, follow them, and are measured against both."""
    event_id = _event_that_nobody_leaves(4_000)
    site.until("/stats/network", lambda network: network["currentLoadReductionKw"] == 0, LENGTH.seconds)
    available_kw = site.ask("/stats/network")["controllablePowerKw"]
    half_s = LENGTH.seconds / 2
    first_kw, second_kw = round(0.2 * available_kw, 3), round(0.6 * available_kw, 3)
    steps = [{"durationS": half_s, "targetKw": kw} for kw in (first_kw, second_kw)]
    made = site.make_event(event_id, second_kw, TOLD_AHEAD, leadTimeS=TOLD_AHEAD.seconds, intervals=steps)
    begin, end = _seconds(made["startTime"]), _seconds(made["endTime"])
    over = site.until(
        f"/events/{event_id}",
        lambda event: event["status"] == "completed",
        MOVES_WITHIN_S + (TOLD_AHEAD + LENGTH).seconds,
    )
    assert over["vens"]
    for ven_id in _statuses(over):
        sent = [each for each in site.ask(f"/vens/{ven_id}/commands") if each["eventId"] == event_id]
        [told] = [each for each in sent if each["op"] == "event"]
        assert told["status"] == "acknowledged", told
        assert [each["duration_s"] for each in told["data"]["intervals"]] == [half_s, half_s]
    mean_kw = (first_kw + second_kw) / 2
    performance = site.settled(event_id)
    assert _compare(site, over | {"requestedReductionKw": mean_kw}, performance, set()) > first_kw
    assert performance["portfolio"]["requestedKwh"] == pytest.approx(
        mean_kw * (end - begin) / 3_600, abs=ROUNDING_KW
    )
    settled_s = 4  # so long a home may take to get down
    middle = begin + half_s
    before, after = (
        sum(Truth.of(lines).delivered_kw for lines in site.truths(since + settled_s, until).values())
        for since, until in ((begin, middle), (middle, end))
    )
    assert 0.6 * first_kw < before < 1.05 * first_kw
    assert after > 2 * before


def test_an_event_that_asks_for_more(site: Site) -> None:
    """Usage above the baseline counts, and homes report that they take part."""
    event_id, refusing = _event_that_some_refuse(6_000)
    site.until("/stats/network", lambda network: network["currentLoadReductionKw"] == 0, LENGTH.seconds)
    made = site.make_event(event_id, 6.0, TOLD_AHEAD, leadTimeS=TOLD_AHEAD.seconds, direction="increase")
    begin, end = _seconds(made["startTime"]), _seconds(made["endTime"])
    site.until(
        f"/events/{event_id}",
        lambda event: event["currentReductionKw"] > 3,
        MOVES_WITHIN_S + (TOLD_AHEAD + LENGTH).seconds,
    )
    over = site.until(
        f"/events/{event_id}", lambda event: event["status"] == "completed", MOVES_WITHIN_S + LENGTH.seconds
    )
    assert "unable to increase" not in {note["reason"] for note in over["notes"]}
    performance = site.settled(event_id)
    truths = {ven_id: Truth.of(lines) for ven_id, lines in site.truths(begin, end).items()}
    for ven in performance["vens"]:
        truth = truths[ven["venId"]]
        assert ven["deliveredKw"] == pytest.approx(-truth.delivered_kw, abs=truth.tolerance_kw), ven
    counted = [truths[ven["venId"]] for ven in performance["vens"] if ven["venId"] not in refusing]
    more_kw = -sum(truth.delivered_kw for truth in counted)
    assert more_kw > 1
    within_kw = sum(truth.tolerance_kw for truth in counted)
    assert performance["portfolio"]["deliveredKw"] == pytest.approx(more_kw, abs=within_kw)


def test_what_people_want_of_a_load_is_done_and_shows(site: Site) -> None:
    """Acknowledged is the VEN's word, executed what its reports show."""
    ven_id, load = next(
        (ven["id"], load)
        for ven in site.ask("/vens")
        for load in ven["loads"]
        if load["shedCapabilityKw"] > 1 and load["currentPowerKw"] > 1
    )
    path = f"/vens/{ven_id}/loads/{load['id']}"
    shed = site.ask(f"{path}/commands/shed", {"amountKw": 0.5, "durationS": 30})
    assert shed["status"] == "accepted"
    site.until(f"/commands/{shed['commandId']}", lambda command: command["executedAt"], MOVES_WITHIN_S)
    limited = site.until(
        path, lambda now: now["currentPowerKw"] <= load["currentPowerKw"] - 0.4, MOVES_WITHIN_S
    )
    assert limited["id"] == load["id"]
    site.ask(path, {"enabled": False}, method="PATCH")
    [told, *_] = site.until(f"/vens/{ven_id}/commands", lambda sent: sent[0]["executedAt"], MOVES_WITHIN_S)
    assert (told["op"], told["status"], told["data"]["enabled"]) == ("setLoad", "acknowledged", False)
    site.ask(path, {"enabled": True}, method="PATCH")
