"""Translates a report of OpenADR into the messages that a VEN would publish. Pure.

What a report measures in one interval becomes one telemetry message, dated by the start of the interval.
So the rules for messages apply to reports, too, and a report that is sent again consists of duplicates.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime
from math import fsum
from typing import TypeVar

import msgspec
from msgspec import Struct, field
from msgspec.json import Decoder

from ingest.decoding.messages import Received, RejectedError
from schemas.devices.statuses import MAINTENANCE, ONLINE
from schemas.openadr import ReportingVen, ReportPayloadDescriptor, ReportRequest, ValuesMap
from schemas.openadr_times import TimedInterval, timed_intervals

AGGREGATED = "AGGREGATED_REPORT"
"""Resource name of a report that aggregates all resources."""

POWER_TYPES = ("USAGE", "DEMAND", "READING")
"""By precedence within one interval: energy is exact, a reading is of an instant."""

NO_MEASUREMENTS = ("FORECAST", "PEAK")
"""Reading types of values that do not measure the use in the interval."""

OUT_OF_ORDER = ("ERROR", "SGD_ERROR_CONDITION")
OPTED_OUT = ("IDLE_OPTED_OUT", "RUNNING_OPTED_OUT")
IN_ORDER = (
    "NORMAL",
    "IDLE_NORMAL",
    "RUNNING_NORMAL",
    "IDLE_CURTAILED",
    "RUNNING_CURTAILED",
    "IDLE_HEIGHTENED",
    "RUNNING_HEIGHTENED",
)
HOUR_S = 3600

Key = TypeVar("Key")
Content = TypeVar("Content")

_report = Decoder(ReportRequest)
_vens = Decoder(list[ReportingVen])


class InboxRow(Struct, frozen=True):
    """A row of `report_inbox`; `vens` and `body` are JSON."""

    inbox_id: int
    client_id: str
    vens: str
    body: str
    received_at: datetime

    @property
    def message(self) -> Received:
        """The report as received, for the rejected messages."""
        return Received(f"openadr/reports/{self.client_id}", self.body.encode(), self.received_at)


class Translated(Struct, frozen=True):
    """The messages that a report translates to, and problems for the parts that cannot be translated."""

    messages: list[Received]
    problems: list[RejectedError]


class ReadingSubject(Struct, frozen=True):
    """The subject of a value: a VEN as a whole, or one of its loads."""

    ven: ReportingVen
    load_id: str | None


class Value(Struct, frozen=True):
    """One value with its unit and its interval; `received_at` is that of the report."""

    type: str
    value: object
    units: str | None
    timed: TimedInterval
    received_at: datetime


class Moment(Struct):
    """A report's values for one VEN at one time, by load id; None stands for the VEN as a whole."""

    ven: ReportingVen
    power_kw: dict[str | None, dict[str, float]] = field(default_factory=dict)
    charge_level: dict[str | None, float] = field(default_factory=dict)
    shed_capability_kw: dict[str, float] = field(default_factory=dict)
    is_enabled: dict[str, bool] = field(default_factory=dict)
    operating_state: str | None = None


def translated(row: InboxRow) -> Translated:
    """Return the messages of a report, and a problem for each reason to leave something out."""
    try:
        report, vens = _report.decode(row.body), _vens.decode(row.vens)
    except ValueError as error:
        return Translated([], [RejectedError("wrong_type", str(error))])
    moments: dict[tuple[str, datetime], Moment] = {}
    problems: dict[str, list[str]] = defaultdict(list)
    descriptors = {each.payload_type: each for each in report.payload_descriptors or ()}
    for number, part in enumerate(report.resources):
        try:
            subject = _subject(report.client_name, part.resource_name, vens)
        except RejectedError as problem:
            problems[problem.reason].append(f"resources[{number}]: {problem.detail}")
            continue
        for timed in timed_intervals(part.interval_period, part.intervals, row.received_at):
            key = (subject.ven.ven_id, timed.start)
            moment = moments.setdefault(key, Moment(subject.ven))
            faults = _read(moment, subject, timed, descriptors, row.received_at)
            problems["bad_field"] += [f"resources[{number}], interval {each}" for each in faults]
    messages = [
        message for (_, at), moment in moments.items() for message in _messages(moment, at, row.received_at)
    ]
    return Translated(
        messages, [_problem(reason, details) for reason, details in problems.items() if details]
    )


def _problem(reason: str, details: Sequence[str]) -> RejectedError:
    """Return one problem for all values of a report that are rejected for the same reason."""
    count = "" if len(details) == 1 else f"{len(details)} times: "
    return RejectedError(reason, count + "; ".join(details[:5]))


def _subject(client_name: str, resource_name: str, vens: Sequence[ReportingVen]) -> ReadingSubject:
    """Return the subject of a report's resource: of the client's VENs the one that has it, or the only one.

    Raises:
        RejectedError: it is ambiguous among the client's VENs, or the client has none.
    """
    named = [ven for ven in vens if resource_name in ven.loads or resource_name in ven.names]
    reporting = [ven for ven in vens if client_name in ven.names]
    both = [ven for ven in named if ven in reporting]
    for some in (both, named, reporting, vens):
        if len(some) == 1:
            return ReadingSubject(some[0], _load_id(some[0], resource_name))
    if not vens:
        raise RejectedError("no_ven_id", "its client has no VEN: enrol one by POST vens")
    raise RejectedError(
        "no_ven_id",
        f"{resource_name!r} may be of any of the client's VENs: enrol it as a resource of one, or send the"
        " venName as clientName",
    )


def _load_id(ven: ReportingVen, resource_name: str) -> str | None:
    if resource_name in ven.loads:
        return ven.loads[resource_name]
    return None if resource_name == AGGREGATED or resource_name in ven.names else resource_name


def _read(
    moment: Moment,
    subject: ReadingSubject,
    timed: TimedInterval,
    descriptors: dict[str, ReportPayloadDescriptor],
    received_at: datetime,
) -> list[str]:
    """Add an interval's values to its moment; returns the problems."""
    faults = []
    for payload in timed.interval.payloads:
        descriptor = descriptors.get(payload.type)
        reader = _READERS.get(payload.type)
        if reader is None:
            continue
        if payload.type in POWER_TYPES and descriptor and descriptor.reading_type in NO_MEASUREMENTS:
            continue
        try:
            units = descriptor.units if descriptor else None
            value = Value(payload.type, _only_value(payload), units, timed, received_at)
            reader(moment, subject, value)
        except ValueError as error:
            faults.append(f"{timed.interval.id}: {payload.type} {error}")
    return faults


def _only_value(payload: ValuesMap) -> object:
    if len(payload.values) != 1:
        raise ValueError(f"has {len(payload.values)} values; send one")
    return payload.values[0]


def _read_power(moment: Moment, subject: ReadingSubject, value: Value) -> None:
    kw = _mean_kw(value)
    _put(moment.power_kw.setdefault(subject.load_id, {}), value.type, kw)


def _mean_kw(value: Value) -> float:
    number = _number(value)
    if value.type != "USAGE":
        _require_units(value, "KW", is_required=value.type == "READING")
        return number
    _require_units(value, "KWH")
    start, end = value.timed.start, value.timed.end
    if end is None or end <= start:
        raise ValueError("needs an interval with a duration")
    return number * HOUR_S / (end - start).total_seconds()


def _read_charge_level(moment: Moment, subject: ReadingSubject, value: Value) -> None:
    _require_units(value, "PERCENT")
    _put(moment.charge_level, subject.load_id, _number(value))


def _read_shed_capability(moment: Moment, subject: ReadingSubject, value: Value) -> None:
    """Read the power that a load could shed; values of future intervals are not stored."""
    _require_units(value, "KW")
    kw = abs(_number(value))
    if value.timed.start <= value.received_at:
        _put(moment.shed_capability_kw, _one_load(subject), kw)


def _one_load(subject: ReadingSubject) -> str:
    """Return the load that a value is about; a VEN without resources is a load itself."""
    if subject.load_id is not None:
        return subject.load_id
    loads = list(subject.ven.loads.values()) or [subject.ven.ven_id]
    if len(loads) > 1:
        raise ValueError("applies to single loads: send it for each resource")
    return loads[0]


def _read_state(moment: Moment, subject: ReadingSubject, value: Value) -> None:
    state = value.value
    if state not in (*IN_ORDER, *OUT_OF_ORDER, *OPTED_OUT):
        raise ValueError(f"has the value {state!r:.80}, which is not an operating state")
    if subject.load_id is None:
        moment.operating_state = state
    else:
        _put(moment.is_enabled, subject.load_id, state in IN_ORDER)


def _put(values: dict[Key, Content], key: Key, value: Content) -> None:
    """Set a value that is not set yet.

    Raises:
        ValueError: it is set to another value.
    """
    if values.setdefault(key, value) != value:
        raise ValueError("has another value for this time already")


def _number(value: Value) -> float:
    number = value.value
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise ValueError(f"has the value {number!r:.80}; send a number")  # noqa: TRY004 - it is data
    return float(number)


def _require_units(value: Value, units: str, *, is_required: bool = False) -> None:
    if value.units != units and (value.units or is_required):
        raise ValueError(f"has the units {value.units}; send {units}, and name it in payloadDescriptors")


_READERS: dict[str, Callable[[Moment, ReadingSubject, Value], None]] = {
    **dict.fromkeys(POWER_TYPES, _read_power),
    "STORAGE_CHARGE_LEVEL": _read_charge_level,
    "LOAD_SHED_DELTA_AVAILABLE": _read_shed_capability,
    "OPERATING_STATE": _read_state,
}


def _messages(moment: Moment, at: datetime, received_at: datetime) -> list[Received]:
    ven_id = moment.ven.ven_id
    contents = {
        f"oadr/meter/{ven_id}": _telemetry(moment),
        f"ven/loads/{ven_id}": _descriptions(moment),
        f"ven/status/{ven_id}": _status(moment),
    }
    return [
        Received(topic, msgspec.json.encode({"timestamp": at.isoformat(), **content}), received_at)
        for topic, content in contents.items()
        if content
    ]


def _telemetry(moment: Moment) -> dict[str, object]:
    power_kw = {load_id: _best(values) for load_id, values in moment.power_kw.items()}
    panel = {"usedPowerKw": _panel_kw(moment.ven, power_kw), "batterySoc": _panel_level(moment.charge_level)}
    load_ids = sorted({each for each in (*power_kw, *moment.charge_level) if each is not None})
    loads = [
        {
            "id": load_id,
            **_given(currentPowerKw=power_kw.get(load_id), batterySoc=moment.charge_level.get(load_id)),
        }
        for load_id in load_ids
    ]
    return {**_given(**panel), **({"loads": loads} if loads else {})}


def _best(values: dict[str, float]) -> float:
    return next(values[each] for each in POWER_TYPES if each in values)


def _panel_kw(ven: ReportingVen, power_kw: dict[str | None, float]) -> float | None:
    """The VEN's power: as reported, else the sum of its loads, if the report has all of them."""
    if None in power_kw or not power_kw:
        return power_kw.get(None)
    has_all = power_kw.keys() >= set(ven.loads.values())
    return fsum(power_kw.values()) if has_all else None


def _panel_level(levels: dict[str | None, float]) -> float | None:
    """The VEN's charge level: as reported, else that of its only battery."""
    return levels.get(None, next(iter(levels.values())) if len(levels) == 1 else None)


def _descriptions(moment: Moment) -> dict[str, object]:
    load_ids = sorted({*moment.shed_capability_kw, *moment.is_enabled})
    loads = [
        {
            "id": load_id,
            **_given(
                shedCapabilityKw=moment.shed_capability_kw.get(load_id),
                enabled=moment.is_enabled.get(load_id),
            ),
        }
        for load_id in load_ids
    ]
    return {"loads": loads} if loads else {}


def _status(moment: Moment) -> dict[str, object]:
    state = moment.operating_state
    if state is None:
        return {}
    word = MAINTENANCE if state in OUT_OF_ORDER else ONLINE
    return {"status": word, "details": {"operatingState": state}}


def _given(**values: object) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}
