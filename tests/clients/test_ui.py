"""The pages of a user interface, before, during and after an event, over the whole system.

One VEN has only registered itself and acts on receipt, one has never sent telemetry, one was created by HTTP.
"""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from local.mosquitto import mosquitto_program
from tests.clients import ui
from tests.clients.receipt_ven import ReceiptVen
from tests.clients.ui import Ui
from tests.e2e.stack import running_stack, until
from tests.faults.requirement import be_without

pytestmark = [pytest.mark.xdist_group("local"), pytest.mark.thorough]

HOUSE_KW = 3.0
LATE_S = 3.0
"""The longest delay, on a busy machine, from a poll of the events to the VEN's reaction."""

PAPER = {"id": "paper", "name": "Paper", "location": {"lat": 52.52, "lon": 13.405}, "status": "online"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ui, ReceiptVen]]:
    """Three VENs. Only `house` sends telemetry; it subscribes to a `$` topic, at which rumqttd hangs up."""
    if mosquitto_program() is None:
        be_without("mosquitto is not installed: `apt-get install mosquitto`")
    with running_stack(tmp_path_factory.mktemp("ui"), "--broker", "mosquitto") as stack:
        client = Ui(stack["http_url"])
        client.send("POST", "/api/vens", PAPER, ui.Ven, 201)
        publish(stack["mqtt_url"], {"ven/status/quiet": [b"online"], "oadr/meter/house": past_reports()})
        with ReceiptVen(stack["mqtt_url"], "house", power_kw=HOUSE_KW) as house:
            until(lambda: client.fleet().keys() == {"paper", "quiet", "house"}, 30)
            until(lambda: client.fleet()["house"].status == "online", 30)
            until(lambda: client.overview().controllable_power_kw == HOUSE_KW, 30)
            yield client, house


def past_reports() -> list[bytes]:
    """Two hours of reports of `house`, for its baseline."""
    now = time.time()
    return [
        json.dumps({"timestamp": now - 60 * minutes, "usedPowerKw": HOUSE_KW}).encode()
        for minutes in range(120, 0, -1)
    ]


def publish(mqtt_url: str, messages: dict[str, list[bytes]]) -> None:
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", int(mqtt_url.rpartition(":")[2]))
    client.loop_start()
    for topic, payloads in messages.items():
        for payload in payloads:
            client.publish(topic, payload, qos=1).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()


def event_request(start: float, end: float, **terms: Any) -> dict[str, Any]:
    """The body of an event; `start` and `end` in seconds from now."""
    now = time.time()
    times = {"startTime": _iso(now + start), "endTime": _iso(now + end)}
    return {**times, "requestedReductionKw": 2.0, **terms}


def _iso(instant: float) -> str:
    return datetime.fromtimestamp(instant, UTC).isoformat()


def _seconds(time_text: str) -> float:
    return datetime.fromisoformat(time_text).timestamp()


def wait_for_answer(read: Callable[[], Any], condition: Callable[[Any], object], within_s: float = 30) -> Any:
    answers: list[Any] = []

    def is_there() -> bool:
        answers.append(read())
        return bool(condition(answers[-1]))

    until(is_there, within_s)
    return answers[-1]


def test_every_page_before_during_and_after_an_event(site: tuple[Ui, ReceiptVen]) -> None:
    client, house = site
    client.walk()
    assert client.get("/api/events/current", type(None)) is None

    created = client.send("POST", "/api/events", event_request(1, 31, id="evt-1"), ui.Event, 201)
    assert [(note.reason, note.vens) for note in created.notes] == [("no flexibility", 2)]
    assert created.actual_reduction_kw == 0
    client.walk()

    [(on_at, _)] = house.wait_switched(1, 20)
    assert 0 <= on_at - _seconds(created.start_time) < LATE_S
    wait_for_answer(lambda: client.event_page("evt-1"), lambda event: event.current_reduction_kw > 0)
    client.walk()
    running = client.event_page("evt-1")
    assert running.status == "active"
    assert running.current_reduction_kw == pytest.approx(sum(ven.shed_kw for ven in running.vens), abs=0.002)
    assert [ven.ven_id for ven in running.vens] == ["house"]
    assert client.events_page()["evt-1"].actual_reduction_kw >= 0
    assert client.ven_page("house").metrics.active_event_id == "evt-1"
    assert "evt-1" in {event.id for event in client.get("/api/events/history", list[ui.Event])}
    wait_for_answer(client.overview, lambda totals: totals.network_efficiency is not None)  # a cycle later

    _, (off_at, _) = house.wait_switched(2, 60)
    assert -1 <= off_at - _seconds(created.end_time) < LATE_S
    ended = wait_for_answer(lambda: client.event_page("evt-1"), lambda event: event.status == "completed")
    assert [ven.ven_id for ven in ended.vens] == ["house"]
    assert client.ven_page("house").metrics.active_event_id is None, "the VEN goes on naming it"
    client.walk()
    ven_events = client.get("/api/vens/house/events", list[ui.VenEvent])
    assert {event.event_id for event in ven_events} == {"evt-1"}

    now = time.time()
    guests = {"from": _iso(now - 1), "to": _iso(now + 600), "reason": "guests"}
    assert client.ask("POST", "/api/vens/house/opt-outs", guests)[0] == 201
    empty = client.send("POST", "/api/events", event_request(0, 30, id="evt-2"), ui.Event, 201)
    expected = [("opted out", 1), ("no flexibility", 2)]
    assert [(note.reason, note.vens) for note in empty.notes] == expected
    active = wait_for_answer(lambda: client.event_page("evt-2"), lambda event: event.status == "active")
    assert (active.vens, [(note.reason, note.vens) for note in active.notes]) == ([], expected)
    client.walk()
    assert client.ask("POST", "/api/events/evt-2/stop")[0] == 202
    ended = wait_for_answer(lambda: client.event_page("evt-2"), lambda event: event.status == "completed")
    assert [(note.reason, note.vens) for note in ended.notes] == expected
    assert house.is_shedding is False


@pytest.mark.parametrize("ven_id", ["house", "quiet", "paper"])
def test_a_form_may_send_a_ven_back(ven_id: str, site: tuple[Ui, ReceiptVen]) -> None:
    """Sends the whole answer of GET, as forms do: placeholders are not stored as values."""
    client, house = site
    path = f"/api/vens/{ven_id}"
    before = client.plain(path)
    client.send("PATCH", path, before, ui.Ven, 200)
    again = client.plain(path)
    for key in ("name", "status", "location", "isLocated", "isReporting", "registrationId", "address"):
        assert again[key] == before[key]
    for load in before["loads"]:
        client.send("PATCH", f"{path}/loads/{load['id']}", load, ui.Load, 200)
    assert "setLoad" not in [command["op"] for command in house.commands]
    renamed = client.send("PATCH", path, {**before, "name": "Other"}, ui.Ven, 200)
    assert (renamed.name, renamed.location) == ("Other", ui.Location(**before["location"]))
    assert client.plain(path)["isLocated"] is before["isLocated"]


def test_the_buttons_of_a_load(site: tuple[Ui, ReceiptVen]) -> None:
    """The VEN knows neither command, and rejects both; the page shows that."""
    client, house = site
    path = "/api/vens/house/loads/heater"
    shed = client.send(
        "POST", f"{path}/commands/shed", {"amountKw": 1, "durationS": 60}, ui.ShedAccepted, 202
    )
    assert (shed.status, shed.ven_id, shed.load_id, shed.amount_kw) == ("accepted", "house", "heater", 1.0)
    switch = {"enabled": False, "priority": 2}
    client.send("PATCH", path, {**client.plain(path), **switch}, ui.Load, 200)
    assert switch.items() <= client.plain(path).items()
    wait_for_answer(client.overview, lambda stats: stats.controllable_power_kw == 0)
    answers = wait_for_answer(
        lambda: client.get("/api/vens/house/events", list[ui.VenEvent]),
        lambda events: {"shedLoad", "setLoad"} <= {event.op for event in events},
    )
    of_buttons = {event.op: (event.event_id, event.status) for event in answers}
    assert of_buttons["shedLoad"] == of_buttons["setLoad"] == ("", "rejected")
    assert shed.command_id in {event.correlation_id for event in answers}
    sent = next(command for command in house.commands if command["op"] == "setLoad")
    assert sent["data"] == {"loadId": "heater", **switch}
    client.send("PATCH", path, {"enabled": None, "priority": None}, ui.Load, 200)
    wait_for_answer(client.overview, lambda stats: stats.controllable_power_kw == HOUSE_KW)
    client.walk()


@pytest.mark.parametrize(
    ("event_id", "start", "before", "after"),
    [("later", 3600, "scheduled", "cancelled"), ("now", 0, "active", "completed")],
)
def test_stop_answers_for_every_event(
    event_id: str, start: float, before: str, after: str, site: tuple[Ui, ReceiptVen]
) -> None:
    """A second stop, or one of a scheduled event, blocked the page until the event had ended."""
    client, _ = site
    terms = event_request(start, start + 60, id=event_id, venIds=["paper"], priority=1)
    client.send("POST", "/api/events", terms, ui.Event, 201)
    wait_for_answer(lambda: client.event_page(event_id), lambda event: event.status == before)
    for _ in range(2):
        stopping = client.send("POST", f"/api/events/{event_id}/stop", {}, ui.Stopping, 202)
        assert stopping == ui.Stopping("stopping", event_id)
    wait_for_answer(lambda: client.event_page(event_id), lambda event: event.status == after)
    client.send("POST", f"/api/events/{event_id}/stop", {}, ui.Stopping, 202)
    stopped = client.event_page(event_id)
    assert stopped.status == after
    assert (stopped.end_time < stopped.planned_end_time) is (start == 0)
    past = {event.id for event in client.get("/api/events/history", list[ui.Event])}
    assert (event_id in past) is (start == 0)


def test_a_form_may_send_an_event_back(site: tuple[Ui, ReceiptVen]) -> None:
    client, _ = site
    terms = event_request(7200, 7260, id="form", status="active", priority=3, leadTimeS=30, venIds=["house"])
    client.send("POST", "/api/events", terms, ui.Event, 201)
    before = client.plain("/api/events/form")
    assert (before["venIds"], before["priority"], before["leadTimeS"]) == (["house"], 3, 30)
    client.send("PATCH", "/api/events/form", before, ui.Event, 200)
    assert client.plain("/api/events/form") == before
    changed = client.send("PATCH", "/api/events/form", {**before, "requestedReductionKw": 1.5}, ui.Event, 200)
    assert changed.requested_reduction_kw == 1.5
    assert client.ask("POST", "/api/events", before)[0] == 409
    later = {
        **before,
        "id": "again",
        **{key: at for key, at in event_request(8000, 8060).items() if key.endswith("Time")},
    }
    copied = client.send("POST", "/api/events", later, ui.Event, 201)
    assert (copied.priority, copied.ven_ids) == (3, ["house"])
    status, problem = client.ask("PATCH", "/api/events/form", {"requestedReductionKW": 1})
    assert (status, b"requestedReductionKw" in problem) == (400, True)
    assert client.ask("DELETE", "/api/events/form")[0] == 204
    assert client.event_page("form").status == "cancelled"
    cancelled = client.plain("/api/events/form")
    client.send("PATCH", "/api/events/form", cancelled, ui.Event, 200)
