"""Query parameters and path ids: a wrong one becomes a 400 that names the fix."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal, cast
from zoneinfo import available_timezones

import falcon
from msgspec import Struct

from schemas.alarms import ALARM_KINDS, AlarmKind
from schemas.demand_response.baselines import BASELINES, BaselineName
from schemas.tables.history import SLOT_S
from schemas.times.instants import from_microseconds, microseconds, parse_iso
from serving.history.calendar import LocalBuckets, Unit, base_granularity_s
from serving.history.planner import Aggregate, HistoryRequest
from serving.http.paths import decoded_id
from serving.live.changes import StreamPosition
from serving.page import AlarmFilter, CredentialFilter, NewestWithin, Page

UNIT_S = {"s": 1, "m": 60, "h": 3600}
NOWHERE = StreamPosition(-1)
STREAM_ID = "[0-9]{1,18}(-[0-9a-f]{8})?"
AGGREGATES = ("sum", "energy", "mean")
ID = r"[^\x00-\x1f]+"
CALENDAR = re.compile("([0-9]+)(d|w|mo|y)")
PLUS_AS_SPACE = re.compile(r"(?<=[\d.,]) (?=\d\d(:?\d\d)?$)")
"""A zone's sign after a time; the space between date and time stays."""


class Parameter(Struct, frozen=True, kw_only=True):
    """One parameter: its meaning and its rules, for both the check and the OpenAPI document."""

    name: str
    description: str
    advice: str = ""
    """The rule in words, for the error message."""
    pattern: str | None = None
    """A regular expression for the whole text, in the common dialect of Python and ECMA 262."""
    choices: tuple[str, ...] = ()
    minimum: int | None = None
    """The maximum of a whole number."""
    maximum: int | None = None
    default: str | None = None
    examples: tuple[str, ...] = ()
    where: Literal["query", "path", "header"] = "query"
    is_instant: bool = False
    is_required: bool = False
    is_list: bool = False
    """Whether it may be repeated."""
    key: str = ""
    """Its component name in OpenAPI, if several share a name."""

    def check(self, text: str) -> str:
        """Return the text, if it obeys the rules.

        Raises:
            falcon.HTTPBadRequest: it does not.
        """
        if self.pattern is not None and not re.fullmatch(self.pattern, text):
            raise bad_parameter(self.name, self.advice)
        if self.choices and text not in self.choices:
            raise bad_parameter(self.name, self.advice)
        if self.maximum is not None and not (
            re.fullmatch("[0-9]{1,10}", text) and self._is_within(int(text))
        ):
            raise bad_parameter(self.name, self.advice)
        return text

    def _is_within(self, number: int) -> bool:
        return (self.minimum or 0) <= number <= (self.maximum or 0)


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
START = Parameter(
    name="start",
    description="First instant, ISO 8601; without a zone UTC. Without it, from the beginning.",
    is_instant=True,
    examples=("2026-01-15T12:00:00Z",),
)
END = Parameter(
    name="end",
    description="Last instant, itself included. Without it, to the end.",
    is_instant=True,
    examples=("2026-01-15T13:00:00Z",),
)
AGGREGATE = Parameter(
    name="aggregate",
    description="`sum` of the samples; or `energy` in kWh, or `mean` power, both from 5-minute slots and "
    "only for a granularity that is a multiple of `5m`. Without it, what `HISTORY_AGGREGATE` says (`sum`).",
    advice=f"must be one of {', '.join(AGGREGATES)}",
    choices=AGGREGATES,
)
PERIOD = (START, END)
HISTORY = (GRANULARITY, START, END, AGGREGATE, TIME_ZONE)

LIMIT = Parameter(
    name="limit",
    description="Maximum number of entries. Default: the whole list.",
    advice="must be a whole number from 1 to 10000",
    minimum=1,
    maximum=10_000,
)
AFTER = Parameter(
    name="after",
    description="Only entries that come after the one with this id.",
    advice="must not have control characters",
    pattern=r"[^\x00-\x1f]*",
)
PAGE = (LIMIT, AFTER)
AFTER_NUMBER = Parameter(
    name="after",
    description="Only entries that come after the one with this id.",
    advice="must be the id of an entry",
    pattern="[0-9]{1,18}",
    key="AfterNumber",
)
NUMBERED_PAGE = (LIMIT, AFTER_NUMBER)

GROUP = Parameter(
    name="group",
    description="Only the members of the group with this id, as they are now. Without it, all VENs.",
    advice="must not have control characters",
    pattern=ID,
    examples=("north",),
)
GROUP_PAGE = (*PAGE, GROUP)
GROUP_HISTORY = (*HISTORY, GROUP)

LIST = r"[^\x00-\x1f,]+(,[^\x00-\x1f,]+)*"
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
TYPES_OF_LOADS = Parameter(
    name="loadType",
    description="Only VENs that have a load of any of these types, as it is now, separated by commas. Given"
    " several times, each is one type, with its commas. Without it, all VENs.",
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

SNAPSHOTS = Parameter(
    name="limit",
    description="Most entries, the newest.",
    advice="must be a whole number from 1 to 10000",
    default="1000",
    minimum=1,
    maximum=10_000,
    key="NewestLimit",
)
SNAPSHOT_LOAD = Parameter(
    name="load_id",
    description="The load. Without it, all loads of the VEN.",
    advice="must not have control characters",
    pattern=ID,
    examples=("hvac1",),
)
REPORTS = (START, END, SNAPSHOTS)
CIRCUITS = (SNAPSHOT_LOAD, *REPORTS)

LAST_EVENT_ID = Parameter(
    name="lastEventId",
    description="Resume after this event; 0 for all that are stored. `Last-Event-ID` takes precedence.",
    advice="must be the id of an event of this stream, such as 5321-0a1b2c3d, or its number alone",
    pattern=STREAM_ID,
    examples=("5321-0a1b2c3d",),
)
LAST_EVENT_ID_HEADER = Parameter(
    name="Last-Event-ID", description="Sent by browsers when they reconnect.", where="header"
)
JSON = "application/json"
ARROW = "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"
CSV = "text/csv"
MEDIA_TYPES = {"json": JSON, "arrow": ARROW, "parquet": PARQUET, "csv": CSV}
"""The media types of lists and histories, by the value of the parameter `format`."""
FORMAT = Parameter(
    name="format",
    description="The media type, for clients that cannot set `Accept`; it takes precedence.",
    advice=f"must be one of {', '.join(MEDIA_TYPES)}",
    choices=tuple(MEDIA_TYPES),
)

ALARM_STATE = Parameter(
    name="state",
    description="Only alarms that are `open`, or that are `cleared`.",
    advice="must be open or cleared",
    choices=("open", "cleared"),
)
ALARM_KIND = Parameter(
    name="kind",
    description="Only alarms of this kind.",
    advice=f"must be one of {', '.join(ALARM_KINDS)}",
    choices=ALARM_KINDS,
)
ACKNOWLEDGED = Parameter(
    name="acknowledged",
    description="Only alarms that somebody has acknowledged (`true`), or nobody (`false`).",
    advice="must be true or false",
    choices=("true", "false"),
)
RAISED_FROM = Parameter(
    name="start",
    description="Only alarms raised at this instant or later; ISO 8601, without a zone UTC.",
    is_instant=True,
    examples=("2026-01-15T12:00:00Z",),
    key="RaisedFrom",
)
RAISED_UNTIL = Parameter(
    name="end",
    description="Only alarms raised at this instant or earlier.",
    is_instant=True,
    examples=("2026-01-15T13:00:00Z",),
    key="RaisedUntil",
)
ALARMS = (ALARM_STATE, ALARM_KIND, ACKNOWLEDGED, RAISED_FROM, RAISED_UNTIL, *NUMBERED_PAGE)

CREDENTIAL_STATES = {
    "pending": CredentialFilter(is_pending=True, is_enabled=True),
    "active": CredentialFilter(is_pending=False, is_enabled=True),
    "revoking": CredentialFilter(is_pending=True, is_enabled=False),
    "revoked": CredentialFilter(is_pending=False, is_enabled=False),
}
CREDENTIAL_STATUS = Parameter(
    name="status",
    description="Only credentials of this status. Without it, all.",
    advice=f"must be one of {', '.join(CREDENTIAL_STATES)}",
    choices=tuple(CREDENTIAL_STATES),
    key="CredentialStatus",
)
CREDENTIALS = (CREDENTIAL_STATUS, *PAGE)

BASELINE = Parameter(
    name="baseline",
    description="The baseline that the event is measured by. Default: `EVENT_BASELINE`.",
    advice=f"must be one of {', '.join(BASELINES)}",
    choices=tuple(BASELINES),
    examples=("10-of-10",),
)
REVISION = Parameter(
    name="revision",
    description="The settlement of the event. Default: the newest.",
    advice="must be a whole number from 1 on",
    minimum=1,
    maximum=999_999_999,
)
PERFORMANCE = (BASELINE, REVISION)
VEN_OF_BASELINE = Parameter(
    name="venId",
    description="One VEN. Without it, all that take part together.",
    advice="must not have control characters",
    pattern=ID,
    key="VenOfBaseline",
)
WINDOW_START = Parameter(
    name="start",
    description="First instant, ISO 8601; without a zone UTC.",
    is_instant=True,
    is_required=True,
    examples=("2026-01-15T17:00:00Z",),
    key="WindowStart",
)
WINDOW_END = Parameter(
    name="end",
    description="End, itself not included; at most `EVENTS_LONGEST_S` after the start.",
    is_instant=True,
    is_required=True,
    examples=("2026-01-15T18:30:00Z",),
    key="WindowEnd",
)
EVENT_BASELINE = (VEN_OF_BASELINE, BASELINE)
VEN_BASELINE = (WINDOW_START, WINDOW_END, BASELINE)
DRY_IMPORT = Parameter(
    name="dryRun",
    description="With 1 nothing is stored; the response has the import's effect and wrong lines.",
    advice="must be 0 or 1",
    choices=("0", "1"),
    default="0",
    key="DryImport",
)
DRY_RUN = Parameter(
    name="dryRun",
    description="With 1 nothing is stored; the response has the event's VENs and their shares.",
    advice="must be 0 or 1",
    choices=("0", "1"),
    default="0",
)


def _identifier(name: str, description: str, *examples: str) -> Parameter:
    """An id in a path."""
    return Parameter(
        name=name,
        description=description,
        advice="must not have control characters",
        pattern=ID,
        examples=examples,
        where="path",
    )


VEN_ID = _identifier("venId", "The VEN.", "ven-0001")
LOAD_ID = _identifier("loadId", "The load, unique within its VEN.", "hvac1")
COMMAND_ID = _identifier("commandId", "The command, by its correlation id.")
OPT_OUT_ID = _identifier("optOutId", "The opt-out.")
GROUP_ID = _identifier("groupId", "The group.", "north")
ALARM_ID = _identifier("alarmId", "The alarm.", "42")
WEBHOOK_ID = _identifier("webhookId", "The webhook.")
DIGEST = Parameter(name="digest", description="Digest of the files.", pattern="[0-9a-f]{16}", where="path")
ASSET = Parameter(name="asset", description="The file's name.", where="path")
EVENT_ID = _identifier("eventId", "The event.", "evt-1")
PATH = {
    "digest": DIGEST,
    "asset": ASSET,
    "ven_id": VEN_ID,
    "load_id": LOAD_ID,
    "command_id": COMMAND_ID,
    "opt_out_id": OPT_OUT_ID,
    "group_id": GROUP_ID,
    "alarm_id": ALARM_ID,
    "webhook_id": WEBHOOK_ID,
    "event_id": EVENT_ID,
}
"""The parameters of paths, by their names in `serving/routes.py`."""


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
    start_us, end_us = _period_us(parameters)
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


def period(parameters: Mapping[str, str | list[str]]) -> tuple[datetime | None, datetime | None]:
    """Parse `start` and `end`, both inclusive and optional."""
    start, end = (None if us is None else from_microseconds(us) for us in _period_us(parameters))
    return start, end


def _period_us(parameters: Mapping[str, str | list[str]]) -> tuple[int | None, int | None]:
    start_us, end_us = _instant_us(parameters, START), _instant_us(parameters, END)
    if start_us is not None and end_us is not None and start_us > end_us:
        raise bad_parameter("start", "must not be after end")
    return start_us, end_us


def page(parameters: Mapping[str, str | list[str]]) -> Page:
    """Parse the requested page of a list; without `limit` the whole list."""
    limit = checked(parameters, LIMIT)
    return Page(None if limit is None else int(limit), checked(parameters, AFTER))


def numbered_page(parameters: Mapping[str, str | list[str]]) -> Page:
    """Parse the requested page of a list whose entries have numeric ids."""
    checked(parameters, AFTER_NUMBER)
    return page(parameters)


def alarm_filter(parameters: Mapping[str, str | list[str]]) -> AlarmFilter:
    """Parse the filter of alarms.

    Raises:
        falcon.HTTPBadRequest: a parameter is not valid.
    """
    state, acknowledged = checked(parameters, ALARM_STATE), checked(parameters, ACKNOWLEDGED)
    start, end = period(parameters)
    return AlarmFilter(
        is_open=None if state is None else state == "open",
        is_acknowledged=None if acknowledged is None else acknowledged == "true",
        kind=cast(AlarmKind | None, checked(parameters, ALARM_KIND)),
        start=start,
        end=end,
    )


def credential_filter(parameters: Mapping[str, str | list[str]]) -> CredentialFilter:
    """Parse the filter of credentials.

    Raises:
        falcon.HTTPBadRequest: the status is unknown.
    """
    status = checked(parameters, CREDENTIAL_STATUS)
    return CredentialFilter() if status is None else CREDENTIAL_STATES[status]


def last_event_id(header: str | None, parameters: Mapping[str, str | list[str]]) -> StreamPosition | None:
    """Return the position from which to resume a live stream: of the header, else of the parameter.

    A browser sends back any id that it has received, even one of another database, which becomes a position
    that does not exist, so that the stream begins with a reset.
    """
    if header is not None:
        return _stream_position(header) if re.fullmatch(STREAM_ID, header) else NOWHERE
    text = checked(parameters, LAST_EVENT_ID)
    return None if text is None else _stream_position(text)


def _stream_position(text: str) -> StreamPosition:
    number, _, mark = text.partition("-")
    return StreamPosition(int(number), mark or None)


def settlement(parameters: Mapping[str, str | list[str]]) -> tuple[BaselineName | None, int | None]:
    """Parse baseline and revision; a `+` that was not percent-encoded arrives as a space."""
    decoded = {
        name: text.replace(" ", "+") if isinstance(text, str) else text for name, text in parameters.items()
    }
    baseline, revision = checked(decoded, BASELINE), checked(parameters, REVISION)
    return cast(BaselineName | None, baseline), None if revision is None else int(revision)


def newest_within(parameters: Mapping[str, str | list[str]]) -> NewestWithin:
    """Parse a range of time, both ends included, and the limit of newest entries in it.

    Raises:
        falcon.HTTPBadRequest: one of them violates the contract.
    """
    start, end = period(parameters)
    return NewestWithin(start, end, int(checked(parameters, SNAPSHOTS) or 0))


def group(parameters: Mapping[str, str | list[str]]) -> str | None:
    """Parse the id of a group; None for all VENs."""
    return checked(parameters, GROUP)


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


def several(parameters: Mapping[str, str | list[str]], parameter: Parameter) -> Sequence[str]:
    """Parse a parameter with several values: separated by commas, or repeated."""
    values = parameters.get(parameter.name, [])
    if isinstance(values, str):
        return parameter.check(values).split(",")
    if not all(re.fullmatch(ID, each) for each in values):
        raise bad_parameter(parameter.name, parameter.advice)
    return values


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


def snapshot_load(parameters: Mapping[str, str | list[str]]) -> str | None:
    return checked(parameters, SNAPSHOT_LOAD)


def identifier(name: str, value: str) -> str:
    """Return an id of a path, without characters that PostgreSQL refuses."""
    value = decoded_id(value)
    if not re.fullmatch(ID, value):
        raise bad_parameter(name, "must not have control characters")
    return value


def checked(parameters: Mapping[str, str | list[str]], parameter: Parameter) -> str | None:
    """Return the checked value of a parameter, or its default."""
    value = parameters.get(parameter.name)
    if isinstance(value, list):
        raise bad_parameter(parameter.name, "must be given once")
    return parameter.default if value is None else parameter.check(value)


def _granularity_s(parameters: Mapping[str, str | list[str]]) -> int:
    text = checked(parameters, GRANULARITY) or ""
    return int(text[:-1]) * UNIT_S[text[-1]]


def _instant_us(parameters: Mapping[str, str | list[str]], parameter: Parameter) -> int | None:
    text = checked(parameters, parameter)
    if text is None:
        return None
    try:
        # A `+` of a zone that was not percent-encoded arrives as a space.
        return microseconds(parse_iso(_with_plus(text)))
    except ValueError as error:
        raise bad_parameter(parameter.name, f"is {text[:40]!r}: {error}") from None


def _with_plus(text: str) -> str:
    time = text.find(":") if "t" not in text.lower() else text.lower().index("t")
    return text if time < 0 else text[:time] + PLUS_AS_SPACE.sub("+", text[time:])


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


def bad_parameter(name: str, advice: str) -> falcon.HTTPBadRequest:
    return falcon.HTTPBadRequest(title="Bad request", description=f"{name} {advice}")


def baseline_name(parameters: Mapping[str, str | list[str]]) -> BaselineName | None:
    """Parse the baseline; None for the primary one."""
    name, _ = settlement({name: text for name, text in parameters.items() if name == BASELINE.name})
    return name


def ven_of_baseline(parameters: Mapping[str, str | list[str]]) -> str | None:
    text = checked(parameters, VEN_OF_BASELINE)
    return None if text is None else identifier("venId", text)


def baseline_window(parameters: Mapping[str, str | list[str]]) -> tuple[datetime, datetime]:
    """Parse `start` and `end`, both required.

    Raises:
        falcon.HTTPBadRequest: one of them is missing or not a time.
    """
    instants_us = {each.name: _instant_us(parameters, each) for each in (WINDOW_START, WINDOW_END)}
    start, end = (_required(name, instant_us) for name, instant_us in instants_us.items())
    return start, end


def _required(name: str, instant_us: int | None) -> datetime:
    if instant_us is None:
        raise bad_parameter(name, "is missing: give a time such as 2026-01-15T17:00:00Z")
    return from_microseconds(instant_us)


def is_dry_run(parameters: Mapping[str, str | list[str]]) -> bool:
    """Return whether a request is a dry run.

    Raises:
        falcon.HTTPBadRequest: `dryRun` is neither 0 nor 1.
    """
    return checked(parameters, DRY_RUN) == "1"
