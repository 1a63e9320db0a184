"""The time that programs have in common: the database's, whatever their own clocks say."""

from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec import Struct

STEP_S = 1.0
"""What a clock moves by beyond this, from one look to the next, it was set by somebody."""

DIFFERENCE_S = 5.0
"""A machine's clock that differs by more from the database's is worth a word in the log."""

Wall = Callable[[], datetime]
Monotonic = Callable[[], float]


class Reading(Struct, frozen=True):
    """What a clock showed, in UTC, and when, by a monotonic clock in seconds."""

    at: datetime
    monotonic_s: float

    def after(self, monotonic_s: float) -> datetime:
        return self.at + timedelta(seconds=monotonic_s - self.monotonic_s)


class StepDetector:
    """Notices when a clock was set, by comparison with a monotonic one."""

    def __init__(self, wall: Wall, monotonic: Monotonic) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._last = Reading(wall(), monotonic())

    def step_s(self) -> float | None:
        """By how many seconds it was set since the last look; None if it was not."""
        now = Reading(self._wall(), self._monotonic())
        step_s = (now.at - self._last.after(now.monotonic_s)).total_seconds()
        self._last = now
        return step_s if abs(step_s) > STEP_S else None


class DatabaseClock:
    """The database's time: read now and then, and in between told by a clock that nobody sets.

    Until the first reading it is the machine's own time, as at the start.
    """

    def __init__(self, wall: Wall, monotonic: Monotonic) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._reading = Reading(wall(), monotonic())

    def __call__(self) -> datetime:
        return self._reading.after(self._monotonic())

    def read(self, ask: Callable[[], datetime]) -> None:
        """Ask the database; its answer counts for the middle of the time that it took."""
        asked_s = self._monotonic()
        at = ask()
        self._reading = Reading(at, (asked_s + self._monotonic()) / 2)

    def difference_s(self) -> float:
        """By how many seconds the machine's clock is ahead of it."""
        return (self._wall() - self()).total_seconds()
