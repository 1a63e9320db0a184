"""Compares the content of messages: equal content is a redelivery, different content a conflict.

A gateway may re-encode a message: null for a missing key, an older name for the newer one, `1` for `1.0`, a
local time for UTC. Fields that are not decoded are compared as received, ignoring nulls and key order.
"""

import json

JsonObject = dict[str, object]

PANEL_KEYS = (
    ("usedPowerKw", "power_kw"),
    ("shedPowerKw", "shed_kw"),
    ("batterySoc", "batterySOC", "battery_soc"),
    ("requestedReductionKw",),
    ("eventId",),
    ("baselinePowerKw",),
)
"""The names of each value: the first one present counts."""

KEY_OF_THE_ROW = ("venId", "timestamp")
"""Keys of the row, which are equal already, whatever their format."""


def same_content(one: str | bytes, other: str | bytes) -> bool:
    """Return whether two contents of the same key are equal: messages, columns of rows, or plain JSON."""
    if one == other:
        return True
    try:
        return _is_same(_meaning(_parsed(one)), _meaning(_parsed(other)))
    except (ValueError, RecursionError):
        return False


def _parsed(content: str | bytes) -> object:
    return json.loads(content, object_hook=_without_nulls)


def _without_nulls(content: JsonObject) -> JsonObject:
    return {key: value for key, value in content.items() if value is not None}


def _meaning(content: object) -> object:
    """Return the content of a telemetry object, or of each column of a row; `{}` counts as absent."""
    if isinstance(content, list):
        return [None if column == {} else column for column in content]
    if not isinstance(content, dict):
        return content
    decoded = {names[0]: _first(content, names) for names in PANEL_KEYS}
    decoded["eventId"] = _if_not_empty(decoded["eventId"])
    decoded_names = {name for names in PANEL_KEYS for name in names}.union(KEY_OF_THE_ROW, ["loads"])
    rest = {key: value for key, value in content.items() if key not in decoded_names}
    shed_kw = decoded["shedPowerKw"] or 0
    return [{**decoded, "shedPowerKw": shed_kw}, _loads(content.get("loads")), rest]


def _loads(loads: object) -> object:
    return list(map(_load, loads)) if isinstance(loads, list) else loads or []


def _load(entry: object) -> object:
    if not isinstance(entry, dict):
        return entry
    ids = ("id", "loadId")
    rest = {key: value for key, value in entry.items() if key not in ids}
    return {**rest, "id": _first(entry, ids), "type": _if_not_empty(entry.get("type"))}


def _if_not_empty(text: object) -> object:
    """Return the text; None for an empty event id or load type."""
    return None if text == "" else text


def _first(content: JsonObject, names: tuple[str, ...]) -> object:
    return next((content[name] for name in names if name in content), None)


def _is_same(one: object, other: object) -> bool:
    """Compare like Python, but true is not equal to 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_is_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_is_same, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)
