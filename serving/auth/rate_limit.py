"""Rate limits by a token bucket for each key, which the worker processes of a server share."""

import math
import secrets
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

from msgspec import Struct

from serving.shared_memory import SharedMemory

BUCKETS = 32_768
"""Most buckets at once; one that has refilled is free for another key."""

SET_SIZE = 8
"""Buckets among which a key has its one."""

SALT_BYTES = 16
NUMBER_BYTES = 8
REMEMBERED = 4_096


class Grant(Struct, frozen=True):
    """Whether a request is allowed, the remaining tokens, and the seconds until the next and until all."""

    is_granted: bool
    remaining: int
    next_in_s: float
    full_in_s: float


class TokenBuckets:
    """A bucket for each key; it starts full.

    A bucket is three numbers in memory of a fixed size: a tag of the key, the tokens, and the time of its
    last request. A new key takes the bucket of its set that was used least recently: with tens of thousands
    of keys that call at the same time, some may call more often than they should.
    """

    def __init__(
        self,
        rate_per_s: float,
        burst: int,
        clock_s: Callable[[], float],
        file: Path | None = None,
        buckets: int = BUCKETS,
    ) -> None:
        """`clock_s` is the same in all processes that share the `file`."""
        self._rate_per_s = rate_per_s
        self._burst = float(burst)
        self._clock_s = clock_s
        self._sets = max(1, buckets // SET_SIZE)
        slots = self._sets * SET_SIZE
        self._memory = SharedMemory(SALT_BYTES + 3 * NUMBER_BYTES * slots, file)
        numbers = self._memory.bytes[SALT_BYTES:]
        tags, tokens, times = (
            numbers[start * NUMBER_BYTES :][: slots * NUMBER_BYTES] for start in (0, slots, 2 * slots)
        )
        self._tags, self._tokens, self._times = tags.cast("Q"), tokens.cast("d"), times.cast("d")
        self._salt = self._shared_salt()
        self._place = lru_cache(maxsize=REMEMBERED)(self._place_of)
        self.policy = f'"key";q={burst};w={math.ceil(burst / rate_per_s)}'

    def take(self, key_id: str) -> Grant:
        tag, first = self._place(key_id)
        with self._memory:
            now_s = self._clock_s()
            slot = first if self._tags[first] == tag else self._slot(tag, first)
            refilled = max(0.0, now_s - self._times[slot]) * self._rate_per_s
            tokens = min(self._burst, self._tokens[slot] + refilled)
            is_granted = tokens >= 1
            tokens -= is_granted
            # A process that is killed between the two writes costs the key what was refilled, never more.
            self._times[slot] = now_s
            self._tokens[slot] = tokens
        return Grant(
            is_granted,
            int(tokens),
            max(0.0, (1 - tokens) / self._rate_per_s),
            (self._burst - tokens) / self._rate_per_s,
        )

    def _slot(self, tag: int, first: int) -> int:
        """Return the place of a bucket; that of the least recently used one, filled up, for a new key."""
        slots = range(first, first + SET_SIZE)
        for slot in slots:
            if self._tags[slot] == tag:
                return slot
        oldest = min(slots, key=self._times.__getitem__)
        self._tokens[oldest] = self._burst
        self._tags[oldest] = tag
        return oldest

    def _place_of(self, key_id: str) -> tuple[int, int]:
        """Return the tag of a key, never 0, and the first slot of its set."""
        digest = blake2b(key_id.encode(), digest_size=NUMBER_BYTES, salt=self._salt).digest()
        tag = int.from_bytes(digest) or 1
        return tag, tag % self._sets * SET_SIZE

    def _shared_salt(self) -> bytes:
        """Return the salt of tags, drawn by the first process: nobody can choose ids that share a bucket."""
        salt = self._memory.bytes[:SALT_BYTES]
        with self._memory:
            if not any(salt):
                salt[:] = secrets.token_bytes(SALT_BYTES)
        return bytes(salt)
