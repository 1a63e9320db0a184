"""What this service demands of its callers, and what it tells browsers; the settings say it."""

from dataclasses import dataclass

from serving.bodies import MAX_BODY_BYTES
from serving.proxies import Network

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""A page may use what it is served with, and nothing else; no script or style in the page itself."""


@dataclass(frozen=True)
class Policy:
    """The defaults are those of a test, or of one's own machine: no keys, and no bound on the rate."""

    needs_keys: bool = False
    max_body_bytes: int = MAX_BODY_BYTES
    bodies_at_once: int = 8
    """That are being read; there are more threads, so that slow ones leave room for other requests."""
    rate_per_s: float = 0.0
    rate_burst: int = 1
    is_at_home: bool = False
    """Only programs and browsers on this machine may call, and those nobody asks for a key."""
    trusted_proxies: tuple[Network, ...] = ()
    is_https: bool = False
    page_policy: str | None = None
    """Instead of what a page, or `PAGE_POLICY`, says."""


AT_HOME = Policy()
