"""Lists of events that many clients poll. A change is read once, whoever polls."""

import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from time import monotonic

import structlog

from serving.cache.change_feed import ChangeFeed
from serving.db.pool import ConnectionPool
from serving.openadr.auth.access import Client
from serving.openadr.page import EventFilter
from serving.openadr.polling import queries
from serving.openadr.polling.answers import ClientView, Copies, JoinedResponse

LONGEST_S = 900.0
"""After so long everything is read again, for changes without a notification, such as retention."""

MOST_BYTES = 32 * 1024 * 1024
"""With more events than that, as clients have sent them, none are copied."""

ATTEMPTS = 3
"""To read what sets a client apart; something may change meanwhile."""


class EventLists:
    """Makes lists of copies that are refreshed, event by event and client by client, by a change feed.

    A list shows what was committed before the last change that the feed knows of. All work on copies, and the
    queries that refresh them, are under one lock; only views of clients are read outside it.
    """

    def __init__(
        self, pool: ConnectionPool, feed: ChangeFeed, clock: Callable[[], float] = monotonic
    ) -> None:
        self._pool = pool
        self._feed = feed
        self._backlog = feed.follow()
        self._clock = clock
        self._lock = threading.Lock()
        self._copies: Copies | None = None
        self._read_s = float("-inf")

    def answer(self, client: Client, query: str, wanted: EventFilter, now: datetime) -> JoinedResponse | None:
        """The list of a client; None if it is to be read from the database.

        Args:
            client: whose it is.
            query: the query string that the filter was made of.
            wanted: the filter.
            now: the time.
        """
        if not self._feed.is_current():
            return None
        for _ in range(ATTEMPTS):
            with self._lock:
                copies = self._refreshed()
                if copies is None:
                    return None
                view = None if client.reads_all else copies.view(client.client_id)
                if client.reads_all or view is not None:
                    return copies.answer(view, query, wanted, now)
                stamp = copies.stamp
            self._read_view(client.client_id, copies, stamp)
        return None

    def _read_view(self, client_id: str, before: Copies, stamp: int) -> None:
        """Add the view of a client, unless something has changed while it was read."""
        [targets], parts = self._pool.columns(queries.grants_of(client_id), queries.parts_of(client_id))
        view = ClientView(targets, zip(*parts, strict=True))
        with self._lock:
            copies = self._refreshed()
            if copies is not None and copies is before and copies.stamp == stamp:
                copies.add_view(client_id, view)

    def _refreshed(self) -> Copies | None:
        """The copies with all changes of the backlog; None if there are too many events to copy."""
        is_old = self._clock() - self._read_s > LONGEST_S
        if self._backlog.is_empty and not is_old:
            return self._copies
        try:
            changes = _by_kind(self._backlog.take())
            if is_old or changes is None:
                self._copies = self._read_all()
            elif self._copies is not None:
                self._apply(self._copies, changes)
        except BaseException:
            self._copies, self._read_s = None, float("-inf")
            raise
        return self._copies

    def _read_all(self) -> Copies | None:
        self._read_s = self._clock()
        [(size_bytes,)] = self._pool.rows(queries.size_of_events())
        if size_bytes > MOST_BYTES:
            structlog.get_logger().warning("openadr_events_not_copied", size_bytes=size_bytes)
            return None
        return Copies(self._pool.rows(queries.all_events()))

    def _apply(self, copies: Copies, changes: Mapping[str, set[str]]) -> None:
        copies.stamp += 1
        for client_id in changes["client"]:
            copies.forget_view(client_id)
        if changes["object"] or changes["event"]:
            self._apply_to_events(copies, changes["object"], changes["event"])

    def _apply_to_events(self, copies: Copies, object_ids: set[str], event_ids: set[str]) -> None:
        rows = self._pool.rows(queries.some_events([*object_ids], [*event_ids]))
        gone = dict.fromkeys(object_ids | copies.object_ids_of(event_ids))
        changed = {**gone, **{row.object_id: row for row in rows}}
        concerned = {
            *copies.event_ids_of(changed),
            *(row.event_id for row in rows if row.event_id is not None),
        }
        copies.change_events(changed)
        if concerned:
            copies.change_parts(concerned, self._pool.rows(queries.parts_in([*concerned])))


def _by_kind(changes: Iterable[str]) -> Mapping[str, set[str]] | None:
    """The ids of what has changed, by the kinds of channel `OPENADR`; None: anything may have."""
    ids: dict[str, set[str]] = {"object": set(), "event": set(), "client": set()}
    for change in changes:
        kind, _, changed_id = change.partition(":")
        if kind not in ids:
            return None
        ids[kind].add(changed_id)
    return ids
