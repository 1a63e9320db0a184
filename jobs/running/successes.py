"""Limits how often a job's last success is recorded: every few seconds, not in each cycle."""

from collections.abc import Callable

RECORDED_EVERY_S = 15.0
"""Shortest interval between two records of a job, which may run twice a second."""


class SuccessRecord:
    """Tells which successes of jobs are to be recorded now."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._recorded_s: dict[str, float] = {}

    def is_due(self, job: str) -> bool:
        last_s = self._recorded_s.get(job)
        return last_s is None or self._monotonic() - last_s >= RECORDED_EVERY_S

    def recorded(self, job: str) -> None:
        self._recorded_s[job] = self._monotonic()
