"""Demand response events: read, created, cancelled and stopped."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row, Select

from schemas.http import Event, EventCreate, EventDetail, EventMetrics, EventVen, EventWithMetrics
from schemas.rounding import rounded
from serving.db.reading import in_blocks, snapshot
from serving.errors import ConflictError, InvalidRequestError, NotFoundError
from serving.events import queries
from serving.events.rules import EventRules, planned, require_free
from serving.page import Page


class EventReader:
    """Reads events. Lists are iterators that hold a connection to their end."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def all(self, page: Page) -> Iterator[Event]:
        return map(_event, self._rows(queries.all_events(page)))

    def past(self, start: datetime | None, end: datetime | None) -> Iterator[Event]:
        return map(_event, self._rows(queries.past_events(start, end)))

    def current(self) -> EventWithMetrics | None:
        rows = list(self._rows(queries.current_event()))
        return _event_with_metrics(rows[0]) if rows else None

    def metrics(self, event_id: str) -> EventMetrics:
        with self._engine.connect() as connection:
            return _event_metrics(_row(connection, event_id))

    def detail(self, event_id: str) -> EventDetail:
        with snapshot(self._engine) as connection:
            row = _row(connection, event_id)
            return _event_detail(row, connection.execute(queries.vens_of_event(event_id)).all())

    def _rows(self, query: Select[Any]) -> Iterator[Row[Any]]:
        with self._engine.connect() as connection:
            yield from in_blocks(connection, query)


class EventWriter:
    """Writes events. The jobs notify the VENs, and start and end the events."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime], rules: EventRules) -> None:
        self._engine = engine
        self._clock = clock
        self._rules = rules

    def create(self, request: EventCreate) -> Event:
        """Create an event.

        Raises:
            InvalidRequestError: the request contradicts itself or the rules.
            ConflictError: its id exists, or another event needs the same VENs at that time.
        """
        now = self._clock()
        event = planned(request, now, self._rules)
        with self._engine.begin() as connection:
            _require_registered(connection, event.ven_ids or [])
            connection.execute(queries.ONE_AT_A_TIME)
            require_free(
                event, connection.execute(queries.at_the_same_time(event.start_time, event.end_time))
            )
            if connection.execute(queries.add_event(event, now)).first() is None:
                raise ConflictError(f"There is an event {event.event_id!r} already.")
            connection.execute(queries.notify_event(event.event_id))
            return _event(_row(connection, event.event_id))

    def cancel(self, event_id: str) -> None:
        """Cancel an event, also while it runs; idempotent.

        Raises:
            NotFoundError: there is none.
            ConflictError: it is over.
        """
        with self._engine.begin() as connection:
            status = _row(connection, event_id).status
            if status == "cancelled":
                return
            if connection.execute(queries.cancel_event(event_id, self._clock())).first() is None:
                if _row(connection, event_id).status == "cancelled":  # by somebody else, just now
                    return
                raise ConflictError(f"Event {event_id!r} is over, and cannot be cancelled any more.")
            connection.execute(queries.notify_event(event_id))

    def stop(self, event_id: str) -> None:
        """End a running event before its time; idempotent.

        Raises:
            NotFoundError: there is none.
            ConflictError: it does not run.
        """
        with self._engine.begin() as connection:
            status = _row(connection, event_id).status
            if connection.execute(queries.stop_event(event_id, self._clock())).first() is None:
                raise ConflictError(f"Event {event_id!r} is {status}: only one that runs can be stopped.")
            connection.execute(queries.notify_event(event_id))


def _row(connection: Connection, event_id: str) -> Row[Any]:
    row = connection.execute(queries.event(event_id)).one_or_none()
    if row is None:
        raise NotFoundError(f"There is no event {event_id!r}.")
    return row


def _require_registered(connection: Connection, ven_ids: list[str]) -> None:
    unknown = sorted(set(ven_ids) - set(connection.execute(queries.registered_vens(ven_ids)).scalars()))
    if unknown:
        more = f", and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise InvalidRequestError(f"venIds names {unknown[0]!r}{more}: there is no such VEN")


def _event(row: Row[Any]) -> Event:
    return Event(**_fields(row))


def _event_with_metrics(row: Row[Any]) -> EventWithMetrics:
    return EventWithMetrics(**_fields(row), **_progress(row))


def _event_detail(row: Row[Any], vens: Sequence[Row[Any]]) -> EventDetail:
    parts = [EventVen(each.ven_id, each.ven_name, rounded(each.shed_kw), each.status) for each in vens]
    return EventDetail(**_fields(row), **_progress(row), vens=parts)


def _event_metrics(row: Row[Any]) -> EventMetrics:
    return EventMetrics(**_progress(row), actual_reduction_kw=rounded(row.actual_reduction_kw))


def _fields(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": row.event_id,
        "status": row.status,
        "start_time": row.start_time,
        "end_time": row.end_time,
        "requested_reduction_kw": rounded(row.requested_reduction_kw),
        "actual_reduction_kw": rounded(row.actual_reduction_kw),
    }


def _progress(row: Row[Any]) -> dict[str, Any]:
    return {
        "current_reduction_kw": rounded(row.current_reduction_kw),
        "vens_responding": row.vens_responding,
        "vens_reporting": row.vens_reporting,
        "avg_response_ms": rounded(row.avg_response_ms),
    }
