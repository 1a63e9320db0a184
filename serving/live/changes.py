"""The log of changes in the database, and its messages for server-sent events."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Engine, Row

from schemas.http import EventWithMetrics
from schemas.live import FIRST_POSITION, number
from schemas.live import number_alone as lock_numbering
from schemas.rounding import rounded
from serving.live import queries

encode = msgspec.json.Encoder().encode


class Change(Struct, frozen=True):
    """A message of a stream, and its position in the one order of all."""

    position: int
    message: bytes


class Extent(Struct, frozen=True):
    """The oldest and the newest position that are stored."""

    oldest: int
    newest: int

    def can_resume(self, position: int) -> bool:
        return self.oldest - 1 <= position <= self.newest


class StatusChange(Struct, rename="camel", frozen=True):
    """The latest status of a VEN has changed."""

    ven_id: str
    status: str
    ts: datetime


class ChangeLog:
    """The log of changes in the database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def number(self) -> None:
        """Give new changes their positions; writes nothing if there are none."""
        with self._engine.connect() as connection:
            if connection.execute(queries.unnumbered()).first() is None:
                return
        with self._engine.begin() as connection:
            connection.execute(lock_numbering())
            connection.execute(number())

    def extent(self) -> Extent:
        with self._engine.connect() as connection:
            oldest, newest = connection.execute(queries.extent()).one()
        if newest is None:
            return Extent(FIRST_POSITION, FIRST_POSITION - 1)
        return Extent(oldest, newest)

    def after(self, position: int, most: int) -> list[Change]:
        with self._engine.connect() as connection:
            return [_change(row) for row in connection.execute(queries.after(position, most))]


def message(event: str, position: int, data: bytes) -> bytes:
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (position, event.encode(), data)


def _change(row: Row[Any]) -> Change:
    shape = {"status": _status_change, "event": _event_change}[row.kind]
    return Change(row.position, message(row.kind, row.position, encode(shape(row.data))))


def _status_change(data: dict[str, Any]) -> StatusChange:
    return StatusChange(data["ven_id"], data["status"], _utc(data["ts"]))


def _event_change(data: dict[str, Any]) -> EventWithMetrics:
    times = {name: _utc(data[name]) for name in ("start_time", "end_time")}
    powers = {name: rounded(data[name]) for name in data if name.endswith(("_kw", "_ms"))}
    return EventWithMetrics(**(data | times | powers))


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
