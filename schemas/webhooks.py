"""Webhooks: the kinds of changes, allowed addresses, and secrets in the form of Standard Webhooks."""

import base64
import re
import secrets
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Literal, get_args
from urllib.parse import urlsplit

WebhookKind = Literal["events", "alarms", "presence", "commands"]
WEBHOOK_KINDS: tuple[WebhookKind, ...] = get_args(WebhookKind)
DeliveryStatus = Literal["pending", "delivered", "failed"]
DELIVERY_STATUSES: tuple[DeliveryStatus, ...] = get_args(DeliveryStatus)

SECRET_PREFIX = "whsec_"  # noqa: S105 - the prefix of every secret
LONGEST_URL = 2_048
MOST_WEBHOOKS = 100
LARGEST_PORT = 65_535
PRINTABLE = re.compile(r"[\x21-\x7e]+")
NAT64 = IPv6Network("64:ff9b::/96")

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def new_secret() -> str:
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def is_allowed(address: Address, networks: Sequence[Network]) -> bool:
    """Return whether a webhook may be sent to an address: a public one, or in a network of the settings."""
    return is_in(address, networks) or _is_public(embedded(address))


def is_in(address: Address, networks: Sequence[Network]) -> bool:
    inner = embedded(address)
    return any(inner in network for network in networks)


def embedded(address: Address) -> Address:
    """Return the IPv4 address embedded in an IPv6 address; else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else address)


def _is_public(address: Address) -> bool:
    is_site_local = isinstance(address, IPv6Address) and address.is_site_local
    return address.is_global and not (address.is_multicast or address.is_reserved or is_site_local)


def check_url(url: str, networks: Sequence[Network]) -> None:
    """Check a URL, as far as possible without resolving the host.

    Raises:
        ValueError: nothing may be sent to this URL.
    """
    if len(url) > LONGEST_URL or not PRINTABLE.fullmatch(url):
        raise ValueError(f"must be at most {LONGEST_URL} printable ASCII characters, without spaces")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("must be a URL such as https://example.com/hook") from None
    if parts.scheme not in {"https", "http"} or not parts.hostname or port == 0:
        raise ValueError("must be a URL such as https://example.com/hook")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError("must have no user, password or fragment: check the signature instead")
    address = literal_address(parts.hostname)
    if address is not None and not is_allowed(address, networks):
        raise ValueError(f"{address} is not a public address, and in no network of WEBHOOK_NETWORKS")


def literal_address(host: str) -> Address | None:
    """Return the address of a literal host; None for a name."""
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        return None
