"""Load on an HTTP server: keep-alive connections, one request after another on each.

`http.client` would be slower than the server; here a process sends on all of its connections at once, and
parses only the first answer: the others have the same length.
"""

import selectors
import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import cycle
from math import inf
from multiprocessing import get_context

import psutil  # type: ignore[import-untyped]
from msgspec import Struct

from local.ports import HOST

PROCESSES = 2
CONNECTIONS = 8
SECONDS = 4.0


class Load(Struct, frozen=True):
    """The throughput and latency of a server."""

    requests_per_s: float
    p99_ms: float
    cpu_us: float = 0.0
    """Of the server, for one answer; zero if its process id is unknown."""


def requests_per_s(port: int, path: str) -> float:
    return measure(port, path).requests_per_s


def measure(
    port: int,
    path: str,
    server_pid: int | None = None,
    headers: Sequence[str] = ("",),
    *,
    is_once: bool = False,
) -> Load:
    """Measure with all connections at once. A server without answers has rate 0 and infinite latency.

    Each request has the next ones of the `headers`, lines with their ends; all answers have the same length.
    With `is_once` there is one request for each of the `headers`, else they go round for some seconds.
    """
    requests = [f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{each}\r\n".encode() for each in headers]
    before_s = _cpu_s(server_pid)
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        parts = [requests[number::PROCESSES] or requests for number in range(PROCESSES)]
        halves = list(pool.map(_send_requests, [port] * PROCESSES, parts, [is_once] * PROCESSES))
    used_cpu_s = _cpu_s(server_pid) - before_s
    all_latencies_s = sorted(latency_s for _, latencies_s in halves for latency_s in latencies_s)
    if not all_latencies_s:
        return Load(0.0, inf, inf)
    p99_ms = 1_000 * all_latencies_s[int(len(all_latencies_s) * 0.99)]
    return Load(sum(rate for rate, _ in halves), p99_ms, 1_000_000 * used_cpu_s / len(all_latencies_s))


def _cpu_s(server_pid: int | None) -> float:
    if server_pid is None:
        return 0.0
    main = psutil.Process(server_pid)
    times = [process.cpu_times() for process in (main, *main.children())]
    return sum(float(each.user + each.system) for each in times)


class Exchange:
    """The running request of a connection."""

    def __init__(self) -> None:
        self.received = 0
        self.requested_at = time.monotonic()


def _send_requests(port: int, requests: list[bytes], is_once: bool) -> tuple[float, list[float]]:  # noqa: FBT001 - of map
    latencies_s: list[float] = []
    length = _length_of_answer(port, requests[0])
    following = iter(requests) if is_once else cycle(requests)
    with selectors.DefaultSelector() as selector:
        for _ in range(CONNECTIONS):
            connection = socket.create_connection((HOST, port))
            connection.sendall(next(following))
            selector.register(connection, selectors.EVENT_READ, Exchange())
        start = time.monotonic()
        while selector.get_map() and (is_once or time.monotonic() - start < SECONDS):
            for key, _ in selector.select(1):
                if not _receive(key.fileobj, key.data, length, following, latencies_s):
                    selector.unregister(key.fileobj).fileobj.close()  # type: ignore[union-attr]
        duration_s = time.monotonic() - start
        for key in list(selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
    return len(latencies_s) / duration_s, latencies_s


def _receive(
    connection: object,
    exchange: Exchange,
    length: int,
    following: Iterator[bytes],
    latencies_s: list[float],
) -> bool:
    """Whether there is more to receive on this connection."""
    assert isinstance(connection, socket.socket)
    exchange.received += len(connection.recv(1 << 18))
    if exchange.received < length:
        return True
    assert exchange.received == length, "an answer of another length: an error?"
    now_s = time.monotonic()
    latencies_s.append(now_s - exchange.requested_at)
    exchange.received, exchange.requested_at = 0, now_s
    request = next(following, None)
    if request is not None:
        connection.sendall(request)
    return request is not None


def _length_of_answer(port: int, request: bytes) -> int:
    with socket.create_connection((HOST, port)) as connection:
        connection.sendall(request)
        answer = connection.recv(65_536)
        assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 304")), answer
        head, _, body = answer.partition(b"\r\n\r\n")
        if answer.startswith(b"HTTP/1.1 304"):
            return len(head) + 4
        body_bytes = next(
            int(line.partition(b":")[2])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        )
        while len(body) < body_bytes:
            body += connection.recv(65_536)
    return len(head) + 4 + body_bytes
