"""Reads, creates, changes, cancels and stops demand response events."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

from msgspec import structs
from sqlalchemy import Connection, Engine

from schemas.api.events import (
    Event,
    EventCreate,
    EventDetail,
    EventMetrics,
    EventPreview,
    EventUpdate,
    EventWithMetrics,
)
from schemas.db.queries import Query
from schemas.demand_response.baselines import PRIMARY, BaselineName
from schemas.demand_response.candidates import AskedEvent, passed_over_notes
from schemas.demand_response.groups import Targets, targeted_vens
from serving.db.reading import in_blocks, snapshot
from serving.errors import ConflictError, NotFoundError
from serving.events import queries, shapes
from serving.events.preview import preview
from serving.events.queries import OverlappingEventRow
from serving.events.rows import EventRow
from serving.events.rules import (
    ClaimedVens,
    EventChanges,
    EventRules,
    PlannedEvent,
    changed_times_and_terms,
    merged,
    planned,
    replanned,
    require_free,
    require_still_free,
)
from serving.events.targets import require_known_groups, require_known_vens
from serving.events.terms import TOLD_IN_COMMANDS
from serving.page import Page


class EventReader:
    """Reads events. Lists are iterators that hold a connection until they end.

    VENs of settled events are shown by one baseline.
    """

    def __init__(self, engine: Engine, baseline: BaselineName = PRIMARY) -> None:
        self._engine = engine
        self._baseline = baseline

    def all(self, page: Page) -> Iterator[Event]:
        return map(shapes.event, self._rows(queries.all_events(page)))

    def past(self, start: datetime | None, end: datetime | None) -> Iterator[Event]:
        return map(shapes.event, self._rows(queries.past_events(start, end)))

    def current(self) -> EventWithMetrics | None:
        with self._engine.connect() as connection:
            row = queries.current_event().first(connection)
        return None if row is None else shapes.event_with_metrics(row)

    def metrics(self, event_id: str) -> EventMetrics:
        with self._engine.connect() as connection:
            return shapes.event_metrics(_row(connection, event_id))

    def detail(self, event_id: str) -> EventDetail:
        with snapshot(self._engine) as connection:
            row = _row(connection, event_id)
            vens = queries.vens_of_event(event_id, self._baseline).all(connection)
        return EventDetail(
            **structs.asdict(shapes.event_with_metrics(row)), vens=[shapes.event_ven(each) for each in vens]
        )

    def _rows(self, query: Query[EventRow]) -> Iterator[EventRow]:
        with snapshot(self._engine) as connection:
            yield from in_blocks(connection, query)


EventFollower = Callable[[Connection, Event, datetime], None]
"""Called in the transaction of each change, with the changed event and the time."""


def ignore(_connection: Connection, _event: Event, _now: datetime) -> None:
    """A follower that does nothing."""


class EventWriter:
    """Writes events. The jobs notify the VENs, and start and end the events.

    The follower is not called for changes in a caller's transaction.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Callable[[], datetime],
        rules: EventRules,
        follower: EventFollower = ignore,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._rules = rules
        self._follower = follower

    def create(self, request: EventCreate) -> Event:
        """Create an event.

        Raises:
            InvalidRequestError: the request contradicts itself or the rules.
            ConflictError: its id exists, or another event claims the same VENs at that time.
        """
        now = self._clock()
        with self._engine.begin() as connection:
            event = self.create_within(connection, request, now)
            self._follower(connection, event, now)
        return event

    def create_within(self, connection: Connection, request: EventCreate, now: datetime) -> Event:
        """Like `create`, in the caller's transaction."""
        event = planned(request, now, self._rules)
        connection.execute(queries.LOCK_NEW_EVENTS)
        _require_known(connection, event.ven_ids, event.group_ids)
        require_free(self._claimed(connection, event), self._others(connection, event))
        notes = self._notes(connection, event, now)
        if connection.execute(queries.add_event(event, notes, now)).first() is None:
            raise ConflictError(f"There is an event {event.event_id!r} already.")
        _plan_requests(connection, event, event.requests)
        connection.execute(queries.notify_event(event.event_id))
        return shapes.event(_row(connection, event.event_id))

    def preview(self, request: EventCreate) -> EventPreview:
        """Return what an event would do if it were allocated now; writes nothing.

        Raises:
            InvalidRequestError, ConflictError: it could not be created.
        """
        now = self._clock()
        event = planned(request, now, self._rules)
        with snapshot(self._engine) as connection:
            _require_known(connection, event.ven_ids, event.group_ids)
            require_free(self._claimed(connection, event), self._others(connection, event))
            if queries.event(event.event_id).first(connection) is not None:
                raise ConflictError(f"There is an event {event.event_id!r} already.")
            candidates = queries.candidates_of(event, now, self._rules).all(connection)
            similar = queries.similar_events(event, self._rules.baseline).all(connection)
        return preview(event, candidates, similar)

    def cancel(self, event_id: str) -> None:
        """Cancel an event, also while it runs; idempotent.

        Raises:
            NotFoundError: there is none.
            ConflictError: it is over.
        """
        now = self._clock()
        with self._engine.begin() as connection:
            self.cancel_within(connection, event_id, now)
            self._follow(connection, event_id, now)

    def cancel_within(self, connection: Connection, event_id: str, now: datetime) -> None:
        """Like `cancel`, in the caller's transaction."""
        status = _row(connection, event_id).status
        if status == "cancelled":
            return
        if connection.execute(queries.cancel_event(event_id, now)).first() is None:
            if _row(connection, event_id).status == "cancelled":  # by another client, just now
                return
            raise ConflictError(f"Event {event_id!r} is over, and cannot be cancelled any more.")
        connection.execute(queries.notify_event(event_id))

    def stop(self, event_id: str) -> None:
        """Complete a running event, cancel a scheduled one; one that is over stays unchanged.

        Raises:
            NotFoundError: there is none.
        """
        now = self._clock()
        with self._engine.begin() as connection:
            row = _locked(connection, event_id)
            change = queries.cancel_event if row.status == "scheduled" else queries.stop_event
            if connection.execute(change(event_id, now)).first() is not None:
                connection.execute(queries.notify_event(event_id))
                self._follow(connection, event_id, now)

    def change(self, event_id: str, request: EventUpdate) -> Event:
        """Change an event, also while it runs; the jobs notify the affected VENs.

        Raises:
            NotFoundError: there is none.
            InvalidRequestError: the changed event contradicts itself or the rules.
            ConflictError: it is over, VENs have been notified of what would change, or another event claims
                the
                    same VENs then.
        """
        now = self._clock()
        with self._engine.begin() as connection:
            event = self.change_within(connection, event_id, request, now)
            self._follower(connection, event, now)
        return event

    def change_within(
        self, connection: Connection, event_id: str, request: EventUpdate, now: datetime
    ) -> Event:
        """Like `change`, in the caller's transaction."""
        connection.execute(queries.LOCK_NEW_EVENTS)
        row = _locked(connection, event_id)
        changes = changed_times_and_terms(request, shapes.event(row))
        if not changes:
            return shapes.event(row)
        _require_changeable(row, now)
        event = _changed(row, changes, now, self._rules)
        _require_known(connection, changes.get("ven_ids"), changes.get("group_ids"))
        claimed, before = (self._claimed(connection, each) for each in (event, row))
        require_still_free(claimed, before, self._others(connection, event))
        if row.start_time <= now:
            _revise_requests(connection, row, event, now)
        else:
            connection.execute(queries.forget_requests(event_id))
            _plan_requests(connection, event, event.requests)
        notes = self._notes(connection, event, now)
        in_commands = {*TOLD_IN_COMMANDS, *(["requested_reduction_kw"] if event.intervals else ())}
        is_renotified = not in_commands.isdisjoint(changes)
        connection.execute(queries.change_event(event, notes, is_renotified=is_renotified))
        connection.execute(queries.notify_event(event_id))
        return shapes.event(_row(connection, event_id))

    def _follow(self, connection: Connection, event_id: str, now: datetime) -> None:
        self._follower(connection, shapes.event(_row(connection, event_id)), now)

    def flexibility_kw(self, connection: Connection, event: AskedEvent, now: datetime) -> float:
        """Return the available power of the VENs that an event would select now, kW."""
        return float(connection.execute(queries.flexibility_kw(event, now, self._rules)).scalar_one())

    def start_of(self, connection: Connection, event_id: str) -> datetime:
        """Return the stored start of an event."""
        return _row(connection, event_id).start_time

    def _others(self, connection: Connection, event: PlannedEvent) -> list[ClaimedVens]:
        """Return events that run, or will run, at the same time."""
        rows = queries.at_the_same_time(event.start_time, event.end_time).all(connection)
        return [self._claimed(connection, row) for row in rows]

    def _claimed(
        self, connection: Connection, event: PlannedEvent | EventRow | OverlappingEventRow
    ) -> ClaimedVens:
        """Return the VENs that an event currently targets."""
        targeted = targeted_vens(Targets.of(event), self._rules.loads_gone_after)
        ven_ids = None if targeted is None else frozenset(connection.execute(targeted).scalars())
        return ClaimedVens(event.event_id, event.priority or 0, event.start_time, event.end_time, ven_ids)

    def _notes(
        self, connection: Connection, event: PlannedEvent, now: datetime
    ) -> Sequence[Mapping[str, object]]:
        """Return the numbers of VENs that would be passed over now; the jobs update them."""
        rows = connection.execute(queries.passed_over(event, now, self._rules)).all()
        return passed_over_notes(rows)


def _locked(connection: Connection, event_id: str) -> EventRow:
    row = queries.lock_event(event_id).first(connection)
    if row is None:
        raise NotFoundError(f"There is no event {event_id!r}.")
    return row


def _require_changeable(row: EventRow, now: datetime) -> None:
    if row.status in shapes.OVER or row.ended_at is not None or row.end_time <= now:
        raise ConflictError(f"Event {row.event_id!r} is over, and cannot be changed any more.")


def _plan_requests(
    connection: Connection, event: PlannedEvent, requests: Sequence[tuple[datetime, float]]
) -> None:
    for at, kw in requests:
        connection.execute(queries.put_request(event.event_id, at, kw))


def _revise_requests(connection: Connection, row: EventRow, event: PlannedEvent, now: datetime) -> None:
    """Store the request of a running event until now, and that from now on."""
    was, becomes = queries.requested_at(connection, event.event_id, now), event.requests
    so_far = [kw for at, kw in becomes if at <= now] or [event.requested_reduction_kw]
    if not becomes and was == so_far[-1] and row.intervals is None:
        return
    connection.execute(queries.keep_request(event.event_id, row.start_time, was))
    connection.execute(queries.forget_requests(event.event_id, after=now))
    if was != so_far[-1]:
        connection.execute(queries.put_request(event.event_id, now, so_far[-1]))
    _plan_requests(connection, event, [(at, kw) for at, kw in becomes if at > now])


def _changed(row: EventRow, changes: EventChanges, now: datetime, rules: EventRules) -> PlannedEvent:
    if (row.notify_at is not None and row.notify_at <= now) or row.start_time <= now:
        return replanned(row, changes, now, rules)
    return planned(merged(row, changes), now, rules)


def _require_known(
    connection: Connection, ven_ids: Sequence[str] | None, group_ids: Sequence[str] | None
) -> None:
    require_known_vens(connection, ven_ids or ())
    require_known_groups(connection, group_ids or ())


def _row(connection: Connection, event_id: str) -> EventRow:
    row = queries.event(event_id).first(connection)
    if row is None:
        raise NotFoundError(f"There is no event {event_id!r}.")
    return row
