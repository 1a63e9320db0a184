"""Simulated VENs of OpenADR: what an event asks of a home, and what a home reports; without any HTTP."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from ingest.openadr.readings import InboxRow, translated
from local.fleet.control.responses import CommandContext, respond
from local.fleet.homes.behaviour import ResponseBehaviour
from local.fleet.homes.control_state import INITIAL_STATE, ControlState
from local.fleet.homes.household import Household
from local.fleet.telemetry.reports import FleetSettings, Reporter
from local.openadr.events import power_command, requested_payloads, wants_reports_of
from local.openadr.fleet import LONGEST_PAUSE_S, back_off_s
from local.openadr.reports import PAYLOAD_UNITS, metered, report
from schemas.openadr import OpenAdrEvent, OpenAdrProgram

HOME = Household(7, 3, prefix="openadr", furnishing="battery")
START = datetime(2026, 1, 15, 18, tzinfo=UTC)
BEGIN = START.timestamp()
MADE = START - timedelta(hours=2)
RELATIVE = "DISPATCH_SETPOINT_RELATIVE"


def payload(kind: str, value: float) -> dict[str, Any]:
    return {"type": kind, "values": [value]}


def event(*intervals: list[dict[str, Any]], duration: str = "PT30M", **more: Any) -> OpenAdrEvent:
    body = {
        "id": "e1",
        "createdDateTime": MADE.isoformat(),
        "modificationDateTime": MADE.isoformat(),
        "objectType": "EVENT",
        "programID": "p1",
        "intervalPeriod": {"start": START.isoformat(), "duration": duration},
        "intervals": [{"id": number, "payloads": each} for number, each in enumerate(intervals)],
    }
    return msgspec.convert(body | more, OpenAdrEvent)


def command(asked: OpenAdrEvent, flexibility_kw: float = 3.0) -> dict[str, Any]:
    data = power_command(HOME, asked, flexibility_kw)
    assert data is not None
    return data


def test_a_home_is_asked_for_less_throughout() -> None:
    data = command(event([payload(RELATIVE, -1.5)]))
    assert (data["start_ts"], data["end_ts"]) == (BEGIN, BEGIN + 1_800)
    assert (data["direction"], data["requestedReductionKw"], data["intervals"]) == ("reduce", 1.5, [])


def test_a_home_is_asked_for_more_by_intervals() -> None:
    data = command(event([payload(RELATIVE, 0.5)], [payload(RELATIVE, 2.0)], duration="PT10M"))
    assert (data["direction"], data["end_ts"]) == ("increase", BEGIN + 1_200)
    assert [(each["start_ts"], each["targetKw"]) for each in data["intervals"]] == [
        (BEGIN, 0.5),
        (BEGIN + 600, 2.0),
    ]


def test_a_level_is_a_share_of_what_the_home_can_shed() -> None:
    assert command(event([payload("SIMPLE", 2)]), 3.0)["requestedReductionKw"] == pytest.approx(2.0)


def test_its_own_power_counts_beside_a_level() -> None:
    both = [payload("SIMPLE", 2), payload(RELATIVE, -0.25)]
    assert command(event(both))["requestedReductionKw"] == 0.25


def test_limits_are_obeyed_beside_a_request() -> None:
    data = command(event([payload(RELATIVE, -1.0), payload("IMPORT_CAPACITY_LIMIT", 4.0)]))
    assert data["importLimitKw"] == 4.0
    assert "exportLimitKw" not in data


@pytest.mark.parametrize("kind", ["PRICE", "CHARGE_STATE_SETPOINT", "IMPORT_CAPACITY_LIMIT"])
def test_other_events_ask_for_no_power(kind: str) -> None:
    assert power_command(HOME, event([payload(kind, 1.0)]), 3.0) is None


def test_an_event_at_once_begins_when_it_was_made() -> None:
    period = {"start": "0001-01-01T00:00:00Z", "duration": "PT1H"}
    data = command(event([payload(RELATIVE, -1.0)], intervalPeriod=period))
    assert data["start_ts"] == MADE.timestamp()


def test_a_randomized_start_is_that_of_the_home() -> None:
    """Within the time that the event allows, and the same whenever the event is read."""
    period = {"start": START.isoformat(), "duration": "PT30M", "randomizeStart": "PT5M"}
    spread = event([payload(RELATIVE, -1.0)], intervalPeriod=period)
    homes = (Household(7, home, prefix="openadr") for home in range(1, 20))
    commands: list[Any] = [power_command(home, spread, 3.0) for home in homes]
    delays_s = [data["start_ts"] - BEGIN for data in commands if data]
    assert min(delays_s) >= 0
    assert max(delays_s) <= 300
    assert len(set(delays_s)) == 19
    assert command(spread) == command(spread)


def test_what_an_event_requests_reports_of() -> None:
    described = [
        {"objectType": kind, "payloadType": payload_type}
        for kind, payload_type in (
            ("EVENT_PAYLOAD_DESCRIPTOR", "SIMPLE"),
            ("REPORT_PAYLOAD_DESCRIPTOR", "DEMAND"),
        )
    ]
    program = msgspec.convert(
        {
            "id": "p1",
            "createdDateTime": MADE.isoformat(),
            "modificationDateTime": MADE.isoformat(),
            "objectType": "PROGRAM",
            "programName": "tou",
            "payloadDescriptors": described,
        },
        OpenAdrProgram,
    )
    own = event(reportDescriptors=[{"payloadType": each} for each in ("USAGE", "BASELINE")])
    assert requested_payloads(own, program) == {"USAGE"}
    assert requested_payloads(event(), program) == {"DEMAND"}
    assert requested_payloads(event(), None) == set()


@pytest.mark.parametrize(
    ("begin_s", "end_s", "is_wanted"),
    [(-60, 0, False), (-30, 30, True), (600, 660, True), (1_790, 1_850, True), (1_800, 1_860, False)],
)
def test_intervals_that_an_event_has_a_part_of(begin_s: float, end_s: float, *, is_wanted: bool) -> None:
    asked = event([payload(RELATIVE, -1.0)])
    assert wants_reports_of(asked, BEGIN + begin_s, BEGIN + end_s) == is_wanted


def test_an_event_for_ever_wants_reports_of_every_time() -> None:
    period = {"start": "2020-01-01T00:00:00Z", "duration": "P9999Y"}
    always = event(intervalPeriod=period)
    assert wants_reports_of(always, BEGIN, BEGIN + 60)
    assert wants_reports_of(always, BEGIN + 1e9, BEGIN + 1e9 + 60)


REPORTER = Reporter(HOME, FleetSettings(300))


def following(asked: OpenAdrEvent, behaviour: ResponseBehaviour) -> ControlState:
    data = command(asked)
    context = CommandContext(HOME, INITIAL_STATE, data, BEGIN - 60, behaviour, 300)
    state, _ = respond("event", context)
    return state


def stored(body: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The messages that ingest makes of a report, by topic."""
    loads = {load.load_id: load.load_id for load in HOME.loads}
    vens = [{"ven_id": HOME.ven_id, "names": [HOME.ven_id], "loads": loads}]
    received_at = START + timedelta(hours=3)
    row = InboxRow(1, HOME.ven_id, json.dumps(vens), json.dumps(body), received_at)
    result = translated(row)
    assert result.problems == []
    messages: dict[str, list[dict[str, Any]]] = {}
    for each in result.messages:
        messages.setdefault(each.topic, []).append(json.loads(each.payload))
    return messages


def test_ingest_reads_what_the_home_measured() -> None:
    """Two intervals: the powers of both, the descriptions and the state of the last one."""
    intervals = [metered(REPORTER, INITIAL_STATE, BEGIN + 300 * number, 300) for number in range(2)]
    messages = stored(report("e1", HOME.ven_id, PAYLOAD_UNITS, intervals))
    telemetry = messages[f"oadr/meter/{HOME.ven_id}"]
    for interval, message in zip(intervals, telemetry, strict=True):
        assert datetime.fromisoformat(message["timestamp"]).timestamp() == interval.reading.ts
        assert message["usedPowerKw"] == pytest.approx(interval.mean_kw, abs=1e-4)
        assert message["batterySoc"] == interval.reading.soc
        powers = {load["id"]: load["currentPowerKw"] for load in message["loads"]}
        assert powers == pytest.approx(interval.load_mean_kw, abs=1e-4)
    [descriptions] = messages[f"ven/loads/{HOME.ven_id}"]
    capability_kw = {load.load.load_id: load.capability_kw for load in intervals[1].reading.loads}
    assert {each["id"]: each["shedCapabilityKw"] for each in descriptions["loads"]} == capability_kw
    [status] = messages[f"ven/status/{HOME.ven_id}"]
    assert status["status"] == "online"


def test_only_what_is_requested_is_reported() -> None:
    interval = metered(REPORTER, INITIAL_STATE, BEGIN, 300)
    body: Any = report("e1", HOME.ven_id, {"DEMAND"}, [interval])
    assert [each["payloadType"] for each in body["payloadDescriptors"]] == ["DEMAND"]
    types = {
        each["type"]
        for part in body["resources"]
        for interval in part["intervals"]
        for each in interval["payloads"]
    }
    assert types == {"DEMAND"}


def states(body: dict[str, Any]) -> set[str]:
    return {
        each["values"][0].partition("_")[2]
        for part in body["resources"]
        if part["resourceName"] != "AGGREGATED_REPORT"
        for interval in part["intervals"]
        for each in interval["payloads"]
    }


def test_a_home_says_what_it_does_about_an_event() -> None:
    asked = event([payload(RELATIVE, -1.0)])
    obeying = following(asked, ResponseBehaviour(opt_out=0, mute=0))
    during = metered(REPORTER, obeying, BEGIN + 900, 300)
    assert during.mean_kw < metered(REPORTER, INITIAL_STATE, BEGIN + 900, 300).mean_kw
    assert "CURTAILED" in states(report("e1", HOME.ven_id, {"OPERATING_STATE"}, [during]))
    more = following(event([payload(RELATIVE, 1.0)]), ResponseBehaviour(opt_out=0, mute=0))
    raised = metered(REPORTER, more, BEGIN + 900, 300)
    assert "HEIGHTENED" in states(report("e1", HOME.ven_id, {"OPERATING_STATE"}, [raised]))
    refusing = replace(during, has_opted_out=True)
    assert states(report("e1", HOME.ven_id, {"OPERATING_STATE"}, [refusing])) == {"OPTED_OUT"}


def test_the_longer_it_fails_the_longer_it_waits() -> None:
    pauses = [back_off_s(failures, chance=1.0) for failures in range(1, 12)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (1.0, LONGEST_PAUSE_S)
    assert back_off_s(1, chance=0.0) == 0.5
    assert back_off_s(1, chance=0.0, after_s=30.0) == 30.5
