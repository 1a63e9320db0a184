"""Sends one HTTP request to a receiver, at an allowed address, bounded in time and bytes.

The host is resolved once, and the connection goes to the address that was checked, which prevents DNS
rebinding. Redirects are not followed, and proxies of the environment are not used.
"""

import socket
import ssl
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import httpcore
from msgspec import Struct

from schemas.webhooks import Address, Network, is_allowed, is_in

MOST_BYTES = 65_536
"""Most bytes read of a response's body, whose text is ignored."""

Monotonic = Callable[[], float]
Resolve = Callable[[str, int], Sequence[Address]]


class ForbiddenAddressError(Exception):
    """The settings do not allow requests to the host's addresses."""


class DeliveryError(Exception):
    """The receiver did not answer, or not in time."""


class ReceiverAnswer(Struct, frozen=True):
    status: int

    @property
    def is_success(self) -> bool:
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    @property
    def is_redirect(self) -> bool:
        return HTTPStatus.MULTIPLE_CHOICES <= self.status < HTTPStatus.BAD_REQUEST


def resolve(host: str, port: int) -> list[Address]:
    """Resolve a host with the operating system's resolver."""
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ip_address(str(each[4][0]).partition("%")[0]) for each in infos]


class WebhookClient:
    """Posts bodies to receivers."""

    def __init__(
        self,
        networks: Sequence[Network],
        timeout_s: float,
        resolve_host: Resolve = resolve,
        monotonic: Monotonic = time.monotonic,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._networks = networks
        self._timeout_s = timeout_s
        self._resolve = resolve_host
        self._monotonic = monotonic
        self._tls = tls or ssl.create_default_context()

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> ReceiverAnswer:
        """Send a body, and read the response to its end or to `MOST_BYTES`.

        Raises:
            ForbiddenAddressError: nothing was sent.
            DeliveryError: whether the receiver has it is unknown.
        """
        deadline = Deadline(self._monotonic, self._timeout_s)
        backend = _CheckedBackend(self._resolve, self._networks, deadline, is_plain=url.startswith("http:"))
        try:
            with httpcore.ConnectionPool(ssl_context=self._tls, network_backend=backend) as pool:
                return _post(pool, url, headers, body, deadline)
        except (httpcore.TimeoutException, TimeoutError):
            raise DeliveryError(f"no complete answer within {self._timeout_s:g} s") from None
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError, UnicodeError) as error:
            reason = f"{type(error).__name__}: {error}".removesuffix(": ")
            raise DeliveryError(f"cannot send to {urlsplit(url).netloc}: {reason}") from None


class Deadline:
    """The deadline of a whole delivery."""

    def __init__(self, monotonic: Monotonic, within_s: float) -> None:
        self._monotonic = monotonic
        self._ends_s = monotonic() + within_s

    def left_s(self, error: type[Exception] = httpcore.ReadTimeout) -> float:
        left_s = self._ends_s - self._monotonic()
        if left_s <= 0:
            raise error("the deadline has passed")
        return left_s


def _post(
    pool: httpcore.ConnectionPool, url: str, headers: Mapping[str, str], body: bytes, deadline: Deadline
) -> ReceiverAnswer:
    left_s = deadline.left_s()
    timeouts = dict.fromkeys(("connect", "read", "write", "pool"), left_s)
    target = httpcore.URL(url)
    sent = [
        (b"Host", urlsplit(url).netloc.encode()),
        *((name.encode(), value.encode()) for name, value in headers.items()),
    ]
    with pool.stream(
        "POST", target, headers=sent, content=body, extensions={"timeout": timeouts}
    ) as response:
        size = 0
        for block in response.iter_stream():
            size += len(block)
            if size > MOST_BYTES:
                break
        return ReceiverAnswer(response.status)


class _CheckedBackend(httpcore.NetworkBackend):
    """Connects only to an allowed address of the host."""

    def __init__(
        self, resolve_host: Resolve, networks: Sequence[Network], deadline: Deadline, *, is_plain: bool
    ) -> None:
        self._resolve = resolve_host
        self._networks = networks
        self._deadline = deadline
        self._is_plain = is_plain
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - the deadline is shorter
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        address = self._allowed_address(host, port)
        left_s = self._deadline.left_s(httpcore.ConnectTimeout)
        stream = self._sockets.connect_tcp(str(address), port, left_s, local_address, socket_options)
        return _BoundedStream(stream, self._deadline)

    def _allowed_address(self, host: str, port: int) -> Address:
        addresses = self._resolve(host.strip("[]"), port)
        is_right = is_in if self._is_plain else is_allowed
        for address in addresses:
            if is_right(address, self._networks):
                return address
        shown = ", ".join(map(str, addresses[:3]))
        if self._is_plain and any(is_allowed(address, self._networks) for address in addresses):
            raise ForbiddenAddressError(
                f"plain http goes to networks of WEBHOOK_NETWORKS only, not to {shown}"
            )
        raise ForbiddenAddressError(
            f"{host} has no address that is public, or in a network of WEBHOOK_NETWORKS: {shown}"
        )


class _BoundedStream(httpcore.NetworkStream):
    """A connection whose operations end at the deadline, so that a slow receiver cannot hold it."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        return self._stream.read(max_bytes, self._deadline.left_s())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        self._stream.write(buffer, self._deadline.left_s(httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        left_s = self._deadline.left_s(httpcore.ConnectTimeout)
        return _BoundedStream(self._stream.start_tls(ssl_context, server_hostname, left_s), self._deadline)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - httpcore's
        return self._stream.get_extra_info(info)
