"""How webhooks are sent and repeated. Pure."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from schemas.webhooks import Network

LONGEST_WAIT = timedelta(hours=1)
MOST_DOUBLINGS = 20
LEAST_PART = 0.5
"""Jitter: each wait is a random part of the whole, from this on, so that attempts do not come at once."""


class WebhookPolicy(Struct, frozen=True):
    networks: Sequence[Network] = ()
    """That may be sent to, besides public addresses."""
    timeout_s: float = 10.0
    retry: timedelta = timedelta(seconds=5)
    disable_after: timedelta = timedelta(days=3)

    @property
    def lease(self) -> timedelta:
        """How long a program holds a webhook: one delivery, its look-up of the host and its commits."""
        return timedelta(seconds=self.timeout_s + 20)

    def wait(self, failures: int, chance: Callable[[], float]) -> timedelta:
        """Until the next attempt after so many failures in a row."""
        doubled: timedelta = self.retry * float(2 ** min(failures - 1, MOST_DOUBLINGS))
        longest = min(doubled, LONGEST_WAIT)
        return longest * (LEAST_PART + (1 - LEAST_PART) * chance())

    def is_over(self, since: datetime, now: datetime) -> bool:
        """Whether a webhook that fails since then is to be disabled, or a delivery of then given up."""
        return now - since >= self.disable_after
