"""Rules that no schema can express, about several values or present data. The service is right.

Loaded by schemathesis itself, through SCHEMATHESIS_HOOKS.
"""

import re
import zlib
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

import schemathesis
from schemathesis.openapi.checks import RejectedPositiveData, UseAfterFree

from schemas.times.instants import parse_iso

RULES = (
    r"granularity must be a multiple of 5m with aggregate=(energy|mean), such as 5m, 15m or 1h",
    r"start must not be after end",
    r"url must be a URL such as .+",
    r"timeZone must be an IANA time zone such as Europe/Berlin, not .+",
    r"slotMinutesSince must not be ahead: leave it out for from now on",
    r"location must be degrees, such as .+",
    r"(ids|group) must not be given together with (group|all): choose one of them",
    r"by must be ven with ids: .+",
    r"by must be type with type: .+",
    r"endTime must be after startTime",
    r"endTime must be still ahead",
    r"venIds names .+: there is no such VEN",
    r"targets\.groups names .+: there is no such group",
    r"targets must name a group, a type of load or a VEN; without targets everybody is asked",
    r"venIds and targets\.venIds differ: give one of them",
    r"venIds or targets must name a VEN, a group or a type; null asks everybody",
    r"leadTimeS must be 0 with targets\.loadTypes: a load sheds as soon as the command arrives",
    r"endTime must be at most \d+ s after startTime, not .+",
    r"to must be (after from|still ahead)",
    r"end must be after start, by \d+ s at most",
    r"intervals\[\d+\]\.durationS reaches .+ s beyond endTime; shorten it",
    r"intervals\[\d+\]\.offsetS must be .+ where the one before it ends, the first one at startTime",
    r"direction must be reduce with targets\.loadTypes: .+",
    r"(import|export)LimitKw must be left out with targets\.loadTypes: .+",
    r"randomizeStartS must be shorter than the event",
    r"Nothing was imported, as lines are wrong\. .+",
    r"startTime must be ahead; one that passed up to \d+ s ago means at once",
)


@schemathesis.serializer("text/csv")
def csv_of(_context: Any, value: Any) -> bytes:
    """A file, made of any text; of another value its JSON, which is no CSV of ours."""
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Events that are still ahead, so that there are some to be read, stopped and cancelled."""
    is_event = context.operation is not None and context.operation.label == "POST /api/events"
    if is_event and isinstance(body, dict) and _is_instant(body.get("startTime")):
        day = zlib.crc32(repr(body).encode()) % 20_000
        start = datetime(2100, 1, 1, tzinfo=UTC) + timedelta(days=day)
        times = {"startTime": start.isoformat(), "endTime": (start + timedelta(hours=1)).isoformat()}
        return body | {name: time for name, time in times.items() if _is_instant(body.get(name))}
    return body


def _is_instant(value: Any) -> bool:
    try:
        return bool(parse_iso(value))
    except (TypeError, ValueError):
        return False


@schemathesis.hook
def filter_failure(_context: Any, failure: Any, _case: Any, response: Any) -> bool:
    """Whether a failure is one: a 400 to what the schema allows, in the words of a rule, is not.

    Nor is it one that an event which was cancelled, by DELETE, is still told of: as cancelled.
    """
    if isinstance(failure, UseAfterFree) and response.status_code == HTTPStatus.OK:
        return bool(response.json().get("status") != "cancelled")
    if not isinstance(failure, RejectedPositiveData) or response.status_code != HTTPStatus.BAD_REQUEST:
        return True
    return not any(re.fullmatch(rule, response.json()["detail"]) for rule in RULES)
