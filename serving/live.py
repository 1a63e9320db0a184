"""Live streams: what has changed, told to every client in one order, and told again to who was away.

One thread of a worker process listens to the database, and hands what is new to all of its clients; the
thread that granian lends to a client waits here, and only here.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Self

import msgspec
import structlog
from msgspec import Struct
from sqlalchemy import Engine, Row
from sqlalchemy.exc import SQLAlchemyError

from schemas.http import EventWithMetrics, NetworkStats
from schemas.live import FIRST_POSITION, number, number_alone
from serving.queries import live as queries
from serving.shapes import rounded

RECENT = 2_000
"""Changes that each process holds for its clients; who is further behind has them read for him."""

AT_ONCE = 200
"""Changes that are sent together."""

RETRY_MS = 2_000
HEARTBEAT = b": still here\n\n"

_encode = msgspec.json.Encoder().encode


class TooManyStreams(Exception):  # noqa: N818 - an answer to a client, not a fault
    """As many clients are connected as the settings allow."""


class Change(Struct, frozen=True):
    """A message as it is sent, and its place in the order of all."""

    position: int
    message: bytes


class Extent(Struct, frozen=True):
    """The oldest and the newest position that can be told again."""

    oldest: int
    newest: int

    def can_resume(self, position: int) -> bool:
        return self.oldest - 1 <= position <= self.newest


class StatusChange(Struct, rename="camel", frozen=True):
    """A VEN's latest status has become another."""

    ven_id: str
    status: str
    ts: datetime


class Changes:
    """The log of changes in the database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def number(self) -> None:
        """Give new changes their places; nothing is written if there are none."""
        with self._engine.connect() as connection:
            if connection.execute(queries.unnumbered()).first() is None:
                return
        with self._engine.begin() as connection:
            connection.execute(number_alone())
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


class Live:
    """What a process knows of the present, and the clients that wait to be told."""

    def __init__(
        self,
        engine: Engine,
        read_network: Callable[[], NetworkStats],
        most_clients: int = 64,
        heartbeat_s: float = 15,
    ) -> None:
        self.clients = 0
        self._changes = Changes(engine)
        self._read_network = read_network
        self._most_clients = most_clients
        self._heartbeat_s = heartbeat_s
        self._refreshing = threading.Lock()
        self._news = threading.Condition()
        self._recent: deque[Change] = deque(maxlen=RECENT)
        self._newest: int | None = None
        self._network: bytes | None = None
        self._closed = False

    def refresh_network(self) -> None:
        """Tell the totals, if they are not what they were."""
        network = _encode(self._read_network())
        with self._news:
            if network != self._network:
                self._network = network
                self._news.notify_all()

    def refresh_changes(self) -> None:
        """Number, read and tell what is new."""
        with self._refreshing:
            self._changes.number()
            newest = self._changes.extent().newest if self._newest is None else self._newest
            while fresh := self._changes.after(newest, AT_ONCE):
                newest = fresh[-1].position
                self._tell(fresh, newest)
            self._tell([], newest)

    def _tell(self, fresh: list[Change], newest: int) -> None:
        with self._news:
            self._recent.extend(fresh)
            self._newest = newest
            if fresh:
                self._news.notify_all()

    def close(self) -> None:
        """End every stream at once: the process is asked to stop."""
        with self._news:
            self._closed = True
            self._news.notify_all()

    def open(self, last_id: int | None) -> "Stream":
        """A client's stream, from the change after `last_id` on, or from now on.

        Raises:
            TooManyStreams: there is no room for another client.
        """
        self._enter()
        try:
            extent = self._changes.extent()
            network = self._network or _encode(self._read_network())
        except BaseException:
            self.leave()
            raise
        return Stream(self, extent, last_id, network)

    def _enter(self) -> None:
        with self._news:
            if self._closed:
                raise TooManyStreams("This server is closing down, and opens no more live streams.")
            if self.clients >= self._most_clients:
                raise TooManyStreams(
                    f"There are {self._most_clients} live streams already, the most that this takes."
                )
            self.clients += 1

    def leave(self) -> None:
        with self._news:
            self.clients -= 1

    def wait(self, position: int, network: bytes) -> bytes | None:
        """Wait for what a client does not have, or its heartbeat; answers the totals, or None at the end."""
        with self._news:
            self._news.wait_for(lambda: self._has_news(position, network), self._heartbeat_s)
            return None if self._closed else (self._network or network)

    def _has_news(self, position: int, network: bytes) -> bool:
        return (
            self._closed
            or (self._newest is not None and self._newest > position)
            or (self._network is not None and self._network != network)
        )

    def after(self, position: int) -> list[Change]:
        """Some of what comes next: from memory, or from the database to who is far behind."""
        with self._news:
            newest = self._newest
            if self._recent and self._recent[0].position <= position + 1:
                fresh = (change for change in self._recent if change.position > position)
                return list(islice(fresh, AT_ONCE))
        return [] if newest is not None and newest <= position else self._changes.after(position, AT_ONCE)


class Stream:
    """One client's stream, as an iterator of bytes that must be closed."""

    def __init__(self, live: Live, extent: Extent, last_id: int | None, network: bytes) -> None:
        self._live = live
        self._position = extent.newest if last_id is None else last_id
        self._network = network
        self._is_open = True
        self._opening: list[bytes] = [f"retry: {RETRY_MS}\n\n".encode()]
        if not extent.can_resume(self._position):
            self._position = extent.newest
            reset = {"oldestId": extent.oldest - 1, "newestId": extent.newest}
            self._opening.append(message("reset", extent.newest, _encode(reset)))
        self._opening.append(message("network", self._position, network))

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        """The next messages; waits for them.

        Raises:
            StopIteration: we are closing down, or the database is away; the client comes again.
        """
        if opening := b"".join(self._opening):
            self._opening.clear()
            return opening
        try:
            network = self._live.wait(self._position, self._network)
            if network is None:
                raise StopIteration
            return b"".join(self._news(network)) or HEARTBEAT
        except SQLAlchemyError as error:
            structlog.get_logger().warning("stream_ended", error=str(error).strip())
            raise StopIteration from None

    def _news(self, network: bytes) -> Iterable[bytes]:
        for change in self._live.after(self._position):
            self._position = change.position
            yield change.message
        if network != self._network:
            self._network = network
            yield message("network", self._position, network)

    def close(self) -> None:
        """Make room for another client; granian calls it whether the client has left or we have."""
        if self._is_open:
            self._is_open = False
            self._live.leave()


def message(event: str, position: int, data: bytes) -> bytes:
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (position, event.encode(), data)


def _change(row: Row[Any]) -> Change:
    shape = {"status": _status_change, "event": _event_change}[row.kind]
    return Change(row.position, message(row.kind, row.position, _encode(shape(row.data))))


def _status_change(data: dict[str, Any]) -> StatusChange:
    return StatusChange(data["ven_id"], data["status"], _utc(data["ts"]))


def _event_change(data: dict[str, Any]) -> EventWithMetrics:
    times = {name: _utc(data[name]) for name in ("start_time", "end_time")}
    powers = {name: rounded(data[name]) for name in data if name.endswith(("_kw", "_ms"))}
    return EventWithMetrics(**(data | times | powers))


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
