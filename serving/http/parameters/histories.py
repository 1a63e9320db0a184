"""Histories and forecasts."""

import re
from collections.abc import Mapping, Sequence
from typing import Literal, cast
from zoneinfo import available_timezones

from schemas.tables.history import SLOT_S
from serving.history.calendar import LocalBuckets, Unit, base_granularity_s
from serving.history.planner import Aggregate, HistoryRequest
from serving.http.parameters.lists import GROUP, group
from serving.http.parameters.rules import LIST, Parameter, bad_parameter, checked, several
from serving.http.parameters.times import END, START, period_us

UNIT_S = {"s": 1, "m": 60, "h": 3600}
AGGREGATES = ("sum", "energy", "mean")

CALENDAR = re.compile("([0-9]+)(d|w|mo|y)")
GRANULARITY = Parameter(
    name="granularity",
    description="Width of a bucket: a positive whole number and `s`, `m` or `h`; or `d`, `w`, `mo` or `y`,"
    " by the calendar of `timeZone`.",
    advice="must be a positive whole number and s, m, h, d, w, mo or y, such as 30s, 5m, 1h, 1d or 1mo",
    pattern="0{0,9}[1-9][0-9]{0,8}([smhdwy]|mo)",
    default="5m",
    examples=("30s", "15m", "1h", "1d", "1mo"),
)
TIME_ZONE = Parameter(
    name="timeZone",
    description="An IANA time zone, whose calendar `granularity` follows. Default: the site's, `TIME_ZONE`.",
    advice="must be an IANA time zone such as Europe/Berlin",
    pattern="[A-Za-z0-9_+/-]{1,64}",
    examples=("Europe/Berlin",),
)
AGGREGATE = Parameter(
    name="aggregate",
    description="`sum` of the samples; or `energy` in kWh, or `mean` power, both from 5-minute slots and "
    "only for a granularity that is a multiple of `5m`. Without it, what `HISTORY_AGGREGATE` says (`sum`).",
    advice=f"must be one of {', '.join(AGGREGATES)}",
    choices=AGGREGATES,
)
HISTORY = (GRANULARITY, START, END, AGGREGATE, TIME_ZONE)

GROUP_HISTORY = (*HISTORY, GROUP)

IDS = Parameter(
    name="ids",
    description="Only these VENs, separated by commas. Given several times, each is one id, with its commas:"
    " a single one with a comma is given twice.",
    advice="must be ids of VENs, separated by commas, such as ven-0001,ven-0002",
    pattern=LIST,
    examples=("ven-0001,ven-0002",),
)
ALL = Parameter(
    name="all",
    description="All VENs, which is the default: not together with `ids` or `group`.",
    advice="must be true, or have no value",
    pattern="(true|1)?",
    examples=("true",),
)
BY_GROUP = Parameter(
    name="by",
    description="`ven`: each VEN on its own; `group`: the total of `group`, or of each group.",
    advice="must be ven or group",
    choices=("ven", "group"),
    default="ven",
    key="ByGroup",
)
LOAD_TYPES = Parameter(
    name="type",
    description="Only loads of these types, as they are now, separated by commas. Given several times, each"
    " is one type, with its commas: a single one with a comma is given twice. Without it, all loads.",
    advice="must be types of loads, separated by commas, such as hvac,ev",
    pattern=LIST,
    examples=("hvac",),
)
BY_TYPE = Parameter(
    name="by",
    description="`load`: each load on its own; `type`: the total of each type.",
    advice="must be load or type",
    choices=("load", "type"),
    default="load",
    key="ByType",
)
VEN_HISTORIES = (*HISTORY, IDS, GROUP, ALL, BY_GROUP)

LOAD_HISTORIES = (*HISTORY, LOAD_TYPES, BY_TYPE)

FORECAST_START = Parameter(
    name="start",
    description="Only half hours that end after this, ISO 8601; without a zone UTC.",
    is_instant=True,
    examples=("2026-01-15T18:00:00Z",),
    key="ForecastStart",
)
FORECAST_END = Parameter(
    name="end",
    description="Only half hours that begin by then, itself included.",
    is_instant=True,
    examples=("2026-01-15T20:00:00Z",),
    key="ForecastEnd",
)
FORECAST_BY = Parameter(
    name="by",
    description="`type`: each type of load; `total`: all loads together, whose quantiles are not the sums of"
    " those of types.",
    advice="must be type or total",
    choices=("type", "total"),
    default="type",
    key="ForecastBy",
)
FORECAST = (LOAD_TYPES, FORECAST_BY, FORECAST_START, FORECAST_END)


def history_request(
    parameters: Mapping[str, str | list[str]], default: Aggregate = "sum", zone: str = "UTC"
) -> HistoryRequest:
    """Parse the range, granularity and aggregate of a history request.

    Args:
        parameters: of the query.
        default: aggregate, unless a parameter names one.
        zone: time zone, unless a parameter names one.

    Raises:
        falcon.HTTPBadRequest: one of them violates the contract.
    """
    calendar = _calendar(parameters, zone)
    if calendar is None:
        granularity_s = _granularity_s(parameters)
        aggregate = _aggregate(parameters, granularity_s, default)
    else:
        aggregate = _aggregate(parameters, SLOT_S, default)
        granularity_s = base_granularity_s(calendar.zone, by_slots=aggregate != "sum")
    start_us, end_us = period_us(parameters)
    # No rows are older than the epoch. `end` is inclusive, a range half-open: it ends a microsecond later.
    return HistoryRequest(
        None if start_us is None else max(start_us, 0),
        None if end_us is None else max(end_us, 0) + 1,
        granularity_s,
        aggregate,
        calendar=calendar,
    )


def _calendar(parameters: Mapping[str, str | list[str]], zone: str) -> LocalBuckets | None:
    """Return the calendar of the granularity; None for a fixed width."""
    zone = _zone(checked(parameters, TIME_ZONE)) or zone
    match = CALENDAR.fullmatch(checked(parameters, GRANULARITY) or "")
    return None if match is None else LocalBuckets(int(match[1]), cast(Unit, match[2]), zone)


def _zone(name: str | None) -> str | None:
    if name is None or name in available_timezones():
        return name
    near = [each for each in sorted(available_timezones()) if name.lower() in each.lower()]
    hint = f"; did you mean {near[0]}?" if near else ""
    raise bad_parameter(TIME_ZONE.name, f"{TIME_ZONE.advice}, not {name!r}{hint}")


def chosen_vens(parameters: Mapping[str, str | list[str]]) -> tuple[Sequence[str], str | None]:
    """Parse ids of VENs, or the id of a group; neither for all VENs.

    Raises:
        falcon.HTTPBadRequest: one of them is not valid, or several of `ids`, `group` and `all` are given.
    """
    given = [name for name in (IDS.name, GROUP.name, ALL.name) if name in parameters]
    if given[1:]:
        raise bad_parameter(given[0], f"must not be given together with {given[1]}: choose one of them")
    checked(parameters, ALL)
    return several(parameters, IDS), group(parameters)


def is_by_group(parameters: Mapping[str, str | list[str]]) -> bool:
    """Return whether totals of groups are requested.

    Raises:
        falcon.HTTPBadRequest: together with ids of VENs.
    """
    is_by_group = checked(parameters, BY_GROUP) == "group"
    if is_by_group and IDS.name in parameters:
        raise bad_parameter("by", "must be ven with ids: a group has the members that it has")
    return is_by_group


def forecast_types(parameters: Mapping[str, str | list[str]]) -> Sequence[str] | None:
    """Parse the load types of a forecast, empty for all; None for the total.

    Raises:
        falcon.HTTPBadRequest: one of them is not valid, or types are given with the total.
    """
    if checked(parameters, FORECAST_BY) != "total":
        return several(parameters, LOAD_TYPES)
    if LOAD_TYPES.name in parameters:
        raise bad_parameter("by", "must be type with type: the total is of all loads")
    return None


def _granularity_s(parameters: Mapping[str, str | list[str]]) -> int:
    text = checked(parameters, GRANULARITY) or ""
    return int(text[:-1]) * UNIT_S[text[-1]]


def _aggregate(
    parameters: Mapping[str, str | list[str]], granularity_s: int, default: Aggregate
) -> Aggregate:
    requested = checked(parameters, AGGREGATE)
    aggregate = requested or default
    if aggregate != "sum" and granularity_s % SLOT_S:
        other = "" if requested else "; or ask for aggregate=sum, which is not the default here"
        raise bad_parameter(
            "granularity",
            f"must be a multiple of 5m with aggregate={aggregate}, such as 5m, 15m or 1h{other}",
        )
    return cast(Literal["sum", "energy", "mean"], aggregate)
