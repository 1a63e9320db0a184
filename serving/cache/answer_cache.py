"""Answers that many clients poll, each its own: kept as bytes until something changes that they may show."""

import threading
from collections.abc import Callable, Hashable
from datetime import datetime
from time import monotonic

from msgspec import Struct

from serving.cache.generation import ChangeCounter
from serving.http.representation import CachedResponse

VALID_FOR_S = 5.0
"""How long answers are served after the last contact with the database."""

LONGEST_S = 900.0
"""How long an answer is served at most. Notifications are lost with their connection only, which ends all."""

MOST_ANSWERS = 50_000
MOST_BYTES = 65_536
"""A longer answer is not kept."""

Epoch = tuple[int, int]


class Built(Struct, frozen=True):
    """An answer as it was built, and when it ends without any change; None for never."""

    body: bytes
    ends_at: datetime | None = None


class Kept(Struct, frozen=True):
    response: CachedResponse
    ends_at: datetime | None
    ends_s: float


class AnswerCache:
    """Kept up to date by a listener; without one it is always empty.

    As in `ResponseCache`, an answer is valid in the epoch in which its building began, and in no other. Equal
    answers of several clients share their bytes.
    """

    def __init__(self, changes: ChangeCounter | None = None, clock: Callable[[], float] = monotonic) -> None:
        self._changes = changes or ChangeCounter()
        self._clock = clock
        self._clears = 0
        self._valid_until = float("-inf")
        self._lock = threading.Lock()
        self._epoch: Epoch = (0, 0)
        self._kept: dict[Hashable, Kept] = {}
        self._by_body: dict[bytes, CachedResponse] = {}

    @property
    def is_valid(self) -> bool:
        """Whether a listener is there."""
        return self._clock() <= self._valid_until

    def get(self, key: Hashable, now: datetime, build: Callable[[], Built | None]) -> CachedResponse | None:
        """The answer of a key, built if need be; None if it is too long to keep, or nothing is kept now."""
        epoch, at_s = (self._clears, self._changes.value), self._clock()
        if at_s > self._valid_until:
            return None
        kept = self._kept.get(key) if epoch == self._epoch else None
        if kept is not None and at_s < kept.ends_s and (kept.ends_at is None or now < kept.ends_at):
            return kept.response
        built = build()
        if built is None or len(built.body) > MOST_BYTES:
            return None
        return self._keep(epoch, key, built, at_s + LONGEST_S)

    def _keep(self, epoch: Epoch, key: Hashable, built: Built, ends_s: float) -> CachedResponse:
        with self._lock:
            if epoch > self._epoch or len(self._kept) >= MOST_ANSWERS:
                self._epoch, self._kept, self._by_body = max(epoch, self._epoch), {}, {}
            response = self._by_body.get(built.body) or CachedResponse(built.body)
            if epoch == self._epoch:
                self._by_body[built.body] = response
                self._kept[key] = Kept(response, built.ends_at, ends_s)
        return response

    def clear(self) -> None:
        """Something has changed that an answer may show."""
        self._clears += 1

    def confirm(self) -> None:
        """The listener is there: changes do not go unnoticed."""
        self._valid_until = self._clock() + VALID_FOR_S

    def expire(self) -> None:
        """The database is away, so changes would go unnoticed."""
        self._valid_until = float("-inf")
        self._clears += 1
