"""The common clock of all programs: the database's."""

from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec import Struct

STEP_S = 1.0
"""Deviation from the monotonic clock between two readings from which the clock counts as set."""

DIFFERENCE_S = 5.0
"""Difference between the machine's and the database's clock from which it is logged."""

Wall = Callable[[], datetime]
Monotonic = Callable[[], float]


class Reading(Struct, frozen=True):
    """A reading of a clock, in UTC, with the monotonic time in seconds."""

    at: datetime
    monotonic_s: float

    def after(self, monotonic_s: float) -> datetime:
        return self.at + timedelta(seconds=monotonic_s - self.monotonic_s)


class StepDetector:
    """Detects that a clock was set, by comparison with a monotonic clock."""

    def __init__(self, wall: Wall, monotonic: Monotonic) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._last = Reading(wall(), monotonic())

    def step_s(self) -> float | None:
        """Return by how many seconds it was set since the last call; None if it was not."""
        now = Reading(self._wall(), self._monotonic())
        step_s = (now.at - self._last.after(now.monotonic_s)).total_seconds()
        self._last = now
        return step_s if abs(step_s) > STEP_S else None


class DatabaseClock:
    """The database's time: read periodically, and in between advanced by the monotonic clock.

    Until the first reading it is the machine's own time.
    """

    def __init__(self, wall: Wall, monotonic: Monotonic) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._reading = Reading(wall(), monotonic())

    def __call__(self) -> datetime:
        return self._reading.after(self._monotonic())

    def read(self, ask: Callable[[], datetime]) -> None:
        """Read the database's clock; the answer counts for the middle of the round trip."""
        sent_s = self._monotonic()
        at = ask()
        self._reading = Reading(at, (sent_s + self._monotonic()) / 2)

    def difference_s(self) -> float:
        """Seconds by which the machine's clock is ahead of the database's."""
        return (self._wall() - self()).total_seconds()
