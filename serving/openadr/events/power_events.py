"""Events of OpenADR that ask for power are events of this service: made, changed and cancelled with them."""

from collections.abc import Sequence
from datetime import datetime
from typing import TypedDict

import structlog
from msgspec import Struct
from sqlalchemy import Connection

from schemas.api.events import EventCreate, EventInterval, EventUpdate, TargetsGiven
from schemas.demand_response.candidates import AskedEvent, EventDirection
from schemas.demand_response.groups import Targets
from schemas.openadr import EventRequest
from serving.errors import ConflictError, InvalidRequestError
from serving.events.service import EventWriter
from serving.openadr import queries
from serving.openadr.event_times import event_end, event_start
from serving.openadr.events.power import AskedPower, NotSharedError, asked_power, asks_for_power
from serving.openadr.objects import Context
from serving.openadr.queries import OpenAdrEventRow

PREFIX = "openadr-"
"""Begins the id of such an event. That of the object follows, and the time if the object has been changed."""

ABOVE_ALL = 2**31 - 1
"""A priority before which no event goes."""


class AskedVens(Struct, frozen=True):
    """Whom an event asks; neither VENs nor groups: everybody."""

    ven_ids: Sequence[str]
    group_ids: Sequence[str]

    @property
    def given(self) -> TargetsGiven | None:
        if not (self.ven_ids or self.group_ids):
            return None
        return TargetsGiven(groups=list(self.group_ids) or None, ven_ids=list(self.ven_ids) or None)


class Followed(Struct, frozen=True):
    """The event that an object is, if it is one; and what its VENs could shed when that was looked up, kW."""

    event_id: str | None
    flexibility_kw: float | None


class PowerEvents:
    """Follows changes of OpenADR's events, in their transactions."""

    def __init__(self, writer: EventWriter) -> None:
        self._writer = writer

    def follow(
        self, context: Context, before: OpenAdrEventRow | None, row: OpenAdrEventRow, request: EventRequest
    ) -> Followed:
        """Make, change or cancel the event that an object is.

        An object that cannot be one is stored and served all the same; the log says why.
        """
        change = _Change(self._writer, context, before, row, request)
        try:
            return Followed(change.event_id(), change.known_kw)
        except (NotSharedError, ConflictError, InvalidRequestError) as error:
            if row.event_id is not None:
                self.cancel(context, row.event_id)
            if asks_for_power(request):
                structlog.get_logger().warning(
                    "openadr_event_not_shared", id=row.object_id, reason=str(error)
                )
            return Followed(None, change.known_kw)

    def cancel(self, context: Context, event_id: str) -> None:
        """Cancel an event, unless it is over."""
        _cancel(self._writer, context, event_id)


class _Change:
    """One change of one object, and what it means for its event."""

    def __init__(
        self,
        writer: EventWriter,
        context: Context,
        before: OpenAdrEventRow | None,
        row: OpenAdrEventRow,
        request: EventRequest,
    ) -> None:
        self._writer = writer
        self._context = context
        self._row = row
        self._request = request
        self._is_first = before is None
        self._vens = AskedVens((), ())
        has_same_targets = before is not None and before.targets == row.targets
        self.known_kw: float | None = row.flexibility_kw if has_same_targets else None

    def event_id(self) -> str:
        """The id of the event that was made or changed.

        Raises:
            NotSharedError, ConflictError, InvalidRequestError: the object cannot be one.
        """
        if not asks_for_power(self._request):
            raise NotSharedError("it asks for no power")
        self._vens = _asked_vens(self._context.connection, self._row.targets)
        event_id = self._row.event_id
        return (self._changed(event_id) if event_id else None) or self._created()

    def _changed(self, event_id: str) -> str | None:
        """None where the event that VENs know cannot become this one, and was cancelled."""
        connection, now = self._context.connection, self._context.now
        asked = self._asked(min(self._writer.start_of(connection, event_id), now))
        try:
            changed = self._writer.change_within(connection, event_id, _update(asked, self._vens), now)
        except (ConflictError, InvalidRequestError):
            _cancel(self._writer, self._context, event_id)
            return None
        return changed.id

    def _created(self) -> str:
        connection, now = self._context.connection, self._context.now
        suffix = "" if self._is_first else f"-{int(now.timestamp() * 1000)}"
        event_id = f"{PREFIX}{self._row.object_id}{suffix}"
        creation = EventCreate(id=event_id, **_terms(self._asked(now), self._vens))
        return self._writer.create_within(connection, creation, now).id

    def _asked(self, not_before: datetime) -> AskedPower:
        return asked_power(self._request, self._row.created_at, not_before, self._flexibility_kw)

    def _flexibility_kw(self) -> float:
        """What the VENs could shed, also those that are in an event now."""
        if self.known_kw is None:
            made_at = self._row.created_at
            start, end = event_start(self._request, made_at), event_end(self._request, made_at)
            targets = Targets(self._vens.ven_ids or None, self._vens.group_ids or None)
            event = AskedEvent("", start, end or start, ABOVE_ALL, targets)
            self.known_kw = self._writer.flexibility_kw(self._context.connection, event, self._context.now)
        return self.known_kw


def _cancel(writer: EventWriter, context: Context, event_id: str) -> None:
    try:
        writer.cancel_within(context.connection, event_id, context.now)
    except ConflictError:
        structlog.get_logger().info("openadr_event_over", event_id=event_id)


def _asked_vens(connection: Connection, targets: Sequence[str]) -> AskedVens:
    """Who was granted one of the targets, and who is in a group of that name.

    Raises:
        NotSharedError: nobody.
    """
    if not targets:
        return AskedVens((), ())
    vens = connection.execute(queries.vens_with_target(targets)).scalars().all()
    groups = connection.execute(queries.groups_named(targets)).scalars().all()
    if not (vens or groups):
        raise NotSharedError("no VEN was granted one of its targets, and no group has such an id")
    return AskedVens(vens, groups)


class _Terms(TypedDict):
    """What a new event and a changed one have in common."""

    start_time: str
    end_time: str
    requested_reduction_kw: float
    priority: int
    targets: TargetsGiven | None
    direction: EventDirection
    intervals: list[EventInterval] | None
    randomize_start_s: float
    import_limit_kw: float | None
    export_limit_kw: float | None


def _terms(asked: AskedPower, vens: AskedVens) -> _Terms:
    return {
        "start_time": asked.start.isoformat(),
        "end_time": asked.end.isoformat(),
        "requested_reduction_kw": asked.requested_kw,
        "priority": asked.priority,
        "targets": vens.given,
        "direction": asked.direction,
        "intervals": [EventInterval(*each) for each in asked.intervals] if asked.intervals else None,
        "randomize_start_s": asked.randomize_start_s,
        "import_limit_kw": asked.import_limit_kw,
        "export_limit_kw": asked.export_limit_kw,
    }


def _update(asked: AskedPower, vens: AskedVens) -> EventUpdate:
    return EventUpdate(**_terms(asked, vens))
