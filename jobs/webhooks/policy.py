"""The timeouts, retries and limits of webhooks. Pure."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from schemas.webhooks import Network

LONGEST_WAIT = timedelta(hours=1)
MOST_DOUBLINGS = 20
LEAST_PART = 0.5
"""Jitter: each wait is a random fraction of the back-off, at least this, to spread attempts."""


class WebhookPolicy(Struct, frozen=True):
    networks: Sequence[Network] = ()
    """Allowed networks besides public addresses."""
    timeout_s: float = 10.0
    retry: timedelta = timedelta(seconds=5)
    disable_after: timedelta = timedelta(days=3)

    @property
    def lease(self) -> timedelta:
        """Return the duration of a webhook's lease: one delivery with name resolution and commits."""
        return timedelta(seconds=self.timeout_s + 20)

    def wait(self, failures: int, draw: Callable[[], float]) -> timedelta:
        """Return the wait after consecutive failures; `draw` is a random number from 0 to 1."""
        doubled: timedelta = self.retry * float(2 ** min(failures - 1, MOST_DOUBLINGS))
        longest = min(doubled, LONGEST_WAIT)
        return longest * (LEAST_PART + (1 - LEAST_PART) * draw())

    def is_over(self, since: datetime, now: datetime) -> bool:
        """Return whether a webhook that fails since then is disabled, or a delivery of then abandoned."""
        return now - since >= self.disable_after
