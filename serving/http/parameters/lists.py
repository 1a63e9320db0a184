"""Pages and filters of lists, and the place in a live stream."""

import re
from collections.abc import Mapping
from typing import cast

from schemas.alarms import ALARM_KINDS, AlarmKind
from serving.http.parameters.rules import ID, LIST, Parameter, checked
from serving.http.parameters.times import END, START, period
from serving.live.changes import StreamPosition
from serving.page import AlarmFilter, CredentialFilter, NewestWithin, Page

NOWHERE = StreamPosition(-1)
STREAM_ID = "[0-9]{1,18}(-[0-9a-f]{8})?"
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

TYPES_OF_LOADS = Parameter(
    name="loadType",
    description="Only VENs that have a load of any of these types, as it is now, separated by commas. Given"
    " several times, each is one type, with its commas. Without it, all VENs.",
    advice="must be types of loads, separated by commas, such as hvac,ev",
    pattern=LIST,
    examples=("hvac",),
)
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


def snapshot_load(parameters: Mapping[str, str | list[str]]) -> str | None:
    return checked(parameters, SNAPSHOT_LOAD)
