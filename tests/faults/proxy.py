"""A proxy between ingest and PostgreSQL, on a Unix socket, that can delay, stop or cut connections."""

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Self

from psycopg.conninfo import conninfo_to_dict

CHUNK = 65_536
COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"
"""The whole message. It is never in one chunk with another: before it, the client waits for an answer."""
CUT_PROGRAM = b"\x00gridgate-ingest\x00"
"""Within the first message of a connection: the one that stores telemetry, of several that a program has."""
PORT = 5432
SOCKET = f".s.PGSQL.{PORT}"

Cut = Literal["answer", "question", "client"]


class PostgresProxy:
    """A client of `url` connects through the proxy, a socket in `directory`, to `database_url`.

    Each cut ends a connection that stores telemetry at its next COMMIT; the client cannot know the outcome:

    - `answer`: the server has committed, and its answer is dropped.
    - `question`: the COMMIT itself is dropped, and the server sees the connection end.
    - `client`: the same, but the server sees nothing: it keeps the transaction open, as when a network or a
      whole machine fails. `close_all` ends that.
    """

    def __init__(self, directory: Path, database_url: str) -> None:
        parts = conninfo_to_dict(database_url)
        self.url = f"postgresql://{parts['user']}@/{parts['dbname']}?host={directory}&port={PORT}"
        self._directory = directory
        self._server = _address(str(parts["host"]), int(parts.get("port") or PORT))
        self._listener = socket.socket(socket.AF_UNIX)
        self._ends: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._next_cut: Cut | None = None
        self._is_forwarding = threading.Event()
        self._is_forwarding.set()
        self.seconds_a_megabyte = 0.0
        self.cuts = 0

    def __enter__(self) -> Self:
        self._directory.mkdir(parents=True, exist_ok=True)
        self._listener.bind(_address(str(self._directory), PORT))
        self._listener.listen()
        self._run(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.close_all()
        for thread in self._threads:
            thread.join(10)
        for end in self._ends:
            end.close()

    def stall(self) -> None:
        """Stop forwarding in both directions; connections stay open."""
        self._is_forwarding.clear()

    def flow(self) -> None:
        """Forward again, starting with data received meanwhile."""
        self._is_forwarding.set()

    def cut_next(self, what: Cut) -> None:
        self._next_cut = what

    def has_cut(self, times: int) -> bool:
        return self.cuts >= times

    def close_all(self) -> None:
        """End every connection, on both sides."""
        self._is_forwarding.set()
        for end in self._ends:
            with contextlib.suppress(OSError):  # ended before
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # we are done
                return
            self._run(self._serve, client)

    def _run(self, target: Callable[..., None], *arguments: socket.socket) -> None:
        self._threads.append(threading.Thread(target=target, args=arguments, name="proxy", daemon=True))
        self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX if isinstance(self._server, str) else socket.AF_INET)
        self._ends += [client, server]
        with client, contextlib.suppress(OSError):  # either side may go away at any time
            server.connect(self._server)
            if self._forward(client, server) == "client":
                return
        server.close()

    def _forward(self, client: socket.socket, server: socket.socket) -> Cut | None:
        """Forward until one of them ends, or until the cut."""
        other = {client: server, server: client}
        stores_telemetry = False
        while True:
            ready, _, _ = select.select(other, [], [])
            for end in ready:
                chunk = end.recv(CHUNK)
                if not chunk:
                    return None
                self._is_forwarding.wait()
                if end is client:
                    time.sleep(len(chunk) / 1e6 * self.seconds_a_megabyte)
                    stores_telemetry = stores_telemetry or CUT_PROGRAM in chunk
                    if stores_telemetry and chunk == COMMIT and self._next_cut is not None:
                        return self._cut(server)
                other[end].sendall(chunk)

    def _cut(self, server: socket.socket) -> Cut | None:
        cut, self._next_cut = self._next_cut, None
        if cut == "answer":
            server.sendall(COMMIT)
            server.recv(CHUNK)
        self.cuts += 1
        return cut


def _address(host: str, port: int) -> str | tuple[str, int]:
    """The socket in a directory, or a port of a host, as libpq has it."""
    return f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)
