"""Protection against cross-site request forgery and DNS rebinding."""

import re
from functools import lru_cache

import falcon
from falcon import Request

from serving.auth.proxies import address_of
from serving.policy import SAFE_METHODS

LOCAL_NAMES = frozenset({"localhost"})
PORT = re.compile(r":\d*$", re.ASCII)


class SameOrigin:
    """Refuses changes that a foreign page has a browser send (CSRF).

    A browser names the page's origin in each unsafe request. Other programs send no origin, and have no
    cookies that a page could use.
    """

    def __init__(
        self,
        allowed_origins: list[str],
        *,
        is_local_only: bool,
        page_ports: frozenset[int] = frozenset(),
    ) -> None:
        self._allowed_origins = allowed_origins
        self._names = LOCAL_NAMES | {origin.partition("://")[2] for origin in allowed_origins}
        self.is_local_only = is_local_only
        self._page_ports = page_ports

    def is_own_host(self, host: str | None) -> bool:
        """Return whether the `Host` of a request excludes DNS rebinding; checked only without keys.

        A browser binds a page to the host name that it was loaded from. A foreign site can have its own name
        resolve to this machine, but not an IP address or `localhost`.
        """
        return not self.is_local_only or host is None or host in self._names or _is_local(host)

    def check(self, request: Request) -> None:
        """Refuse a request with a foreign host or origin.

        Raises:
            falcon.HTTPForbidden: the host name or the origin is foreign.
        """
        if not self.is_own_host(request.get_header("Host")):
            raise falcon.HTTPForbidden(
                description="Without keys, this service answers to its IP address or localhost only, not to "
                f"{request.get_header('Host')}: any site can have a name of its own resolve to this machine."
            )
        if request.get_header("Origin") is not None:
            self.require(request)

    def require(self, request: Request) -> None:
        """Refuse a change that does not come from one of our pages.

        Raises:
            falcon.HTTPForbidden: the origin is foreign, or missing.
        """
        origin = request.get_header("Origin", default="")
        if request.method in SAFE_METHODS or origin in self._allowed_origins:
            return
        if not self._is_own_page(origin, request.netloc):
            raise falcon.HTTPForbidden(
                description=f"Pages of {origin or 'an unknown origin'} may change nothing at "
                f"{request.netloc}: name the page's origin in CORS_ORIGINS, or send a key as "
                "Authorization: Bearer KEY."
            )

    def _is_own_page(self, origin: str, host: str) -> bool:
        """Return whether an origin is ours: that of the host, or, without keys, any of this machine.

        Behind a proxy that drops the port from `Host`: the same name at one of the listed ports.
        """
        _, _, page_host = origin.partition("://")
        if page_host == host:
            return True
        name, port = _name_and_port(page_host)
        if self.is_local_only and _is_loopback(name):
            return True
        return port in self._page_ports and name == host.lower() and _name_and_port(host)[1] is None


def _name_and_port(host: str) -> tuple[str, int | None]:
    """Split `name:port`; the name in lower case, the port None if it is missing or not a number."""
    match = PORT.search(host)
    digits = match[0][1:] if match else ""
    return PORT.sub("", host).lower(), int(digits) if digits else None


def _is_loopback(name: str) -> bool:
    address = address_of(name.strip("[]"))
    return name in LOCAL_NAMES or (address is not None and address.is_loopback)


@lru_cache(maxsize=64)
def _is_local(host: str) -> bool:
    """Return whether a `Host` is an IP address, or this machine's own name."""
    name = PORT.sub("", host).strip("[]").lower()
    return name in LOCAL_NAMES or address_of(name) is not None
