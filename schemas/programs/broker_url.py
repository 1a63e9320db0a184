"""The broker's URL: one login, and one host or several, which are tried in order."""

from typing import NamedTuple
from urllib.parse import unquote, urlsplit

DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}


class BrokerAddress(NamedTuple):
    """The address of one host of the broker."""

    host: str
    port: int

    @property
    def shown(self) -> str:
        """Return host and port as shown in logs and `/health`."""
        return f"{self.host}:{self.port}"


class BrokerUrl(NamedTuple):
    """`mqtt://user:password@host:port,host:port`, in its parts."""

    uses_tls: bool
    username: str | None
    password: str | None
    addresses: tuple[BrokerAddress, ...]


def parse_broker_url(url: str) -> BrokerUrl:
    """Parse `mqtt://` or `mqtts://`, a user and a password (percent-encoded), and hosts separated by commas.

    Raises:
        ValueError: it is not such a URL.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in DEFAULT_PORTS:
        raise ValueError("neither mqtt:// nor mqtts://")
    login, has_login, hosts = rest.removesuffix("/").rpartition("@")
    username, has_password, password = login.partition(":")
    if has_login and not username:
        raise ValueError("a login without a user")
    return BrokerUrl(
        uses_tls=scheme == "mqtts",
        username=unquote(username) if username else None,
        password=unquote(password if has_password else "") if username else None,
        addresses=tuple(_address(entry.strip(), DEFAULT_PORTS[scheme]) for entry in hosts.split(",")),
    )


def _address(entry: str, default_port: int) -> BrokerAddress:
    parts = urlsplit(f"//{entry}")
    if not parts.hostname or parts.netloc != entry or parts.port == 0:
        raise ValueError(f"no host and port: {entry!r}")
    return BrokerAddress(parts.hostname, parts.port or default_port)
