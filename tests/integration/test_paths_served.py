"""Ids with slashes, through the served process, in raw HTTP; and behind nginx."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from ingest.storing.store import Store
from local.environment import REPOSITORY, inherited_environment
from local.ports import HOST, answers, free_ports
from tests.faults.requirement import required_program
from tests.integration.published import THREE, batch_of, telemetry, until

pytestmark = pytest.mark.thorough  # programs are started, and ended

LOADS = ("a", "/DE/G1/INV/1", "a/history", "a%2Fhistory", "a/commands/shed", "x y;z", "ü/ö", "a//b", "a/")
NGINX = """
daemon off; pid {directory}/nginx.pid; error_log {directory}/error.log; worker_processes 1;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
    server {{ listen {host}:{port}; location / {{ proxy_pass http://{host}:{served}; }} }}
}}
"""


@pytest.fixture
def port(store: Store, database_url: str) -> Iterator[int]:
    """`python -m serving` over one VEN with these loads, and one whose id has a slash."""
    loads = [{"id": load_id, "currentPowerKw": float(number)} for number, load_id in enumerate(LOADS)]
    store.write(batch_of(telemetry("v", THREE, loads=loads)))
    [port] = free_ports(1)
    settings = {
        "DATABASE_URL": database_url,
        "HTTP_PORT": str(port),
        "HTTP_AUTH": "off",
        "LOG_LEVEL": "error",
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "serving"], cwd=REPOSITORY, env=inherited_environment(**settings)
    )
    try:
        until(lambda: answers(port), 60)
        yield port
    finally:
        server.terminate()
        server.wait(30)


def ask(port: int, path: str, method: str = "GET", body: object = None) -> tuple[int, Any]:
    """A request of these very bytes."""
    sent = b"" if body is None else json.dumps(body).encode()
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {len(sent)}\r\n"
    )
    head += "Content-Type: application/json\r\n\r\n"
    with socket.create_connection((HOST, port), timeout=30) as connection:
        connection.sendall(head.encode() + sent)
        received = b"".join(iter(lambda: connection.recv(65_536), b""))
    answer_head, _, answer = received.partition(b"\r\n\r\n")
    is_json = b"json" in answer_head.lower() and b"chunked" not in answer_head.lower()
    return int(answer_head.split()[1]), json.loads(answer) if is_json and answer else None


def check(port: int) -> None:
    for number, load_id in enumerate(LOADS):
        path = f"/api/vens/v/loads/{quote(load_id, safe='')}"
        status, load = ask(port, path)
        assert (status, load and load["id"], load and load["currentPowerKw"]) == (200, load_id, float(number))
        assert ask(port, path, "PATCH", {"name": f"n{number}"})[1]["name"] == f"n{number}"
        status, history = ask(port, f"{path}/history")
        assert (status, len(history["points"])) == (200, 1)
        assert ask(port, f"{path}/commands/shed", "POST", {"amountKw": 1})[1]["loadId"] == load_id
    for encoded in (
        "x%20y%3Bz%2Fhistory",
        "x%20y%3Bz%2fhistory",
        "a%2Fnothing",
        "x%20y%3Bz%2Fcommands%2Fshed",
    ):
        assert ask(port, f"/api/vens/v/loads/{encoded}")[0] == 404, encoded
    for encoded in ("v%2Floads", "v%2Fhistory", "v%2Floads%2Fa", "v%2Fevents", "v%2Fcommands"):
        assert ask(port, f"/api/vens/{encoded}")[0] == 404, encoded
    assert ask(port, "/api/vens%2Fsummary")[0] == 404
    assert ask(port, "/api%2Fstats%2Fnetwork")[0] == 404
    assert ask(port, "/api/events/e%2Fstop", "POST", {})[0] in {404, 405}
    assert ask(port, "/api/events/e%2Fmetrics")[1]["detail"].count("e/metrics") == 1
    assert ask(port, "/api/commands/c%2Fd")[1]["detail"].count("c/d") == 1
    assert ask(port, "/api/vens/v/loads/a%2Fhistory", "DELETE")[0] == 204
    assert ask(port, "/api/vens/v/loads/a%2Fhistory")[0] == 404
    assert ask(port, "/api/vens/v/loads/a")[0] == 200


def test_an_encoded_slash_is_a_part_of_an_id(port: int) -> None:
    """Granian decodes the path for WSGI applications: `/loads/a%2Fhistory` was the history of `a`."""
    check(port)


def test_behind_nginx(port: int, tmp_path: Path) -> None:
    """With `proxy_pass` without a URI, as docs/operations.md has it."""
    program = required_program("nginx", "nginx-light")
    [front] = free_ports(1)
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(NGINX.format(directory=tmp_path, host=HOST, port=front, served=port))
    nginx = subprocess.Popen([program, "-c", str(configuration), "-p", str(tmp_path)])
    try:
        until(lambda: answers(front), 30)
        check(front)
    finally:
        nginx.terminate()
        nginx.wait(30)
