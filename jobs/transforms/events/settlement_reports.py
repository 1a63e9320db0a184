"""Reports of OpenADR that say what an event delivered, interval by interval. Pure.

Energies in kWh, powers in kW. `DELTA_USAGE` is usage less baseline, as OpenADR has it: below zero where VENs
used less. Both count the time that has both, so that it is what the settlement says.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from uuid import NAMESPACE_URL, uuid5

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from jobs.transforms.events.interval_energies import Energies
from jobs.transforms.events.report_intervals import ReportInterval, ReportPlan
from schemas.openadr import ReportDescriptor
from schemas.times.time_ranges import TimeRange

BASELINE, USAGE, DELTA_USAGE, DATA_QUALITY = "BASELINE", "USAGE", "DELTA_USAGE", "DATA_QUALITY"
ON_REQUEST = (BASELINE, DELTA_USAGE, DATA_QUALITY)
"""Payload types that request a report of the settlement; USAGE alone is requested from VENs."""

AGGREGATED = "AGGREGATED_REPORT"
CLIENT_NAME = "gridgate"
KWH, KW = "KWH", "KW"
DECIMALS = 3
HOUR_S = 3600

Payload = dict[str, object]
Values = NDArray[np.float64]


class Requested(Struct, frozen=True):
    """The payload types that an event requests by one plan, with their units."""

    plan: ReportPlan
    units: Mapping[str, str]


def requested_reports(descriptors: Sequence[ReportDescriptor]) -> list[Requested]:
    """What an event requests of its settlement; descriptors with the same plan share their reports."""
    if not any(each.payload_type in ON_REQUEST for each in descriptors):
        return []
    by_plan: dict[ReportPlan, dict[str, str]] = {}
    for kind in (BASELINE, USAGE, DELTA_USAGE, DATA_QUALITY):
        for each in descriptors:
            if each.payload_type == kind:
                units = "" if kind == DATA_QUALITY else KW if each.units == KW else KWH
                by_plan.setdefault(ReportPlan.of(each), {})[kind] = units
    return [Requested(plan, units) for plan, units in by_plan.items()]


class Measured(Struct, frozen=True):
    """What a VEN, or all of them, used in each interval of a layout.

    `covered_h`: of all, the mean of the VENs. `is_nobody`: nobody took part, and so nothing was delivered.
    """

    resource_name: str
    energies: Energies
    is_noted: bool
    is_nobody: bool = False


class Method(Struct, frozen=True):
    """By what an event was measured."""

    baseline: str
    revision: int
    least_coverage_percent: float


def report_id(event_object_id: str, subject: str, number: int) -> str:
    """The same for each revision."""
    part = f"/{number}" if number else ""
    return uuid5(NAMESPACE_URL, f"{event_object_id}/settlement/{subject}{part}").hex


def report_bodies(
    event_object_id: str,
    requested: Requested,
    method: Method,
    intervals: Sequence[ReportInterval],
    measured: Measured,
) -> Iterator[dict[str, object]]:
    """The reports of one VEN, or of the portfolio, by one plan."""
    payloads = _payloads(requested, method, intervals, measured)
    for selection in requested.plan.selections(intervals[-1].number + 1):
        selected = [
            _interval(each, some)
            for each, some in zip(intervals, payloads, strict=True)
            if each.number in selection
        ]
        if selected:
            yield {
                "eventID": event_object_id,
                "clientName": CLIENT_NAME,
                "reportName": f"{method.baseline}, revision {method.revision}",
                "payloadDescriptors": [_descriptor(kind, units) for kind, units in requested.units.items()],
                "resources": [{"resourceName": measured.resource_name, "intervals": selected}],
            }


def _interval(interval: ReportInterval, payloads: Sequence[Payload]) -> dict[str, object]:
    length_s = _hours(interval.time) * HOUR_S
    period = {"start": _instant(interval.time.start), "duration": f"PT{round(length_s, 6):.15g}S"}
    return {"id": interval.id, "intervalPeriod": period, "payloads": payloads}


def _payloads(
    requested: Requested, method: Method, intervals: Sequence[ReportInterval], measured: Measured
) -> list[list[Payload]]:
    """Of each interval, without those that are unknown."""
    hours = np.array([_hours(each.time) for each in intervals])
    values = {kind: _values(kind, units, hours, measured, method) for kind, units in requested.units.items()}
    return [
        [{"type": kind, "values": [each[place]]} for kind, each in values.items() if each[place] is not None]
        for place in range(len(intervals))
    ]


def _values(
    kind: str, units: str, hours: Values, measured: Measured, method: Method
) -> list[float | str | None]:
    """Of each interval; None for unknown."""
    known = measured.energies.covered_h > 0
    if kind == DATA_QUALITY:
        percent = 100 * measured.energies.covered_h / hours
        return [_quality(method, measured, each) for each in percent.tolist()]
    kwh = _kwh(kind, measured.energies)
    shown = rounded_sums(kwh) if units == KWH else np.round(kwh / hours, DECIMALS) + 0.0
    is_shown = known | (measured.is_nobody and kind == DELTA_USAGE)
    return [value if is_one else None for value, is_one in zip(shown.tolist(), is_shown, strict=True)]


def _kwh(kind: str, energies: Energies) -> Values:
    by_kind = {BASELINE: energies.baseline_kwh, USAGE: energies.used_kwh}
    return by_kind[kind] if kind in by_kind else energies.used_kwh - energies.baseline_kwh


def rounded_sums(values: Values) -> Values:
    """Values rounded so that their sum is the rounded sum: each is the difference of two rounded sums."""
    sums = np.round(np.cumsum(values), DECIMALS).astype(np.float64)
    rounded: Values = np.round(np.diff(sums, prepend=0.0), DECIMALS) + 0.0
    return rounded


def _quality(method: Method, measured: Measured, coverage_percent: float) -> str:
    if coverage_percent <= 0 and not measured.is_nobody:
        return "MISSING"
    is_whole = coverage_percent >= method.least_coverage_percent - 1e-9
    return "OK" if is_whole and not measured.is_noted else "ESTIMATED"


def _hours(time: TimeRange) -> float:
    return (time.end - time.start).total_seconds() / HOUR_S


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


def in_blocks(reports: Iterator[dict[str, object]], most: int) -> Iterator[list[dict[str, object]]]:
    while block := list(islice(reports, most)):
        yield block
