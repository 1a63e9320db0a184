"""A stack with homes that speak MQTT and homes that speak OpenADR; and the lines of docs/openadr-walk.md."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from local.environment import REPOSITORY
from schemas.tables.history import SLOT_S
from tests.e2e.stack import running_stack

pytestmark = [pytest.mark.xdist_group("local"), pytest.mark.thorough]

PAGE = REPOSITORY / "docs" / "openadr-walk.md"
MQTT_VENS, OPENADR_VENS = 2, 3
WITHIN_S = 120.0
EVENT_TAKES_S = 80


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    fleet = ["--fleet", str(MQTT_VENS), "--openadr-fleet", str(OPENADR_VENS)]
    behaviour = ["--interval", "1", "--backfill", "2", "--opt-out", "0", "--mute", "0"]
    with running_stack(tmp_path_factory.mktemp("mixed"), *fleet, *behaviour) as ready:
        yield ready


def ask(stack: dict[str, Any], path: str, body: object = None) -> Any:
    content = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{stack['http_url']}/api{path}", content, headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
        return json.load(response)


def first(read: Callable[[], Any], is_so: Callable[[Any], object]) -> Any:
    """The first answer that satisfies."""
    deadline = time.monotonic() + WITHIN_S
    while not is_so(answer := read()):
        assert time.monotonic() < deadline, answer
        time.sleep(0.2)  # nobody signals that an answer has changed: it is asked for
    return answer


def refused(stack: dict[str, Any]) -> str:
    """What `python -m ingest rejected` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "ingest", "rejected"],
        cwd=REPOSITORY,
        env=os.environ | {"DATABASE_URL": stack["database_url"]},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@dataclass
class Shell:
    """Runs one line after another in a bash that keeps variables and functions in a file."""

    state: Path
    environment: dict[str, str]

    def run(self, line: str) -> str:
        """Its output; it must succeed."""
        keep = f"{{ export -p; declare -f; }} > {self.state}"
        load = f"set -a -o pipefail; [ ! -f {self.state} ] || . {self.state}"
        script = f"{load}\n{line}\ncode=$?; {keep}; exit $code"
        done = subprocess.run(
            ["/bin/bash", "-c", script],
            cwd=REPOSITORY,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        return done.stdout

    def answers(self, line: str) -> Any:
        return json.loads(self.run(line))


def numbered_lines() -> list[str]:
    """The ten lines of the page, without their prompt."""
    found = re.findall(
        r"\*\*(\d+)\.\*\*[^`]*(?:`[^`\n]+`[^`]*)*```console\n\$ (.*?)\n```", PAGE.read_text(), re.DOTALL
    )
    assert [int(number) for number, _ in found] == list(range(1, 11))
    assert all(line.count("\n") == 0 and "curl " in line for _, line in found)
    return [line for _, line in found]


def preparations(stack: dict[str, Any]) -> str:
    """What the page sets up, with this stack's addresses."""
    [text] = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    ours = text.replace("postgresql://...", stack["database_url"])
    return str(ours.replace("http://127.0.0.1:8000", stack["http_url"]))


def values(report: dict[str, Any]) -> dict[str, Any]:
    """The payloads of a report's only interval."""
    [resource] = report["resources"]
    [interval] = resource["intervals"]
    return {each["type"]: each["values"][0] for each in interval["payloads"]}


def has_run(event: dict[str, Any], seconds: float) -> bool:
    return datetime.now(UTC) - datetime.fromisoformat(event["startTime"]) >= timedelta(seconds=seconds)


def test_the_lines_of_the_page_lead_to_a_settled_event(stack: dict[str, Any], tmp_path: Path) -> None:
    binaries = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    shell = Shell(tmp_path / "state", os.environ | {"PATH": binaries})
    shell.run(preparations(stack))
    lines = numbered_lines()
    for line in lines[:6]:
        shell.run(line)
    first(
        lambda: [each for each in ask(stack, "/vens/summary") if each["id"] == "my-house"],
        lambda vens: vens and vens[0]["status"] == "online" and vens[0]["controllablePower"] == 2,
    )
    # The event lies in one slot: of each that it touches, the VEN would have to report.
    first(lambda: time.time() % SLOT_S, lambda second: second < SLOT_S - EVENT_TAKES_S)
    shell.run(lines[6])
    first(lambda: shell.answers(lines[7]), lambda events: "DISPATCH_SETPOINT_RELATIVE" in str(events))
    event_id = f"openadr-{shell.run('echo $EVENT').strip()}"
    # The report has whole seconds, and must not lie before the event.
    first(lambda: ask(stack, f"/events/{event_id}"), lambda event: event["vens"] and has_run(event, 1))
    shell.run(lines[8])
    reports = first(lambda: shell.answers(lines[9]), len)
    names = {each["resources"][0]["resourceName"] for each in reports}
    assert names == {"AGGREGATED_REPORT", "my-house"}
    settled = ask(stack, f"/events/{event_id}/performance")
    assert settled["provisional"] is False
    for report in reports:
        measured = values(report)
        assert measured["DATA_QUALITY"] == "ESTIMATED"  # there are no days before
        assert measured["DELTA_USAGE"] == pytest.approx(measured["USAGE"] - measured["BASELINE"], abs=0.002)
        assert measured["DELTA_USAGE"] == pytest.approx(-settled["portfolio"]["deliveredKwh"], abs=0.0011)
        # 2 kW for the minute, less the seconds that passed before the report
        assert -2 / 60 <= measured["DELTA_USAGE"] <= -1 / 60


def test_a_mixed_fleet_takes_part_in_an_event(stack: dict[str, Any]) -> None:
    """In statistics, histories, the event, and its settlement; nothing of OpenADR is refused."""
    both = MQTT_VENS + OPENADR_VENS
    network = first(
        lambda: ask(stack, "/stats/network"),
        lambda network: network["onlineVens"] == both and network["controllablePowerKw"] > 0,
    )
    speaking = {each["id"] for each in ask(stack, "/vens/summary") if each["id"].startswith("openadr-")}
    assert len(speaking) == OPENADR_VENS
    hour = timedelta(hours=1)
    now = datetime.now(UTC)
    query = f"start={now - hour:%Y-%m-%dT%H:%M:%SZ}&end={now:%Y-%m-%dT%H:%M:%SZ}&granularity=5m"
    for ven_id in speaking:
        points = first(lambda ven_id=ven_id: ask(stack, f"/vens/{ven_id}/history?{query}")["points"], len)  # type: ignore[misc]
        assert len(points) >= 11
    start = datetime.now(UTC) + timedelta(seconds=3)
    times = {"startTime": start.isoformat(), "endTime": (start + timedelta(seconds=20)).isoformat()}
    requested_kw = round(0.9 * network["controllablePowerKw"], 3)
    made = ask(stack, "/events", {**times, "requestedReductionKw": requested_kw})
    path = f"/events/{made['id']}"
    over = first(lambda: ask(stack, path), lambda event: event["status"] == "completed")
    parts = {each["venId"]: each["status"] for each in over["vens"]}
    assert parts.keys() & speaking
    assert {parts[ven_id] for ven_id in parts.keys() & speaking} == {"finished"}
    settled = first(lambda: ask(stack, f"{path}/performance"), lambda each: each.get("provisional") is False)
    measured = {each["venId"]: each for each in settled["vens"]}
    assert measured.keys() == parts.keys()
    for ven_id in measured.keys() & speaking:
        assert measured[ven_id]["coveragePercent"] > 90
        assert measured[ven_id]["baselineKw"] is not None
    assert "openadr/" not in refused(stack)
