"""Exponential back-off: the wait doubles after each consecutive failure, up to a minute.

Times are seconds of a monotonic clock.
"""

LONGEST_S = 60.0
MOST_DOUBLINGS = 10


class Backoff:
    """The back-off of one job."""

    def __init__(self, every_s: float, longest_s: float = LONGEST_S) -> None:
        self._every_s = every_s
        self._longest_s = longest_s
        self._failures = 0
        self._not_before_s: float | None = None

    def is_waiting(self, now_s: float) -> bool:
        return self._not_before_s is not None and now_s < self._not_before_s

    def failed(self, now_s: float) -> float:
        """Count a failure; returns the seconds to wait, at least the job's period."""
        self._failures = min(self._failures + 1, MOST_DOUBLINGS)
        wait_s = max(self._every_s, min(self._every_s * float(2**self._failures), self._longest_s))
        self._not_before_s = now_s + wait_s
        return wait_s

    def succeeded(self) -> None:
        self._failures, self._not_before_s = 0, None
