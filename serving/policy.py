"""The requirements on callers, and the policies sent to browsers."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

Network = IPv4Network | IPv6Network
ORIGIN = re.compile(r"\*|https?://[^/,\s]+")
"""An origin whose pages may call the API, or `*` for all."""

MAX_BODY_BYTES = 1_048_576
"""The default of the setting."""

OPEN_PATHS = frozenset({"/", "/health", "/health/db-check", "/openapi.json", "/docs", "/favicon.ico"})
OPEN_PREFIXES = ("/assets/",)
"""Paths that need no key, as they reveal nothing of the fleet: health, the API's description, and pages
that must load before they can prompt for a key.
"""

OPENADR_VERSIONS = ("3.1.1", "3.1.0")
"""Prefixes of paths: some clients have the version in their base URL."""

OPENADR_PREFIX = "/openadr3/"
"""Prefix of OpenADR, where callers send its tokens instead of keys, and get its form of problems."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
METRICS_PATH = "/metrics"
SESSION_PATH = "/api/session"
SESSION_COOKIE = "gridgate_session"

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""The default Content-Security-Policy: pages use only resources of this service, and no inline code."""


@dataclass(frozen=True)
class Policy:
    """The defaults suit tests and a developer's machine: no keys, and no limit on the rate."""

    needs_keys: bool = False
    max_body_bytes: int = MAX_BODY_BYTES
    bodies_at_once: int = 8
    """Most bodies received at once, fewer than threads, so that slow bodies leave some free."""
    rate_per_s: float = 0.0
    rate_burst: int = 1
    is_local_only: bool = False
    """Whether only programs and browsers on this machine may call, without a key."""
    trusted_proxies: tuple[Network, ...] = ()
    is_https: bool = False
    page_policy: str | None = None
    """Replaces the policy that a page sets, and `PAGE_POLICY`."""

    page_ports: frozenset[int] = frozenset()
    """Ports of our pages behind a proxy that forwards `Host` without its port."""


LOCAL_POLICY = Policy()


def is_openadr(path: str) -> bool:
    return path.startswith(OPENADR_PREFIX)


def is_open(path: str) -> bool:
    """Return whether a path needs no key."""
    return path in OPEN_PATHS or path.startswith(OPEN_PREFIXES)
