"""An event from the request to the settlement: homes that obey, and know what they did.

The homes are steady: at a time of day they draw the same on every day, in steps of five minutes, so every
baseline of similar days is what they would have drawn, up to rounding. What is left between measured and true
are the samples: a few may be late or broken, and a window is cut by the second.
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
from typing import Any

import pytest

from local.environment import REPOSITORY
from local.fleet.conduct import Conduct
from local.fleet.household import Household
from local.ports import free_ports

pytestmark = pytest.mark.xdist_group("local")

VENS, SEED, OPT_OUT = 10, 4, 0.3
READY_WITHIN_S, ARRIVES_WITHIN_S, MOVES_WITHIN_S, SETTLES_WITHIN_S = 90, 180, 20, 60
AHEAD, LENGTH = timedelta(seconds=4), timedelta(seconds=20)
ON_TIME_S = 1.0
TOLERANCE_KW = 0.06
"""In a VEN's mean power over 20 s, reported each second: one sample of a VEN of 1 kW that is late, broken, or
falls on the other side of the window's edge.
"""


def past_days(today: datetime) -> int:
    """So many hold five working days, or four of weekends: as many similar days as a baseline asks for."""
    return 15 if today.weekday() >= 5 else 9


def homes() -> list[Household]:
    return [Household(SEED, number, is_steady=True) for number in range(1, VENS + 1)]


@dataclass
class Site:
    """A running system, and the fleet's truth."""

    http_url: str
    mqtt_url: str
    truth: Path

    def ask(self, path: str, body: object = None) -> Any:
        """The answer; POST where there is a body, empty or not."""
        content = None if body is None else json.dumps(body).encode() if body else b""
        headers = {"Content-Type": "application/json"} if content else {}
        request = urllib.request.Request(f"{self.http_url}/api{path}", content, headers)  # noqa: S310
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

    def make_event(self, event_id: str, requested_kw: float) -> dict[str, Any]:
        """VENs are told at once; it starts a little later."""
        start = datetime.now(UTC) + AHEAD
        times = {"startTime": start.isoformat(), "endTime": (start + LENGTH).isoformat()}
        made: dict[str, Any] = self.ask(
            "/events", {"id": event_id, **times, "requestedReductionKw": requested_kw}
        )
        assert made["status"] == "scheduled", made
        return made | times

    def truths(self, begin: float, end: float) -> dict[str, list[dict[str, Any]]]:
        """What each VEN knows of a time: a line for each of its reports."""
        lines = [json.loads(line) for line in self.truth.read_text().splitlines()]
        during = [line for line in lines if begin <= line["timestamp"] < end]
        return {home.ven_id: [line for line in during if line["venId"] == home.ven_id] for home in homes()}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("events")
    ready = directory / "ready.json"
    http, mqtt_port, mqtt5_port = map(str, free_ports(3))
    ports = ["--http-port", http, "--mqtt-port", mqtt_port, "--mqtt5-port", mqtt5_port]
    where = ["--data-dir", str(directory / "data"), "--ready-file", str(ready)]
    with running("local", *where, *ports) as stack:
        _until(lambda: ready.exists() or stack.poll() is not None, READY_WITHIN_S)
        urls = json.loads(ready.read_text())
        site = Site(urls["http_url"], urls["mqtt_url"], directory / "truth.jsonl")
        fleet = ["--mqtt-url", site.mqtt_url, "--vens", str(VENS), "--seed", str(SEED), "--steady"]
        past = ["--interval", "300", "--backfill", str(24 * past_days(datetime.now(UTC))), "--once"]
        with running("local.fleet", *fleet, *past) as backfill:
            assert backfill.wait(ARRIVES_WITHIN_S) == 0
        habits = ["--interval", "1", "--opt-out", str(OPT_OUT), "--mute", "0", "--truth", str(site.truth)]
        with running("local.fleet", *fleet, *habits):
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


def _until(condition: Callable[[], bool], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)  # a file appears without a signal


def _seconds(instant: str) -> float:
    return datetime.fromisoformat(instant).timestamp()


def _statuses(event: dict[str, Any]) -> dict[str, str]:
    return {ven["venId"]: ven["status"] for ven in event["vens"]}


def _event_that_some_refuse(first: int) -> tuple[str, set[str]]:
    """An event, by its id, that a few homes refuse and most do not: they decide by the id."""
    conduct = Conduct(opt_out=OPT_OUT)
    for number in range(first, first + 1_000):
        event_id = f"evt-{number}"
        refusing = {home.ven_id for home in homes() if conduct.opts_out(home, event_id)}
        if 1 <= len(refusing) <= VENS // 3:
            return event_id, refusing
    raise AssertionError("no such event")


def test_an_event_from_the_request_to_the_settlement(site: Site) -> None:
    event_id, refusing = _event_that_some_refuse(1)
    requested_kw = round(0.5 * site.ask("/stats/network")["controllablePowerKw"], 3)
    made = site.make_event(event_id, requested_kw)
    begin, end = _seconds(made["startTime"]), _seconds(made["endTime"])

    told = site.until(f"/events/{event_id}", lambda event: event["vens"], MOVES_WITHIN_S)
    takes_part = set(_statuses(told))
    refused = refusing & takes_part
    site.until(f"/events/{event_id}", lambda event: event["status"] == "active", MOVES_WITHIN_S)
    assert time.time() < begin + ON_TIME_S + 1
    site.until(
        f"/events/{event_id}",
        lambda event: {ven for ven, status in _statuses(event).items() if status == "opted_out"} >= refused,
        MOVES_WITHIN_S,
    )
    current = site.until(
        "/events/current", lambda event: (event["currentReductionKw"] or 0) > requested_kw / 2, MOVES_WITHIN_S
    )
    assert current["id"] == event_id
    assert current["vensResponding"] >= 1
    assert 100 < current["avgResponseMs"] < 15_000
    network = site.ask("/stats/network")
    assert network["networkEfficiency"] > 0

    site.until(
        f"/events/{event_id}", lambda event: event["status"] == "completed", MOVES_WITHIN_S + LENGTH.seconds
    )
    assert time.time() < end + ON_TIME_S + 1
    performance = site.until(
        f"/events/{event_id}/performance", lambda answer: answer.get("provisional") is False, SETTLES_WITHIN_S
    )
    _compare(site, performance, begin, end, refused)
    settled = site.ask(f"/events/{event_id}")
    assert settled["actualReductionKw"] == performance["portfolio"]["deliveredKw"]
    assert set(_statuses(settled).values()) <= {"finished", "opted_out"}


def _compare(site: Site, performance: dict[str, Any], begin: float, end: float, refused: set[str]) -> None:
    """What was measured is what the homes know that they did: by VEN, and in all."""
    delivered = {}
    for ven_id, lines in site.truths(begin, end).items():
        delivered[ven_id] = fmean(line["counterfactualKw"] - line["actualKw"] for line in lines)
    vens = {ven["venId"]: ven for ven in performance["vens"]}
    for ven_id, ven in vens.items():
        assert ven["deliveredKw"] == pytest.approx(delivered[ven_id], abs=TOLERANCE_KW), ven
        assert ven["rrmsePercent"] < 5, ven
        assert ven["coveragePercent"] == 100, ven
    counted = vens.keys() - refused
    assert sum(delivered[ven_id] for ven_id in counted) > 1
    portfolio = performance["portfolio"]
    true_kw = sum(delivered[ven_id] for ven_id in counted)
    assert portfolio["deliveredKw"] == pytest.approx(true_kw, abs=TOLERANCE_KW * len(counted))
    assert portfolio["deliveredKwh"] == pytest.approx(true_kw * (end - begin) / 3_600, rel=0.1)
    assert all(abs(delivered[ven_id]) < TOLERANCE_KW for ven_id in refused)


def test_an_event_that_is_stopped_lets_everybody_go(site: Site) -> None:
    event_id, _ = _event_that_some_refuse(2_000)
    site.make_event(event_id, round(0.5 * site.ask("/stats/network")["controllablePowerKw"], 3))
    running = site.until(
        f"/events/{event_id}",
        lambda event: "started" in _statuses(event).values(),
        MOVES_WITHIN_S + AHEAD.seconds,
    )
    assert running["status"] == "active"
    assert site.ask(f"/events/{event_id}/stop", {}) == {"eventId": event_id, "status": "stopping"}
    stopped = site.until(f"/events/{event_id}", lambda event: event["status"] == "completed", MOVES_WITHIN_S)
    told = {ven for ven, status in _statuses(stopped).items() if status == "finished"}
    assert told
    for ven_id in told:
        [restore] = site.until(
            f"/vens/{ven_id}/commands",
            lambda sent: [
                each
                for each in sent
                if (each["op"], each["eventId"], each["status"]) == ("restore", event_id, "acknowledged")
            ],
            MOVES_WITHIN_S,
        )[:1]
        assert restore["eventId"] == event_id
    site.until("/stats/network", lambda network: network["currentLoadReductionKw"] == 0, MOVES_WITHIN_S)
    for ven_id in told:
        assert site.ask(f"/vens/{ven_id}")["metrics"]["activeEventId"] is None
    over = site.ask(f"/events/{event_id}")
    performance = site.until(
        f"/events/{event_id}/performance", lambda answer: answer.get("provisional") is False, SETTLES_WITHIN_S
    )
    assert performance["portfolio"]["requestedKw"] == over["requestedReductionKw"]
