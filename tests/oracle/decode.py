"""Read one published message as docs/ven-contract.md words it, with the json module and nothing else."""

import codecs
import json
import sys
import unicodedata
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.oracle.messages import Published

JsonObject = dict[str, Any]

PANEL_POWERS = ("usedPowerKw", "shedPowerKw", "power_kw", "shed_kw")
PANEL_DESCRIPTIONS = ("requestedReductionKw", "baselinePowerKw", "batterySoc", "batterySOC", "battery_soc")
LOAD_POWERS = ("currentPowerKw", "shedPowerKw")
LOAD_STRINGS = ("name", "type")
LOAD_NUMBERS = ("capacityKw", "shedCapabilityKw")
DESCRIPTIVE = (*LOAD_STRINGS, *LOAD_NUMBERS, "enabled", "priority")
MAX_LENGTH = 255
BIDIRECTIONAL = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


class RefusedError(Exception):
    """This message, or this load entry, cannot be accepted."""


@dataclass(frozen=True)
class Telemetry:
    ven_id: str
    at: datetime
    used_kw: float | None
    shed_kw: float | None
    loads: dict[str, JsonObject]  # by load id; only what the entry said
    content: JsonObject = field(repr=False)  # to tell a duplicate from a conflict
    refused_entries: int = 0
    refused_fields: int = 0  # records of descriptive fields that were left out


@dataclass(frozen=True)
class LoadSnapshot:
    ven_id: str
    at: datetime
    loads: dict[str, JsonObject]
    refused_entries: int = 0
    refused_fields: int = 0


@dataclass(frozen=True)
class Status:
    ven_id: str
    at: datetime
    status: str
    content: JsonObject = field(repr=False)


Message = Telemetry | LoadSnapshot | Status


def decode(published: Published, received_at: datetime | None = None) -> Message | None:
    """The message; None for an acknowledgement, which answers none of the questions asked here."""
    kind, _, topic_ven = published.topic.rpartition("/")
    if published.topic == "volttron/metering":
        return _telemetry(None, _json_object(published.payload))
    if kind == "oadr/meter":
        return _telemetry(topic_ven, _json_object(published.payload))
    if kind == "ven/loads":
        return _load_snapshot(topic_ven, _json_object(published.payload))
    if kind == "ven/status":
        return _status(topic_ven, published.payload, received_at)
    if kind == "ven/ack":
        return None
    raise ValueError(f"{published.topic!r} is no topic that VENs publish on")


def _telemetry(topic_ven: str | None, said: JsonObject) -> Telemetry:
    for key in PANEL_POWERS:
        _check(said.get(key) is None or is_number(said[key]), key)
    ven_id = _ven_id(topic_ven, said)
    at = _instant(said.get("timestamp"))
    entries = said.get("loads")
    refused_fields = any(said.get(key) is not None and not is_number(said[key]) for key in PANEL_DESCRIPTIONS)
    refused_fields = refused_fields or not (said.get("eventId") is None or _is_label(said["eventId"]))
    is_list = entries is None or isinstance(entries, list)
    loads, refused_entries, fields_of_loads = _load_entries(entries if is_list else None)
    return Telemetry(
        ven_id=ven_id,
        at=at,
        used_kw=_first_said(said, "usedPowerKw", "power_kw"),
        shed_kw=_first_said(said, "shedPowerKw", "shed_kw"),
        loads=loads,
        content=_content(said) | {"venId": ven_id, "timestamp": at},
        refused_entries=refused_entries,
        refused_fields=refused_fields + (not is_list) + fields_of_loads,
    )


def _content(said: JsonObject) -> JsonObject:
    """What makes a conflict: null equals missing, an older name the newer one, and no shed 0."""
    names = (
        ("usedPowerKw", "power_kw"),
        ("shedPowerKw", "shed_kw"),
        ("batterySoc", "batterySOC", "battery_soc"),
        ("eventId",),
        ("requestedReductionKw",),
        ("baselinePowerKw",),
    )
    content: JsonObject = _without_nulls(said)
    for all_names in names:
        values = [content.pop(name, None) for name in all_names]
        content[all_names[0]] = next((value for value in values if value is not None), None)
    content["shedPowerKw"] = content["shedPowerKw"] or 0
    content["eventId"] = None if content["eventId"] == "" else content["eventId"]
    loads = content.get("loads") or []
    content["loads"] = [_entry_content(entry) for entry in loads] if isinstance(loads, list) else loads
    return content


def _entry_content(entry: Any) -> Any:
    if not isinstance(entry, dict):
        return entry
    load_type = None if entry.get("type") == "" else entry.get("type")
    return _without_nulls(entry) | {
        "id": _first_said(entry, "id", "loadId"),
        "loadId": None,
        "type": load_type,
    }


def _without_nulls(said: Any) -> Any:
    if isinstance(said, dict):
        return {key: _without_nulls(value) for key, value in said.items() if value is not None}
    return [_without_nulls(value) for value in said] if isinstance(said, list) else said


def _load_snapshot(topic_ven: str, said: JsonObject) -> LoadSnapshot:
    _check(isinstance(said.get("loads"), list), "loads")
    loads, refused_entries, refused_fields = _load_entries(said["loads"])
    ven_id = _ven_id(topic_ven, said)
    return LoadSnapshot(ven_id, _instant(said.get("timestamp")), loads, refused_entries, refused_fields)


def _status(topic_ven: str, payload: bytes, received_at: datetime | None) -> Status:
    text = payload.removeprefix(codecs.BOM_UTF8).strip()
    said = {"status": text.decode()} if text.isalpha() else _json_object(payload)
    word = said.get("status")
    if isinstance(word, bool):
        word = "online" if word else "offline"
    _check(isinstance(word, str) and len(word) <= MAX_LENGTH, "status")
    word = str(word).strip().lower()
    word = {"true": "online", "false": "offline"}.get(word, word)
    _check(word not in ("", "null"), "status")
    ven_id = _ven_id(topic_ven, said)
    if said.get("timestamp") is not None:
        at = _instant(said["timestamp"])
    elif received_at is not None:
        at = received_at
    else:
        raise ValueError("a status without a timestamp: say when it was received")
    return Status(ven_id, at, word, {"status": word, "details": _without_nulls(said.get("details")) or None})


def _load_entries(entries: Any) -> tuple[dict[str, JsonObject], int, int]:
    """The good entries by load id, the first of each id; how many were refused, or lost some fields."""
    good: dict[str, JsonObject] = {}
    refused = incomplete = 0
    for entry in entries or []:
        try:
            load_id = _load_id(entry)
            fields, lost = _load_fields(entry)
            _check(load_id not in good, "a load twice in a message")
        except RefusedError:
            refused += 1
        else:
            good[load_id] = fields
            incomplete += lost
    return good, refused, incomplete


def _load_id(entry: Any) -> str:
    _check(isinstance(entry, dict), "a load entry that is no object")
    return _identifier(_first_said(entry, "id", "loadId"))


def _load_fields(entry: JsonObject) -> tuple[JsonObject, bool]:
    """The entry's fields, neither missing nor null; and whether others were left out."""
    for key in LOAD_POWERS:
        _check(entry.get(key) is None or is_number(entry[key]), key)
    good = {key: entry[key] for key in LOAD_POWERS if entry.get(key) is not None}
    said = {key: entry[key] for key in DESCRIPTIVE if entry.get(key) is not None}
    good |= {key: value for key, value in said.items() if _is_good(key, value)}
    return good, any(key not in good for key in said)


def _is_good(key: str, value: Any) -> bool:
    if key in LOAD_STRINGS:
        return _is_label(value)
    if key == "enabled":
        return isinstance(value, bool)
    if not is_number(value):
        return False
    return key != "priority" or (value == int(value) and -(2**31) <= value < 2**31)


def _is_label(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_LENGTH and not _has_no_utf8(value)


def _has_no_utf8(text: str) -> bool:
    return any(each == "\0" or unicodedata.category(each) == "Cs" for each in text)


def _ven_id(topic_ven: str | None, said: JsonObject) -> str:
    if said.get("venId") is None:
        return _identifier(topic_ven)
    ven_id = _identifier(said["venId"])
    _check(topic_ven is None or ven_id == topic_ven, "the topic names another VEN")
    return ven_id


def _identifier(value: Any) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_LENGTH:
        raise RefusedError("an identifier is a string of 1 to 255 characters")
    for character in value:
        # Cc: control characters. Cs: half of a surrogate pair, which no UTF-8 text can hold.
        _check(unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp"), "a control character")
        _check(ord(character) & 0xFFFE != 0xFFFE and not 0xFDD0 <= ord(character) <= 0xFDEF, "non-character")
        _check(unicodedata.bidirectional(character) not in BIDIRECTIONAL, "a bidirectional control")
    _check(value.strip("\ufeff") == value.strip() == value, "white space at its ends")
    return value


def _instant(value: Any) -> datetime:
    try:
        if is_number(value):
            return datetime.fromtimestamp(value, UTC)
        if isinstance(value, str):
            at = datetime.fromisoformat(value)
            return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise RefusedError("timestamp") from error
    raise RefusedError("timestamp")


def _json_object(payload: bytes) -> JsonObject:
    try:
        said = json.loads(payload.decode("utf-8-sig"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise RefusedError("not JSON") from error
    if not isinstance(said, dict):
        raise RefusedError("not a JSON object")
    return said


def _no_constant(name: str) -> None:
    """Python reads NaN and Infinity; JSON has neither."""
    raise ValueError(f"{name} is not JSON")


def is_number(value: Any) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return -sys.float_info.max <= value <= sys.float_info.max


def _first_said(said: JsonObject, key: str, other_key: str) -> Any:
    return said[key] if said.get(key) is not None else said.get(other_key)


def _check(condition: object, reason: str) -> None:
    if not condition:
        raise RefusedError(reason)
