"""What a home measured in some intervals, as a report of OpenADR. Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import fmean

from local.fleet.homes.control_state import ControlState
from local.fleet.homes.household import HouseholdReading, LoadReading
from local.fleet.telemetry.reports import Reporter

PAYLOAD_UNITS = {
    "USAGE": "KWH",
    "DEMAND": "KW",
    "READING": "KW",
    "STORAGE_CHARGE_LEVEL": "PERCENT",
    "LOAD_SHED_DELTA_AVAILABLE": "KW",
    "OPERATING_STATE": None,
}
"""What a home can report, and in which units."""

MEASUREMENTS = frozenset({"USAGE", "DEMAND", "READING", "STORAGE_CHARGE_LEVEL"})
"""Payloads that make sense of the past."""

AGGREGATED = "AGGREGATED_REPORT"
_READINGS_PER_INTERVAL = 5
_KWH_DECIMALS, _KW_DECIMALS = 7, 3
_HOUR_S = 3_600
_RUNNING_KW = 0.001


@dataclass(frozen=True)
class MeteredInterval:
    """One interval: mean kW of the panel and by load, and the reading at its start."""

    width_s: float
    mean_kw: float
    load_mean_kw: dict[str, float]
    reading: HouseholdReading
    has_opted_out: bool = False


def metered(
    reporter: Reporter, state: ControlState, start: float, width_s: float, *, has_opted_out: bool = False
) -> MeteredInterval:
    """What the home's meter says of the interval from `start` on, Unix seconds."""
    step_s = width_s / _READINGS_PER_INTERVAL
    readings = [
        reporter.read(start + step_s * (number + 0.5), state) for number in range(_READINGS_PER_INTERVAL)
    ]
    by_load = {load.load.load_id: list[float]() for load in readings[0].loads}
    for load in (load for reading in readings for load in reading.loads):
        by_load[load.load.load_id].append(load.power_kw)
    return MeteredInterval(
        width_s,
        fmean(each.used_kw for each in readings),
        {load_id: fmean(powers) for load_id, powers in by_load.items()},
        reporter.read(start, state),
        has_opted_out,
    )


def report(
    event_id: str, client_name: str, payload_types: Collection[str], intervals: Sequence[MeteredInterval]
) -> dict[str, object]:
    """The body of a report of intervals that follow one another; states are reported of the last one."""
    types = [each for each in PAYLOAD_UNITS if each in payload_types]
    measured = [each for each in types if each in MEASUREMENTS]
    typed = [(each, types if each is intervals[-1] else measured) for each in intervals]
    load_ids = [load.load.load_id for load in intervals[0].reading.loads]
    return {
        "eventID": event_id,
        "clientName": client_name,
        "payloadDescriptors": [_descriptor(each) for each in types],
        "resources": [
            _resource(AGGREGATED, intervals, [_panel_payloads(each, of_it) for each, of_it in typed]),
            *(
                _resource(load_id, intervals, [_load_payloads(each, load_id, of_it) for each, of_it in typed])
                for load_id in sorted(load_ids)
            ),
        ],
    }


def _descriptor(payload_type: str) -> dict[str, str]:
    units = PAYLOAD_UNITS[payload_type]
    descriptor = {"objectType": "REPORT_PAYLOAD_DESCRIPTOR", "payloadType": payload_type}
    return descriptor | ({"units": units} if units else {})


def _resource(
    name: str, intervals: Sequence[MeteredInterval], payloads: Iterable[list[dict[str, object]]]
) -> dict[str, object]:
    first = intervals[0]
    start = datetime.fromtimestamp(first.reading.ts, UTC).isoformat(timespec="milliseconds")
    return {
        "resourceName": name,
        "intervalPeriod": {"start": start.replace("+00:00", "Z"), "duration": f"PT{first.width_s:g}S"},
        "intervals": [{"id": number, "payloads": each} for number, each in enumerate(payloads)],
    }


def _panel_payloads(interval: MeteredInterval, types: Sequence[str]) -> list[dict[str, object]]:
    reading = interval.reading
    values = {
        **_power(interval.mean_kw, reading.used_kw, interval.width_s),
        "STORAGE_CHARGE_LEVEL": reading.soc,
        "OPERATING_STATE": "NORMAL",
    }
    return _payloads(values, types)


def _load_payloads(interval: MeteredInterval, load_id: str, types: Sequence[str]) -> list[dict[str, object]]:
    [load] = (each for each in interval.reading.loads if each.load.load_id == load_id)
    values = {
        **_power(interval.load_mean_kw[load_id], load.power_kw, interval.width_s),
        "LOAD_SHED_DELTA_AVAILABLE": load.capability_kw,
        "OPERATING_STATE": _operating_state(interval, load),
    }
    return _payloads(values, types)


def _power(mean_kw: float, kw: float, width_s: float) -> dict[str, float]:
    return {
        "USAGE": round(mean_kw * width_s / _HOUR_S, _KWH_DECIMALS),
        "DEMAND": round(mean_kw, _KW_DECIMALS),
        "READING": kw,
    }


def _operating_state(interval: MeteredInterval, load: LoadReading) -> str:
    """In the words of CTA-2045: whether it runs, and what it does about an event."""
    running = "RUNNING" if abs(load.power_kw) >= _RUNNING_KW else "IDLE"
    event = interval.reading.event
    if interval.has_opted_out:
        return f"{running}_OPTED_OUT"
    if load.shed_kw:
        return f"{running}_CURTAILED"
    return f"{running}_HEIGHTENED" if event is not None and event.is_more else f"{running}_NORMAL"


def _payloads(values: Mapping[str, object], types: Sequence[str]) -> list[dict[str, object]]:
    return [{"type": each, "values": [values[each]]} for each in types if values.get(each) is not None]
