"""Lists of events for clients, made of shared copies, and kept until what they show changes. Pure."""

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

from msgspec import Struct, structs

from serving.http.compression import compress
from serving.http.representation import CachedResponse, tag_of
from serving.openadr.page import EventFilter
from serving.openadr.polling.copies import (
    ALL,
    UNTARGETED,
    Encoded,
    EventCopy,
    EventIndex,
    Topic,
)
from serving.openadr.polling.queries import ClientPartRow, EventCopyRow

MOST_EVENTS = 1_000
"""Longer lists are read from the database, and streamed."""

MOST_QUERIES = 8
"""Answers of one client that are kept: clients choose the queries, and must not fill our memory."""

LONGEST_QUERY = 512
"""Characters. Answers of longer ones are not kept."""

LONGEST_KEPT_BODY = 65_536
"""The compressed body of a longer list is not kept."""

MOST_VIEWS_BYTES = 128 * 1024 * 1024
MOST_SHARED_BYTES = 64 * 1024 * 1024
"""What is kept for each client, and of answers that several get; with more, all of it is made again."""

VIEW_BYTES, ANSWER_BYTES, TARGET_BYTES, SHARE_BYTES, REFERENCE_BYTES = 900, 700, 64, 160, 8
"""What Python needs for each, about."""


class JoinedResponse(CachedResponse):
    """A list whose body is joined when somebody needs it."""

    __slots__ = ("_is_kept", "_parts", "kept_bytes")

    def __init__(self, parts: Sequence[Encoded], *, is_shared: bool) -> None:
        super().__init__(b"", tag_of(b"".join(part.digest for part in parts)))
        self._parts = parts
        body_bytes = sum(len(part.json) for part in parts)
        self._is_kept = is_shared and body_bytes <= LONGEST_KEPT_BODY
        self.kept_bytes = (
            ANSWER_BYTES + REFERENCE_BYTES * len(parts) + (body_bytes // 2 if self._is_kept else 0)
        )

    @property
    def body(self) -> bytes:
        return b"[" + b",".join(part.json for part in self._parts) + b"]"

    def encoded(self, encoding: str | None) -> bytes:
        if encoding is None or self._is_kept:
            return super().encoded(encoding)
        return compress(encoding, self.body)


class ListAnswer(Struct, frozen=True):
    """A list as it was at a stamp; it ends with a change of its topics, or by time."""

    stamp: int
    topics: Collection[Topic]
    ends_at: datetime | None
    response: JoinedResponse
    kept_bytes: int


class ClientView:
    """What sets one client apart: targets that it was granted, parts in events, and its latest answers."""

    __slots__ = ("answers", "changed_at", "granted", "kept_bytes", "notified", "shares_kw")

    def __init__(self, granted: Iterable[str], parts: Iterable[tuple[str, float, bool]]) -> None:
        self.granted = frozenset(map(sys.intern, granted))
        self.notified: tuple[str, ...] = ()
        self.shares_kw: dict[str, float] = {}
        self.answers: dict[str, ListAnswer] = {}
        self.changed_at = 0
        for event_id, share_kw, is_notified in parts:
            self.set_part(sys.intern(event_id), share_kw, is_notified=is_notified)
        self.kept_bytes = (
            VIEW_BYTES
            + TARGET_BYTES * len(self.granted)
            + REFERENCE_BYTES * len(self.notified)
            + SHARE_BYTES * len(self.shares_kw)
        )

    @property
    def has_part(self) -> bool:
        return bool(self.notified or self.shares_kw)

    def set_part(self, event_id: str, share_kw: float, *, is_notified: bool) -> bool:
        """Whether that is another part than before."""
        before = self.shares_kw.get(event_id, 0.0), event_id in self.notified
        if before == (share_kw, is_notified):
            return False
        self.shares_kw.pop(event_id, None)
        if share_kw:
            self.shares_kw[event_id] = share_kw
        others = tuple(each for each in self.notified if each != event_id)
        self.notified = (*others, event_id) if is_notified else others
        return True

    def keep(self, query: str, answer: ListAnswer) -> int:
        """How many bytes more are kept then."""
        before_bytes = self.kept_bytes
        if len(self.answers) >= MOST_QUERIES and query not in self.answers:
            self.forget_answers()
        if (old := self.answers.get(query)) is not None:
            self.kept_bytes -= old.kept_bytes
        self.answers[query] = answer
        self.kept_bytes += answer.kept_bytes
        return self.kept_bytes - before_bytes

    def forget_answers(self) -> None:
        self.kept_bytes -= sum(each.kept_bytes for each in self.answers.values())
        self.answers.clear()


class Copies:
    """Copies of all events, the views of clients, and answers; not safe for threads.

    A stamp counts refreshes: an answer is valid until a topic of its, or its client's view, has a later one.
    """

    def __init__(self, rows: Iterable[EventCopyRow]) -> None:
        self._index = EventIndex(map(EventCopy, rows))
        self._views: dict[str, ClientView] = {}
        self._shared: dict[tuple[bool, EventFilter], ListAnswer] = {}
        self._changed_at: dict[Topic, int] = {}
        self._views_bytes = 0
        self._shared_bytes = 0
        self.stamp = 0

    def view(self, client_id: str) -> ClientView | None:
        return self._views.get(client_id)

    def add_view(self, client_id: str, view: ClientView) -> None:
        if self._views_bytes > MOST_VIEWS_BYTES:
            self._views, self._views_bytes = {}, 0
        self.forget_view(client_id)
        view.changed_at = self.stamp
        self._views[client_id] = view
        self._views_bytes += view.kept_bytes

    def forget_view(self, client_id: str) -> None:
        view = self._views.pop(client_id, None)
        self._views_bytes -= 0 if view is None else view.kept_bytes

    def event_ids_of(self, object_ids: Iterable[str]) -> set[str]:
        """The events of ours that some objects are, as they are known here."""
        copies = (self._index.by_object.get(each) for each in object_ids)
        return {each.event_id for each in copies if each is not None and each.event_id is not None}

    def object_ids_of(self, event_ids: Iterable[str]) -> set[str]:
        return {self._index.by_event[each].object_id for each in event_ids if each in self._index.by_event}

    def change_events(self, changed: Mapping[str, EventCopyRow | None]) -> None:
        """Replace some events by their object ids; None: it is not there any more."""
        copies = {object_id: None if row is None else EventCopy(row) for object_id, row in changed.items()}
        before = [self._index.by_object.get(object_id) for object_id in changed]
        for copy in (*before, *copies.values()):
            if copy is not None:
                self._changed_at.update(dict.fromkeys(copy.topics, self.stamp))
        self._index = self._index.with_changes(copies)

    def change_parts(self, event_ids: Collection[str], rows: Iterable[ClientPartRow]) -> None:
        """Replace the parts of all clients in some events, which may have changed, too."""
        parts = {(row.client_id, row.event_id): (row.share_kw, row.is_notified) for row in rows}
        for client_id, view in self._views.items():
            for event_id in event_ids:
                share_kw, is_notified = parts.get((client_id, event_id), (0.0, False))
                had_part = event_id in view.notified
                if view.set_part(event_id, share_kw, is_notified=is_notified) or had_part:
                    view.changed_at = self.stamp

    def answer(
        self, view: ClientView | None, query: str, wanted: EventFilter, now: datetime
    ) -> JoinedResponse | None:
        """A list for a client, or for business logic, which has no view; None if it is too long.

        Args:
            view: the client's.
            query: what stands for the filter among the client's answers.
            wanted: the filter.
            now: at which an active event is not over.
        """
        if view is not None and view.has_part:
            answer = self._own_answer(view, query, wanted, now)
        else:
            answer = self._shared_answer(view, wanted, now)
        return None if answer is None else answer.response

    def _own_answer(
        self, view: ClientView, query: str, wanted: EventFilter, now: datetime
    ) -> ListAnswer | None:
        kept = view.answers.get(query)
        if kept is not None and view.changed_at <= kept.stamp and self._is_valid(kept, now):
            return kept
        answer = self._made(view, wanted, now)
        if answer is not None and len(query) <= LONGEST_QUERY:
            self._views_bytes += view.keep(query, answer)
        return answer

    def _shared_answer(
        self, view: ClientView | None, wanted: EventFilter, now: datetime
    ) -> ListAnswer | None:
        """An answer that all clients get that have no part in any event, and may see these targets."""
        if view is not None and wanted.targets is not None:
            shown = view.granted.intersection(wanted.targets)
            wanted = structs.replace(wanted, targets=tuple(sorted(shown)))
        key = (view is None, wanted)
        kept = self._shared.get(key)
        if kept is not None and self._is_valid(kept, now):
            return kept
        answer = self._made(view, wanted, now)
        if answer is not None:
            self._share(key, answer, 0 if kept is None else kept.kept_bytes)
        return answer

    def _share(self, key: tuple[bool, EventFilter], answer: ListAnswer, replaced_bytes: int) -> None:
        if self._shared_bytes > MOST_SHARED_BYTES:
            self._shared, self._shared_bytes, replaced_bytes = {}, 0, 0
        self._shared[key] = answer
        self._shared_bytes += answer.kept_bytes - replaced_bytes

    def _is_valid(self, answer: ListAnswer, now: datetime) -> bool:
        if answer.ends_at is not None and now >= answer.ends_at:
            return False
        return all(self._changed_at.get(topic, 0) <= answer.stamp for topic in answer.topics)

    def _made(self, view: ClientView | None, wanted: EventFilter, now: datetime) -> ListAnswer | None:
        shown = _shown_targets(view, wanted)
        visible = [each for each in self._readable(view, wanted, shown) if _is_wanted(each, wanted, now)]
        ends = [each.ends_at for each in visible if each.ends_at is not None] if wanted.is_active else ()
        page = visible[wanted.page.skip :][: wanted.page.limit]
        if len(page) > MOST_EVENTS:
            return None
        parts = [_part(each, view, shown) for each in page]
        own_bytes = sum(len(part.json) for each, part in zip(page, parts, strict=True) if _is_own(each, view))
        response = JoinedResponse(parts, is_shared=view is None or not view.has_part)
        topics, ends_at = _topics(view, wanted, shown), min(ends, default=None)
        return ListAnswer(self.stamp, topics, ends_at, response, response.kept_bytes + own_bytes)

    def _readable(
        self, view: ClientView | None, wanted: EventFilter, shown: Collection[str]
    ) -> Sequence[EventCopy]:
        if wanted.targets is not None:
            return self._index.with_targets(shown)
        return self._index.all if view is None else self._index.with_parts(view.notified)


def _shown_targets(view: ClientView | None, wanted: EventFilter) -> Collection[str]:
    """Targets that a client may see in a list; for business logic, those that it has named."""
    if view is None:
        return wanted.targets or ()
    return view.granted if wanted.targets is None else view.granted.intersection(wanted.targets)


def _topics(view: ClientView | None, wanted: EventFilter, shown: Collection[str]) -> Collection[Topic]:
    if view is None:
        return (ALL,)
    return (UNTARGETED,) if wanted.targets is None else tuple(shown)


def _is_wanted(copy: EventCopy, wanted: EventFilter, now: datetime) -> bool:
    if wanted.program_id is not None and copy.program_id != wanted.program_id:
        return False
    return not wanted.is_active or copy.ends_at is None or copy.ends_at > now


def _part(copy: EventCopy, view: ClientView | None, shown: Collection[str]) -> Encoded:
    if view is None:
        return copy.as_stored()
    share_kw = 0.0 if copy.event_id is None else view.shares_kw.get(copy.event_id, 0.0)
    return copy.for_client(shown, share_kw)


def _is_own(copy: EventCopy, view: ClientView | None) -> bool:
    """Whether only this client sees the event like that."""
    return view is not None and copy.event_id in view.shares_kw
