"""The client's address behind proxies: the last one in `X-Forwarded-For` that is not a trusted proxy.

Anybody can send that header, so an entry counts only if a trusted proxy wrote it.
"""

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from wsgiref.types import WSGIEnvironment

from serving.policy import Network

Address = IPv4Address | IPv6Address

WITH_PORT = re.compile(r"\[(?P<v6>[0-9a-fA-F:.]+)\](?::\d+)?|(?P<v4>[0-9.]+):\d+")


class TrustedProxies:
    """The trusted proxies of the settings."""

    def __init__(self, networks: Iterable[Network] = ()) -> None:
        self._networks = tuple(networks)

    def client(self, peer: str, forwarded: str) -> str:
        """Return the client's address, from the address of the connection and `X-Forwarded-For`."""
        client = peer
        for hop in reversed(forwarded.split(",")):
            if not self._is_trusted(client):
                break
            address = address_of(hop)
            if address is None:
                break
            client = str(address)
        return client

    def _is_trusted(self, text: str) -> bool:
        address = address_of(text)
        return address is not None and any(address in network for network in self._networks)

    def set_client_address(self, env: WSGIEnvironment) -> None:
        """Set `REMOTE_ADDR` to the client's address."""
        if "HTTP_X_FORWARDED_FOR" in env:
            env["REMOTE_ADDR"] = self.client(env.get("REMOTE_ADDR", ""), env["HTTP_X_FORWARDED_FOR"])


def address_of(text: str) -> Address | None:
    """Parse an address as proxies write it, with or without a port; None for anything else."""
    text = text.strip()
    if with_port := WITH_PORT.fullmatch(text):
        text = with_port["v6"] or with_port["v4"]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        return address
    # A zone id may contain any text, and an IPv4 address may be mapped to IPv6.
    return None if address.scope_id else (address.ipv4_mapped or address)
