"""Rate limits by a token bucket for each key.

Each worker process has its own buckets, so the rate applies per process.
"""

import math
import threading
from dataclasses import dataclass


@dataclass(frozen=True)
class Grant:
    """Whether a request is allowed, the remaining tokens, and the seconds until the next and until all."""

    is_granted: bool
    remaining: int
    next_in_s: float
    full_in_s: float


class TokenBuckets:
    """A bucket for each key; it starts full."""

    def __init__(self, rate_per_s: float, burst: int) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._lock = threading.Lock()
        self._buckets: dict[str, tuple[float, float]] = {}
        self.policy = f'"key";q={burst};w={math.ceil(burst / rate_per_s)}'

    def take(self, key_id: str, now_s: float) -> Grant:
        with self._lock:
            left, since_s = self._buckets.get(key_id, (float(self._burst), now_s))
            tokens = min(self._burst, left + max(0.0, now_s - since_s) * self._rate_per_s)
            is_granted = tokens >= 1
            tokens -= is_granted
            self._buckets[key_id] = tokens, now_s
        return Grant(
            is_granted,
            int(tokens),
            max(0.0, (1 - tokens) / self._rate_per_s),
            (self._burst - tokens) / self._rate_per_s,
        )
