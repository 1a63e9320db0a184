"""Read one published message as docs/ven-contract.md words it, with the json module and nothing else."""

import json
import sys
import unicodedata
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.oracle.messages import Published

JsonObject = dict[str, Any]

PANEL_NUMBERS = (
    "usedPowerKw",
    "shedPowerKw",
    "requestedReductionKw",
    "baselinePowerKw",
    "batterySoc",
    "batterySOC",
    "battery_soc",
    "power_kw",
    "shed_kw",
)
LOAD_STRINGS = ("name", "type")
LOAD_NUMBERS = ("currentPowerKw", "shedPowerKw", "capacityKw", "shedCapabilityKw")
MAX_ID_LENGTH = 255


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


@dataclass(frozen=True)
class LoadSnapshot:
    ven_id: str
    at: datetime
    loads: dict[str, JsonObject]
    refused_entries: int = 0


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
    for key in PANEL_NUMBERS:
        _check(said.get(key) is None or is_number(said[key]), key)
    ven_id = _ven_id(topic_ven, said)
    at = _instant(said.get("timestamp"))
    loads, refused_entries = _load_entries(said.get("loads"))
    return Telemetry(
        ven_id=ven_id,
        at=at,
        used_kw=_first_said(said, "usedPowerKw", "power_kw"),
        shed_kw=_first_said(said, "shedPowerKw", "shed_kw"),
        loads=loads,
        content=said | {"venId": ven_id, "timestamp": at},
        refused_entries=refused_entries,
    )


def _load_snapshot(topic_ven: str, said: JsonObject) -> LoadSnapshot:
    loads, refused_entries = _load_entries(said.get("loads"))
    return LoadSnapshot(_ven_id(topic_ven, said), _instant(said.get("timestamp")), loads, refused_entries)


def _status(topic_ven: str, payload: bytes, received_at: datetime | None) -> Status:
    bare_word = payload.strip()
    said = {"status": bare_word.decode()} if bare_word.isalpha() else _json_object(payload)
    _check(isinstance(said.get("status"), str) and said["status"], "status")
    ven_id = _ven_id(topic_ven, said)
    if said.get("timestamp") is not None:
        at = _instant(said["timestamp"])
    elif received_at is not None:
        at = received_at
    else:
        raise ValueError("a status without a timestamp: say when it was received")
    return Status(ven_id, at, said["status"], said | {"venId": ven_id, "timestamp": at})


def _load_entries(entries: Any) -> tuple[dict[str, JsonObject], int]:
    """The good entries by load id, the first of each id, and the number of refused ones."""
    if entries is None:
        return {}, 0
    _check(isinstance(entries, list), "loads")
    good: dict[str, JsonObject] = {}
    refused = 0
    for entry in entries:
        try:
            load_id = _load_id(entry)
            _check(load_id not in good, "a load twice in a message")
            good[load_id] = _load_fields(entry)
        except RefusedError:
            refused += 1
    return good, refused


def _load_id(entry: Any) -> str:
    _check(isinstance(entry, dict), "a load entry that is no object")
    return _identifier(_first_said(entry, "id", "loadId"))


def _load_fields(entry: JsonObject) -> JsonObject:
    """What the entry says: neither missing nor null."""
    said = {}
    for key in LOAD_STRINGS:
        _check(entry.get(key) is None or isinstance(entry[key], str), key)
        said[key] = entry.get(key)
    for key in LOAD_NUMBERS:
        _check(entry.get(key) is None or is_number(entry[key]), key)
        said[key] = entry.get(key)
    for key, kind in (("enabled", bool), ("priority", int)):
        _check(entry.get(key) is None or type(entry[key]) is kind, key)
        said[key] = entry.get(key)
    return {key: value for key, value in said.items() if value is not None}


def _ven_id(topic_ven: str | None, said: JsonObject) -> str:
    if said.get("venId") is None:
        return _identifier(topic_ven)
    ven_id = _identifier(said["venId"])
    _check(topic_ven is None or ven_id == topic_ven, "the topic names another VEN")
    return ven_id


def _identifier(value: Any) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_ID_LENGTH:
        raise RefusedError("an identifier is a string of 1 to 255 characters")
    for character in value:
        # Cc: control characters. Cs: half of a surrogate pair, which no UTF-8 text can hold.
        _check(unicodedata.category(character) not in ("Cc", "Cs"), "a control character")
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
        said = json.loads(payload.decode("utf-8"), parse_constant=_no_constant)
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
