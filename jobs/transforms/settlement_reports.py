"""OpenADR reports of what an event delivered. Pure.

Energies in kWh, powers in kW. `DELTA_USAGE` is usage less baseline, as OpenADR defines it: below zero where
VENs used less. It counts the time that has both, so that it equals the settlement, and not always the
difference of the two values beside it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from msgspec import Struct

from schemas.times.time_ranges import TimeRange

BASELINE, USAGE, DELTA_USAGE, DATA_QUALITY = "BASELINE", "USAGE", "DELTA_USAGE", "DATA_QUALITY"
ON_REQUEST = (BASELINE, DELTA_USAGE, DATA_QUALITY)
"""Payload types that request a report of the settlement; USAGE alone is requested from VENs."""

AGGREGATED = "AGGREGATED_REPORT"
CLIENT_NAME = "gridgate"
KWH, KW = "KWH", "KW"
DECIMALS = 3
HOUR_S = 3600


class Requested(Struct, frozen=True):
    """The payload types that an event requests, with their units."""

    units: Mapping[str, str]

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> "Requested | None":
        """Return an event's request for a report of its settlement; None without one."""
        descriptors = {each["payloadType"]: each for each in event.get("reportDescriptors", ())}
        if not any(kind in descriptors for kind in ON_REQUEST):
            return None
        kinds = [kind for kind in (BASELINE, USAGE, DELTA_USAGE) if kind in descriptors]
        units = {kind: KW if descriptors[kind].get("units") == KW else KWH for kind in kinds}
        return cls({**units, **({DATA_QUALITY: ""} if DATA_QUALITY in descriptors else {})})


class Figures(Struct, frozen=True):
    """What a VEN, or the portfolio, delivered in an event."""

    resource_name: str
    baseline_kw: float | None
    actual_kw: float | None
    delivered_kw: float | None
    coverage_percent: float
    is_noted: bool


class Method(Struct, frozen=True):
    """How an event was measured; `sign` of baseline less usage with which a delivery is positive."""

    baseline: str
    revision: int
    window: TimeRange
    sign: float
    least_coverage_percent: float


def report_id(event_object_id: str, subject: str) -> str:
    """Return the report's id, which is the same for each revision."""
    return uuid5(NAMESPACE_URL, f"{event_object_id}/settlement/{subject}").hex


def report_body(
    event_object_id: str, requested: Requested, method: Method, figures: Figures
) -> dict[str, Any]:
    """Return a report of one VEN, or of the portfolio, with one interval: the event."""
    hours = (method.window.end - method.window.start).total_seconds() / HOUR_S
    return {
        "eventID": event_object_id,
        "clientName": CLIENT_NAME,
        "reportName": f"{method.baseline}, revision {method.revision}",
        "payloadDescriptors": [_descriptor(kind, units) for kind, units in requested.units.items()],
        "resources": [
            {
                "resourceName": figures.resource_name,
                "intervalPeriod": {
                    "start": _instant(method.window.start),
                    "duration": f"PT{hours * HOUR_S:g}S",
                },
                "intervals": [{"id": 0, "payloads": _payloads(requested, method, figures, hours)}],
            }
        ],
    }


def _payloads(requested: Requested, method: Method, figures: Figures, hours: float) -> list[dict[str, Any]]:
    """Return the payloads, without unknown values."""
    delivered_kw = figures.delivered_kw
    change_kw = None if delivered_kw is None else -method.sign * delivered_kw
    known_kw = {BASELINE: figures.baseline_kw, USAGE: figures.actual_kw, DELTA_USAGE: change_kw}
    payloads: list[dict[str, Any]] = []
    for kind, units in requested.units.items():
        if kind == DATA_QUALITY:
            payloads.append({"type": kind, "values": [_quality(method, figures)]})
        elif (kw := known_kw[kind]) is not None:
            value = kw if units == KW else kw * hours
            payloads.append({"type": kind, "values": [round(value, DECIMALS) + 0.0]})
    return payloads


def _quality(method: Method, figures: Figures) -> str:
    if figures.delivered_kw is None:
        return "MISSING"
    is_whole = figures.coverage_percent >= method.least_coverage_percent
    return "OK" if is_whole and not figures.is_noted else "ESTIMATED"


def _descriptor(kind: str, units: str) -> dict[str, str]:
    reading = {"readingType": "MEAN"} if units == KW else {}
    return {
        "objectType": "REPORT_PAYLOAD_DESCRIPTOR",
        "payloadType": kind,
        **({"units": units} if units else {}),
        **reading,
    }


def _instant(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def in_blocks(reports: Sequence[dict[str, Any]], most: int) -> list[Sequence[dict[str, Any]]]:
    return [reports[first : first + most] for first in range(0, len(reports), most)]
