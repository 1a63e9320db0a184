"""When each job last succeeded: recorded every few seconds, not in each cycle."""

from collections.abc import Callable

RECORDED_EVERY_S = 15.0
"""A job that runs twice a second must not write that often."""


class SuccessRecord:
    """Which successes of jobs are to be written now."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._recorded_s: dict[str, float] = {}

    def is_due(self, job: str) -> bool:
        last_s = self._recorded_s.get(job)
        return last_s is None or self._monotonic() - last_s >= RECORDED_EVERY_S

    def recorded(self, job: str) -> None:
        self._recorded_s[job] = self._monotonic()
