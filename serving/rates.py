"""How often a key may call: a bucket of tokens each, that fills at a steady rate.

Each worker process has buckets of its own: with several, a key whose calls are dealt out among them gets as
many times the rate.
"""

import math
import threading
from dataclasses import dataclass


@dataclass(frozen=True)
class Grant:
    """Whether a call may go on; what is left; and in how many seconds there is one more, and all again."""

    is_granted: bool
    remaining: int
    next_in_s: float
    full_in_s: float


class TokenBuckets:
    """One for each key; a key that has never called has a full one."""

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
