"""Who calls, where proxies pass requests on: the last address in `X-Forwarded-For` that is none of ours.

Anybody can send that header. An entry is believed only if who wrote it is a proxy that the settings name.
"""

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from wsgiref.types import WSGIEnvironment

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

WITH_PORT = re.compile(r"\[(?P<v6>[0-9a-fA-F:.]+)\](?::\d+)?|(?P<v4>[0-9.]+):\d+")


class Proxies:
    """Those whose word on where a request comes from is taken."""

    def __init__(self, networks: Iterable[Network] = ()) -> None:
        self._networks = tuple(networks)

    def client(self, peer: str, forwarded: str) -> str:
        """The address of the client, whose connection is `peer`'s and whose `X-Forwarded-For` this is."""
        client = peer
        for hop in reversed(forwarded.split(",")):
            if not self._is_ours(client):
                break
            address = address_of(hop)
            if address is None:
                break
            client = str(address)
        return client

    def _is_ours(self, text: str) -> bool:
        address = address_of(text)
        return address is not None and any(address in network for network in self._networks)

    def name_client(self, env: WSGIEnvironment) -> WSGIEnvironment:
        """The environment of a request, with the client's address as `REMOTE_ADDR`."""
        if self._networks and "HTTP_X_FORWARDED_FOR" in env:
            env["REMOTE_ADDR"] = self.client(env.get("REMOTE_ADDR", ""), env["HTTP_X_FORWARDED_FOR"])
        return env


def address_of(text: str) -> Address | None:
    """An address as proxies write it, with a port or without; None for anything else."""
    text = text.strip()
    if with_port := WITH_PORT.fullmatch(text):
        text = with_port["v6"] or with_port["v4"]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        return address
    # A scope may hold any text; and IPv4 may come in the clothes of IPv6.
    return None if address.scope_id else (address.ipv4_mapped or address)
