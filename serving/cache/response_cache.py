"""Responses that every client polls and that change only with the totals: kept as bytes, for all threads."""

import threading
from collections.abc import Callable, Hashable, Mapping
from time import monotonic

from serving.cache.generation import ChangeCounter
from serving.http.representation import CachedResponse

VALID_FOR_S = 5.0
"""How long a response is served after the last contact with the database."""

Build = Callable[[], bytes | None]
Epoch = tuple[int, int]
"""The number of refreshes of this process, and of changes by all processes of the server."""


class CacheEntry:
    """One response: how it is built, its bytes with the epoch of their building, and whether a client has
    requested it since the last refresh.
    """

    def __init__(self, build: Build) -> None:
        self.build = build
        self.lock = threading.Lock()
        self.built: tuple[Epoch | None, CachedResponse | None] = (None, None)
        self.is_requested = False


class ResponseCache:
    """Kept up to date by a listener; without one it is always empty.

    A response is valid in the epoch in which its building began, and in no other. So one that was read from
    the database before a change is never served after it, whichever thread or process made the change, and
    in whatever order the two finish. Responses that nobody has requested since the last refresh are built at
    the next request.
    """

    def __init__(
        self,
        builders: Mapping[str, Build],
        read_version: Callable[[], Hashable],
        clock: Callable[[], float] = monotonic,
        changes: ChangeCounter | None = None,
    ) -> None:
        self._entries = {name: CacheEntry(build) for name, build in builders.items()}
        self._read_version = read_version
        self._clock = clock
        self._changes = changes or ChangeCounter()
        self._version: Hashable = None
        self._refreshes = 0
        self._valid_until = float("-inf")

    def get(self, name: str) -> CachedResponse | None:
        """The response, built if need be; None if it is too long to cache, or the cache is not valid."""
        if self._clock() > self._valid_until:
            return None
        entry = self._entries[name]
        entry.is_requested = True
        return self._valid(entry) or self._build_once(entry)

    def peek(self, name: str) -> CachedResponse | None:
        """The response if it is cached; nothing is built, and the request is not noted."""
        return None if self._clock() > self._valid_until else self._valid(self._entries[name])

    def note_request(self, name: str) -> None:
        """Have the response built again at the next notification."""
        self._entries[name].is_requested = True

    def age_s(self) -> float:
        """Seconds since the last contact with the database; infinite if there was none."""
        return self._clock() - (self._valid_until - VALID_FOR_S)

    def _epoch(self) -> Epoch:
        return self._refreshes, self._changes.value

    def _valid(self, entry: CacheEntry) -> CachedResponse | None:
        epoch, response = entry.built
        return response if epoch == self._epoch() else None

    def _build_once(self, entry: CacheEntry) -> CachedResponse | None:
        with entry.lock:
            return self._valid(entry) or self._build(entry)

    def _build(self, entry: CacheEntry) -> CachedResponse | None:
        epoch = self._epoch()
        body = entry.build()
        response = None if body is None else CachedResponse(body)
        entry.built = epoch, response
        return response

    def refresh(self) -> None:
        """After a notification: build what was requested; the rest is built at its next request."""
        notified_at = self._clock()
        self._version = self._read_version()
        self._refreshes += 1
        for entry in self._entries.values():
            if entry.is_requested:
                entry.is_requested = False
                self._build(entry)
        self._valid_until = notified_at + VALID_FOR_S

    def poll(self) -> None:
        """Without a notification: compare the version, in case one was lost."""
        if self._read_version() != self._version:
            self.refresh()
        self._valid_until = self._clock() + VALID_FOR_S

    def clear(self) -> None:
        """After a change by this process: the client that made it must see it, also by another process."""
        self._changes.increment()

    def expire(self) -> None:
        """The database is away, so changes would go unnoticed."""
        self._valid_until = float("-inf")
        self._refreshes += 1
