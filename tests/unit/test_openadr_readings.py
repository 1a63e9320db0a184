"""Reports of OpenADR become the messages that a VEN would publish."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ingest.openadr.readings import InboxRow, translated

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
HOME = {"ven_id": "home", "names": ["home", "ven-object"], "loads": {"hvac": "hvac1", "car": "ev1"}}
PLAIN = {"ven_id": "plain", "names": ["plain", "plain-object"], "loads": {}}
QUARTER = {"start": "2026-01-15T11:00:00Z", "duration": "PT15M"}
ELEVEN = "2026-01-15T11:00:00+00:00"


def resource(name: str, *intervals: dict[str, Any], period: Any = QUARTER) -> dict[str, Any]:
    """A resource whose intervals are payload types with their values."""
    return {
        "resourceName": name,
        "intervalPeriod": period,
        "intervals": [
            {
                "id": number,
                "payloads": [{"type": each, "values": [value]} for each, value in payloads.items()],
            }
            for number, payloads in enumerate(intervals)
        ],
    }


def row(
    *resources: dict[str, Any], vens: Any = (HOME,), descriptors: Any = (), client: str = "x"
) -> InboxRow:
    body = {
        "eventID": "e",
        "clientName": client,
        "resources": list(resources),
        "payloadDescriptors": [{"objectType": "REPORT_PAYLOAD_DESCRIPTOR", **each} for each in descriptors],
    }
    return InboxRow(1, "client", json.dumps(list(vens)), json.dumps(body), NOW)


def messages(*resources: dict[str, Any], **options: Any) -> list[tuple[str, Any]]:
    report = translated(row(*resources, **options))
    assert report.problems == []
    return [(each.topic, json.loads(each.payload)) for each in report.messages]


def refusals(*resources: dict[str, Any], **options: Any) -> list[tuple[str, str]]:
    return [(each.reason, each.detail) for each in translated(row(*resources, **options)).problems]


def test_energy_of_an_interval_is_power_at_its_start() -> None:
    """One message for each interval; the VEN's power is that of all its loads together."""
    said = messages(resource("hvac", {"USAGE": 0.5}, {"USAGE": 0.25}), resource("car", {"USAGE": 1.75}))
    assert said == [
        (
            "oadr/meter/home",
            {
                "timestamp": ELEVEN,
                "usedPowerKw": 9.0,
                "loads": [{"id": "ev1", "currentPowerKw": 7.0}, {"id": "hvac1", "currentPowerKw": 2.0}],
            },
        ),
        # the car has no second interval, so nobody knows what the home used in it
        (
            "oadr/meter/home",
            {"timestamp": "2026-01-15T11:15:00+00:00", "loads": [{"id": "hvac1", "currentPowerKw": 1.0}]},
        ),
    ]


@pytest.mark.parametrize("name", ["AGGREGATED_REPORT", "home", "ven-object"])
def test_a_resource_that_stands_for_the_ven(name: str) -> None:
    said = messages(
        resource(name, {"DEMAND": 3, "STORAGE_CHARGE_LEVEL": 0.5}), resource("hvac", {"DEMAND": 2})
    )
    [(_, content)] = said
    assert (content["usedPowerKw"], content["batterySoc"]) == (3.0, 0.5)
    assert content["loads"] == [{"id": "hvac1", "currentPowerKw": 2.0}]


def test_a_ven_without_resources_is_its_own_load() -> None:
    said = messages(resource("plain", {"LOAD_SHED_DELTA_AVAILABLE": -1.5}), vens=[PLAIN])
    assert said == [
        ("ven/loads/plain", {"timestamp": ELEVEN, "loads": [{"id": "plain", "shedCapabilityKw": 1.5}]})
    ]
    assert messages(resource("boiler", {"DEMAND": 2}), vens=[PLAIN])[0][1]["usedPowerKw"] == 2.0


def test_energy_counts_before_demand_and_demand_before_a_reading() -> None:
    reading = {"payloadType": "READING", "units": "KW"}
    both = resource(
        "home", {"READING": 9, "DEMAND": 5, "USAGE": 1}, {"READING": 9, "DEMAND": 5}, {"READING": 9}
    )
    said = messages(both, descriptors=[reading])
    assert [content["usedPowerKw"] for _, content in said] == [4.0, 5.0, 9.0]


@pytest.mark.parametrize("kind", ["FORECAST", "PEAK"])
def test_what_is_no_measurement_is_left_out(kind: str) -> None:
    descriptor = {"payloadType": "DEMAND", "readingType": kind, "units": "KW"}
    assert (
        messages(resource("home", {"DEMAND": 3, "BASELINE": 4, "X_OWN": 5}), descriptors=[descriptor]) == []
    )


@pytest.mark.parametrize(
    ("state", "word"), [("NORMAL", "online"), ("RUNNING_CURTAILED", "online"), ("ERROR", "maintenance")]
)
def test_the_state_of_a_ven_is_its_status(state: str, word: str) -> None:
    said = messages(resource("AGGREGATED_REPORT", {"OPERATING_STATE": state}))
    content = {"timestamp": ELEVEN, "status": word, "details": {"operatingState": state}}
    assert said == [("ven/status/home", content)]


@pytest.mark.parametrize(("state", "is_enabled"), [("IDLE_NORMAL", True), ("IDLE_OPTED_OUT", False)])
def test_the_state_of_a_resource_says_whether_it_may_be_controlled(state: str, is_enabled: object) -> None:
    shed = {"OPERATING_STATE": state, "LOAD_SHED_DELTA_AVAILABLE": 2}
    loads = [{"id": "hvac1", "shedCapabilityKw": 2.0, "enabled": is_enabled}]
    assert messages(resource("hvac", shed)) == [("ven/loads/home", {"timestamp": ELEVEN, "loads": loads})]


def test_what_could_be_shed_later_is_no_news() -> None:
    later = {"start": (NOW + timedelta(hours=1)).isoformat(), "duration": "PT1H"}
    assert messages(resource("hvac", {"LOAD_SHED_DELTA_AVAILABLE": 2}, period=later)) == []


def test_without_a_start_it_is_when_it_came() -> None:
    [(_, content)] = messages(resource("home", {"DEMAND": 2}, period=None))
    assert content == {"timestamp": NOW.isoformat(), "usedPowerKw": 2.0}
    at_once = {"start": "0001-01-01", "duration": "PT1H"}
    assert messages(resource("home", {"DEMAND": 2}, period=at_once))[0][1] == content


@pytest.mark.parametrize(
    ("payloads", "descriptors", "part"),
    [
        ({"USAGE": 1}, [{"payloadType": "USAGE", "units": "THERMS"}], "USAGE has the units THERMS; send KWH"),
        ({"DEMAND": 1}, [{"payloadType": "DEMAND", "units": "KVA"}], "DEMAND has the units KVA; send KW"),
        ({"READING": 1}, [], "READING has the units None; send KW"),
        ({"READING": 1}, [{"payloadType": "READING", "units": "KWH"}], "READING has the units KWH; send KW"),
        ({"DEMAND": "much"}, [], "DEMAND has the value 'much'; send a number"),
        ({"DEMAND": True}, [], "DEMAND has the value True; send a number"),
        ({"OPERATING_STATE": "ASLEEP"}, [], "'ASLEEP', which is not an operating state"),
        ({"LOAD_SHED_DELTA_AVAILABLE": 2}, [], "applies to single loads: send it for each resource"),
    ],
)
def test_a_value_that_cannot_be_read_is_refused_alone(payloads: Any, descriptors: Any, part: str) -> None:
    report = translated(row(resource("home", payloads, {"USAGE": 1}), descriptors=descriptors))
    [problem] = report.problems
    assert problem.reason == "bad_field"
    assert "resources[0], interval 0: " in problem.detail
    assert part in problem.detail
    assert len(report.messages) == (0 if "THERMS" in part else 1)


def test_energy_needs_a_duration() -> None:
    [(reason, detail)] = refusals(resource("home", {"USAGE": 1}, period={"start": ELEVEN}))
    assert (reason, "needs an interval with a duration" in detail) == ("bad_field", True)


def test_many_refusals_are_one_for_each_reason() -> None:
    wrong: list[dict[str, Any]] = [{"DEMAND": "x"}] * 200
    [(_, detail)] = refusals(resource("home", *wrong))
    assert detail.startswith("200 times: resources[0], interval 0: DEMAND")


def test_two_values_for_one_time() -> None:
    twice = [resource("hvac", {"DEMAND": 1}), resource("hvac", {"DEMAND": 2})]
    [(_, detail)] = refusals(*twice)
    assert "resources[1], interval 0: DEMAND has another value for this time already" in detail
    assert refusals(resource("hvac", {"DEMAND": 1}), resource("hvac", {"DEMAND": 1})) == []


def test_of_several_vens_the_one_that_has_the_resource_or_reports() -> None:
    vens = [HOME, PLAIN]
    assert messages(resource("hvac", {"DEMAND": 1}), vens=vens)[0][0] == "oadr/meter/home"
    assert messages(resource("plain", {"DEMAND": 1}), vens=vens)[0][0] == "oadr/meter/plain"
    aggregated = resource("AGGREGATED_REPORT", {"DEMAND": 1})
    assert messages(aggregated, vens=vens, client="plain")[0][0] == "oadr/meter/plain"
    [(reason, detail)] = refusals(aggregated, vens=vens)
    assert (reason, "send the venName as clientName" in detail) == ("no_ven_id", True)


def test_a_client_without_a_ven() -> None:
    [(reason, detail)] = refusals(resource("hvac", {"DEMAND": 1}), vens=[])
    assert (reason, detail) == ("no_ven_id", "resources[0]: its client has no VEN: enrol one by POST vens")
