"""Load on an HTTP server: connections that stay open, one request after another on each.

`http.client` would be slower than the server; here a process asks on all of its connections at once, and
parses only the first answer: the others have the same length.
"""

import selectors
import socket
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from local.ports import HOST

PROCESSES = 2
CONNECTIONS = 8
SECONDS = 4.0


def requests_per_s(port: int, path: str) -> float:
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        return sum(pool.map(_hammer, [port] * PROCESSES, [path] * PROCESSES))


def _hammer(port: int, path: str) -> float:
    request = f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
    length = _length_of_answer(port, request)
    answered = 0
    with selectors.DefaultSelector() as selector:
        for _ in range(CONNECTIONS):
            connection = socket.create_connection((HOST, port))
            connection.sendall(request)
            selector.register(connection, selectors.EVENT_READ, [0])
        start = time.monotonic()
        while time.monotonic() - start < SECONDS:
            for key, _ in selector.select(1):
                answered += _go_on(key.fileobj, key.data, length, request)
        took_s = time.monotonic() - start
        for key in list(selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
    return answered / took_s


def _go_on(connection: object, received: list[int], length: int, request: bytes) -> int:
    assert isinstance(connection, socket.socket)
    received[0] += len(connection.recv(65_536))
    if received[0] < length:
        return 0
    assert received[0] == length, "an answer of another length: an error?"
    received[0] = 0
    connection.sendall(request)
    return 1


def _length_of_answer(port: int, request: bytes) -> int:
    with socket.create_connection((HOST, port)) as connection:
        connection.sendall(request)
        answer = connection.recv(65_536)
        assert answer.startswith(b"HTTP/1.1 200"), answer
        head, _, body = answer.partition(b"\r\n\r\n")
        wanted = next(
            int(line.partition(b":")[2])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        )
        while len(body) < wanted:
            body += connection.recv(65_536)
    return len(head) + 4 + wanted
