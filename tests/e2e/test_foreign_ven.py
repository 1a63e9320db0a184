"""A VEN that this project did not write: any MQTT client that follows the contract.

It speaks to a running `python -m local`, and its numbers must be in every answer within five seconds.
"""

import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from local.environment import REPOSITORY
from tests.e2e.stack import running_stack

WITHIN_S = 5.0

pytestmark = [pytest.mark.xdist_group("local"), pytest.mark.thorough]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with running_stack(tmp_path_factory.mktemp("stack")) as ready:
        yield ready


@pytest.fixture
def publish(stack: dict[str, Any]) -> Iterator[Callable[..., None]]:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="somebody-else")
    client.connect("127.0.0.1", int(stack["mqtt_url"].rpartition(":")[2]))
    client.loop_start()

    def send(topic: str, message: object) -> None:
        payload = message if isinstance(message, bytes) else json.dumps(message).encode()
        client.publish(topic, payload, qos=1).wait_for_publish(10)

    yield send
    client.disconnect()
    client.loop_stop()


def test_both_generations_appear_everywhere(stack: dict[str, Any], publish: Callable[..., None]) -> None:
    now = datetime.now(UTC)
    new_ven = {
        "schemaVersion": "1.0",
        "venId": "house-new",
        "timestamp": now.timestamp(),
        "usedPowerKw": 4.125,
        "shedPowerKw": 0.5,
        "panelRatingA": 63,
        "circuits": [{"id": "c1", "amps": 3}],
        "loads": [
            {"id": "hvac1", "currentPowerKw": 2.25},
            {"id": "pv1", "currentPowerKw": -1.5, "type": "solar"},
        ],
    }
    old_ven = {
        "venId": "house-old",
        "timestamp": (now - timedelta(seconds=2)).replace(tzinfo=None).isoformat(),
        "power_kw": 1.875,
        "shed_kw": 0.25,
        "voltage_v": 229.5,
        "batterySOC": 54,
    }
    publish("oadr/meter/house-new", new_ven)
    publish("volttron/metering", old_ven)
    described = {
        "loadId": "hvac1",
        "name": "Heat pump",
        "type": "hvac",
        "capacityKw": 3.5,
        "shedCapabilityKw": 1.5,
    }
    publish("ven/loads/house-new", {"venId": "house-new", "timestamp": now.timestamp(), "loads": [described]})
    publish("ven/status/house-new", {"venId": "house-new", "status": "online", "timestamp": now.timestamp()})
    publish("ven/status/house-old", b"offline")

    deadline = time.monotonic() + WITHIN_S
    network = _answer(
        stack, "/stats/network", lambda a: a["venCount"] == 2 and a["onlineVens"] == 1, deadline
    )
    assert network["householdUsageKw"] == 6.0
    assert network["currentLoadReductionKw"] == 0.75
    assert network["potentialLoadReductionKw"] == 1.75
    assert network["controllablePowerKw"] == 1.5
    loads = _answer(stack, "/vens/house-new/loads", lambda a: len(a) == 2, deadline)
    expected = [
        {
            "id": "hvac1",
            "type": "hvac",
            "capacityKw": 3.5,
            "shedCapabilityKw": 1.5,
            "currentPowerKw": 2.25,
            "name": "Heat pump",
        },
        {
            "id": "pv1",
            "type": "solar",
            "capacityKw": 0.0,
            "shedCapabilityKw": 0.0,
            "currentPowerKw": -1.5,
        },
    ]
    assert [load | known for load, known in zip(loads, expected, strict=True)] == loads
    for path, used_kw in {
        "/vens/house-new/history": 4.125,
        "/vens/house-old/history": 1.875,
        "/vens/house-new/loads/pv1/history": -1.5,
    }.items():
        points = _answer(stack, path, lambda a: a["points"], deadline)["points"]
        assert [point["usedPowerKw"] for point in points] == [used_kw]
    whole = _answer(stack, "/stats/network/history?granularity=1h", lambda a: a["points"], deadline)["points"]
    assert sum(point["usedPowerKw"] for point in whole) == 6.0


def test_the_snippet_of_the_readme_works_and_prints_nothing(stack: dict[str, Any]) -> None:
    """As it stands there, but for the port."""
    snippets = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    [snippet] = [each for each in snippets if "paho" in each]
    assert "1883" in snippet
    code = snippet.replace("1883", stack["mqtt_url"].rpartition(":")[2])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("", "")
    house = _answer(
        stack,
        "/vens/my-house",
        lambda a: a["metrics"]["currentPowerKw"] == 1.7 and a["status"] == "online",
        time.monotonic() + 20,
    )
    assert [load["id"] for load in house["loads"]] == ["lamp"]


def _answer(stack: dict[str, Any], path: str, is_there: Callable[[Any], object], deadline: float) -> Any:
    """The first answer that satisfies, or the failure to see one in time."""
    answers: list[Any] = [None]

    def look() -> bool:
        try:
            with urllib.request.urlopen(f"{stack['http_url']}/api{path}", timeout=5) as response:  # noqa: S310
                answers.append(json.load(response))
        except urllib.error.HTTPError as error:  # a VEN that nobody has heard of yet
            answers.append(error.code)
            return False
        return bool(is_there(answers[-1]))

    _until(look, deadline - time.monotonic(), lambda: f"{path} still answers {answers[-1]}")
    return answers[-1]


def _until(condition: Callable[[], bool], within_s: float, otherwise: Callable[[], str] = lambda: "") -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.05)  # nobody signals that an answer has changed: it is asked for
