"""What becomes rows, what is refused and why; and that nothing else can happen."""

import gzip
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.decoding import decoder as decoding
from ingest.decoding import encodings, fields, loads
from ingest.decoding.decoder import BOM, EARLIEST, decode
from ingest.decoding.messages import Answer, Decoded, Description, Received, RejectedError, Report, Status
from ingest.storing import rows
from ingest.storing.queries import DESCRIPTIONS, SAMPLES, STATUSES, TELEMETRY, Keyed
from ingest.storing.quotas import Limits, Quotas

NOW = datetime(2024, 7, 10, 18, tzinfo=UTC)
MAX_AHEAD = timedelta(minutes=5)
AT = 1_720_623_600
ISO_AT = "2024-07-10 15:00:00+00:00"
METER, SHARED, LOADS, STATUS = "oadr/meter/ven-7", "volttron/metering", "ven/loads/ven-7", "ven/status/ven-7"
ACK = "ven/ack/ven-7"

EXAMPLE = b"""\
{"schemaVersion": "1.0", "venId": "ven-7", "timestamp": 1720623600, "usedPowerKw": 4.1, "shedPowerKw": 0.6,
 "requestedReductionKw": 1.0, "eventId": "evt-3", "batterySoc": 0.54,
 "loads": [{"id": "hvac1", "type": "hvac", "currentPowerKw": 2.2, "capacityKw": 3.5, "shedCapabilityKw": 1.4},
           {"id": "pv1", "type": "solar", "currentPowerKw": -1.3}]}"""

Row = dict[str, str | None]


def read(row: rows.Row, keyed: Keyed) -> Row:
    """By column, as text; fails where a row has another number of columns."""
    columns = (None if column is None else str(column) for column in row)
    return dict(zip((*keyed.key, *keyed.columns), columns, strict=True))


def decode_bytes(topic: str, payload: bytes) -> Decoded:
    return decode(Received(topic, payload, NOW), MAX_AHEAD)


def report(said: dict[str, Any], topic: str = METER) -> Report:
    decoded = decode_bytes(topic, json.dumps({"timestamp": AT} | said).encode())
    assert isinstance(decoded, Report)
    return decoded


def panel(said: dict[str, Any], topic: str = METER) -> Row:
    return read(report(said, topic).row, TELEMETRY)


def samples(*said: Any) -> tuple[dict[str, Row], list[str]]:
    """Rows of the stored entries by load, and the details of the refused ones."""
    decoded = report({"loads": list(said)})
    return {load_id: read(row, SAMPLES) for load_id, row in decoded.samples.items()}, [
        rejection.detail for rejection in decoded.rejections
    ]


def silence(keyed: Keyed, **said: str) -> Row:
    return dict.fromkeys((*keyed.key, *keyed.columns)) | said


# Telemetry


def test_the_example_of_the_contract() -> None:
    decoded = decode_bytes(METER, EXAMPLE)
    assert isinstance(decoded, Report)
    assert read(decoded.row, TELEMETRY) == {
        "ven_id": "ven-7",
        "ts": ISO_AT,
        "used_power_kw": "4.1",
        "shed_power_kw": "0.6",
        "requested_reduction_kw": "1.0",
        "event_id": "evt-3",
        "baseline_power_kw": None,
        "battery_soc": "0.54",
        "payload": EXAMPLE.decode().replace("\n", " "),
        "received_at": str(NOW),
    }
    key = {"ven_id": "ven-7", "ts": ISO_AT}
    hvac1, pv1 = (read(row, SAMPLES) for row in decoded.samples.values())
    assert hvac1 == silence(
        SAMPLES,
        **key,
        load_id="hvac1",
        load_type="hvac",
        used_power_kw="2.2",
        capacity_kw="3.5",
        shed_capability_kw="1.4",
    )
    assert pv1 == silence(SAMPLES, **key, load_id="pv1", load_type="solar", used_power_kw="-1.3")
    assert decoded.rejections == []
    assert decoded == decode_bytes(METER, EXAMPLE)
    shared = decode_bytes(SHARED, EXAMPLE)
    assert isinstance(shared, Report)
    assert (shared.row, shared.samples) == (decoded.row, decoded.samples)


@pytest.mark.parametrize(
    ("said", "used", "shed"),
    [
        ({"power_kw": 2, "shed_kw": 0.5}, "2.0", "0.5"),
        ({"power_kw": 2, "usedPowerKw": 3, "shed_kw": 1, "shedPowerKw": 0}, "3.0", "0.0"),
        ({"usedPowerKw": None, "power_kw": -2.5, "shedPowerKw": None, "shed_kw": 1}, "-2.5", "1.0"),
        ({"usedPowerKw": 0, "power_kw": 7}, "0.0", "0.0"),
        ({}, None, "0.0"),
        ({"usedPowerKw": -1e9}, "-1000000000.0", "0.0"),
    ],
)
def test_old_and_new_names_of_power(said: dict[str, Any], used: str | None, shed: str) -> None:
    row = panel(said)
    assert (row["used_power_kw"], row["shed_power_kw"]) == (used, shed)


@pytest.mark.parametrize(
    ("said", "soc"),
    [
        ({"batterySoc": 0.5}, "0.5"),
        ({"batterySOC": 87}, "87.0"),
        ({"battery_soc": 0.25}, "0.25"),
        ({"batterySoc": None, "battery_soc": 0}, "0.0"),
        ({"batterySoc": 0.1, "batterySOC": 0.2, "battery_soc": 0.3}, "0.1"),
        ({}, None),
    ],
)
def test_spellings_of_the_state_of_charge(said: dict[str, Any], soc: str | None) -> None:
    assert panel(said)["battery_soc"] == soc


@pytest.mark.parametrize(
    ("timestamp", "ts"),
    [
        (AT, ISO_AT),
        (float(AT), ISO_AT),
        (AT + 0.25, "2024-07-10 15:00:00.250000+00:00"),
        (AT + 0.000001, "2024-07-10 15:00:00.000001+00:00"),
        ("2024-07-10T15:00:00Z", ISO_AT),
        ("2024-07-10T15:00:00", ISO_AT),
        ("2024-07-10 15:00:00", ISO_AT),
        ("2024-07-10T17:00:00+02:00", ISO_AT),
        ("2024-07-10T09:30:00-05:30", ISO_AT),
        ("2024-07-10T15:00:00.5Z", "2024-07-10 15:00:00.500000+00:00"),
        ("2024-07-10T15:00:00.123456Z", "2024-07-10 15:00:00.123456+00:00"),
        ("2000-01-01T00:00:00Z", "2000-01-01 00:00:00+00:00"),
        ("2024-07-10T18:05:00Z", "2024-07-10 18:05:00+00:00"),
    ],
)
def test_spellings_of_time(timestamp: Any, ts: str) -> None:
    assert panel({"timestamp": timestamp})["ts"] == ts
    described = decode_bytes(LOADS, json.dumps({"timestamp": timestamp, "loads": [{"id": "a"}]}).encode())
    assert isinstance(described, Description)
    assert read(described.rows["a"], DESCRIPTIONS)["ts"] == ts


def test_what_nobody_knows_stays_in_the_payload() -> None:
    said = {"venId": "ven-7", "voltage_v": 239.6, "circuits": [{"note": "Küche\t\n"}], "big": 10**30}
    row = panel(said, SHARED)
    assert json.loads(row["payload"] or "") == {"timestamp": AT} | said


def test_a_payload_with_line_breaks_and_escapes_comes_through_on_one_line() -> None:
    payload = b'{\r\n\t"timestamp": 1720623600, "note": "a\\\\b\\n\\u0000"\r\n}'
    decoded = decode_bytes(METER, payload)
    assert isinstance(decoded, Report)
    assert read(decoded.row, TELEMETRY)["payload"] == (
        '{   "timestamp": 1720623600, "note": "a\\\\b\\n\\u0000"  }'
    )


# Load entries


def test_words_that_look_like_nothing_are_words() -> None:
    r"""`None` and `\N` are how COPY's text may spell null."""
    for word in ("None", "\\N", "null", "\\."):
        row = panel({"venId": word, "eventId": word}, SHARED)
        assert (row["ven_id"], row["event_id"]) == (word, word)
        rows, _ = samples({"id": word, "name": word, "type": word})
        assert (rows[word]["load_id"], rows[word]["name"], rows[word]["load_type"]) == (word, word, word)


def test_a_minimal_entry_says_what_it_says() -> None:
    rows, refused = samples({"id": "a", "currentPowerKw": 1}, {"loadId": "b"})
    assert rows["a"] == silence(SAMPLES, ven_id="ven-7", ts=ISO_AT, load_id="a", used_power_kw="1.0")
    assert rows["b"] == silence(SAMPLES, ven_id="ven-7", ts=ISO_AT, load_id="b")
    assert refused == []


def test_a_full_entry() -> None:
    entry = {"id": "a", "name": "A\tB", "type": "ev", "shedPowerKw": 0.1, "enabled": False, "priority": -3}
    rows, _ = samples(entry)
    said = {"name": "A B", "load_type": "ev", "shed_power_kw": "0.1", "enabled": "False", "priority": "-3"}
    assert rows["a"] == silence(SAMPLES, ven_id="ven-7", ts=ISO_AT, load_id="a", **said)


def test_extra_keys_go_to_the_metadata() -> None:
    rows, refused = samples({"id": "a", "vendor": {"model": "X\\1"}, "ok": None}, {"id": "b"})
    assert json.loads(rows["a"]["metadata"] or "") == {"vendor": {"model": "X\\1"}, "ok": None}
    assert rows["b"]["metadata"] is None
    assert refused == []


BAD_ENTRIES: list[tuple[Any, str]] = [
    ("hvac1", "Expected `object`, got `str`"),
    (None, "Expected `object`, got `null`"),
    ({}, "has neither id nor loadId"),
    ({"id": None, "loadId": None}, "has neither id nor loadId"),
    ({"id": ""}, "Expected `str` of length >= 1"),
    ({"id": "x" * 10_000}, "Expected `str` of length <= 255"),
    ({"id": "be\all"}, "has a control character"),
    ({"id": "a\0b"}, "has a control character"),
    ({"id": "a\ud800"}, "half of a surrogate pair"),
    ({"id": "a\x85b"}, "has a control character (U+0085)"),
    ({"id": "a\u202eb"}, "has a bidirectional control"),
    ({"id": " a"}, "begins or ends with white space"),
    ({"id": "a", "currentPowerKw": "1.5"}, "Expected `float | null`, got `str`"),
    ({"id": "a", "currentPowerKw": 1e10}, "Expected `float` <= 1000000000.0"),
]


@pytest.mark.parametrize(("bad", "detail"), BAD_ENTRIES, ids=[detail for _, detail in BAD_ENTRIES])
def test_a_bad_entry_is_refused_alone(bad: Any, detail: str) -> None:
    rows, [refused] = samples({"id": "first"}, bad, {"id": "last"})
    assert list(rows) == ["first", "last"]
    assert refused.startswith("loads[1]: ")
    assert detail in refused
    decoded = report({"loads": [bad]})
    [rejection] = decoded.rejections
    assert (rejection.reason, rejection.ven_id, str(rejection.ts)) == ("bad_load", "ven-7", ISO_AT)
    assert json.loads(rejection.payload) == bad


BAD_FIELDS: list[tuple[str, Any, str]] = [
    ("name", "\0", "has a NUL character; take it out"),
    ("name", "\ud800", "has a NUL character; take it out (half of a surrogate pair is read as U+0000)"),
    ("type", "ev\udc00 \ud83d", "has a NUL character"),
    ("name", ["a"], "Expected `str | null`, got `array`"),
    ("name", "n" * 256, "Expected `str` of length <= 255"),
    ("type", "\0", "has a NUL character; take it out"),
    ("type", 3, "Expected `str | null`, got `int`"),
    ("capacityKw", True, "Expected `float | null`, got `bool`"),
    ("capacityKw", 1e10, "Expected `float` <= 1000000000.0"),
    ("shedCapabilityKw", "much", "Expected `float | null`, got `str`"),
    ("enabled", 1, "Expected `bool | null`, got `int`"),
    ("enabled", "yes", "Expected `bool | null`, got `str`"),
    ("priority", 1.5, "Expected a whole number, got 1.5"),
    ("priority", "high", "Expected `int | float | null`, got `str`"),
    ("priority", 2**31, "Expected"),
    ("priority", 10**4000, "Expected"),
]


@pytest.mark.parametrize(("key", "value", "detail"), BAD_FIELDS, ids=str)
def test_a_bad_descriptive_field_of_a_load_is_refused_alone(key: str, value: Any, detail: str) -> None:
    """`"priority": 1.5` had lost the load's power."""
    good = {"id": "a", "name": "A", "type": "ev", "currentPowerKw": 1.25, "enabled": True, "priority": 2}
    decoded = report({"loads": [{"id": "first"}, good | {key: value}]})
    expected = report({"loads": [{"id": "first"}, good | {key: None}]})
    assert decoded.samples == expected.samples
    [rejection] = decoded.rejections
    assert (rejection.reason, rejection.ven_id, str(rejection.ts)) == ("bad_field", "ven-7", ISO_AT)
    assert rejection.detail.startswith(f"loads[1]: {key}: {detail}")
    assert json.loads(rejection.payload) == good | {key: value}


def test_all_bad_fields_of_an_entry_are_named_together() -> None:
    rows, [refused] = samples({"id": "a", "currentPowerKw": 1, "enabled": "no", "priority": "x", "vendor": 1})
    assert (rows["a"]["used_power_kw"], rows["a"]["metadata"]) == ("1.0", '{"vendor":1}')
    assert re.match(r"loads\[0\]: enabled: .*; priority: ", refused)


@pytest.mark.parametrize(
    ("spelling", "priority"),
    [("1.0", "1"), ("-3e0", "-3"), ("2147483647.0", "2147483647"), ("0.0", "0"), ("-0.0", "0"), ("7", "7")],
)
@pytest.mark.parametrize("extra", ["", ', "vendor": 1'], ids=["plain", "with metadata"])
def test_a_whole_number_may_be_written_with_a_fraction_of_zero(
    spelling: str, priority: str, extra: str
) -> None:
    """`"priority": 1.0` had lost the load's power."""
    entry = f'{{"id": "a", "currentPowerKw": 1.5, "priority": {spelling}{extra}}}'
    decoded = decode_bytes(METER, f'{{"timestamp": {AT}, "loads": [{entry}]}}'.encode())
    assert isinstance(decoded, Report)
    row = read(decoded.samples["a"], SAMPLES)
    assert (row["priority"], row["used_power_kw"], decoded.rejections) == (priority, "1.5", [])


BAD_PANEL_FIELDS: list[tuple[str, Any]] = [
    ("eventId", 7),
    ("eventId", "\0"),
    ("eventId", "e\udfff"),
    ("eventId", "e" * 256),
    ("requestedReductionKw", "2"),
    ("baselinePowerKw", True),
    ("baselinePowerKw", 1e10),
    ("batterySoc", "full"),
    ("batterySOC", []),
    ("battery_soc", {}),
]


@pytest.mark.parametrize(("key", "value"), BAD_PANEL_FIELDS, ids=str)
def test_a_bad_descriptive_field_of_the_panel_is_refused_alone(key: str, value: Any) -> None:
    decoded = report({"usedPowerKw": 4.25, "loads": [{"id": "a", "currentPowerKw": 1}], key: value})
    row = read(decoded.row, TELEMETRY)
    column = {"eventId": "event_id", "requestedReductionKw": "requested_reduction_kw"}.get(key, "battery_soc")
    assert (row["used_power_kw"], row[column], list(decoded.samples)) == ("4.25", None, ["a"])
    [rejection] = decoded.rejections
    assert rejection.reason == "bad_field"
    assert rejection.detail.startswith(f"{key}: ")


@pytest.mark.parametrize(
    "text", ["\ud800", "\udc00 ", "\U0001f600\ud83d", "\\ud800\udfff", "\\\ud800"], ids=ascii
)
@pytest.mark.parametrize("mark", [b"", BOM], ids=["plain", "BOM"])
def test_half_a_surrogate_pair_beyond_the_contract_is_kept_as_it_came(text: str, mark: bytes) -> None:
    """The whole message was `not_json`."""
    payload = telemetry(usedPowerKw=4.25, note=text, loads=[{"id": "a", "currentPowerKw": 1}])
    decoded = decode_bytes(METER, mark + payload)
    assert isinstance(decoded, Report)
    row = read(decoded.row, TELEMETRY)
    assert (row["used_power_kw"], list(decoded.samples), decoded.rejections) == ("4.25", ["a"], [])
    assert (row["payload"], decoded.content) == (payload.decode(), payload)


def test_an_escaped_backslash_and_a_whole_pair_are_no_half() -> None:
    name = "\\ud800 \U0001f600"
    rows, refused = samples({"id": "a", "name": name}, {"id": "b", "name": "\ud800"})
    assert (rows["a"]["name"], rows["b"]["name"], len(refused)) == (name, None, 1)


def test_empty_words_name_no_event_and_no_type() -> None:
    decoded = report({"eventId": "", "loads": [{"id": "a", "type": ""}, {"id": "b", "type": "", "x": 1}]})
    assert read(decoded.row, TELEMETRY)["event_id"] is None
    assert [read(row, SAMPLES)["load_type"] for row in decoded.samples.values()] == [None, None]
    assert decoded.rejections == []


def test_loads_that_are_no_list_are_refused_alone() -> None:
    decoded = report({"usedPowerKw": 4.25, "loads": {"id": "a"}})
    assert (read(decoded.row, TELEMETRY)["used_power_kw"], decoded.samples) == ("4.25", {})
    [rejection] = decoded.rejections
    assert (rejection.reason, rejection.payload) == ("bad_field", b'{"id": "a"}')
    assert rejection.detail.startswith("loads: Expected `array | null`")


def test_of_a_load_that_stands_twice_the_first_entry_counts() -> None:
    twice = {"id": "a", "currentPowerKw": 1}, {"loadId": "a", "currentPowerKw": 2}, {"id": "b"}
    for extra in ({}, {"vendor": 1}):
        decoded = report({"loads": [twice[0] | extra, *twice[1:]]})
        assert list(decoded.samples) == ["a", "b"]
        assert read(decoded.samples["a"], SAMPLES)["used_power_kw"] == "1.0"
        [rejection] = decoded.rejections
        assert (rejection.reason, rejection.detail[:9]) == ("load_twice", "loads[1]:")
        assert json.loads(rejection.payload)["currentPowerKw"] == 2


@pytest.mark.parametrize("nothing", [None, []])
def test_telemetry_may_say_nothing_of_loads(nothing: Any) -> None:
    decoded = report({"loads": nothing})
    assert not decoded.samples
    assert not decoded.rejections


def test_descriptions_are_entries_too() -> None:
    said = {"timestamp": AT, "loads": [{"id": "a", "capacityKw": 3, "vendor": 1}, "bad", {"id": "a"}]}
    decoded = decode_bytes(LOADS, json.dumps(said).encode())
    assert isinstance(decoded, Description)
    [row] = decoded.rows.values()
    assert read(row, DESCRIPTIONS) == silence(
        DESCRIPTIONS, ven_id="ven-7", ts=ISO_AT, load_id="a", capacity_kw="3.0", metadata='{"vendor":1}'
    )
    assert [rejection.reason for rejection in decoded.rejections] == ["bad_load", "load_twice"]


# Statuses


@pytest.mark.parametrize(
    ("payload", "status", "ts", "details"),
    [
        (b"offline", "offline", str(NOW), None),
        (b'"on\\tline"', "on line", str(NOW), None),
        (b" Online \r\n", "online", str(NOW), None),
        (b"OFFLINE", "offline", str(NOW), None),
        (b'" Offline "', "offline", str(NOW), None),
        (b'{"status": "\\tMaintenance "}', "maintenance", str(NOW), None),
        (b"true", "online", str(NOW), None),
        (b"False", "offline", str(NOW), None),
        (b'"true"', "online", str(NOW), None),
        (b'{"status": false}', "offline", str(NOW), None),
        (b"\xef\xbb\xbfoffline", "offline", str(NOW), None),
        (b'{"status": "online"}', "online", str(NOW), None),
        (b'{"status": "x y", "timestamp": 1720623600}', "x y", ISO_AT, None),
        (b'{"status": "a", "details": {"b": "\\n"}, "more": 1}', "a", str(NOW), '{"b": "\\n"}'),
        (b'{"venId": "ven-7", "status": "a", "details": null}', "a", str(NOW), "null"),
    ],
)
def test_spellings_of_a_status(payload: bytes, status: str, ts: str, details: str | None) -> None:
    decoded = decode_bytes(STATUS, payload)
    assert isinstance(decoded, Status)
    assert read(decoded.row, STATUSES) == {
        "ven_id": "ven-7",
        "ts": ts,
        "status": status,
        "details": details,
        "received_at": str(NOW),
    }


# Refusals


def telemetry(**said: Any) -> bytes:
    return json.dumps({"timestamp": AT} | said).encode()


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


UTF_16_AND_32 = ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")

REFUSALS: list[tuple[str, str, bytes]] = [
    ("unknown_topic", "", telemetry()),
    ("unknown_topic", "ven/cmd/ven-7", telemetry()),
    ("unknown_topic", "oadr/meter", telemetry()),
    ("unknown_topic", "oadr/meter/", telemetry()),
    ("unknown_topic", "oadr/meter/a/b", telemetry()),
    ("unknown_topic", "volttron/metering/ven-7", telemetry()),
    ("too_large", METER, telemetry(x="x" * Limits().payload_bytes)),
    ("not_json", METER, b""),
    ("not_json", METER, b"online"),
    ("not_json", METER, telemetry()[:-1]),
    ("not_json", METER, telemetry() + b"}"),
    ("not_json", METER, BOM + BOM + telemetry()),
    ("not_json", METER, BOM),
    ("not_json", METER, gzip.compress(telemetry(), mtime=0)),
    *(("not_utf8", METER, telemetry().decode().encode(name)) for name in UTF_16_AND_32),
    ("not_json", METER, b'{"timestamp": 1720623600, "usedPowerKw": NaN}'),
    ("not_json", METER, b'{"timestamp": 1720623600, "usedPowerKw": -Infinity}'),
    ("not_json", METER, b'{"timestamp": 1720623600, "x": NaN}'),
    ("not_json", METER, b'{"timestamp": 1720623600, "x": "\0"}'),
    ("not_json", STATUS, b"two words"),
    ("not_json", STATUS, b""),
    ("not_json", STATUS, b" "),
    ("not_utf8", STATUS, b"\xff\xfe"),
    ("wrong_type", STATUS, b"null"),
    ("wrong_type", STATUS, b" NULL\n"),
    ("wrong_type", STATUS, b'" "'),
    ("wrong_type", STATUS, b'{"status": null}'),
    ("not_json", STATUS, b"x" * 65),
    ("not_utf8", METER, b'{"timestamp": 1720623600, "x": "\xff"}'),
    ("not_utf8", METER, b'{"timestamp": 1720623600, "eventId": "\xff"}'),
    ("not_utf8", METER, b'{"timestamp": 1720623600, "x": "\xed\xa0\x80"}'),
    ("not_utf8", STATUS, b'{"status": "a", "details": "\xff"}'),
    ("wrong_type", METER, b"[]"),
    ("wrong_type", METER, nested(100_000)),
    ("wrong_type", METER, b"null"),
    ("wrong_type", METER, b"{}"),
    ("wrong_type", METER, telemetry(timestamp=None)),
    ("wrong_type", METER, telemetry(timestamp=True)),
    ("wrong_type", METER, telemetry(venId="")),
    ("wrong_type", METER, telemetry(venId=7)),
    ("wrong_type", METER, telemetry(venId="v" * 10_000)),
    ("wrong_type", METER, telemetry(usedPowerKw="4.1")),
    ("wrong_type", METER, telemetry(usedPowerKw=1e10)),
    ("wrong_type", METER, b'{"timestamp": 1720623600, "usedPowerKw": 1e400}'),
    ("wrong_type", METER, b'{"timestamp": 1720623600, "shed_kw": ' + b"9" * 5000 + b"}"),
    ("wrong_type", METER, b'{"timestamp": 1e400}'),
    ("wrong_type", METER, b'{"timestamp": ' + b"9" * 5000 + b"}"),
    ("wrong_type", LOADS, telemetry()),
    ("wrong_type", LOADS, telemetry(loads=None)),
    ("wrong_type", STATUS, b"{}"),
    ("wrong_type", STATUS, b'{"status": ""}'),
    ("wrong_type", STATUS, b'{"status": 3}'),
    ("wrong_type", STATUS, b'{"status": "' + b"s" * 256 + b'"}'),
    ("ven_mismatch", METER, telemetry(venId="ven-8")),
    ("ven_mismatch", LOADS, telemetry(venId="ven-8", loads=[])),
    ("ven_mismatch", STATUS, telemetry(venId="ven-8", status="online")),
    ("no_ven_id", SHARED, telemetry()),
    ("no_ven_id", SHARED, telemetry(venId=None)),
    ("bad_id", SHARED, telemetry(venId="ven\n1")),
    ("bad_id", SHARED, telemetry(venId="ven\x7f")),
    ("bad_id", SHARED, telemetry(venId="ven\x85")),
    ("bad_id", SHARED, telemetry(venId="ven\u202e7")),
    ("bad_id", SHARED, telemetry(venId="ven-7 ")),
    ("bad_id", SHARED, telemetry(venId="ven\udc00")),
    ("bad_text", STATUS, b'{"status": "\\ud800"}'),
    ("bad_id", "oadr/meter/ven\ufffe", telemetry()),
    ("bad_id", "oadr/meter/a\0b", telemetry()),
    ("bad_id", "ven/status/a\tb", b"online"),
    ("bad_id", "ven/status/" + "v" * 10_000, b"online"),
    ("bad_text", STATUS, b'"\\u0000"'),
    ("bad_timestamp", METER, telemetry(timestamp="")),
    ("bad_timestamp", METER, telemetry(timestamp="yesterday")),
    ("bad_timestamp", METER, telemetry(timestamp="2024-07-10T25:00:00Z")),
    ("bad_timestamp", METER, telemetry(timestamp="9999-01-01T00:00:00Z")),
    ("bad_timestamp", METER, telemetry(timestamp="0001-01-01T00:00:00+14:00")),
    ("bad_timestamp", METER, telemetry(timestamp=AT * 1_000)),
    ("bad_timestamp", METER, telemetry(timestamp=AT * 1_000_000_000)),
    ("bad_timestamp", METER, telemetry(timestamp=1e300)),
    ("bad_timestamp", METER, telemetry(timestamp=-(10**4000))),
    ("bad_timestamp", METER, telemetry(timestamp="9" * 10_000)),
    ("bad_timestamp", STATUS, telemetry(timestamp="soon", status="online")),
    ("timestamp_ahead", METER, telemetry(timestamp="2024-07-10T18:05:00.000001Z")),
    ("timestamp_ahead", METER, telemetry(timestamp="9998-12-31T23:59:59Z")),
    ("timestamp_ahead", LOADS, telemetry(timestamp="2030-01-01", loads=[])),
    ("timestamp_too_old", METER, telemetry(timestamp=0)),
    ("timestamp_too_old", METER, telemetry(timestamp=-1e9)),
    ("timestamp_too_old", METER, telemetry(timestamp="0001-01-01T00:00:00Z")),
    ("timestamp_too_old", METER, telemetry(timestamp="1999-12-31T23:59:59.999999Z")),
    *(
        ("too_deep", topic, b'{"timestamp": 1720623600, "status": "a", ' + field + nested(depth) + b"}")
        for depth in (10_000, 100_000)
        for topic, field in (
            (METER, b'"x": '),
            (METER, b'"loads": '),
            (LOADS, b'"loads": '),
            (LOADS, b'"loads": [], "x": '),
            (STATUS, b'"details": '),
        )
    ),
]


NAMES = [f"{number}-{reason}" for number, (reason, _, _) in enumerate(REFUSALS)]


@pytest.mark.parametrize(("reason", "topic", "payload"), REFUSALS, ids=NAMES)
def test_refusals(reason: str, topic: str, payload: bytes) -> None:
    with pytest.raises(RejectedError) as refusal:
        decode_bytes(topic, payload)
    assert refusal.value.reason == reason
    assert 0 < len(refusal.value.detail) < 11_000
    refusal.value.detail.encode()


def test_every_reason_is_shown_above() -> None:
    modules = (decoding, encodings, fields, loads)
    sources = (Path(module.__file__ or "").read_text() for module in modules)
    reasons = {reason for source in sources for reason in re.findall(r'RejectedError\(\s*"(\w+)"', source)}
    assert reasons == {reason for reason, _, _ in REFUSALS} | {
        "bad_load",
        "bad_field",
        "load_twice",
        "too_many_loads",
    }


@pytest.mark.parametrize("payload", [b'""', b'"' + b"s" * 256 + b'"'])
def test_a_status_as_a_json_string_is_held_to_the_same_length(payload: bytes) -> None:
    with pytest.raises(RejectedError):
        decode_bytes(STATUS, payload)


def test_a_byte_order_mark_is_skipped() -> None:
    for topic, payload in (
        (METER, EXAMPLE),
        (LOADS, b'{"timestamp": 1720623600, "loads": [{"id": "a"}, {"id": "b", "priority": "x"}]}'),
        (STATUS, b'{"status": "online", "timestamp": 1720623600}'),
        (ACK, b'{"correlationId": "c", "ok": true}'),
    ):
        assert rows_of(decode_bytes(topic, BOM + payload)) == rows_of(decode_bytes(topic, payload))


def rows_of(decoded: Decoded) -> Any:
    match decoded:
        case Report(row=row, samples=rows, rejections=rejections):
            return row, rows, [(each.reason, each.payload) for each in rejections]
        case Description(rows=rows, rejections=rejections):
            return rows, [(each.reason, each.payload) for each in rejections]
        case Status(row=row):
            return row
        case Answer(content=content):
            return content


@pytest.mark.parametrize(
    ("payload", "name"),
    [
        *((telemetry().decode().encode(name), name[:6].upper()) for name in UTF_16_AND_32),
        (gzip.compress(telemetry(), mtime=0), "gzip"),
        (telemetry(eventId="Küche").replace(b"\\u00fc", b"\xfc"), "ISO 8859-1"),
    ],
)
def test_another_encoding_is_named(payload: bytes, name: str) -> None:
    with pytest.raises(RejectedError) as refusal:
        decode_bytes(METER, payload)
    assert name in refusal.value.detail
    assert "UTF-8" in refusal.value.detail


# Quotas


def test_one_payload_may_be_as_long_as_the_quota() -> None:
    quotas = Quotas(Limits(payload_bytes=len(EXAMPLE)))
    assert isinstance(decode(Received(METER, EXAMPLE, NOW), MAX_AHEAD, quotas), Report)
    with pytest.raises(RejectedError, match=r"too_large: .*INGEST_MAX_PAYLOAD_BYTES"):
        decode(Received(METER, EXAMPLE + b" ", NOW), MAX_AHEAD, quotas)


def with_loads(ven_id: str, ids: list[str], quotas: Quotas, **more: Any) -> Report:
    entries = [{"id": load_id, "currentPowerKw": 1, **more} for load_id in ids]
    payload = telemetry(venId=ven_id, usedPowerKw=2, loads=entries)
    decoded = decode(Received(SHARED, payload, NOW), MAX_AHEAD, quotas)
    assert isinstance(decoded, Report)
    return decoded


@pytest.mark.parametrize("more", [{}, {"vendor": 1}], ids=["plain", "with metadata"])
def test_a_ven_has_as_many_loads_as_the_quota_says(more: dict[str, Any]) -> None:
    """Those that came first stay, what is beyond is one rejection, neighbours have their own quotas."""
    quotas = Quotas(Limits(loads_of_ven=3))
    assert with_loads("a", ["l1", "l2"], quotas, **more).rejections == []
    over = with_loads("a", ["l1", "l3", "l4", "l5"], quotas, **more)
    assert list(over.samples) == ["l1", "l3"]
    assert read(over.row, TELEMETRY)["used_power_kw"] == "2.0"
    [rejection] = over.rejections
    assert (rejection.reason, [each["id"] for each in json.loads(rejection.payload)]) == (
        "too_many_loads",
        ["l4", "l5"],
    )
    assert "INGEST_MAX_LOADS_OF_VEN" in rejection.detail
    assert with_loads("a", ["l3", "l2", "l1"], quotas, **more).rejections == []
    assert list(with_loads("b", ["l4", "l5"], quotas, **more).samples) == ["l4", "l5"]


def test_a_load_type_beyond_the_quota_is_refused_alone() -> None:
    quotas = Quotas(Limits(load_types=2))
    for number in range(2):
        assert with_loads("a", ["l"], quotas, type=f"t{number}").rejections == []
    over = with_loads("b", ["l"], quotas, type="t2")
    row = read(over.samples["l"], SAMPLES)
    assert (row["used_power_kw"], row["load_type"]) == ("1.0", None)
    assert [each.reason for each in over.rejections] == ["too_many_load_types"]
    for known in ("t0", "t1", "", None):
        assert with_loads("b", ["l"], quotas, type=known).rejections == []


def test_what_the_database_holds_counts() -> None:
    quotas = Quotas(Limits(loads_of_ven=2, load_types=1))
    assert quotas.is_due(NOW)
    assert not quotas.is_due(NOW + timedelta(minutes=1))
    assert quotas.is_due(NOW + timedelta(hours=1))
    quotas.restart({"a": ["l1", "l2"]}, ["hvac"])
    assert list(with_loads("a", ["l2", "l3"], quotas, type="hvac").samples) == ["l2"]
    assert [each.reason for each in with_loads("b", ["l"], quotas, type="ev").rejections] == [
        "too_many_load_types"
    ]
    quotas.restart({}, [])
    assert list(with_loads("a", ["l3"], quotas).samples) == ["l3"]


class RestartedMeanwhile(Quotas):
    """Quotas that the writing thread restarts after every look of the decoding one."""

    def load_id(self, ven_id: str, load_id: str) -> str:
        found = super().load_id(ven_id, load_id)
        self.restart({}, [])
        return found

    def load_type(self, text: str | None) -> str | None:
        found = super().load_type(text)
        self.restart({}, [])
        return found


@pytest.mark.parametrize("more", [{}, {"beyond": "the contract"}])
def test_quotas_that_are_restarted_meanwhile_refuse_nothing(more: dict[str, str]) -> None:
    """The decoding thread raised KeyError, and ingest ended."""
    decoded = with_loads("a", ["l1", "l2"], RestartedMeanwhile(), type="ev", **more)
    assert (list(decoded.samples), decoded.rejections) == (["l1", "l2"], [])


@pytest.mark.parametrize("more", [{}, {"beyond": "the contract"}])
def test_a_type_with_a_control_character_is_stored_with_a_space(more: dict[str, str]) -> None:
    """With a key beyond the contract, ingest ended at each redelivery of such a message."""
    for _ in range(2):
        decoded = with_loads("a", ["l"], Quotas(), type="ev\n", **more)
        assert read(decoded.samples["l"], SAMPLES)["load_type"] == "ev "
        assert decoded.rejections == []


@given(st.lists(st.tuples(st.sampled_from("abc"), st.lists(st.integers(0, 9), max_size=6)), max_size=8))
def test_no_ven_has_more_loads_than_its_quota(messages: list[tuple[str, list[int]]]) -> None:
    """And no other VEN loses one by it."""
    quotas, stored = Quotas(Limits(loads_of_ven=4)), {ven_id: set[str]() for ven_id in "abc"}
    for ven_id, numbers in messages:
        ids = list(dict.fromkeys(f"l{number}" for number in numbers))
        decoded = with_loads(ven_id, ids, quotas)
        before = stored[ven_id]
        assert before & set(ids) <= decoded.samples.keys()
        assert len(decoded.samples.keys() - before) == min(len(set(ids) - before), 4 - len(before))
        before.update(decoded.samples)


# Whatever arrives

TOPICS = st.sampled_from((METER, SHARED, LOADS, STATUS)) | st.text(max_size=12).map("oadr/meter/{}".format)
ENTRY_KEYS = ("id", "loadId", "name", "type", "currentPowerKw", "capacityKw", "enabled", "priority")
KEYS = (
    *("timestamp", "venId", "usedPowerKw", "shedPowerKw", "power_kw", "eventId", "batterySoc"),
    *("battery_soc", "loads", "status", "details", *ENTRY_KEYS),
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=8)
    | st.sampled_from((AT, "2024-07-10T15:00:00Z", "ven-7", 1.5, "", "\0", 10**400))
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), inner, max_size=6)
    ),
    max_leaves=25,
)
telemetry_like = st.fixed_dictionaries(
    {"timestamp": st.just(AT), "venId": st.just("ven-7")},
    optional={
        "loads": st.lists(
            values | st.dictionaries(st.sampled_from(ENTRY_KEYS), scalars, max_size=6), max_size=4
        ),
        "status": scalars,
        "usedPowerKw": scalars,
        "eventId": scalars,
        "details": values,
        "extra": values,
    },
)


def check(topic: str, payload: bytes) -> None:
    """It decodes to rows of the right number of columns, or is refused; nothing else."""
    try:
        decoded = decode_bytes(topic, payload)
    except RejectedError as refusal:
        refusal.detail.encode()
        return
    match decoded:
        case Report():
            assert json.loads(read(decoded.row, TELEMETRY)["payload"] or "") == json.loads(payload)
            check_entries(decoded.samples, SAMPLES)
        case Description():
            check_entries(decoded.rows, DESCRIPTIONS)
        case Status():
            read(decoded.row, STATUSES)
            assert decoded.content.startswith("[")


def check_entries(entries: dict[str, rows.Row], keyed: Keyed) -> None:
    for load_id, row in entries.items():
        columns = read(row, keyed)
        assert columns["load_id"] == load_id
        metadata = columns["metadata"]
        assert metadata is None or isinstance(json.loads(metadata), dict)


@given(TOPICS, st.binary(max_size=60))
def test_any_bytes_decode_or_are_refused(topic: str, payload: bytes) -> None:
    check(topic, payload)


@given(TOPICS, telemetry_like | values)
def test_any_json_decodes_or_is_refused(topic: str, said: Any) -> None:
    check(topic, json.dumps(said).encode())
    check(topic, json.dumps(said, ensure_ascii=False).encode(errors="surrogatepass"))


def test_a_retained_status_without_a_time_is_older_than_all_that_came_by_itself() -> None:
    """Last week's last will came back at a reconnect and set VENs offline that were there."""
    for payload in (b"offline", b'{"status": "offline"}'):
        kept = Received("ven/status/house", payload, NOW, is_retained=True)
        assert status_at(kept) == EARLIEST
        assert status_at(Received("ven/status/house", payload, NOW)) == NOW


def status_at(message: Received) -> datetime:
    decoded = decode(message, MAX_AHEAD)
    assert isinstance(decoded, Status)
    return decoded.source.ts


# Acknowledgements


@pytest.mark.parametrize(
    ("said", "is_accepted"),
    [
        ({"ok": True}, True),
        ({"ok": False}, False),
        ({"status": "accepted"}, True),
        ({"status": "success", "event_id": "e", "circuits_curtailed": [{"id": "a"}]}, True),
        ({"status": "rejected"}, False),
        ({"status": "error", "ok": True}, False),
    ],
)
def test_both_forms_of_an_acknowledgement(said: dict[str, Any], is_accepted: bool) -> None:  # noqa: FBT001
    payload = json.dumps({"op": "ping", "correlationId": "c-1", "ts": AT, **said}, indent=1).encode()
    decoded = decode_bytes(ACK, payload)
    assert isinstance(decoded, Answer)
    assert (decoded.ven_id, decoded.command_id, decoded.is_accepted) == ("ven-7", "c-1", is_accepted)
    assert "\n" not in decoded.content
    assert json.loads(decoded.content) == json.loads(payload)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"correlationId": "c"}, "wrong_type"),
        ({"correlationId": "c", "ok": "yes"}, "wrong_type"),
        ({"correlationId": "c", "status": "perhaps"}, "wrong_type"),
        ({"ok": True}, "wrong_type"),
        ({"correlationId": None, "ok": True}, "wrong_type"),
        ({"correlationId": "c\0", "ok": True}, "bad_text"),
        ({"correlationId": "c", "ok": True, "venId": "ven-8"}, "ven_mismatch"),
    ],
)
def test_acknowledgements_that_are_refused(said: dict[str, Any], reason: str) -> None:
    with pytest.raises(RejectedError) as refused:
        decode_bytes(ACK, json.dumps(said).encode())
    assert refused.value.reason == reason
