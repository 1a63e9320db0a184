"""Within a batch each natural key counts once, and the first message with it stands."""

import json
import sys
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from ingest.decoding.messages import Received
from ingest.storing.batch import Batch
from schemas.devices.content import same_content

NOW = datetime(2024, 7, 10, 18, tzinfo=UTC)
MAX_AHEAD = timedelta(minutes=5)
AT = 1_720_623_600
TS = datetime(2024, 7, 10, 15, tzinfo=UTC)


def telemetry(ven_id: str = "ven-7", timestamp: Any = AT, **said: Any) -> Received:
    payload = json.dumps({"venId": ven_id, "timestamp": timestamp, **said}).encode()
    return Received("volttron/metering", payload, NOW)


def description(*entries: Any, timestamp: Any = AT) -> Received:
    return Received("ven/loads/ven-7", json.dumps({"timestamp": timestamp, "loads": entries}).encode(), NOW)


def status(payload: bytes) -> Received:
    return Received("ven/status/ven-7", payload, NOW)


def batch_of(*messages: Received) -> Batch:
    return Batch.of(messages, MAX_AHEAD)


def reasons(batch: Batch) -> list[str]:
    return [rejection.reason for rejection in batch.rejections]


def test_a_redelivery_is_one_report() -> None:
    batch = batch_of(telemetry(usedPowerKw=1), telemetry(usedPowerKw=1), telemetry(usedPowerKw=1))
    assert list(batch.reports) == [("ven-7", TS)]
    assert (len(batch.received), reasons(batch)) == (3, [])


def test_the_other_generations_topic_makes_no_difference() -> None:
    first = telemetry(usedPowerKw=1)
    batch = batch_of(first, Received("oadr/meter/ven-7", first.payload, NOW))
    assert (len(batch.reports), reasons(batch)) == (1, [])


@pytest.mark.parametrize(
    "respelled",
    [
        b'{"venId":"ven-7","timestamp":1720623600,"usedPowerKw":1.0}',
        b'{"usedPowerKw": 1e0, "timestamp": 1720623600,\n "venId": "ven-7"}',
        b'{"venId": "\\u0076en-7", "timestamp": 1720623600, "usedPowerKw": 1}',
    ],
)
def test_a_respelled_redelivery_is_no_conflict(respelled: bytes) -> None:
    batch = batch_of(telemetry(usedPowerKw=1), Received("volttron/metering", respelled, NOW))
    assert (len(batch.reports), reasons(batch)) == (1, [])


def test_of_two_reports_with_one_key_the_first_stands() -> None:
    first, second = telemetry(usedPowerKw=1), telemetry(usedPowerKw=2)
    batch = batch_of(first, second)
    assert batch.reports["ven-7", TS].content == first.payload
    [rejection] = batch.rejections
    assert (rejection.reason, rejection.payload) == ("conflict", second.payload)
    assert (rejection.ven_id, rejection.ts) == ("ven-7", TS)
    assert "ven-7 at 2024-07-10 15:00:00+00:00" in rejection.detail


def test_keys_are_instants_however_they_are_spelled() -> None:
    respelled = telemetry(timestamp="2024-07-10T17:00:00+02:00")
    other = telemetry(timestamp="2024-07-10T15:00:00Z", usedPowerKw=1)
    batch = batch_of(telemetry(), respelled, telemetry("ven-8"), other)
    assert list(batch.reports) == [("ven-7", TS), ("ven-8", TS)]
    assert reasons(batch) == ["conflict"]
    assert batch.rejections[0].payload == other.payload


def test_statuses() -> None:
    said = b'{"status": "online", "timestamp": 1720623600}'
    batch = batch_of(status(said), status(said), status(said.replace(b"on", b"off")), status(b"offline"))
    assert list(batch.statuses) == [("ven-7", TS), ("ven-7", NOW)]
    assert "online" in batch.statuses["ven-7", TS].row
    assert reasons(batch) == ["conflict"]


def test_descriptions_conflict_load_by_load() -> None:
    batch = batch_of(
        description({"id": "a", "capacityKw": 1}, {"id": "b"}),
        description({"id": "a", "capacityKw": 1}, {"id": "b", "name": "B"}, {"id": "c"}),
        description({"loadId": "a", "capacityKw": 1.0}, timestamp="2024-07-10T15:00:00"),
    )
    assert list(batch.described) == [("ven-7", TS, load_id) for load_id in ("a", "b", "c")]
    [rejection] = batch.rejections
    assert (rejection.reason, rejection.detail[:5]) == ("load_conflict", "b of ")


def test_a_description_at_the_time_of_a_report_is_no_conflict() -> None:
    batch = batch_of(telemetry(loads=[{"id": "a"}]), description({"id": "a", "name": "A"}))
    assert (len(batch.reports), len(batch.described), reasons(batch)) == (1, 1, [])


def test_vens_are_those_of_accepted_messages_first_heard() -> None:
    later = Received(
        "oadr/meter/ven-8", b'{"timestamp": 1720623600, "usedPowerKw": 1}', NOW + timedelta(seconds=1)
    )
    batch = batch_of(telemetry("ven-8"), later, telemetry("ven-9", usedPowerKw="?"), status(b"online"))
    assert batch.vens == {"ven-8": NOW, "ven-7": NOW}
    assert reasons(batch) == ["conflict", "wrong_type"]


def test_days_are_those_of_partitioned_rows() -> None:
    batch = batch_of(
        telemetry(timestamp="2024-07-09T23:59:59.999999"),
        description({"id": "a"}, timestamp="2024-07-08T01:00:00+02:00"),
        status(b'{"status": "online", "timestamp": "2024-01-01"}'),
    )
    assert batch.days() == {date(2024, 7, 9), date(2024, 7, 7)}


def test_refusals_keep_the_message_to_the_byte() -> None:
    batch = batch_of(Received("ven/cmd/ven-7", b"\xff\x00", NOW))
    [rejection] = batch.rejections
    assert (rejection.topic, rejection.payload, rejection.received_at) == ("ven/cmd/ven-7", b"\xff\x00", NOW)
    assert (rejection.reason, rejection.ven_id) == ("unknown_topic", None)


def test_a_batch_that_only_refuses() -> None:
    message = telemetry()
    batch = Batch.rejecting(message, "refused_by_database", "said so")
    assert (batch.received, batch.reports, batch.vens) == ([message], {}, {})
    assert (batch.rejections[0].payload, reasons(batch)) == (message.payload, ["refused_by_database"])


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("{}", "{ }", True),
        (b'{"a": [1, 2]}', b'{"a": [2, 1]}', False),
        ('{"a": null}', "{}", True),
        ('{"a": [{"b": null}]}', '{"a": [{}]}', True),
        ('{"a": [null]}', '{"a": []}', False),
        ('["online", {"a": null}]', '["online", null]', True),
        ('["online", {"a": 0}]', '["online", null]', False),
        ("not json", "not json", True),
        ("not json", "NOT JSON", False),
        ("1" * 5000, "2" * 5000, False),
        ("1" * 5000, "1" * 5000 + " ", False),
        ('{"a": true}', '{"a": 1}', False),
        ('[{"a": false}]', '[{"a": 0}]', False),
    ],
)
def test_sameness(one: str | bytes, other: str | bytes, same: bool) -> None:  # noqa: FBT001
    assert same_content(one, other) is same


SAME_REPORTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"usedPowerKw": 1}, {"power_kw": 1.0}),
    ({"usedPowerKw": 1}, {"usedPowerKw": 1, "power_kw": 7}),
    ({"shedPowerKw": 2}, {"shed_kw": 2, "shedPowerKw": None}),
    ({}, {"shedPowerKw": 0, "eventId": None, "loads": None, "batterySoc": None}),
    ({"batterySoc": 0.5}, {"battery_soc": 0.5}),
    ({"batterySOC": 0.5}, {"batterySoc": 0.5}),
    ({"loads": [{"id": "a", "priority": 1}]}, {"loads": [{"loadId": "a", "priority": 1.0, "type": None}]}),
    ({"loads": []}, {}),
    ({"schemaVersion": None, "voltage_v": None}, {}),
    ({"circuits": [{"breaker": 1, "note": None}]}, {"circuits": [{"breaker": 1}]}),
    ({"loads": [{"id": "a", "vendor": None}]}, {"loads": [{"id": "a"}]}),
    ({"eventId": ""}, {"eventId": None}),
    ({"eventId": ""}, {}),
    ({"loads": [{"id": "a", "type": ""}]}, {"loads": [{"id": "a"}]}),
]
OTHER_REPORTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"usedPowerKw": 1}, {"usedPowerKw": 2, "power_kw": 1}),
    ({"usedPowerKw": 0}, {}),
    ({"usedPowerKw": 1}, {"usedPowerKw": 1, "note": "x"}),
    ({"loads": [{"id": "a"}]}, {"loads": [{"id": "b"}]}),
    ({"loads": [{"id": "a", "enabled": True}]}, {"loads": [{"id": "a", "enabled": 1}]}),
    ({"loads": [{"id": "a"}]}, {}),
]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        *((one, other, []) for one, other in SAME_REPORTS),
        *((one, other, ["conflict"]) for one, other in OTHER_REPORTS),
    ],
)
def test_a_redelivery_is_told_from_a_conflict_by_its_meaning(
    one: dict[str, Any], other: dict[str, Any], expected: list[str]
) -> None:
    """A bridge that spelled null as missing, or an older key as the newer one, had made a conflict of it."""
    for first, second in ((one, other), (other, one)):
        batch = batch_of(telemetry(**first), telemetry(**second))
        assert [reason for reason in reasons(batch) if reason != "bad_field"] == expected


def test_metadata_spelled_otherwise_is_no_conflict() -> None:
    respelled = description({"id": "a", "vendor": {"x": 1, "y": 2}})
    payload = respelled.payload.replace(b'{"x": 1, "y": 2}', b'{"y":2.0,"x":1}')
    batch = batch_of(respelled, Received(respelled.topic, payload, NOW))
    assert reasons(batch) == []
    assert reasons(batch_of(respelled, description({"id": "a", "vendor": {"x": 1}}))) == ["load_conflict"]
    assert reasons(batch_of(description({"id": "a", "vendor": None}), description({"id": "a"}))) == []


def test_conflicts_of_any_depth_are_conflicts() -> None:
    """A payload that msgspec just manages to read is too deep for json a few frames further down."""
    deepest = sys.getrecursionlimit()
    for depth in range(deepest - 300, deepest):
        nested = b"[" * depth + b"]" * depth
        said = [b'{"timestamp": 1720623600, "x": %d, "y": %b}' % (x, nested) for x in (1, 2)]
        assert set(reasons(batch_of(*(Received("oadr/meter/a", each, NOW) for each in said)))) <= {
            "conflict",
            "too_deep",
        }
