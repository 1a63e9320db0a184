"""Live streams: every client gets every change, in one order, and may resume after a disconnect.

The listener thread of a worker process reads new changes and wakes the threads of its clients, which wait
only here.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Self

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from schemas.api.statistics import NetworkStats
from serving.errors import TooManyStreamsError
from serving.live.changes import Change, ChangeLog, Extent, StreamPosition, encode, message
from serving.live.places import StreamPlaces

RECENT = 2_000
"""Recent changes cached by each process; clients that are further behind read the database."""

AT_ONCE = 200
"""Most changes that are sent together."""

RETRY_MS = 2_000
HEARTBEAT = b": still here\n\n"


class LiveHub:
    """The newest changes and totals of a process, and the clients waiting for them."""

    def __init__(
        self,
        engine: Engine,
        read_network: Callable[[], NetworkStats],
        places: StreamPlaces,
        heartbeat_s: float = 15,
    ) -> None:
        self.clients = 0
        self._changes = ChangeLog(engine)
        self._read_network = read_network
        self._places = places
        self._heartbeat_s = heartbeat_s
        self._refreshing = threading.Lock()
        self._changed = threading.Condition()
        self._recent: deque[Change] = deque(maxlen=RECENT)
        self._newest: StreamPosition | None = None
        self._log_number = 0
        """Incremented when the database has another log than before."""

        self._network: bytes | None = None
        self._wakes = 0
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
            newest = self._newest_of_this_log()
            while fresh := self._changes.after(newest.position, AT_ONCE):
                newest = fresh[-1].place
                self._publish(fresh, newest)
            self._publish([], newest)

    def _newest_of_this_log(self) -> StreamPosition:
        """Return the position last read; if the log does not contain it, the log's newest one."""
        extent = self._changes.extent()
        if self._newest is None:
            return extent.newest
        if self._changes.can_resume(self._newest, extent):
            return self._newest
        structlog.get_logger().warning(
            "changes_lost", read=str(self._newest), newest=str(extent.newest), sending="reset"
        )
        with self._changed:
            self._log_number += 1
            self._recent.clear()
            self._newest = extent.newest
            self._changed.notify_all()
        return extent.newest

    def _publish(self, fresh: list[Change], newest: StreamPosition) -> None:
        with self._changed:
            self._recent.extend(fresh)
            self._newest = newest
            if fresh:
                self._changed.notify_all()

    def wake_streams(self) -> None:
        """Send every client a heartbeat now; a stream whose key is no longer valid closes."""
        with self._changed:
            self._wakes += 1
            self._changed.notify_all()

    def close(self) -> None:
        """End all streams at once, as the process stops."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def open(self, last: StreamPosition | None, holder: str | None = None) -> "LiveStream":
        """Open a client's stream, from the change after `last`, or from now on.

        Args:
            last: last position that the client received.
            holder: key of the client; one key may have only a part of the streams.

        Raises:
            TooManyStreamsError: the limit of streams is reached.
        """
        place = self._enter(holder)
        try:
            log_number, wakes, extent = self._log_number, self._wakes, self._changes.extent()
            missed = last is not None and not self._changes.can_resume(last, extent)
            network = self._network or encode(self._read_network())
        except BaseException:
            self.leave(place)
            raise
        start = extent.newest if last is None or missed else last
        stream = LiveStream(self, start, network, log_number, place, wakes)
        if missed:
            stream.reset(extent)
        return stream

    def extent(self) -> Extent:
        return self._changes.extent()

    def _enter(self, holder: str | None) -> int:
        with self._changed:
            if self._closed:
                raise TooManyStreamsError("This server is stopping, and opens no more live streams.")
            place = self._places.enter(holder)
            self.clients += 1
            return place

    def leave(self, place: int) -> None:
        with self._changed:
            self.clients -= 1
            self._places.leave(place)

    def wait(
        self, position: int, network: bytes, log_number: int, wakes: int
    ) -> tuple[bytes, int, int] | None:
        """Wait for unseen changes, the heartbeat, or `wake_streams`.

        Returns the totals, the number of the log, and the number of wakes; None when the stream ends.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    (self._log_number, self._wakes) != (log_number, wakes)
                    or self._has_changed(position, network)
                ),
                self._heartbeat_s,
            )
            return None if self._closed else (self._network or network, self._log_number, self._wakes)

    def _has_changed(self, position: int, network: bytes) -> bool:
        return (
            self._closed
            or (self._newest is not None and self._newest.position > position)
            or (self._network is not None and self._network != network)
        )

    def after(self, position: int) -> list[Change]:
        """Return the next changes, from memory, or from the database for a client that is far behind."""
        with self._changed:
            newest = self._newest
            if self._recent and self._recent[0].position <= position + 1:
                fresh = (change for change in self._recent if change.position > position)
                return list(islice(fresh, AT_ONCE))
        return (
            []
            if newest is not None and newest.position <= position
            else self._changes.after(position, AT_ONCE)
        )


class LiveStream:
    """One client's stream, as an iterator of bytes that must be closed."""

    def __init__(
        self,
        hub: LiveHub,
        start: StreamPosition,
        network: bytes,
        log_number: int,
        place: int,
        wakes: int,
    ) -> None:
        self._hub = hub
        self._position = start
        self._network = network
        self._log_number = log_number
        self._place = place
        self._wakes = wakes
        self._is_open = True
        self._is_new = True
        self._opening: list[bytes] = [f"retry: {RETRY_MS}\n\n".encode()]

    def reset(self, extent: Extent) -> None:
        """Continue from the newest change with a `reset`: the client has missed earlier changes."""
        self._position = extent.newest
        numbers = {"oldestId": extent.oldest - 1, "newestId": extent.newest.position}
        self._opening.append(message("reset", extent.newest, encode(numbers)))

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        """Wait for the next messages.

        Raises:
            StopIteration: the server stops, or the database is unavailable; the client will reconnect.
        """
        if self._is_new:
            self._is_new = False
            return b"".join([*self._opening, message("network", self._position, self._network)])
        try:
            changed = self._hub.wait(self._position.position, self._network, self._log_number, self._wakes)
            if changed is None:
                raise StopIteration
            network, log_number, self._wakes = changed
            return b"".join(self._next_messages(network, log_number)) or HEARTBEAT
        except SQLAlchemyError as error:
            structlog.get_logger().warning("stream_ended", error=str(error).strip())
            raise StopIteration from None

    def _next_messages(self, network: bytes, log_number: int) -> Iterable[bytes]:
        if log_number != self._log_number:
            self._log_number = log_number
            self._opening.clear()
            self.reset(self._hub.extent())
            yield from self._opening
        for change in self._hub.after(self._position.position):
            self._position = change.place
            yield change.message
        if network != self._network:
            self._network = network
            yield message("network", self._position, network)

    def close(self) -> None:
        """Release this client's place; granian calls it whichever side ended the stream."""
        if self._is_open:
            self._is_open = False
            self._hub.leave(self._place)
