"""Readings as messages of the contract, in one of two generations of it, by each VEN's settings."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from local.fleet.homes.household import Household, HouseholdReading, LoadReading
from local.fleet.homes.randomness import draw

_VOLTAGE_V = 230.0
UNDERSTANDS = ("direction", "intervals", "importLimitKw", "exportLimitKw")
"""What all VENs of the fleet understand of an `event` command."""


@dataclass(frozen=True)
class Message:
    topic: str
    payload: bytes


@dataclass(frozen=True)
class Arrival:
    """A message, and when the broker gets it, Unix seconds."""

    at: float
    message: Message


@dataclass(frozen=True)
class Dialect:
    """The format of one VEN's messages. `is_shared`: the older one, on the topic that all VENs share."""

    is_shared: bool
    writes_time: Callable[[float], float | str]
    is_brief: bool
    names_itself: bool


def dialect_of(home: Household) -> Dialect:
    """The format of a VEN's messages, which never changes."""
    key = (home.seed, home.ven_id, "dialect")
    is_shared = draw(*key, "shared") < 0.2  # noqa: PLR2004
    writers = (_fractional,) if is_shared else (_epoch, _epoch, _zulu, _naive)
    return Dialect(
        is_shared=is_shared,
        writes_time=writers[int(draw(*key, "time") * len(writers))],
        is_brief=draw(*key, "brief") < 0.7,  # noqa: PLR2004
        names_itself=is_shared or draw(*key, "name") < 0.9,  # noqa: PLR2004
    )


def telemetry(home: Household, dialect: Dialect, reading: HouseholdReading) -> Message:
    """The regular report."""
    entry = _brief_entry if dialect.is_brief else load_entry
    if dialect.is_brief and (reading.event or reading.shed_kw or reading.is_recovering):
        entry = _shed_entry  # without the key the former value would stay
    body: dict[str, object] = {"venId": home.ven_id} if dialect.names_itself else {}
    body["timestamp"] = dialect.writes_time(reading.ts)
    body |= _panel_of_old(reading) if dialect.is_shared else _panel(reading)
    body["loads"] = [entry(load) for load in reading.loads]
    topic = "volttron/metering" if dialect.is_shared else f"oadr/meter/{home.ven_id}"
    return Message(topic, msgspec.json.encode(body))


def description(home: Household, dialect: Dialect, reading: HouseholdReading) -> Message:
    """The load snapshot: the description of each load."""
    body = {
        "schemaVersion": "1.0",
        "venId": home.ven_id,
        "timestamp": dialect.writes_time(reading.ts),
        "loads": [load_entry(load) for load in reading.loads],
        "understands": UNDERSTANDS,
    }
    return Message(f"ven/loads/{home.ven_id}", msgspec.json.encode(body))


def status(home: Household, word: str, ts: float) -> Message:
    body = {"venId": home.ven_id, "status": word, "timestamp": round(ts, 3), "details": {"firmware": "2.4.1"}}
    return Message(f"ven/status/{home.ven_id}", msgspec.json.encode(body))


def _panel(reading: HouseholdReading) -> dict[str, object]:
    body: dict[str, object] = {"schemaVersion": "1.0", "usedPowerKw": reading.used_kw}
    if reading.event is not None or reading.shed_kw:
        body["shedPowerKw"] = reading.shed_kw
    body |= _event(reading)
    if reading.soc is not None:
        body["batterySoc"] = reading.soc
    return body


def _panel_of_old(reading: HouseholdReading) -> dict[str, object]:
    """The older keys, and keys that only the older firmware sends."""
    body: dict[str, object] = {
        "power_kw": reading.used_kw,
        "shed_kw": reading.shed_kw,
        "voltage_v": _VOLTAGE_V,
        "current_a": round(abs(reading.used_kw) * 1000 / _VOLTAGE_V, 2),
        "circuits": [{"id": f"c{n}", "kw": load.power_kw} for n, load in enumerate(reading.loads, 1)],
    }
    body |= _event(reading)
    if reading.soc is not None:
        body["battery_soc"] = reading.soc
    return body


def _event(reading: HouseholdReading) -> dict[str, object]:
    """Keys of a home that takes part in an event."""
    if reading.event is None:
        return {}
    named = {"eventId": reading.event.event_id} if reading.event.event_id is not None else {}
    baseline_kw = round(reading.used_kw + reading.shed_kw, 3)
    return named | {"requestedReductionKw": reading.requested_kw, "baselinePowerKw": baseline_kw}


def _brief_entry(reading: LoadReading) -> dict[str, object]:
    return {"id": reading.load.load_id, "currentPowerKw": reading.power_kw}


def _shed_entry(reading: LoadReading) -> dict[str, object]:
    return _brief_entry(reading) | {"shedPowerKw": reading.shed_kw}


def load_entry(reading: LoadReading) -> dict[str, object]:
    """The complete description of a load."""
    load = reading.load
    return {
        "id": load.load_id,
        "name": load.name,
        "type": load.kind,
        "currentPowerKw": reading.power_kw,
        "shedPowerKw": reading.shed_kw,
        "capacityKw": load.capacity_kw,
        "shedCapabilityKw": reading.capability_kw,
        "enabled": load.enabled,
        "priority": load.priority,
    }


def _epoch(ts: float) -> float:
    """Whole seconds without a point, as most devices write them."""
    return int(ts) if ts == int(ts) else round(ts, 3)


def _fractional(ts: float) -> float:
    return round(ts, 3)


def _zulu(ts: float) -> str:
    return _naive(ts) + "Z"


def _naive(ts: float) -> str:
    """Without a zone; the contract reads it as UTC."""
    return datetime.fromtimestamp(ts, UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")
