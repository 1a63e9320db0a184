"""Live streams: every client gets every change, in one order, and may resume after it was away.

The listener thread of a worker process reads new changes and wakes the threads of its clients, which wait
here and nowhere else.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Self

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from schemas.http import NetworkStats
from serving.errors import TooManyStreamsError
from serving.live.changes import Change, ChangeLog, Extent, encode, message

RECENT = 2_000
"""Recent changes in the memory of each process; clients that are further behind read the database."""

AT_ONCE = 200
"""Changes that are sent together, at most."""

RETRY_MS = 2_000
HEARTBEAT = b": still here\n\n"


class LiveHub:
    """The newest changes and totals of a process, and the clients that wait for them."""

    def __init__(
        self,
        engine: Engine,
        read_network: Callable[[], NetworkStats],
        most_clients: int = 64,
        heartbeat_s: float = 15,
    ) -> None:
        self.clients = 0
        self._changes = ChangeLog(engine)
        self._read_network = read_network
        self._most_clients = most_clients
        self._heartbeat_s = heartbeat_s
        self._refreshing = threading.Lock()
        self._changed = threading.Condition()
        self._recent: deque[Change] = deque(maxlen=RECENT)
        self._newest: int | None = None
        self._network: bytes | None = None
        self._closed = False

    def refresh_network(self) -> None:
        """Publish the totals if they have changed."""
        network = encode(self._read_network())
        with self._changed:
            if network != self._network:
                self._network = network
                self._changed.notify_all()

    def refresh_changes(self) -> None:
        """Number, read and publish new changes."""
        with self._refreshing:
            self._changes.number()
            newest = self._changes.extent().newest if self._newest is None else self._newest
            while fresh := self._changes.after(newest, AT_ONCE):
                newest = fresh[-1].position
                self._publish(fresh, newest)
            self._publish([], newest)

    def _publish(self, fresh: list[Change], newest: int) -> None:
        with self._changed:
            self._recent.extend(fresh)
            self._newest = newest
            if fresh:
                self._changed.notify_all()

    def close(self) -> None:
        """End every stream at once, since the process stops."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def open(self, last_id: int | None) -> "LiveStream":
        """A client's stream, from the change after `last_id` on, or from now on.

        Raises:
            TooManyStreamsError: there is no room for another client.
        """
        self._enter()
        try:
            extent = self._changes.extent()
            network = self._network or encode(self._read_network())
        except BaseException:
            self.leave()
            raise
        return LiveStream(self, extent, last_id, network)

    def _enter(self) -> None:
        with self._changed:
            if self._closed:
                raise TooManyStreamsError("This server is stopping, and opens no more live streams.")
            if self.clients >= self._most_clients:
                raise TooManyStreamsError(
                    f"There are {self._most_clients} live streams already, the most that this takes."
                )
            self.clients += 1

    def leave(self) -> None:
        with self._changed:
            self.clients -= 1

    def wait(self, position: int, network: bytes) -> bytes | None:
        """Wait for unseen changes, or the heartbeat; returns the totals, or None when the stream ends."""
        with self._changed:
            self._changed.wait_for(lambda: self._has_changed(position, network), self._heartbeat_s)
            return None if self._closed else (self._network or network)

    def _has_changed(self, position: int, network: bytes) -> bool:
        return (
            self._closed
            or (self._newest is not None and self._newest > position)
            or (self._network is not None and self._network != network)
        )

    def after(self, position: int) -> list[Change]:
        """The next changes: from memory, or from the database for a client that is far behind."""
        with self._changed:
            newest = self._newest
            if self._recent and self._recent[0].position <= position + 1:
                fresh = (change for change in self._recent if change.position > position)
                return list(islice(fresh, AT_ONCE))
        return [] if newest is not None and newest <= position else self._changes.after(position, AT_ONCE)


class LiveStream:
    """One client's stream, as an iterator of bytes that must be closed."""

    def __init__(self, hub: LiveHub, extent: Extent, last_id: int | None, network: bytes) -> None:
        self._hub = hub
        self._position = extent.newest if last_id is None else last_id
        self._network = network
        self._is_open = True
        self._opening: list[bytes] = [f"retry: {RETRY_MS}\n\n".encode()]
        if not extent.can_resume(self._position):
            self._position = extent.newest
            reset = {"oldestId": extent.oldest - 1, "newestId": extent.newest}
            self._opening.append(message("reset", extent.newest, encode(reset)))
        self._opening.append(message("network", self._position, network))

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        """Wait for the next messages.

        Raises:
            StopIteration: the server stops, or the database is away; the client will reconnect.
        """
        if opening := b"".join(self._opening):
            self._opening.clear()
            return opening
        try:
            network = self._hub.wait(self._position, self._network)
            if network is None:
                raise StopIteration
            return b"".join(self._next_messages(network)) or HEARTBEAT
        except SQLAlchemyError as error:
            structlog.get_logger().warning("stream_ended", error=str(error).strip())
            raise StopIteration from None

    def _next_messages(self, network: bytes) -> Iterable[bytes]:
        for change in self._hub.after(self._position):
            self._position = change.position
            yield change.message
        if network != self._network:
            self._network = network
            yield message("network", self._position, network)

    def close(self) -> None:
        """Release the place of this client; granian calls it whoever ended the stream."""
        if self._is_open:
            self._is_open = False
            self._hub.leave()
