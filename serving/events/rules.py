"""Rules for events: their times, and which of them may run at the same time. Pure."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypedDict, cast

from msgspec import UNSET, Struct, UnsetType, structs

from schemas.api.events import Event, EventCreate, EventInterval, EventUpdate, TargetsGiven
from schemas.api.fields import EVENT_WORDS, NO_SEGMENTS
from schemas.demand_response.baselines import GENERIC, PRIMARY, BaselineName
from schemas.demand_response.candidates import EventDirection, Rest
from schemas.devices.load_values import GONE_AFTER
from schemas.times.instants import parse_iso
from serving.errors import ConflictError, InvalidRequestError
from serving.events.rows import EventRow
from serving.events.terms import (
    StoredInterval,
    as_given,
    changed_terms,
    checked_intervals,
    requests,
)

TIMES = {"start_time": "startTime", "end_time": "endTime"}
TARGETS = {"ven_ids": "ven_ids", "group_ids": "groups", "load_types": "load_types"}
"""The fields of an event with its targets, and their names in `targets`."""
LIMITS = {"import_limit_kw": "importLimitKw", "export_limit_kw": "exportLimitKw"}
FIXED_ONCE_TOLD = {
    "start_time": "startTime",
    "lead_time_s": "leadTimeS",
    "direction": "direction",
    "randomize_start_s": "randomizeStartS",
}


class EventRules(Struct, frozen=True):
    """How late a start may be and still mean "now"; the default lead time of notifications; the primary
    baseline; the longest duration; the rules by which VENs are passed over; and the calendar.
    """

    start_grace: timedelta = timedelta(minutes=5)
    lead_time: timedelta = timedelta(0)
    baseline: BaselineName = PRIMARY
    computed: tuple[BaselineName, ...] = GENERIC
    look_back_days: int = 45
    cap_percent: float = 20
    longest: timedelta = timedelta(days=1)
    rest: Rest = Rest()
    loads_gone_after: timedelta | None = GONE_AFTER
    time_zone: str = "UTC"
    holidays: str = ""


class PlannedEvent(Struct, frozen=True):
    """A new row of `events`; its targets are those of `schemas.demand_response.groups.Targets`."""

    event_id: str
    start_time: datetime
    end_time: datetime
    lead_time_s: float | None
    notify_at: datetime
    requested_reduction_kw: float
    priority: int
    ven_ids: list[str] | None = None
    group_ids: list[str] | None = None
    load_types: list[str] | None = None
    direction: EventDirection = "reduce"
    intervals: list[StoredInterval] | None = None
    randomize_start_s: float = 0
    stagger_return_s: float = 0
    import_limit_kw: float | None = None
    export_limit_kw: float | None = None

    @property
    def requests(self) -> list[tuple[datetime, float]]:
        """Return the requests by start time, kW; empty if the request is constant."""
        return requests(self.intervals, self.requested_reduction_kw, self.start_time, self.end_time)


class EventChanges(TypedDict, total=False):
    """The fields of an event that change; an empty target is None."""

    start_time: datetime
    end_time: datetime
    requested_reduction_kw: float
    priority: int
    lead_time_s: float | None
    ven_ids: list[str] | None
    group_ids: list[str] | None
    load_types: list[str] | None
    direction: EventDirection
    intervals: list[EventInterval] | None
    randomize_start_s: float
    stagger_return_s: float
    import_limit_kw: float | None
    export_limit_kw: float | None


class ClaimedVens(Struct, frozen=True):
    """The VENs that an event claims, and when; None for all, also those registered later."""

    event_id: str
    priority: int
    start_time: datetime
    end_time: datetime
    ven_ids: frozenset[str] | None


def planned(request: EventCreate, now: datetime, rules: EventRules) -> PlannedEvent:
    """Return the event of a request. A start that passed within `start_grace` means at once.

    Raises:
        InvalidRequestError: its times or its id are not allowed.
    """
    start, end = _instant("startTime", request.start_time), _instant("endTime", request.end_time)
    if end <= start:
        raise InvalidRequestError("endTime must be after startTime")
    if end <= now:
        raise InvalidRequestError("endTime must be still ahead")
    if start < now - rules.start_grace:
        seconds = rules.start_grace.total_seconds()
        raise InvalidRequestError(
            f"startTime must be ahead; one that passed up to {seconds:g} s ago means at once"
        )
    require_free_path(request.id, EVENT_WORDS)
    given_start, start = start, max(start, now)
    _require_length(start, end, rules)
    targets = _new_targets(request)
    _require_possible_by_load(request, targets["load_types"])
    lead = _lead_time(request.lead_time_s, targets["load_types"], rules)
    return PlannedEvent(
        event_id=request.id or f"evt-{uuid.uuid4().hex}",
        start_time=start,
        end_time=end,
        lead_time_s=request.lead_time_s,
        notify_at=max(start - lead, now),
        requested_reduction_kw=request.requested_reduction_kw,
        priority=request.priority,
        **targets,
        direction=request.direction,
        intervals=checked_intervals(request.intervals, given_start, start, end),
        randomize_start_s=_spread_start(request.randomize_start_s, start, end),
        stagger_return_s=request.stagger_return_s,
        import_limit_kw=request.import_limit_kw,
        export_limit_kw=request.export_limit_kw,
    )


def _require_possible_by_load(event: EventCreate | PlannedEvent, load_types: list[str] | None) -> None:
    """Refuse terms that commands to single loads do not support."""
    if not load_types:
        return
    if event.direction == "increase":
        raise InvalidRequestError(
            "direction must be reduce with targets.loadTypes: a single load can only shed"
        )
    for name, limit_kw in LIMITS.items():
        if getattr(event, name) is not None:
            raise InvalidRequestError(
                f"{limit_kw} must be left out with targets.loadTypes: a single load has no such limit"
            )


def _spread_start(randomize_start_s: float, start: datetime, end: datetime) -> float:
    if randomize_start_s >= (end - start).total_seconds():
        raise InvalidRequestError("randomizeStartS must be shorter than the event")
    return randomize_start_s


def _lead_time(lead_time_s: float | None, load_types: list[str] | None, rules: EventRules) -> timedelta:
    """Return the lead time of notifications; commands to single loads are sent at the start."""
    if load_types is None:
        return rules.lead_time if lead_time_s is None else timedelta(seconds=lead_time_s)
    if lead_time_s:
        raise InvalidRequestError(
            "leadTimeS must be 0 with targets.loadTypes: a load sheds as soon as the command arrives"
        )
    return timedelta(0)


def _new_targets(request: EventCreate) -> dict[str, list[str] | None]:
    fields = _given_targets(request.targets)
    if request.ven_ids is not None:
        _require_same(fields, request.ven_ids)
        fields["ven_ids"] = request.ven_ids
    targets = {name: _sorted(fields.get(name)) for name in TARGETS}
    if request.targets is not None and not any(targets.values()):
        raise InvalidRequestError(
            "targets must name a group, a type of load or a VEN; without targets everybody is asked"
        )
    return targets


def _given_targets(targets: TargetsGiven | UnsetType | None) -> dict[str, list[str] | None]:
    """Return the targets of a body's `targets`; none of any kind if that is null."""
    if targets is None:
        return {}
    return {
        name: value
        for name, shown in TARGETS.items()
        if (value := getattr(targets, shown, UNSET)) is not UNSET
    }


def _require_same(fields: Mapping[str, list[str] | None], ven_ids: Sequence[str] | None) -> None:
    if "ven_ids" in fields and _sorted(fields["ven_ids"]) != _sorted(ven_ids):
        raise InvalidRequestError("venIds and targets.venIds differ: give one of them")


def _sorted(texts: Sequence[str] | None) -> list[str] | None:
    return sorted(set(texts)) if texts else None


def changed_times_and_terms(request: EventUpdate, shown: Event) -> EventChanges:
    """Return the fields of a PATCH that differ from GET; times are instants."""
    fields = {
        name: value
        for name in (*TIMES, "requested_reduction_kw", "priority", "lead_time_s")
        if (value := getattr(request, name)) is not UNSET
    }
    for name in TIMES.keys() & fields.keys():
        fields[name] = _instant(TIMES[name], fields[name])
    changed = {name: value for name, value in fields.items() if value != getattr(shown, name)}
    targets, terms = _changed_targets(request, shown), changed_terms(request, shown)
    return cast("EventChanges", {**changed, **targets, **terms})


def _changed_targets(request: EventUpdate, shown: Event) -> dict[str, list[str] | None]:
    """Return targets that differ from GET. An empty list does not turn some VENs into all: null does."""
    before = {name: _sorted(getattr(shown.targets, path)) for name, path in TARGETS.items()}
    fields = dict.fromkeys(TARGETS) if request.targets is None else _given_targets(request.targets)
    changed = {name: value for name, value in fields.items() if _sorted(value) != before[name]}
    if request.ven_ids is not UNSET and _sorted(request.ven_ids) != before["ven_ids"]:
        _require_same(changed, request.ven_ids)
        changed["ven_ids"] = request.ven_ids
    if [] in changed.values() and not any((before | changed).values()):
        raise InvalidRequestError("venIds or targets must name a VEN, a group or a type; null asks everybody")
    return {name: _sorted(value) for name, value in changed.items()}


def replanned(row: EventRow, changes: EventChanges, now: datetime, rules: EventRules) -> PlannedEvent:
    """Return an event with notified VENs, with another end, request, targets or priority.

    Raises:
        ConflictError: another field would change.
        InvalidRequestError: the end is not allowed.
    """
    fixed = [shown for name, shown in FIXED_ONCE_TOLD.items() if name in changes]
    if fixed:
        raise ConflictError(
            f"VENs have been sent event {row.event_id!r} already, and its {fixed[0]} cannot be changed any"
            " more: cancel it, and make another one. Its end, request, intervals, targets and priority can."
        )
    unchanged = {name: getattr(row, name) for name in PlannedEvent.__struct_fields__}
    event = structs.replace(PlannedEvent(**unchanged), **changes)
    if "load_types" in changes and event.start_time > now:
        raise ConflictError(
            f"VENs have been sent event {row.event_id!r} ahead of its start, and its types of load cannot be"
            " changed before that: change them while it runs, or cancel it and make another one."
        )
    if event.end_time <= now:
        raise InvalidRequestError("endTime must be still ahead")
    _require_length(event.start_time, event.end_time, rules)
    _require_possible_by_load(event, event.load_types)
    _spread_start(event.randomize_start_s, event.start_time, event.end_time)
    new_intervals = changes["intervals"] if "intervals" in changes else as_given(row.intervals)
    intervals = checked_intervals(new_intervals, event.start_time, event.start_time, event.end_time)
    return structs.replace(event, intervals=intervals)


def _require_length(start: datetime, end: datetime, rules: EventRules) -> None:
    if end - start > rules.longest:
        seconds = rules.longest.total_seconds()
        raise InvalidRequestError(f"endTime must be at most {seconds:g} s after startTime, not {end - start}")


def merged(row: EventRow, changes: EventChanges) -> EventCreate:
    """Return the request that would create the event as it is, with some changes."""
    return EventCreate(
        id=row.event_id,
        start_time=changes.get("start_time", row.start_time).isoformat(),
        end_time=changes.get("end_time", row.end_time).isoformat(),
        requested_reduction_kw=changes.get("requested_reduction_kw", row.requested_reduction_kw),
        priority=changes.get("priority", row.priority or 0),
        lead_time_s=changes.get("lead_time_s", row.lead_time_s),
        targets=_merged_targets(row, changes),
        direction=changes.get("direction", row.direction or "reduce"),
        intervals=changes.get("intervals", as_given(row.intervals)),
        randomize_start_s=changes.get("randomize_start_s", row.randomize_start_s or 0.0),
        stagger_return_s=changes.get("stagger_return_s", row.stagger_return_s or 0.0),
        import_limit_kw=changes.get("import_limit_kw", row.import_limit_kw),
        export_limit_kw=changes.get("export_limit_kw", row.export_limit_kw),
    )


def _merged_targets(row: EventRow, changes: EventChanges) -> TargetsGiven | None:
    group_ids = changes.get("group_ids", row.group_ids)
    load_types = changes.get("load_types", row.load_types)
    ven_ids = changes.get("ven_ids", row.ven_ids)
    if not (group_ids or load_types or ven_ids):
        return None
    return TargetsGiven(groups=group_ids, load_types=load_types, ven_ids=ven_ids)


def require_free_path(requested_id: str | None, reserved: Sequence[str]) -> None:
    """Refuse an id whose path is that of another route.

    Raises:
        InvalidRequestError: it is.
    """
    if requested_id in reserved:
        raise InvalidRequestError(f"id must not be {requested_id!r}: that is a route")
    if requested_id in NO_SEGMENTS:
        raise InvalidRequestError(f"id must not be {requested_id!r}: that is no path")


def require_free(event: ClaimedVens, others: Iterable[ClaimedVens]) -> None:
    """Require a higher priority of an event that claims the same VENs at the same time as earlier ones.

    Args:
        event: the new event.
        others: events that overlap with it.

    Raises:
        ConflictError: one of them claims the same VENs, and its priority is not lower.
    """
    for other in others:
        if other.priority >= event.priority and _share_vens(event.ven_ids, other.ven_ids):
            raise ConflictError(
                f"Event {other.event_id!r} asks the same VENs at the same time, with priority "
                f"{other.priority}; choose another time, other VENs, or a higher priority."
            )


def require_still_free(event: ClaimedVens, before: ClaimedVens, others: Iterable[ClaimedVens]) -> None:
    """Like `require_free`, for a changed event: events that it overlapped before are allowed.

    Raises:
        ConflictError: it newly claims the same VENs as another, or newly has the same priority.
    """
    others = [other for other in others if other.event_id != event.event_id]
    require_free(
        event, (other for other in others if other.priority == event.priority or not _compete(before, other))
    )


def _compete(event: ClaimedVens, other: ClaimedVens) -> bool:
    """Return whether two events claim the same VENs at the same time."""
    at_once = other.start_time < event.end_time and other.end_time > event.start_time
    return at_once and _share_vens(event.ven_ids, other.ven_ids)


def _share_vens(some: frozenset[str] | None, others: frozenset[str] | None) -> bool:
    return some is None or others is None or not some.isdisjoint(others)


def _instant(name: str, text: str) -> datetime:
    try:
        return parse_iso(text)
    except ValueError as error:
        raise InvalidRequestError(f"{name} is {text[:40]!r}: {error}") from None
