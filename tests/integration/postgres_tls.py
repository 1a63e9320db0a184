"""TLS in front of a PostgreSQL that was built without it: to a client, it is the server's own."""

import select
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import BaseRequestHandler, ThreadingTCPServer

from local.ports import HOST

CHUNK = 65_536
SSL_REQUEST = struct.pack("!II", 8, 80877103)


class _Front(ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, context: ssl.SSLContext, server_socket: str) -> None:
        super().__init__((HOST, 0), _Session)
        self.context = context
        self.server_socket = server_socket

    def handle_error(self, *_: object) -> None:
        """A client that does not trust us hangs up: the test looks at what it says, not at us."""


class _Session(BaseRequestHandler):
    server: _Front

    def handle(self) -> None:
        while self.request.recv(len(SSL_REQUEST)) != SSL_REQUEST:
            self.request.sendall(b"N")  # to a request for another kind of encryption
        self.request.sendall(b"S")
        with (
            self.server.context.wrap_socket(self.request, server_side=True) as client,
            socket.socket(socket.AF_UNIX) as server,
        ):
            server.connect(self.server.server_socket)
            _forward(client, server)


def _forward(client: ssl.SSLSocket, server: socket.socket) -> None:
    """Until one of them ends."""
    other = {client: server, server: client}
    while True:
        ready = [client] if client.pending() else select.select(other, [], [])[0]
        for end in ready:
            chunk = end.recv(CHUNK)
            if not chunk:
                return
            other[end].sendall(chunk)


@contextmanager
def tls_in_front(context: ssl.SSLContext, server_socket: str) -> Iterator[int]:
    """Gives the port."""
    with _Front(context, server_socket) as front:
        thread = threading.Thread(target=front.serve_forever, name="postgres-tls", daemon=True)
        thread.start()
        try:
            yield int(front.server_address[1])
        finally:
            front.shutdown()
            thread.join()
