"""Answers that everybody polls and that change only with the totals: ready as bytes, for all threads."""

import threading
from collections.abc import Callable, Hashable, Mapping
from time import monotonic

from serving.whole import Whole

TRUSTED_FOR_S = 5.0
"""So long an answer stands without a word from the database; after that it is read as any other."""

Make = Callable[[], bytes | None]


class Slot:
    """One answer: how it is made, as it was made, and whether anybody has asked for it since."""

    def __init__(self, make: Make) -> None:
        self.make = make
        self.lock = threading.Lock()
        self.whole: Whole | None = None
        self.is_wanted = False


class Hot:
    """What a listener keeps up to date. Nobody listens: nothing is ready, and every request reads.

    Each notification begins another generation. What was read in an earlier one is not kept, since it may
    have been read before the change; and what nobody has asked for is made when somebody does.
    """

    def __init__(
        self,
        makes: Mapping[str, Make],
        version: Callable[[], Hashable],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._slots = {name: Slot(make) for name, make in makes.items()}
        self._read_version = version
        self._clock = clock
        self._version: Hashable = None
        self._generation = object()
        self._trusted_until = float("-inf")

    def get(self, name: str) -> Whole | None:
        """The answer, made if need be; None if it must be read, since it is long or nobody listens."""
        if self._clock() > self._trusted_until:
            return None
        slot = self._slots[name]
        slot.is_wanted = True
        return slot.whole or self._make(slot)

    def peek(self, name: str) -> Whole | None:
        """The answer if it is ready; nothing is made, and nobody is noted to have asked."""
        return None if self._clock() > self._trusted_until else self._slots[name].whole

    def want(self, name: str) -> None:
        """Somebody has asked: make it anew after the next change."""
        self._slots[name].is_wanted = True

    def age_s(self) -> float:
        """Seconds since the database was last heard; infinite if it never was."""
        return self._clock() - (self._trusted_until - TRUSTED_FOR_S)

    def _make(self, slot: Slot) -> Whole | None:
        with slot.lock:
            return slot.whole or self._renew(slot)

    def _renew(self, slot: Slot) -> Whole | None:
        generation = self._generation
        made = slot.make()
        whole = None if made is None else Whole(made)
        if generation is self._generation:
            slot.whole = whole
        return whole

    def refresh(self) -> None:
        """Something has changed: make anew what is asked for, forget the rest."""
        heard_at = self._clock()
        self._version = self._read_version()
        self._generation = object()
        wanted = [slot for slot in self._slots.values() if slot.is_wanted]
        for slot in self._slots.values():
            if slot not in wanted:
                slot.whole = None
        for slot in wanted:
            slot.is_wanted = False
            self._renew(slot)
        self._trusted_until = heard_at + TRUSTED_FOR_S

    def check(self) -> None:
        """Nobody has said that something has changed: look."""
        if self._read_version() != self._version:
            self.refresh()
        self._trusted_until = self._clock() + TRUSTED_FOR_S

    def forget(self) -> None:
        """Somebody has changed something here: what is asked for next is read anew."""
        self._generation = object()
        for slot in self._slots.values():
            slot.whole = None

    def distrust(self) -> None:
        """The database is away: whether anything changes cannot be known."""
        self._trusted_until = float("-inf")
        self.forget()
