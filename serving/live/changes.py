"""The change log in the database, and its messages for server-sent events."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import msgspec
from msgspec import Struct
from sqlalchemy import Engine

from schemas.api.alarms import Alarm
from schemas.api.events import EventWithMetrics
from schemas.live import FIRST_POSITION, number
from schemas.live import number_alone as lock_numbering
from schemas.times.instants import microseconds
from serving.alarms.queries import AlarmRow
from serving.alarms.shapes import alarm
from serving.events.rows import EventRow
from serving.events.shapes import event_with_metrics
from serving.live import queries
from serving.live.queries import ChangeRow

EVENT_TIMES = ("start_time", "end_time", "ended_at", "notify_at", "refreshed_at")
ALARM_TIMES = ("raised_at", "cleared_at", "acknowledged_at")

encode = msgspec.json.Encoder().encode


class StreamPosition(Struct, frozen=True):
    """A position in the change log; the mark distinguishes different changes at the same position.

    A database that was restored, or promoted without its last changes, assigns their positions again.
    """

    position: int
    mark: str | None = None

    def __str__(self) -> str:
        return str(self.position) if self.mark is None else f"{self.position}-{self.mark}"


class Change(Struct, frozen=True):
    """A message of a stream, and its position in the global order."""

    place: StreamPosition
    message: bytes

    @property
    def position(self) -> int:
        return self.place.position


class Extent(Struct, frozen=True):
    """The oldest and the newest stored position."""

    oldest: int
    newest: StreamPosition


class StatusChange(Struct, rename="camel", frozen=True):
    """The latest status of a VEN has changed."""

    ven_id: str
    status: str
    ts: datetime


class ChangeLog:
    """The change log in the database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def number(self) -> None:
        """Assign positions to new changes; writes nothing if there are none."""
        with self._engine.connect() as connection:
            if connection.execute(queries.unnumbered()).first() is None:
                return
        with self._engine.begin() as connection:
            connection.execute(lock_numbering())
            connection.execute(number())

    def extent(self) -> Extent:
        with self._engine.connect() as connection:
            row = connection.execute(queries.extent()).one_or_none()
        if row is None:
            return Extent(FIRST_POSITION, StreamPosition(FIRST_POSITION - 1))
        oldest, newest, written_at = row
        return Extent(oldest, StreamPosition(newest, mark_of(written_at)))

    def can_resume(self, place: StreamPosition, extent: Extent) -> bool:
        """Return whether this log has all changes after a position, and the position is of this log."""
        if not extent.oldest - 1 <= place.position <= extent.newest.position:
            return False
        if place.mark is None or place.position < extent.oldest:
            return True
        with self._engine.connect() as connection:
            written_at = connection.execute(queries.written_at(place.position)).scalar_one_or_none()
        return written_at is not None and mark_of(written_at) == place.mark

    def after(self, position: int, most: int) -> list[Change]:
        with self._engine.connect() as connection:
            return [_change(row) for row in queries.after(position, most).each(connection)]


def mark_of(written_at: datetime) -> str:
    """Return a change's mark: the low 32 bits of the microseconds at which it was written."""
    return f"{microseconds(written_at) & 0xFFFF_FFFF:08x}"


def message(event: str, place: StreamPosition, data: bytes) -> bytes:
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (str(place).encode(), event.encode(), data)


def _change(row: ChangeRow) -> Change:
    shape = {"status": _status_change, "event": _event_change, "alarm": _alarm_change}[row.kind]
    place = StreamPosition(row.position, mark_of(row.written_at))
    return Change(place, message(row.kind, place, encode(shape(row.data))))


def _status_change(data: dict[str, object]) -> StatusChange:
    return StatusChange(str(data["ven_id"]), str(data["status"]), _utc(data["ts"]))


def _event_change(data: dict[str, object]) -> EventWithMetrics:
    """Decode an event's change; those before migration 0018 have fewer fields."""
    fields = data | {"event_id": data["id"]} | _times(data, EVENT_TIMES)
    return event_with_metrics(EventRow._make(map(fields.get, EventRow._fields)))


def _alarm_change(data: dict[str, object]) -> Alarm:
    fields = data | _times(data, ALARM_TIMES)
    return alarm(AlarmRow._make(fields[name] for name in AlarmRow._fields))


def _times(data: Mapping[str, object], names: Iterable[str]) -> dict[str, object]:
    return {name: _utc(text) for name in names if (text := data.get(name)) is not None}


def _utc(text: object) -> datetime:
    return datetime.fromisoformat(str(text)).replace(tzinfo=UTC)
