"""Copies of events that all clients share, and how clients that see different parts of one get it. Pure."""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from schemas.openadr_objects import shown
from schemas.openadr_shares import Share, with_own_share
from serving.http.responses import encode
from serving.openadr.objects import with_shown_targets
from serving.openadr.polling.queries import EventRow

MOST_VARIANTS = 64
"""Encodings of one event that are kept: clients with other targets see other ones."""

Topic = str | tuple[str]
"""What an answer depends on: a target, or one of the following."""

ALL: Topic = ("all",)
UNTARGETED: Topic = ("untargeted",)


class Encoded(NamedTuple):
    """An event as a client sees it, in JSON, with a digest of that."""

    json: bytes
    digest: bytes


class EventCopy:
    """One event as it is stored."""

    def __init__(self, row: EventRow) -> None:
        self.order = (row.created_at, row.object_id)
        self.object_id = row.object_id
        self.targets = row.targets
        self.program_id = row.program_id
        self.ends_at = row.ends_at
        self.event_id = row.event_id
        self._asks = (row.of_all_kw, row.flexibility_kw) if row.is_live else None
        self._whole = _encoded(encode(shown(row, "EVENT")))
        self._variants: dict[tuple[tuple[str, ...] | None, Share | None], Encoded] = {}

    @property
    def topics(self) -> Sequence[Topic]:
        return (ALL, *(self.targets or (UNTARGETED,)))

    def as_stored(self) -> Encoded:
        """As business logic sees it."""
        return self._whole

    def for_client(self, granted: Collection[str], share_kw: float) -> Encoded:
        """As a client of VENs sees it.

        Args:
            granted: the targets that it may see.
            share_kw: what the event asks of its VENs, if it is an event that asks for power.
        """
        targets = tuple(each for each in self.targets if each in granted) if self.targets else None
        share = None if self._asks is None else Share(share_kw, *self._asks)
        if share is None and targets is None:
            return self._whole
        if share_kw and share is not None:
            return self._variant(targets, share)
        variant = self._variants.get((targets, share)) or self._variant(targets, share)
        if len(self._variants) < MOST_VARIANTS:
            self._variants[targets, share] = variant
        return variant

    def _variant(self, targets: Collection[str] | None, share: Share | None) -> Encoded:
        whole = msgspec.json.decode(self._whole.json)
        return _encoded(encode(with_own_share(with_shown_targets(whole, targets), share)))


def _encoded(json: bytes) -> Encoded:
    return Encoded(json, hashlib.sha256(json).digest()[:16])


class EventIndex:
    """All events, in the order in which they were made, by their ids and targets."""

    def __init__(self, copies: Iterable[EventCopy]) -> None:
        self.all = sorted(copies, key=_order)
        self.by_object = {each.object_id: each for each in self.all}
        self.by_event = {each.event_id: each for each in self.all if each.event_id is not None}
        self.untargeted = [each for each in self.all if not each.targets]
        self._by_target: dict[str, list[EventCopy]] = {}
        for each in self.all:
            for target in each.targets:
                self._by_target.setdefault(target, []).append(each)

    def with_changes(self, changed: Mapping[str, EventCopy | None]) -> "EventIndex":
        """Without events whose copy is None."""
        return EventIndex(each for each in {**self.by_object, **changed}.values() if each is not None)

    def with_targets(self, targets: Iterable[str]) -> list[EventCopy]:
        """Events that have one of some targets."""
        found = {each.object_id: each for target in targets for each in self._by_target.get(target, ())}
        return sorted(found.values(), key=_order)

    def with_parts(self, event_ids: Iterable[str]) -> list[EventCopy]:
        """Events without targets, and those of some ids."""
        own = [self.by_event[each] for each in event_ids if each in self.by_event]
        targeted = [each for each in own if each.targets]
        return sorted([*self.untargeted, *targeted], key=_order) if targeted else self.untargeted


def _order(copy: EventCopy) -> tuple[object, str]:
    return copy.order
