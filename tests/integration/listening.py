"""A port that is in use."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from local.ports import HOST


@contextmanager
def listening() -> Iterator[int]:
    """Listen on a port of our own; gives the port."""
    with socket.socket() as server:
        server.bind((HOST, 0))
        server.listen()
        yield server.getsockname()[1]
