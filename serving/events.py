"""Demand response events: read, made, cancelled and stopped. Knows nothing of HTTP."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row, Select

from schemas.http import Event, EventCreate, EventDetail, EventMetrics, EventWithMetrics
from serving import shapes
from serving.event_rules import Conflict, EventRules, Unfit, planned, require_free
from serving.queries import events
from serving.reader import ROWS_AT_ONCE
from serving.unknown import Unknown
from serving.windows import Page


class EventReader:
    """Reads events. Lists are iterators that hold a connection to their end."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def all(self, page: Page) -> Iterator[Event]:
        return map(shapes.event, self._rows(events.all_events(page)))

    def past(self, start: datetime | None, end: datetime | None) -> Iterator[Event]:
        return map(shapes.event, self._rows(events.past_events(start, end)))

    def current(self) -> EventWithMetrics | None:
        rows = list(self._rows(events.current_event()))
        return shapes.event_with_metrics(rows[0]) if rows else None

    def metrics(self, event_id: str) -> EventMetrics:
        with self._engine.connect() as connection:
            return shapes.event_metrics(_found(connection, event_id))

    def detail(self, event_id: str) -> EventDetail:
        with self._engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            found = _found(connection, event_id)
            return shapes.event_detail(found, connection.execute(events.vens_of_event(event_id)).all())

    def _rows(self, query: Select[Any]) -> Iterator[Row[Any]]:
        with self._engine.connect() as connection:
            yield from connection.execution_options(yield_per=ROWS_AT_ONCE).execute(query)


class EventWriter:
    """Writes what people want. The jobs read it, tell the VENs, and start and end the events."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime], rules: EventRules) -> None:
        self._engine = engine
        self._clock = clock
        self._rules = rules

    def create(self, wish: EventCreate) -> Event:
        """Make an event.

        Raises:
            Unfit: it cannot be meant.
            Conflict: its id is taken, or another event stands in its way.
        """
        now = self._clock()
        event = planned(wish, now, self._rules)
        with self._engine.begin() as connection:
            _require_known(connection, event.ven_ids or [])
            connection.execute(events.ONE_AT_A_TIME)
            require_free(event, connection.execute(events.at_the_same_time(event.start_time, event.end_time)))
            if connection.execute(events.add_event(event, now)).first() is None:
                raise Conflict(f"There is an event {event.event_id!r} already.")
            connection.execute(events.tell(event.event_id))
            return shapes.event(_found(connection, event.event_id))

    def cancel(self, event_id: str) -> None:
        """Call an event off, also while it runs; a second time changes nothing.

        Raises:
            Unknown: there is none.
            Conflict: it is over.
        """
        with self._engine.begin() as connection:
            status = _found(connection, event_id).status
            if status == "cancelled":
                return
            if connection.execute(events.cancel_event(event_id, self._clock())).first() is None:
                if _found(connection, event_id).status == "cancelled":  # by somebody else, just now
                    return
                raise Conflict(f"Event {event_id!r} is over, and cannot be cancelled any more.")
            connection.execute(events.tell(event_id))

    def stop(self, event_id: str) -> None:
        """End an event that runs before its time; a second time changes nothing.

        Raises:
            Unknown: there is none.
            Conflict: it does not run.
        """
        with self._engine.begin() as connection:
            status = _found(connection, event_id).status
            if connection.execute(events.stop_event(event_id, self._clock())).first() is None:
                raise Conflict(f"Event {event_id!r} is {status}: only one that runs can be stopped.")
            connection.execute(events.tell(event_id))


def _found(connection: Connection, event_id: str) -> Row[Any]:
    row = connection.execute(events.event(event_id)).one_or_none()
    if row is None:
        raise Unknown(f"There is no event {event_id!r}.")
    return row


def _require_known(connection: Connection, ven_ids: list[str]) -> None:
    unknown = sorted(set(ven_ids) - set(connection.execute(events.known_vens(ven_ids)).scalars()))
    if unknown:
        more = f", and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise Unfit(f"venIds names {unknown[0]!r}{more}: there is no such VEN")
